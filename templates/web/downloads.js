// Says that a file is on its way. A download leaves the page as it was, with any error that was corrected since.
"use strict";
(() => {
  const note = document.querySelector("[data-downloading]");
  document.addEventListener("submit", ({ target }) => {
    if (!note || !target.matches("form[data-file]")) return;
    for (const outdated of document.querySelectorAll(".note.bad, .err")) outdated.remove();
    for (const field of target.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    note.hidden = false;
    note.textContent = note.dataset.downloading;
  });
})();
