// Says that a download started, and removes errors that have been corrected, because a download doesn't reload the page.
"use strict";
(() => {
  const note = document.querySelector("[data-downloading]");
  document.addEventListener("submit", ({ target, submitter }) => {
    if (!note || !submitter.matches("[data-file]")) return;
    for (const outdated of document.querySelectorAll(".note.bad, .err")) outdated.remove();
    for (const field of target.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    for (const link of document.querySelectorAll("[data-done]")) link.textContent = link.dataset.done;
    note.hidden = false;
    note.textContent = note.dataset.downloading;
  });
})();
