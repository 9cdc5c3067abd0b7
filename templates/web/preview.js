// When a story in the preview is clicked, its form is opened with the link in its row. Without this script, links in the email reload the
// page.
"use strict";
(() => {
  const rowOf = (link) => link?.dataset && document.querySelector(`#edition li.st[data-place="${link.dataset.place}"]`);
  const openStory = (event) => {
    const row = rowOf(event.target.closest(".desk-edit"));
    if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const link = row.querySelector(".acts a[href*='open=']");
    if (!link) return row.querySelector("#headline").focus();
    // On a phone, the form and the preview are in different tabs.
    const url = new URL(link.href);
    url.searchParams.delete("tab");
    link.href = url.href;
    link.click();
  };
  const mark = (isOn) => (event) => { rowOf(event.target)?.classList.toggle("pointed", isOn); };
  const listen = (frame) => {
    // The document isn't accessible if the browser isolates the frame.
    const mail = frame?.contentDocument;
    if (!mail) return;
    mail.addEventListener("click", openStory);
    for (const name of ["mouseover", "focusin"]) mail.addEventListener(name, mark(true));
    for (const name of ["mouseout", "focusout"]) mail.addEventListener(name, mark(false));
  };
  document.addEventListener("load", (event) => { if (event.target.matches?.("#preview iframe")) listen(event.target); }, true);
  listen(document.querySelector("#preview iframe"));
})();
