// Images in the forms of the edition's page: dropped, pasted, or chosen, shown before they're sent, and sent with a progress bar. A file is
// put into the form's own field and a focus point into its two number fields, so desk.js saves them like typed input.
"use strict";
(() => {
  const desk = document.getElementById("desk");
  if (!desk) return;
  const find = (selector, root) => root.querySelector(selector);
  const findAll = (selector, root) => [...root.querySelectorAll(selector)];
  const fieldOf = (form) => form && find("input[type=file]", form);
  const imageOf = (form) => find(".image", form);
  const axes = (form) => ["focus-x", "focus-y"].map((name) => form.elements.namedItem(name));
  const tell = (control, kind) => control.dispatchEvent(new Event(kind, { bubbles: true }));
  const hint = (form, words) => { find(".lab em", fieldOf(form).closest(".fld")).textContent = words; };

  // --- the focus point ---------------------------------------------------------------------------------------

  const show = (form) => {
    const image = imageOf(form), [left, top] = axes(form).map((field) => field.value), ring = find(".ring", image);
    for (const circle of findAll("circle", image)) {
      circle.setAttribute("cx", `${left}%`);
      circle.setAttribute("cy", `${top}%`);
    }
    if (ring) ring.setAttribute("aria-label", `Focus point: ${left}% from the left, ${top}% from the top. Use the arrow keys to move it.`);
    const source = find("canvas", image) || find(".shown", image);
    if (source) for (const cut of findAll(".cuts canvas", form)) draw(cut, source, left / 100, top / 100);
  };
  // Crops are computed as on the server: the parts cut off on each side are in proportion to the position of the point.
  const draw = (cut, source, left, top) => {
    const width = source.naturalWidth || source.width, height = source.naturalHeight || source.height;
    const scale = Math.max(cut.width / width, cut.height / height), across = cut.width / scale, down = cut.height / scale;
    cut.getContext("2d").drawImage(source, (width - across) * left, (height - down) * top, across, down, 0, 0, cut.width, cut.height);
  };
  const moveTo = (form, point) => {
    axes(form).forEach((field, at) => {
      field.value = Math.round(Math.min(100, Math.max(0, point[at])));
      tell(field, "input");
    });
    settle(form);
  };
  // All crops are recreated, so this waits until the point stops moving.
  const PAUSE = 600; // milliseconds
  const settling = new WeakMap(); // by form
  const settle = (form) => {
    clearTimeout(settling.get(form));
    settling.set(form, setTimeout(() => { if (form.isConnected) tell(axes(form)[0], "change"); }, PAUSE));
  };
  const pointAt = (event, ring) => {
    const box = ring.getBoundingClientRect();
    return [100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height];
  };
  // The point can be moved by dragging its dot, or set by tapping the image. A finger moving elsewhere scrolls the page.
  const DOT = 22, TAP = 6; // CSS pixels
  const distance = (event, at) => Math.hypot(event.clientX - at.clientX, event.clientY - at.clientY);
  const dotAt = (event, ring = event.target.closest(".ring")) => {
    const box = ring && find("circle", imageOf(ring.form)).getBoundingClientRect();
    const center = box && { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
    return center && distance(event, center) <= DOT ? ring : null;
  };
  let press = null;
  document.addEventListener("pointerdown", (event) => {
    const ring = event.isPrimary && event.button === 0 && event.target.closest(".ring");
    press = ring ? { ring, start: event, isDrag: Boolean(dotAt(event)) } : null;
    if (press?.isDrag) ring.setPointerCapture(event.pointerId);
  });
  document.addEventListener("touchstart", (event) => {
    if (event.touches.length === 1 && dotAt(event.touches[0])) event.preventDefault();
  }, { passive: false });
  document.addEventListener("pointermove", (event) => {
    if (press?.isDrag && press.ring.form && event.isPrimary) moveTo(press.ring.form, pointAt(event, press.ring));
  });
  document.addEventListener("pointerup", (event) => {
    const isTap = press && !press.isDrag && event.isPrimary && distance(event, press.start) <= TAP;
    if (isTap && press.ring.form) moveTo(press.ring.form, pointAt(event, press.ring));
    press = null;
  });
  document.addEventListener("pointercancel", () => { press = null; });
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  document.addEventListener("keydown", (event) => {
    const ring = event.target.closest?.(".ring"), step = STEPS[event.key];
    if (!ring || !step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const by = event.shiftKey ? 10 : 2;
    moveTo(ring.form, axes(ring.form).map((field, at) => Number(field.value) + by * step[at]));
  }, true);
  document.addEventListener("load", (event) => {
    const form = event.target.matches?.("img.shown") && event.target.closest("form");
    if (form) show(form);
  }, true);

  // --- a file ------------------------------------------------------------------------------------------------

  const forget = (form) => { find("canvas", imageOf(form))?.remove(); };
  const look = async (form) => {
    const [file] = fieldOf(form).files;
    forget(form);
    if (!file) return show(form);
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (fieldOf(form).files[0] !== file) return;
    if (!bitmap) return hint(form, "This browser can’t show the file. You can still upload it");
    const canvas = document.createElement("canvas"), scale = Math.min(1, 640 / bitmap.width, 640 / bitmap.height);
    Object.assign(canvas, { width: Math.ceil(bitmap.width * scale), height: Math.ceil(bitmap.height * scale) });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    forget(form);
    imageOf(form).prepend(canvas);
    show(form);
  };
  const choose = (form, file) => {
    const chosen = new DataTransfer();
    chosen.items.add(file);
    fieldOf(form).files = chosen.files;
    for (let fold = fieldOf(form).closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    tell(fieldOf(form), "input");
    const words = form.elements.namedItem("alt");
    words.focus({ preventScroll: true });
    words.scrollIntoView({ block: "center" });
  };
  // Choosing a file selects "Uploaded image", and choosing another image discards the file. Texts stay with the image that they describe.
  const demandWords = (form) => { form.elements.namedItem("alt").required = find("input[value=upload]", form).checked; };
  const matchChoice = (control) => {
    const { form } = control, file = fieldOf(form), upload = find("input[value=upload]", form);
    if (file.files.length && control === file) upload.checked = true;
    if (!upload.checked) file.value = "";
    for (const name of ["alt", "credit"]) {
      const words = form.elements.namedItem(name), was = form.elements.namedItem(`was-${name}`).value;
      if (upload.checked && words.value === was) words.value = ""; else if (!upload.checked && !words.value) words.value = was;
    }
    demandWords(form);
  };
  document.addEventListener("input", (event) => {
    const { form, name, type } = event.target;
    if (!fieldOf(form)) return;
    if (type === "file") axes(form).forEach((field) => { field.value = field.dataset.default; });
    if (type === "file" || name === "picture") look(form);
    if (axes(form).includes(event.target)) show(form);
    if (type === "file" || name === "picture") matchChoice(event.target);
  });

  // The form for a dropped or pasted file, which is the one under the pointer or that of the open story.
  const formAt = (place) => {
    const form = place.closest("form[data-saves]"), open = place.closest("details.block") || find(".st.sel", desk);
    const near = form || open && find("form[data-saves]", open);
    return fieldOf(near) ? near : null;
  };
  const imageIn = (transfer) => [...transfer?.files || []].find((file) => file.type.startsWith("image/"));
  const mark = (form) => {
    for (const one of findAll(".dropping", desk)) one.classList.toggle("dropping", one === form);
    form?.classList.add("dropping");
  };
  // Otherwise, browsers would open a file dropped outside of a form in place of the page.
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    const form = formAt(event.target);
    event.dataTransfer.dropEffect = form ? "copy" : "none";
    mark(form);
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(null); });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    mark(null);
    const form = formAt(event.target), file = imageIn(event.dataTransfer);
    if (form && file) choose(form, file);
    else if (form) hint(form, "This file isn’t an image");
  });
  document.addEventListener("paste", (event) => {
    // Content copied from a text document contains an image of itself.
    const file = !event.clipboardData.types.includes("text/plain") && imageIn(event.clipboardData);
    const form = file && formAt(event.target);
    if (!form) return;
    event.preventDefault();
    choose(form, file);
  });

  // --- sending it --------------------------------------------------------------------------------------------

  desk.sendFile = (form, body, headers) => new Promise((done, fail) => {
    const sent = new XMLHttpRequest();
    sent.open("POST", form.action);
    for (const [name, value] of Object.entries(headers)) sent.setRequestHeader(name, value);
    sent.upload.addEventListener("progress", (event) => hint(form, `${Math.floor(100 * event.loaded / event.total)}% uploaded`));
    sent.addEventListener("load", () => {
      const type = sent.getResponseHeader("Content-Type");
      done(new Response(sent.responseText, { status: sent.status, headers: { "Content-Type": type } }));
    });
    for (const name of ["error", "abort"]) sent.addEventListener(name, () => fail(new TypeError(name)));
    sent.send(body);
  });
  // "Save" sends a file in the same way. After a conflict about the same image, the form is submitted normally.
  let closing = null;
  document.addEventListener("submit", (event) => {
    const form = event.target, isChosen = fieldOf(form)?.files.length && !("plain" in form.dataset || "blank" in form.dataset);
    if (!isChosen) return;
    event.preventDefault();
    event.stopPropagation();
    closing = event.submitter?.name === "close" ? form : null;
    tell(form.elements.namedItem("alt"), "change");
    const held = document.activeElement;
    if (held.form === form && held.matches("input, textarea, select")) tell(held, "change");
  }, true);
  document.addEventListener("uploaded", (event) => {
    const form = event.target, page = new DOMParser().parseFromString(event.detail || "", "text/html");
    const fresh = findAll("form", page).find((one) => one.action === form.action);
    fieldOf(form).value = "";
    find("input[value=shown]", form).checked = true;
    if (fresh) for (const part of [".image", ".pics"]) find(part, form).replaceWith(find(part, fresh));
    show(form);
    if (closing === form) find("a[data-close]", form)?.click();
    closing = null;
  });
  for (const part of findAll("form[data-saves] [data-fresh=picture]", desk)) demandWords(part.closest("form"));
})();
