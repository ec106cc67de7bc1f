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
            const words = kept(here);
            const open = new Set([...here.querySelectorAll("details[id][open]")].map((d) => d.id));
            here.replaceChildren(...there.childNodes);
            for (const d of here.querySelectorAll("details[id]")) { if (open.has(d.id)) { d.open = true; } }
            restore(here, words);
          }
        }
      }
    } catch { /* the server is away; the stream comes back by itself */ }
    busy = false;
    if (again) { again = false; soon(1000); }
  }

  // What somebody types stays, and so does the cursor in it.
  function kept(node) {
    return [...node.querySelectorAll("input[id], textarea[id]")].map((f) => ({
      id: f.id, value: f.value, focused: f === document.activeElement, from: f.selectionStart, to: f.selectionEnd,
    }));
  }

  function restore(node, words) {
    for (const w of words) {
      const field = node.querySelector(`#${CSS.escape(w.id)}`);
      if (!field) { continue; }
      field.value = w.value;
      if (w.focused) { field.focus({ preventScroll: true }); field.setSelectionRange(w.from, w.to); }
    }
  }

  // Countdowns go by the server's clock, which the page was drawn with.
  const drawn = document.querySelector("footer time");
  const ahead = drawn ? Date.parse(drawn.dateTime) - Date.now() : 0;

  function tick() {
    for (const c of document.querySelectorAll("[data-until]")) {
      const left = Math.max(0, Math.ceil((Date.parse(c.dataset.until) - Date.now() - ahead) / 1000));
      c.textContent = left >= 60 ? `${Math.floor(left / 60)} min ${left % 60} s` : `${left} s`;
    }
  }
  setInterval(tick, 500);

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
