// Copies or prints recovery codes. Without scripts, they can be saved with a link.
"use strict";
(() => {
  const done = document.querySelector("[data-copied]");
  const codes = [...document.querySelectorAll(".codes code")].map((code) => code.textContent);
  const acts = {
    copy: () => navigator.clipboard.writeText(codes.join("\n")).then(() => { done.textContent = "Copied."; }),
    print: () => window.print(),
  };
  for (const button of document.querySelectorAll("button[data-codes]")) {
    // Browsers only allow copying on https pages and on localhost.
    if (button.dataset.codes === "copy" && !navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", acts[button.dataset.codes]);
  }
})();
