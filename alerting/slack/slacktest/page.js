// Fetches the page again when something has changed, and swaps its contents
// in place, so that neither the scroll position nor a folded thread is lost.
"use strict";
async function look() {
  try {
    const version = await (await fetch("/version")).text();
    const writing = document.activeElement && document.activeElement.tagName === "TEXTAREA";
    if (!writing && version !== document.body.dataset.version) {
      const text = await (await fetch(location.href)).text();
      const next = new DOMParser().parseFromString(text, "text/html");
      const folded = [...document.querySelectorAll("details")].map((d) => d.open);
      document.querySelector("nav").replaceWith(next.querySelector("nav"));
      document.querySelector("main").replaceWith(next.querySelector("main"));
      document.querySelectorAll("details").forEach((d, i) => { if (folded[i] === false) d.open = false; });
      document.title = next.title;
      document.body.dataset.version = next.body.dataset.version;
    }
  } catch {
    // The server is gone or restarting; the next look will tell.
  }
  setTimeout(look, 700);
}
look();
document.addEventListener("submit", (e) => {
  const question = e.target.dataset.question;
  if (question && !confirm(question)) e.preventDefault();
});
