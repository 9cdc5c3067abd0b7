// Selecting several stories on the edition's page with pointer or keyboard. Actions on them are performed by the queue in desk.js.
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

  // --- the selection -------------------------------------------------------------------------------------

  // `picked` contains the anchors of selected stories, even if the list doesn't show them, and `last` is where a range begins. `asked` is
  // the action requested for several stories, which clears the selection once it's saved.
  const picked = new Set(), asked = new Set();
  let last = "";
  // The selected stories on the page, those of the edition first. Actions apply only to these.
  const listRows = () => {
    const listed = new Map();
    for (const row of findAll("#edition li.st, #stories li.cand").sort((a, b) => b.matches(".st") - a.matches(".st"))) {
      if (!listed.has(row.dataset.story)) listed.set(row.dataset.story, row);
    }
    return [...listed.values()];
  };
  const listPicked = () => listRows().map((row) => row.dataset.story).filter((story) => picked.has(story));
  const nameRow = (row) => {
    const title = find("h3", row).textContent, list = row.closest("ol");
    return list ? `${find(`#section-${list.dataset.section} h2`).textContent} ${find(".n", row).textContent}: ${title}` : title;
  };
  // The stories that others can be merged into or put under: those of the edition and the selected ones. By default, several are merged
  // into the first, and a single one into the story whose headline shares the most words with its own. If none does, the editor chooses.
  const wordsOf = (row) => new Set(find("h3", row).textContent.toLowerCase().match(/[\p{L}\p{N}]{4,}/gu));
  const listMainChoices = () => {
    const select = find("[name=main]", bar), rows = listRows(), isPicked = (row) => picked.has(row.dataset.story);
    const [first, ...others] = rows.filter(isPicked), own = wordsOf(first);
    const choices = rows.filter((row) => (others.length || row !== first) && (isPicked(row) || row.matches(".st")));
    const likeness = (row) => [...wordsOf(row)].filter((word) => own.has(word)).length;
    const best = others.length ? first : choices.reduce((top, row) => likeness(row) > (top ? likeness(top) : 0) ? row : top, null);
    const chosen = select.closest("details").open ? select.value : best?.dataset.story, blank = best ? [] : [["", "Choose a story"]];
    select.replaceChildren(...[...blank, ...choices.map((row) => [row.dataset.story, nameRow(row)])].map(([value, textContent]) => {
      const choice = document.createElement("option");
      return Object.assign(choice, { value, textContent });
    }));
    if (choices.some((row) => row.dataset.story === chosen)) select.value = chosen;
  };
  const show = () => {
    for (const box of findAll(".tick")) box.checked = picked.has(box.value);
    const count = listPicked().length, words = `${count} selected`;
    document.body.classList.toggle("picking", count > 0);
    if (!count) for (const menu of findAll(".pickmenu[open]")) menu.open = false;
    if (count) listMainChoices();
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
  const focusRow = (row) => {
    if (!row) return;
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
  };
  const focusFirst = () => {
    focusRow(listRows().find((one) => picked.has(one.dataset.story)));
  };
  bar.addEventListener("reset", () => { if (picked.size) setTimeout(clear); });
  for (const name of ["renewed", "listed"]) desk.addEventListener(name, show);
  desk.addEventListener("saved", ({ detail }) => {
    if (!asked.delete(detail)) return;
    for (const story of detail.split(" ").slice(1)) picked.delete(story);
    show();
  });

  // --- a panel about one story ------------------------------------------------------------------------------

  document.addEventListener("submit", (event) => {
    const form = event.target, panel = form.method === "post" && form.closest("#edition .move");
    if (!panel || event.defaultPrevented) return;
    event.preventDefault();
    const { act: value, ...fields } = Object.fromEntries(new FormData(form, event.submitter));
    history.replaceState(null, "", find("a.quiet", panel).href);
    for (const input of findAll("#act [name=panel], #act [name=about]")) input.remove();
    focusRow(rowOf(panel));
    panel.remove();
    for (const name of ["csrf_token", "seq", "supersedes"]) delete fields[name];
    desk.dispatchEvent(new CustomEvent("act", { detail: { value, fields } }));
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

  // The second of two quick clicks hits whatever is under the mouse at that time.
  document.addEventListener("click", (event) => {
    const button = event.detail > 1 && event.target.closest("button[name=act]");
    if (button && button.value.includes(" ")) event.preventDefault();
  }, true);
  document.addEventListener("invalid", ({ target }) => {
    const fold = target.closest("details");
    if (fold) fold.open = true;
  }, true);

  // --- by keyboard -----------------------------------------------------------------------------------------

  // Enter in the menu presses the button for the action whose key was pressed.
  const open = (id, word) => {
    const menu = document.getElementById(id);
    Object.assign(menu, { open: true, word });
    find("select", menu).focus();
  };
  const KEYS = { m: () => open("ask-section", "move"), M: () => open("ask-main", "merge"), u: () => open("ask-main", "under"),
    x: () => act("drop"), X: () => find("[value=keep]", bar)?.click() };
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
      return find(`button${menu.word ? `[value=${menu.word}]` : ""}`, menu).click();
    }
    if (event.key === "Escape" && menu?.contains(at)) {
      done();
      menu.open = false;
      return find("summary", menu).focus();
    }
    if (at.matches("textarea, select, input:not(.tick)")) return;
    const own = at.closest("li[data-story]"), isMove = event.key === "m" || event.key === "A";
    if (letters && own && isMove && !(listPicked().length && event.key === "m")) { done(); return event.repeat || askWhere(own); }
    if (!listPicked().length) return;
    if (event.key === "Enter" && isBox) { done(); return find("summary", bar).focus(); }
    if (event.key === "Escape" && !find(".more[open]")) { done(); return clear(); }
    if (letters && KEYS[event.key]) { done(); KEYS[event.key](); }
  }, true);

  const openDialog = (title, kind = "asked") => {
    const dialog = document.createElement("dialog");
    dialog.className = kind;
    dialog.setAttribute("aria-label", title);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
  };
  desk.openDialog = openDialog;
  const askWhere = (row) => {
    const choices = find("#own select[name=section]");
    if (!choices) return;
    const dialog = openDialog("Move this story"), form = document.createElement("form");
    const labeled = (text, control) => {
      const label = document.createElement("label");
      label.append(text, " ", control);
      return label;
    };
    const section = choices.cloneNode(true), number = document.createElement("input");
    Object.assign(number, { type: "number", min: "1", max: "99", name: "position", className: "in auto" });
    section.className = "in auto";
    const list = row.parentElement.dataset.section;
    if (list) { section.value = list; if (section.selectedIndex < 0) section.selectedIndex = 0; number.value = find(".n", row).textContent.trim(); }
    const move = document.createElement("button"), cancel = document.createElement("button");
    Object.assign(move, { className: "btn", textContent: "Move" });
    Object.assign(cancel, { className: "btn quiet", type: "button", textContent: "Cancel" });
    cancel.addEventListener("click", () => dialog.close());
    const heading = document.createElement("h2");
    heading.textContent = find("h3, b", row).textContent;
    form.append(labeled("Move to", section), labeled("place", number), move, cancel);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      focusRow(row);
      const detail = { value: `move ${row.dataset.story}`, fields: { section: section.value, position: number.value } };
      desk.dispatchEvent(new CustomEvent("act", { detail }));
    });
    dialog.append(heading, form);
    section.focus();
  };

  // In another section, a story goes to the end unless a place is chosen.
  document.addEventListener("change", ({ target }) => {
    const number = target.matches("[name=section]") && target.form.elements.namedItem("position");
    if (number) number.value = findAll(`ol[data-section="${target.value}"] > li`).length + 1;
  });

  // --- actions on the selection ------------------------------------------------------------------------------

  const act = (word, fields = {}, stories = listPicked()) => {
    if (!stories.length) return;
    if (!rowOf(document.activeElement)) focusFirst();
    const value = [word, ...stories].join(" ");
    asked.add(value);
    desk.dispatchEvent(new CustomEvent("act", { detail: { value, fields } }));
    show();
  };
  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    const menu = event.submitter.closest(".pickmenu"), fields = {};
    for (const field of menu ? findAll("select, input", menu) : []) fields[field.name] = field.value;
    if (fields.main === "") return find("select", menu).focus();
    if (menu) menu.open = false;
    act(event.submitter.value, fields);
  });
  for (const menu of findAll(".pickmenu")) {
    menu.addEventListener("toggle", () => {
      if (menu.open) for (const other of findAll(".pickmenu[open]")) other.open = other === menu;
      else menu.word = "";
    });
  }
  // --- dragging --------------------------------------------------------------------------------------------

  // Dropping stories on the edge of a row moves them there, and dropping them on its middle refers to the story itself.
  let dragged = null, carried = [];
  const clearMark = () => { for (const row of findAll(".drop-on")) row.classList.remove("drop-on"); };
  const rowUnder = ({ target, clientY }) => {
    const row = carried.length && target.closest?.("#edition li.st"), box = row && row.getBoundingClientRect();
    if (!row || carried.includes(row.dataset.story)) return null;
    return Math.abs(clientY - box.top - box.height / 2) <= box.height / 6 ? row : null;
  };
  const clearEdges = () => { for (const one of findAll(".drop-before, .drop-after")) one.classList.remove("drop-before", "drop-after"); };
  const takes = (section) => section && find(`#own option[value="${section}"]`);
  const placeUnder = ({ target, clientY }) => {
    const row = target.closest("li.st[data-story]"), rowSection = row?.parentElement.dataset.section;
    if (row && !carried.includes(row.dataset.story) && takes(rowSection)) {
      const box = row.getBoundingClientRect();
      return { row, section: rowSection, after: clientY > box.top + box.height / 2 };
    }
    const head = target.closest(".sec[id^=section-]") || (target.closest("p.none") || target).previousElementSibling;
    const section = head?.matches(".sec[id^=section-]") && head.id.slice(8);
    return takes(section) ? { row: head, section, after: true } : null;
  };
  document.addEventListener("pointerdown", ({ target }) => {
    const row = target.closest(".grip, .st h3, .st .thumb") ? target.closest("li.st") : target.closest("li.cand, .tray li");
    if (row?.dataset.story && !target.closest("a, button, input, select, textarea, summary")) row.draggable = true;
  });
  // Dragging a selected story drags all selected ones.
  document.addEventListener("dragstart", (event) => {
    dragged = event.target.closest?.("li[data-story]");
    if (!dragged) return;
    const { story } = dragged.dataset, stories = listPicked();
    carried = stories.includes(story) ? stories : [story];
    dragged.classList.add("dragged");
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", story);
  });
  document.addEventListener("dragover", (event) => {
    const row = rowUnder(event);
    clearMark();
    if (!row) return;
    event.preventDefault();
    event.stopPropagation();
    clearEdges();
    row.classList.add("drop-on");
  }, true);
  document.addEventListener("dragover", (event) => {
    const over = dragged && placeUnder(event);
    if (!over) return;
    event.preventDefault();
    clearEdges();
    over.row.classList.add(over.after ? "drop-after" : "drop-before");
  });
  document.addEventListener("drop", (event) => {
    const row = rowUnder(event);
    if (!row) return;
    event.preventDefault();
    event.stopPropagation();
    askWhich(carried, row);
  }, true);
  document.addEventListener("drop", (event) => {
    const over = dragged && placeUnder(event);
    if (!over) return;
    event.preventDefault();
    const rows = findAll(`ol[data-section="${over.section}"] > li.st`).filter((one) => !carried.includes(one.dataset.story));
    const position = String(Math.max(0, rows.indexOf(over.row) + (over.after ? 1 : 0)) + 1);
    act("move", { section: over.section, position }, carried);
  });
  document.addEventListener("dragend", () => {
    clearMark();
    clearEdges();
    dragged?.classList.remove("dragged");
    if (dragged) dragged.draggable = false;
    dragged = null;
    carried = [];
  });

  // The question appears where the story was dropped.
  const askWhich = (stories, row) => {
    const heading = document.createElement("h2"), choices = document.createElement("div");
    const main = row.dataset.story, box = row.getBoundingClientRect();
    const choose = (label, kind, work) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: kind, textContent: label });
      button.addEventListener("click", () => {
        dialog.close();
        focusRow(row.isConnected ? row : listRows().find((one) => one.dataset.story === main));
        work?.();
      });
      choices.append(button);
    };
    const [which, they] = stories.length > 1 ? [`${stories.length} stories`, "them"] : ["this story", "it"];
    heading.textContent = `Merge ${which} with, or put ${they} under, ${nameRow(row)}?`;
    choices.className = "row";
    const dialog = openDialog(heading.textContent, "asked near");
    choose("Merge stories", "btn", () => act("merge", { main }, [main, ...stories]));
    choose("Put under it", "btn", () => act("under", { main }, stories));
    choose("Cancel", "btn quiet");
    dialog.append(heading, choices);
    find("button", dialog).focus();
    dialog.style.top = `${Math.max(8, Math.min(box.bottom, innerHeight - dialog.offsetHeight - 8))}px`;
    dialog.style.left = `${Math.max(8, Math.min(box.left, innerWidth - dialog.offsetWidth - 8))}px`;
  };
  // The time left until the deadline, according to the server's clock, worded as in web/desk/calendar/countdown.html.
  const countDown = () => findAll("[data-until]").forEach((left) => {
    left.dataset.seen ??= Date.now();
    const now = Date.parse(left.dataset.now) + Date.now() - left.dataset.seen;
    const minutes = Math.max(0, Math.floor((Date.parse(left.dataset.until) - now) / 60000)), hours = Math.floor(minutes / 60);
    left.textContent = hours >= 48 ? `${Math.floor(hours / 24)} days left`
      : hours ? `${hours} h ${minutes % 60} min left` : `${minutes} min left`;
  });
  countDown();
  setInterval(countDown, 15000);
  show();
})();
