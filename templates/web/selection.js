// Selecting several stories of the edition's page, by pointer and by keyboard. What is done with them goes through desk.js, by its queue.
"use strict";
(() => {
  const desk = document.getElementById("desk"), bar = document.getElementById("selected");
  if (!desk || !bar) return;
  const find = (selector, root = document) => root.querySelector(selector);
  const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
  const letters = desk.dataset.letters === "on";
  const boxes = () => findAll(".tick").filter((box) => box.offsetParent);
  const rowOf = (element) => element.closest("#edition li.st, #stories li.cand");
  const boxOf = (row) => find(".tick", row);

  // --- which are selected --------------------------------------------------------------------------------

  // `picked` are the anchors of stories, also of those that the list doesn't show; `last` is where a range begins.
  const picked = new Set();
  let last = "";
  // Those in sight, with the edition's first: what is done is done with these alone.
  const listPicked = () => {
    const rows = [...findAll("#edition li.st"), ...findAll("#stories li.cand")];
    return [...new Set(rows.map((row) => row.dataset.story))].filter((story) => picked.has(story));
  };
  const show = () => {
    for (const box of findAll(".tick")) box.checked = picked.has(box.value);
    const count = listPicked().length, words = `${count} selected`;
    document.body.classList.toggle("picking", count > 0);
    if (!count) for (const menu of findAll(".pickmenu[open]")) menu.open = false;
    find("#selection-count").textContent = words;
    if (find("#selection-status").textContent !== words) find("#selection-status").textContent = words;
  };
  const pick = (box, isPicked, isRange) => {
    const among = boxes(), ends = [among.findIndex((one) => one.value === last), among.indexOf(box)].sort((a, b) => a - b);
    const chosen = isRange && ends[0] >= 0 ? among.slice(ends[0], ends[1] + 1) : [box];
    for (const one of chosen) if (isPicked) picked.add(one.value); else picked.delete(one.value);
    last = box.value;
    show();
  };
  const clear = () => {
    if (bar.contains(document.activeElement)) focusFirst();
    picked.clear();
    bar.reset();
    show();
  };
  const focusFirst = () => {
    const [story] = listPicked(), row = findAll("#edition li.st, #stories li.cand").find((one) => one.dataset.story === story);
    if (!row) return;
    row.tabIndex = -1;
    row.focus();
  };
  bar.addEventListener("reset", () => { if (picked.size) setTimeout(clear); });
  desk.addEventListener("renewed", show);
  desk.addEventListener("saved", ({ detail }) => {
    const done = detail.split(" ").slice(1);
    if (done.length < 2 && !done.every((story) => picked.has(story))) return;
    for (const story of done) picked.delete(story);
    show();
  });

  // --- by pointer ------------------------------------------------------------------------------------------

  document.addEventListener("mousedown", (event) => {
    if (event.shiftKey && rowOf(event.target)) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const row = rowOf(event.target), isBox = event.target.matches(".tick");
    if (!row || !isBox && (!event.shiftKey || event.target.closest("a, button, input, select, textarea, summary"))) return;
    if (!isBox) { event.preventDefault(); event.stopPropagation(); }
    pick(boxOf(row), isBox ? event.target.checked : true, event.shiftKey);
  }, true);

  // --- by keyboard -----------------------------------------------------------------------------------------

  const open = (id) => {
    const menu = document.getElementById(id);
    menu.open = true;
    find("select", menu).focus();
  };
  const KEYS = { m: () => open("ask-section"), x: () => act("drop") };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
    const at = event.target, row = rowOf(at), isBox = at.matches(".tick"), done = () => { event.preventDefault(); event.stopPropagation(); };
    if (event.key === " " && row && at === row) {
      done();
      return pick(boxOf(row), event.shiftKey || !boxOf(row).checked, event.shiftKey);
    }
    const menu = find(".pickmenu[open]");
    if (event.key === "Enter" && menu?.contains(at) && at.matches("input, select")) {
      done();
      return find("button", menu).click();
    }
    if (event.key === "Escape" && menu?.contains(at)) {
      done();
      menu.open = false;
      return find("summary", menu).focus();
    }
    if (!listPicked().length || at.matches("textarea, select, input:not(.tick)")) return;
    if (event.key === "Enter" && isBox) { done(); return find("summary", bar).focus(); }
    if (event.key === "Escape" && !find(".more[open]")) { done(); return clear(); }
    if (letters && KEYS[event.key]) { done(); KEYS[event.key](); }
  }, true);

  // --- what is done with them --------------------------------------------------------------------------------

  const act = (word, fields = {}) => {
    const stories = listPicked();
    if (!stories.length) return;
    if (!rowOf(document.activeElement)) focusFirst();
    desk.dispatchEvent(new CustomEvent("act", { detail: { value: [word, ...stories].join(" "), fields } }));
    show();
  };
  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    const menu = event.submitter.closest(".pickmenu"), fields = {};
    for (const field of menu ? findAll("select, input", menu) : []) fields[field.name] = field.value;
    if (menu) menu.open = false;
    act(event.submitter.value, fields);
  });
  for (const menu of findAll(".pickmenu")) {
    menu.addEventListener("toggle", () => {
      if (menu.open) for (const other of findAll(".pickmenu[open]")) other.open = other === menu;
    });
  }
  show();
})();
