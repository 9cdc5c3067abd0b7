// Updates the page of an edition that's being sent every few seconds, in place. Without this script, the whole page reloads. A field with
// the focus and open tables aren't changed.
"use strict";
(() => {
  const head = document.querySelector("[data-phase]");
  if (!head) return;
  const SECONDS = 3;
  let stopped = false;

  const put = (old, fresh) => {
    if (old.contains(document.activeElement) || old.isEqualNode(fresh)) return;
    const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
    old.replaceChildren(...fresh.childNodes);
    for (const id of open) { const one = document.getElementById(id); if (one) one.open = true; }
  };

  const look = async () => {
    if (stopped || document.hidden) return;
    const answer = await fetch(location.pathname + location.search, { redirect: "error" });
    const text = await answer.text();
    if (!answer.ok || stopped) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    const phase = page.querySelector("[data-phase]");
    const typed = document.getElementById("number");
    if (!phase || phase.dataset.phase !== head.dataset.phase) {
      if (!typed || !typed.value) { stopped = true; location.reload(); }
      return;
    }
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh) put(old, fresh);
    }
  };

  // Stop when the user leaves, because reloading the page would cancel the navigation.
  window.addEventListener("beforeunload", () => { stopped = true; });
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  const later = () => setTimeout(() => look().catch(() => {}).finally(() => { if (!stopped) later(); }), SECONDS * 1000);
  later();
})();
