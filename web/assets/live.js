// Keeps the page true while it is looked at: when the journal grows, the page
// is fetched again and its middle replaced. Without this script a reload does
// the same.
"use strict";
(() => {
  let source = null;
  let timer = 0;
  let busy = false;
  let again = false;

  async function refresh() {
    timer = 0;
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const id of ["main", "notice"]) {
          const here = document.getElementById(id);
          const there = page.getElementById(id);
          if (here && there && here.innerHTML !== there.innerHTML && !holdsSelection(here)) {
            const open = new Set([...here.querySelectorAll("details[id][open]")].map((d) => d.id));
            here.replaceChildren(...there.childNodes);
            for (const d of here.querySelectorAll("details[id]")) { if (open.has(d.id)) { d.open = true; } }
          }
        }
      }
    } catch { /* the server is away; the stream comes back by itself */ }
    busy = false;
    if (again) { again = false; soon(1000); }
  }

  function holdsSelection(node) {
    const s = document.getSelection();
    return s !== null && !s.isCollapsed && node.contains(s.anchorNode);
  }

  function soon(ms) { if (timer === 0) { timer = setTimeout(refresh, ms); } }

  function watch() {
    if (document.hidden) {
      if (source) { source.close(); source = null; }
    } else if (!source) {
      source = new EventSource("/api/belay/v1/events?after=now");
      source.onmessage = () => soon(300);
      soon(0);
    }
  }

  document.addEventListener("visibilitychange", watch);
  setInterval(() => { if (!document.hidden) { soon(0); } }, 30000);
  if (!document.hidden) {
    source = new EventSource("/api/belay/v1/events?after=now");
    source.onmessage = () => soon(300);
  }
})();
