// Makes the edition's page faster: keyboard shortcuts, dragging, saving when a field loses focus, and who else is here. It only submits the
// page's own forms and shows the server's responses. Without it, the page works with links and buttons.
"use strict";
(() => {
  const desk = document.getElementById("desk");
  if (!desk || !desk.dataset.presence) return;
  const find = (selector, root = document) => root.querySelector(selector);
  const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
  const actForm = () => document.getElementById("act");
  const token = () => find("input[name=csrf_token]", actForm()).value;
  const letters = desk.dataset.letters === "on";
  // After a rejection, the URL is that of the form. Replace it with the page's own URL, which can be reloaded.
  if (desk.dataset.page) history.replaceState(null, "", desk.dataset.page);
  const ROWS = "li[data-story]";

  // --- submitting a form, and showing the result -----------------------------------------------------------

  let queue = Promise.resolve();
  let waiting = 0;

  // Forms are submitted one at a time, because each is based on the state produced by the previous one.
  const inTurn = (work) => {
    waiting += 1;
    const fail = () => {
      putBack();
      delete desk.dataset.opening;
      say("Not saved because the server doesn’t respond. Your text stays here.");
    };
    queue = queue.then(() => work()).catch(fail).then(() => {
      waiting -= 1;
      return waiting ? null : showConfirmed();
    }).catch(fail);
    return queue;
  };
  const say = (text) => { find("#saved").textContent = text; };
  const sayOut = () => {
    const link = document.createElement("a");
    Object.assign(link, { href: "", target: "_blank", textContent: "Sign in in another tab" });
    find("#saved").replaceChildren("You’re signed out. ", link, ". Your text stays here.");
  };

  const post = async (form, fields) => {
    const hasFile = [...fields].some(([, value]) => value instanceof File), body = hasFile ? new FormData() : new URLSearchParams();
    for (const [name, value] of fields) body.append(name, value);
    const headers = { Accept: "application/json" };
    const once = () => hasFile ? desk.sendFile(form, body, headers)
      : fetch(form.action, { method: "POST", body, headers, redirect: "manual", keepalive: true });
    const answer = await once();
    if (answer.status !== 400) return answer;
    // If the user has signed in again in the meantime, the page's token is outdated.
    const fresh = await fetch(location.pathname + location.search), given = fresh.ok && find("#act [name=csrf_token]", parse(await fresh.text()));
    if (!given) return answer;
    for (const input of findAll("input[name=csrf_token]")) input.value = given.value;
    body.set("csrf_token", token());
    return once();
  };
  const parse = (text) => new DOMParser().parseFromString(text, "text/html");
  const hide = (form, name, value) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name, value });
    form.append(input);
  };
  // A form that saves itself sends the fields that lost focus and its hidden ones, which are earlier values and the state of the page.
  const fieldsLeft = (form, left) => {
    const hidden = findAll("input[type=hidden]", form).map((input) => [input.name, input.value]);
    const controls = [...left.keys()], isUpload = controls.some((one) => one.type === "file");
    const choice = controls.some(inPicture) ? [["picture", isUpload ? "upload" : "shown"]] : [];
    return [...hidden, ...choice, ...[...left].map(([control, value]) => [control.name, value])];
  };

  // The server has a page for conflicts and rejections, which is shown by submitting the same fields normally. Editors who are signed out,
  // or are already typing in the next field, stay here. The rejected fields are sent again with that field.
  const showRefusal = async (answer, form, fields, left = new Map()) => {
    if (answer.status === 401) return sayOut();
    const held = document.activeElement;
    if (unsaved.has(held) && savesItself(held) && held.value !== left.get(held)) {
      return say(`Not saved: ${find("h1", parse(await answer.text())).textContent}. Leave this field to see the error.`);
    }
    sendPlainly(form, fields, left);
  };
  const sendPlainly = (form, fields, left = new Map()) => {
    const plain = document.createElement("form");
    Object.assign(plain, { method: "post", action: form.action });
    for (const [name, value] of fields) hide(plain, name, name === "csrf_token" ? token() : value);
    document.body.append(plain);
    leaving = [...unsaved].every((control) => !control.isConnected || left.has(control));
    HTMLFormElement.prototype.submit.call(plain);
  };

  // --- changes shown before the server confirms them -------------------------------------------------------

  // `shown` contains functions that undo what is shown, newest last. A rejection ends a round, so changes queued after it aren't sent.
  const shown = [];
  let round = 0;
  const putBack = () => {
    round += 1;
    while (shown.length) shown.pop()();
    // Confirming a change that wasn't made doesn't apply to the next one.
    forgetAgreement();
  };
  const isFromServer = (answer) => answer.headers.get("Content-Type") === "application/json";
  // The changed parts from responses, by ID. They're kept until the queue is empty, because queued changes are already shown.
  const confirmed = new Map();
  let isBehind = false, isPreviewOld = false, touched = "";
  const take = (answer, at) => {
    place = at;
    touched = answer.story;
    isPreviewOld = true;
    isBehind ||= Boolean(answer.reload);
    // The reloaded page says what has changed, such as the end of an approval.
    if (answer.reload) return;
    if (waiting === 1) say(answer.saved);
    desk.dataset.seq = answer.seq;
    for (const input of findAll("input[name=seq]")) input.value = answer.seq;
    for (const part of findAll(".part", parse(answer.html))) confirmed.set(part.id, part);
  };
  const showConfirmed = async () => {
    shown.length = 0;
    const preview = isPreviewOld && showPreview();
    isPreviewOld = false;
    if (!isBehind && !confirmed.size) return;
    if (isBehind) await preview;
    await untilStill();
    // Changes made in the meantime are already shown. These parts are older, and are shown once those changes are answered.
    if (waiting) return;
    if (isBehind) {
      isBehind = false;
      return refresh();
    }
    renew([...confirmed.values()].map((part) => [document.getElementById(part.id), part]));
    confirmed.clear();
    settle();
  };
  // An action's other effects, such as on the checks and the list of stories, are shown once the editor pauses.
  const PAUSE = 1000; // milliseconds
  let settling = 0;
  // An open menu or dialog refers to the current page.
  const isChoosing = () => find(".more[open], .pickmenu[open], dialog[open]");
  const settle = () => {
    clearTimeout(settling);
    settling = setTimeout(async () => {
      if (isChoosing()) return settle();
      const { seq } = desk.dataset, query = location.search, fresh = await load(location.href).catch(() => null);
      if (!fresh || waiting) return;
      await untilStill();
      if (isChoosing() || waiting || seq !== desk.dataset.seq || query !== location.search) return settle();
      swap(fresh);
    }, PAUSE);
  };

  const countRows = (list) => findAll(":scope > li.st", list).forEach((row, at, rows) => {
    find(".n", row).textContent = at + 1;
    for (const [word, isEnd] of [["up", !at], ["down", at === rows.length - 1]]) {
      const button = find(`.acts > button[value^="${word} "]`, row);
      if (button) button.disabled = isEnd || !takes(list.dataset.section);
    }
  });
  // Moves a row before another row of a list, or to its end, and returns a function that moves it back.
  const putRow = (row, list, before) => {
    const from = row.parentElement, next = row.nextElementSibling, held = document.activeElement;
    const put = (to, at) => {
      swapping = true;
      if (to) to.insertBefore(row, at); else row.remove();
      swapping = false;
      if (row.contains(held)) held.focus({ preventScroll: true });
      for (const one of [from, list]) if (one) countRows(one);
    };
    put(list, before);
    return () => { if (!from || from.isConnected) put(from, next?.isConnected ? next : null); };
  };
  const SHOWS = {
    up: (row) => row.previousElementSibling && putRow(row, row.parentElement, row.previousElementSibling),
    down: (row) => putRow(row, row.parentElement, row.nextElementSibling?.nextElementSibling),
    move: (row, { section, position }) => {
      const list = find(`ol[data-section="${section}"]`), rows = list && findAll(":scope > li.st", list).filter((one) => one !== row);
      return list && putRow(row, list, rows[position - 1] || null);
    },
    drop: (row) => {
      const near = row.nextElementSibling || row.previousElementSibling, back = putRow(row, null), next = near || find("#edition li.st");
      if (next && document.activeElement === document.body) focusRow(next);
      return back;
    },
    keep: (row) => SHOWS.drop(row),
    merge: (row, { main }) => row.dataset.story !== main && SHOWS.drop(row),
    under: (row, extra) => SHOWS.merge(row, extra),
    pin: (row) => markPinned(row, true),
    unpin: (row) => markPinned(row, false),
  };
  const markPinned = (row, isPinned) => {
    const line = find(".meta", row), was = [...line.childNodes], mark = document.createElement("span");
    Object.assign(mark, { className: "sig", textContent: "Pinned. " });
    find(":scope > .sig", line)?.remove();
    if (isPinned) line.prepend(mark);
    return () => line.replaceChildren(...was);
  };

  // A rejection is shown in the row, which is in its original place again, until it's dismissed.
  let refused = null, acts = 0;
  const refuse = async (answer, form, fields, story) => {
    const later = acts;
    putBack();
    if (!isFromServer(answer)) return showRefusal(answer, form, fields);
    const { why: reason, versions } = await answer.json();
    const why = reason + (later ? ` ${later} later ${later > 1 ? "changes weren’t" : "change wasn’t"} made.` : "");
    await refresh();
    refused = { story, why, compare: versions && (() => sendPlainly(form, fields)) };
    if (!showRefused()) say(`Not saved: ${why}`);
  };
  const showRefused = () => {
    const row = refused && find(`#edition li.st[data-story="${refused.story}"]`);
    if (!row || find(".refused", row)) return row;
    const line = find(".meta", row);
    const told = document.createElement("p"), words = document.createElement("span"), mark = document.createElement("b");
    const press = (label, work) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "lnk", textContent: label });
      button.addEventListener("click", work);
      told.append(button);
    };
    told.className = "meta refused";
    told.setAttribute("role", "alert");
    Object.assign(mark, { className: "bad", textContent: "Not saved: " });
    words.append(mark, refused.why);
    words.title = refused.why;
    told.append(words);
    if (refused.compare) press("Compare versions", refused.compare);
    press("Dismiss", () => {
      refused = null;
      told.replaceWith(line);
      focusRow(row);
    });
    line.replaceWith(told);
    return row;
  };

  const send = (value, extra, at) => {
    const sent = round;
    acts += 1;
    return inTurn(async () => {
      acts -= 1;
      if (sent !== round) return;
      const form = actForm(), fields = new FormData(form);
      for (const [name, said] of Object.entries({ ...extra, act: value })) fields.set(name, said);
      const answer = await post(form, fields);
      if (!answer.ok || !isFromServer(answer)) return refuse(answer, form, fields, value.split(" ")[1]);
      take(await answer.json(), at);
      desk.dispatchEvent(new CustomEvent("saved", { detail: value }));
    });
  };
  // Several rows are removed first, so that the position of the first one is counted without the others.
  const showAtOnce = (word, rows, extra) => {
    const isAmong = rows.length > 1, position = Number(extra.position);
    if (isAmong && word === "move") shown.push(...rows.map((row) => putRow(row, null)));
    rows.forEach((row, at) => {
      const back = SHOWS[word](row, isAmong && position ? { ...extra, position: position + at } : extra);
      if (back) shown.push(back);
    });
    if (isAmong && document.activeElement === document.body && rows[0].isConnected) focusRow(rows[0]);
  };
  const underWay = new Set();
  const act = (value, extra = {}) => unlessApproved(nameAct(value), () => {
    // If a button is pressed twice, it acts once, except for up and down.
    const key = [value, ...Object.values(extra)].join(" ");
    if (underWay.has(key)) return;
    if (value.includes(" ") && !/^(up|down) /.test(value)) underWay.add(key);
    const [word, ...stories] = value.split(" "), [story] = stories;
    const rows = stories.map((one) => document.getElementById(one)).filter((one) => one?.matches(".st")), [row] = rows;
    say("Saving…");
    if (refused?.story === story) refused = null;
    if (SHOWS[word]) showAtOnce(word, rows, { main: story, ...extra });
    // When a story is removed, the preview shows the one that has the focus now.
    const at = (row?.isConnected === false ? document.activeElement.closest(ROWS) : row)?.dataset.place || place;
    for (const one of rows) one.setAttribute("aria-busy", "true");
    send(value, extra, at).then(() => {
      underWay.delete(key);
      for (const one of rows) one.removeAttribute("aria-busy");
      const placed = find(`#edition [data-story="${story || touched}"]`), held = document.activeElement;
      if (!placed) return;
      // The focus is moved there, unless it's in a field or on a button.
      if (held.matches("body, .pane") || !story && held.matches(ROWS)) focusRow(placed); else placed.scrollIntoView({ block: "nearest" });
      if (placed.dataset.place !== place) leadTo(placed.dataset.place);
    });
  });
  // Says that a story can't replace a pinned one, before anything is confirmed or sent.
  const isBlocked = (value) => {
    const [word, story] = value.split(" "), row = find(`#edition li.st[data-story="${story}"]`);
    const beside = row && { up: row.previousElementSibling, down: row.nextElementSibling }[word];
    if (!beside || !find(".meta > .sig", beside)) return false;
    refused = { story, why: `No. ${find(".n", beside).textContent} is pinned. Choose another place, or unpin it.` };
    return showRefused();
  };
  // The page's other scripts use the same queue for their actions.
  desk.addEventListener("act", ({ detail }) => act(detail.value, detail.fields));
  // Changes that revoke an approval are confirmed first, once per approval. The server asks, too, if a form doesn't name the approval.
  let agreed = "", asking = false;
  const mustAsk = () => Boolean(desk.dataset.approval) && desk.dataset.approval !== agreed;
  const nameAgreed = () => {
    if (!desk.dataset.approval) agreed = "";
    for (const input of findAll("input[name=supersedes]")) input.value = agreed;
  };
  const forgetAgreement = () => {
    agreed = "";
    nameAgreed();
  };
  const QUESTIONS = {
    up: "Move … up", down: "Move … down", lead: "Make … the lead", under: "Put … under another story", drop: "Remove …",
    keep: "Keep … for the next edition",
  };
  // "Remove “Ports get ten days”?"
  const nameAct = (value) => {
    const [word, story, ...others] = value.split(" "), button = find(`button[value="${value}"]`);
    if (button?.title) return `${button.title}?`;
    const named = find(`[data-story="${story}"] :is(h3, b)`) || button?.querySelector(".hidden");
    const words = named ? `“${named.textContent.trim()}”` : "it";
    const question = QUESTIONS[word] || `${word[0].toUpperCase()}${word.slice(1)} …`;
    return `${question.replace("…", () => others.length ? `${others.length + 1} stories` : words)}?`;
  };
  const unlessApproved = (question, work) => {
    if (!mustAsk()) return work();
    if (asking) return;
    asking = true;
    const dialog = askFirst(question, () => {
      agreed = desk.dataset.approval;
      nameAgreed();
      work();
    });
    dialog.addEventListener("close", () => { asking = false; });
  };
  let heldBack = null;
  document.addEventListener("submit", (event) => {
    const form = event.target, button = event.submitter;
    const isSaved = form.method === "post" && form.closest("#edition, #stories") && !form.action.endsWith("/fetch");
    const isTyped = !form.dataset.saves || [...unsaved].some((one) => one.form === form);
    const changes = form.id === "act" ? button && button.name === "act" : isSaved;
    // The form is sent after the saves of its own fields, and is based on them.
    const isBusy = isSaved && waiting, isVain = changes && !isSaved && isBlocked(button.value);
    if (event.defaultPrevented || !changes || !(isBusy || isVain || isTyped && mustAsk())) return;
    event.preventDefault();
    event.stopPropagation();
    if (isVain) return;
    const again = () => {
      heldBack = null;
      if (!button || button.isConnected) form.requestSubmit(button);
    };
    if (!isBusy) return unlessApproved(button?.name === "act" ? nameAct(button.value) : `${button?.textContent.trim() || "Save"}?`, again);
    // If the button is pressed twice, the form is sent once.
    if (heldBack !== form) queue.then(again);
    heldBack = form;
  }, true);

  // The preview scrolls to the last edited story. `place` is its ID there, and `looks` changes the URL when the email has changed.
  let place = new URL(find(".frame iframe")?.src || location.href).hash.slice(1), looks = 0;
  const leadTo = (at) => {
    const frame = find(".frame iframe");
    if (!frame || !frame.offsetParent) return;
    const url = new URL(frame.src);
    place = at;
    if (looks) url.searchParams.set("look", looks);
    url.hash = at;
    // Replacing the location doesn't add a step for the Back button.
    frame.contentWindow.location.replace(url.href);
  };
  // The email is loaded first. The rest of the page follows, but the delay isn't noticeable.
  const showPreview = () => new Promise((done) => {
    const frame = find(".frame iframe");
    if (!frame || !frame.offsetParent) return done();
    frame.addEventListener("load", done, { once: true });
    setTimeout(done, 400);
    looks += 1;
    leadTo(place);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-shows-place]");
    if (!link || event.ctrlKey || event.metaKey || !find(".frame iframe")?.offsetParent) return;
    event.preventDefault();
    const menu = link.closest("details");
    menu.open = false;
    find("summary", menu).focus();
    place = link.closest("[data-place]").dataset.place;
    // The inbox and the text view don't show stories, so switch to a view that does.
    if (find(".frame.inbox, .frame.text")) showView(find(".seg a")); else leadTo(place);
  });

  let shownQuery = location.search;
  let shownSeq = desk.dataset.seq;
  const load = async (href) => {
    const page = new URL(href), isOther = page.search !== location.search;
    if (isOther) listed = 0;
    if (listed) page.searchParams.set("rows", listed);
    const answer = await fetch(page, { redirect: "error" });
    const fresh = answer.ok && parse(await answer.text());
    // An edition that's being sent has a different page.
    return fresh && find("#desk[data-presence]", fresh) ? fresh : null;
  };
  const refresh = async (href = location.href, isLeft = () => false) => {
    const isOther = new URL(href).search !== location.search, known = waiting, fresh = await load(href);
    if (!fresh) return location.assign(href);
    const saved = find("#saved", fresh).textContent;
    await untilStill();
    if (isLeft()) return saved;
    if (!isOther && waiting > known) {
      isBehind = true;
      return saved;
    }
    if (isOther) history.pushState(null, "", href);
    swap(fresh);
    return saved;
  };

  // A link to another state of this page changes the page in place, without scrolling, and the Back button works. While a panel or form is
  // loading, search.js holds back typed letters. Pressing Esc or a pointer button cancels loading.
  const openIn = (href) => new URL(href).searchParams.get("open");
  const visit = (href) => {
    const opens = /#(asked|head|block)/.test(href), isLeft = () => opens && desk.dataset.opening !== href;
    if (opens) desk.dataset.opening = href;
    return inTurn(() => isLeft() || openPage(href, isLeft));
  };
  const openPage = async (href, isLeft) => {
    // If another open form would lose input, the browser asks.
    const closes = openIn(href) !== openIn(location.href);
    if (closes && [...unsaved].some((control) => control.isConnected && !control.closest("#own"))) return location.assign(href);
    if (await refresh(href, isLeft) === undefined || isLeft()) return;
    if (desk.dataset.opening === href) delete desk.dataset.opening;
    const target = document.getElementById(new URL(href).hash.slice(1));
    if (target?.id === "found") find("#stories").scrollTop = 0;
    // An editor who is already typing in another form stays there.
    const isWriting = document.activeElement.closest("form[data-saves]");
    if (target?.matches(ROWS) && !isWriting) focusRow(target);
    else if (!isWriting) target?.focus({ preventScroll: Boolean(target.closest(".fields")) });
    showOpen();
    // Tell colleagues immediately what's open now.
    lastBeat = 0;
    beat();
  };
  const showOpen = () => {
    const row = find(".st.sel");
    row?.scrollIntoView({ block: "nearest" });
    if (row && row.dataset.place !== place) leadTo(row.dataset.place);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#stories a[href], #edition a[href]");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // The page is also at /desk/.
    if (`${link.origin}${link.pathname}/act` !== actForm().action || link.search === location.search) return;
    event.preventDefault();
    visit(link.href);
  });
  // If panes scroll, going back would scroll to the story in the URL, away from what's visible.
  if (window.innerWidth >= 960) history.scrollRestoration = "manual";
  window.addEventListener("popstate", () => {
    if (location.search === shownQuery) return;
    // The search field is updated like the rest of the page.
    if (document.activeElement.closest(".find")) document.activeElement.blur();
    listed = 0;
    inTurn(refresh);
  });
  document.addEventListener("listed", () => {
    shownQuery = location.search;
    listed = 0;
    watchList();
  });

  // More of the list is loaded at its end, and the loaded part is kept.
  let listed = 0;
  const sight = new IntersectionObserver(([seen]) => {
    if (!seen.isIntersecting || seen.target.contains(document.activeElement)) return;
    listed = seen.target.dataset.rows;
    inTurn(refresh);
  });
  const watchList = () => {
    sight.disconnect();
    for (const more of findAll("#more[data-rows]")) sight.observe(more);
  };

  // Nothing is moved while a mouse button is pressed or a story is dragged, because that would end the press.
  let letGo = Promise.resolve();
  document.addEventListener("pointerdown", () => {
    letGo = new Promise((done) => {
      for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => setTimeout(done), { once: true });
      setTimeout(done, 1000);
    });
  }, true);

  // A date is typed part by part, and a replaced field would start again with its first part.
  const MOMENTS = "input[type=date], input[type=time]";
  const THINKING = 10000; // milliseconds between two keys of one date
  let dating = 0;
  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.(MOMENTS)) dating = event.key === "Enter" ? 0 : Date.now() + THINKING;
  }, true);
  const isDating = () => document.activeElement.matches(MOMENTS) && Date.now() < dating;
  const untilStill = async () => {
    await letGo;
    while (find(".dragged") || isDating()) await new Promise((done) => setTimeout(done, 50));
  };

  // Fields being edited are left as they are, and everything around them is updated from the server.
  const swap = (fresh) => {
    const present = find("#present");
    document.title = fresh.title;
    shownQuery = location.search;
    confirmed.clear();
    for (const selector of ["#desk", ".tabs"]) find(selector).className = find(selector, fresh).className;
    for (const name of ["seq", "standing", "approval"]) desk.dataset[name] = find("#desk", fresh).dataset[name];
    const parts = [
      "#notes", ".head", "#void", ".state", ".tabs", "#act", "#preview .title small", "#preview .seg", "#preview .elsewhere", "#preview .size",
      "#stories", "#edition", ".sticky",
    ];
    renew(parts.map((selector) => [find(selector), find(selector, fresh)]));
    find("#present").replaceWith(present);
    const frame = find(".frame iframe"), shownFrame = find(".frame iframe", fresh);
    if (frame && shownFrame) frame.title = shownFrame.title;
    nameAgreed();
  };
  desk.swap = swap;
  const renew = (pairs) => {
    const held = document.activeElement, kept = describeFocus(held);
    for (const [old, now] of pairs) {
      if (!old || !now) continue;
      if (old.id === "stories" && old.contains(held) && held.matches("input, textarea, select")) continue;
      const top = old.scrollTop, open = findAll("details[open]", old).map(nameFold);
      // Removing and reinserting a field doesn't count as leaving it.
      swapping = true;
      keepForms(old, now);
      keepMenus(old, now);
      old.replaceChildren(...now.childNodes);
      swapping = false;
      for (const fold of findAll("details", old)) if (nameFold(fold) && open.includes(nameFold(fold))) fold.open = true;
      old.scrollTop = top;
    }
    shownSeq = desk.dataset.seq;
    for (const input of findAll("input[name=seq]")) input.value = shownSeq;
    makeMenus();
    watchList();
    showUnsaved();
    showRefused();
    restoreFocus(held, kept);
    desk.dispatchEvent(new Event("renewed"));
  };

  const nameFold = (fold) => fold.id || fold.matches(".why") && fold.closest(ROWS).dataset.story;

  // If someone has changed a text since a field was created, the field says which older state it's based on. Then both versions are shown.
  const squeeze = (text) => text.trim().replace(/\s+/g, " ");
  const keepBasis = (form, name, isSame = false) => {
    const basis = form.elements.namedItem(`seq-${name}`);
    if (!isSame && !basis) hide(form, `seq-${name}`, shownSeq);
    if (isSame && basis) basis.remove();
  };
  const isHeld = (part) => part.contains(document.activeElement) || [...unsaved].some((control) => part.contains(control));
  const pictureWords = (form) => [find("img.shown", form)?.getAttribute("src"),
    ...IMAGE_FIELDS.map((name) => squeeze(form.elements.namedItem(`was-${name}`).value))].join();
  const keepForms = (old, fresh) => {
    for (const mine of findAll("form[data-saves]", old)) {
      const theirs = findAll("form[data-saves]", fresh).find((one) => one.action === mine.action)
        || mine.matches("[data-blank]") && find("form[data-blank]", fresh);
      if (!theirs) continue;
      const fold = theirs.closest("details");
      if (fold) fold.open = mine.closest("details").open;
      for (const control of findAll("[name]", theirs)) {
        const own = mine.elements.namedItem(control.name);
        if (!own || own instanceof RadioNodeList || own === document.activeElement || unsaved.has(own)) continue;
        const field = own.name.startsWith("was-") && mine.elements.namedItem(own.name.slice(4));
        if (inPicture(own)) {
          const held = isHeld(own.closest("[data-fresh]"));
          keepBasis(mine, "picture", !held || pictureWords(mine) === pictureWords(theirs));
          if (held) continue;
        } else if (field) {
          const isSame = squeeze(own.value) === squeeze(control.value) || !(field === document.activeElement || unsaved.has(field));
          keepBasis(mine, field.name, isSame);
          if (!isSame) continue;
        }
        if (own.value !== control.value) { own.value = control.value; note(own, ""); }
      }
      for (const said of findAll("[data-fresh]", theirs)) {
        const own = find(`[data-fresh="${said.dataset.fresh}"]`, mine);
        // What's below stays under the pointer.
        if (!own || isHeld(own)) continue;
        own.style.minHeight = `${own.clientHeight}px`;
        own.replaceChildren(...said.childNodes);
      }
      showInbox(mine);
      theirs.replaceWith(mine);
    }
    // A list of the same articles and the merge panel aren't changed, because an editor may be searching or selecting in them.
    for (const mine of findAll("[data-kept]", old)) find(`[data-kept="${mine.dataset.kept}"]`, fresh)?.replaceWith(mine);
  };

  // An open menu stays open, without the actions that no longer apply to its row.
  const keepMenus = (old, fresh) => {
    for (const menu of findAll("details.more[open]", old)) {
      const row = find(`[data-story="${menu.closest(ROWS).dataset.story}"]:has(a[data-more])`, fresh);
      if (!row || find(".move", row)) continue;
      const link = find("a[data-more]", row), isSame = link.dataset.more === menu.dataset.unfit;
      menu.dataset.unfit = link.dataset.more;
      link.replaceWith(menu);
      if (isSame) continue;
      find(".menu", menu)?.remove();
      fillMenu(row);
    }
  };

  const describeFocus = (held) => {
    const row = held.closest(ROWS), rows = findAll(ROWS, held.closest(".pane") || desk);
    const menu = held.matches(".more > summary");
    return {
      id: held.id, story: row?.dataset.story, pane: held.closest(".pane"), place: rows.indexOf(row), menu,
      act: held.name === "act" && held.value,
    };
  };
  const restoreFocus = (held, kept) => {
    if (held.isConnected && held !== document.body) { held.focus({ preventScroll: true }); return; }
    if (!kept.story) {
      const same = kept.id ? document.getElementById(kept.id)
        : kept.act && findAll("button[name=act]:not([disabled])", kept.pane || document).find((one) => one.value === kept.act)
          || kept.act && !kept.pane && find("#part-undo button:not([disabled])");
      if (same) same.focus({ preventScroll: true });
      return;
    }
    const rows = findAll(ROWS, kept.pane);
    // A waiting story is both in the tray and in the list.
    const row = [rows[kept.place], ...rows].find((one) => one?.dataset.story === kept.story) || rows[Math.min(kept.place, rows.length - 1)];
    const button = row && (kept.menu ? find(".more > summary", row)
      : kept.act && findAll("button[name=act]:not([disabled])", row).find((one) => one.value === kept.act));
    if (button && button.offsetParent) button.focus(); else if (row) focusRow(row);
  };

  // --- the rows' menus ---------------------------------------------------------------------------------------

  // Without this script, the menu of a row is a link.
  const makeMenus = () => {
    for (const link of findAll("a[data-more]")) {
      const menu = document.createElement("details"), summary = document.createElement("summary");
      menu.className = "more";
      menu.dataset.unfit = link.dataset.more;
      summary.className = link.className;
      summary.setAttribute("aria-labelledby", link.getAttribute("aria-labelledby"));
      summary.append(...link.childNodes);
      menu.append(summary);
      link.replaceWith(menu);
    }
  };
  const fillMenu = (row) => {
    const menu = find("details.more", row);
    if (!menu || find(".menu", menu)) return;
    const template = find("#menu"), fresh = document.importNode(template.content, true);
    for (const word of menu.dataset.unfit.split(" ")) find(`[value^="${word} "]`, fresh)?.remove();
    for (const part of findAll("a, button", fresh)) {
      const name = part.matches("a") ? "href" : "value";
      part.setAttribute(name, part.getAttribute(name).replaceAll(template.dataset.story, row.dataset.story));
      find(".hidden", part).append(find("h3", row).textContent);
    }
    menu.append(fresh);
  };

  // Clicking the text of a row opens its fields, like its "Edit" button, but the focus stays on the row, so that keys still work.
  document.addEventListener("click", (event) => {
    const row = event.target.closest(".st h3, .st .thumb, .st .meta")?.closest(".st");
    const link = row && !event.target.closest("a, button") && find(".acts a[href*='open=']", row);
    if (link) visit(link.href.replace("headline", row.id));
  });

  document.addEventListener("submit", (event) => {
    if (event.target.id !== "act" || !event.submitter || event.submitter.name !== "act") return;
    event.preventDefault();
    const menu = event.submitter.closest("details.more");
    if (menu) menu.open = false;
    act(event.submitter.value);
  });

  // --- saving when a field loses focus ---------------------------------------------------------------------

  const unsaved = new Set();
  let leaving = false, swapping = false;

  const nameOf = (control) => find(".lab, legend", control.closest(".fld, fieldset") || control.form).firstChild.textContent.trim();
  const labelOf = (control) => {
    const name = nameOf(control).toLowerCase();
    const row = control.closest(ROWS), block = control.closest("details.block");
    if (block) return find("summary b", block) ? `${name} of ${find("summary b", block).textContent}` : "new block";
    if (control.form.dataset.saves === "own") return `${name} of the added story`;
    return row ? `${name} of ${placeOf(row)}` : name;
  };
  const placeOf = (row) => {
    const section = document.getElementById(`section-${row.parentElement.dataset.section}`);
    return `${find("h2", section).textContent} ${find(".n", row).textContent.trim()}`;
  };
  const showUnsaved = () => {
    const left = [...unsaved].filter((control) => control.isConnected), names = [...new Set(left.map(labelOf))];
    const words = names.length ? `Not saved yet: ${names.join(", ")}` : "";
    Object.assign(find("#unsaved"), { textContent: words, title: words });
    // Undo and redo wouldn't affect unsaved input, so they're disabled.
    for (const button of findAll("[value=undo], [value=redo]")) button.disabled = left.some((control) => control.form.dataset.saves !== "own");
    // Text is saved when its field loses focus, so only an image can be lost by closing the form.
    for (const link of findAll("a[data-close]")) {
      const isLost = left.some((control) => inPicture(control) && control.form === link.closest("form"));
      link.textContent = isLost ? "Close without saving the image" : "Close";
    }
  };
  const inPicture = (control) => Boolean(control.closest("[data-fresh=picture]"));
  const note = (control, words) => {
    const hint = control.closest(".fld")?.querySelector(".lab em");
    if (!hint) return;
    const { limit, unit = "characters", phone } = hint.dataset;
    const used = (unit === "words" ? control.value.match(/\S+/g) || [] : [...control.value]).length, over = used > limit;
    hint.dataset.says ??= hint.textContent;
    const extra = over ? `, ${used - limit} over` : used > phone ? `, about ${phone} on a phone` : "";
    const count = limit ? `${used} of ${limit} ${unit}${extra}` : hint.dataset.says;
    hint.classList.toggle("over", over);
    hint.textContent = [count, words].filter(Boolean).join(". ");
  };
  const showInbox = (form) => {
    const line = find(".inboxline", form);
    if (!line) return;
    for (const part of findAll("[data-shows]", line)) part.textContent = form.elements.namedItem(part.dataset.shows).value;
    line.setAttribute("aria-label", `In a phone’s inbox: ${findAll("b, span", line).map((part) => part.textContent).join(", ")}`);
  };
  const showsPicture = (form) => Boolean(find("img.shown", form)) && find("input[value=shown]", form).checked;
  const IMAGE_FIELDS = ["alt", "credit", "focus-x", "focus-y"];
  const chosenFile = (form) => {
    const file = find("input[type=file]", form);
    return file?.files.length && find("input[value=upload]", form).checked ? file : null;
  };
  // A chosen file is saved together with its description.
  const isReady = (form) => chosenFile(form) && form.elements.namedItem("alt").value.trim();
  const valueOf = (control) => control.type === "file" ? control.files[0] : control.value;
  const savesItself = (control) => {
    const form = control.form, saves = form && control.name && form.dataset.saves;
    if (!saves || saves === "own") return false;
    return !inPicture(control) || IMAGE_FIELDS.includes(control.name) && (showsPicture(form) || isReady(form));
  };
  // A block is only saved if all its fields are valid.
  const isWhole = (control) => {
    const wrong = control.form.dataset.saves === "block" && find("input:invalid", control.form);
    if (!wrong) return true;
    if (wrong !== control) note(control, `Not saved yet. Check “${nameOf(wrong)}”`);
    note(wrong, wrong.validationMessage);
    return false;
  };
  document.addEventListener("input", (event) => {
    const control = event.target;
    if (!control.form || !control.form.dataset.saves) return;
    if (control.matches(".line") && control.value.includes("\n")) control.value = control.value.replace(/\s*\n\s*/g, " ");
    unsaved.add(control);
    note(control, "Not saved yet");
    showInbox(control.form);
    showUnsaved();
  });
  // The unsaved fields of a form, without another field that someone is typing in.
  const leftIn = (form, control) =>
    [...unsaved].filter((one) => one.form === form && savesItself(one) && (one === control || one !== document.activeElement));
  const onItsWay = new Map();
  const saveLeft = (control) => {
    if (swapping || !savesItself(control) || onItsWay.get(control) === control.value) return;
    unsaved.add(control);
    if (!isWhole(control)) return showUnsaved();
    unlessApproved(`Change the ${labelOf(control)}?`, () => saveAll(control));
  };
  const saveAll = (control) => {
    const form = control.form, left = new Map(leftIn(form, control).map((one) => [one, one.value]));
    const hasImage = [...left.keys()].some(inPicture);
    if (hasImage) {
      for (const name of IMAGE_FIELDS) left.set(form.elements.namedItem(name), form.elements.namedItem(name).value);
    }
    for (const [one, value] of left) onItsWay.set(one, value);
    say("Saving…");
    const row = form.closest("[data-place]"), at = row ? row.dataset.place : form.id === "head" ? "" : place;
    const headline = left.get(form.elements.namedItem("headline"))?.trim(), back = row && headline && showHeadline(row, headline);
    if (back) shown.push(back);
    let saved;
    inTurn(async () => {
      // A file that has been saved in the meantime is no longer chosen.
      const file = hasImage && chosenFile(form);
      if (file) left.set(file, valueOf(file));
      const fields = fieldsLeft(form, left);
      const answer = await post(form, fields).finally(() => { for (const one of left.keys()) onItsWay.delete(one); });
      if (!isFromServer(answer)) {
        if (file) return refuseFile(answer, form, left);
        return showRefusal(answer, form, form.dataset.saves === "block" ? [...new FormData(form)] : fields, left);
      }
      // If only the image is rejected, the texts are still saved.
      const said = await answer.json(), kept = new Map(answer.ok ? [] : [...left].filter(([one]) => !said.saved || inPicture(one)));
      for (const one of kept.keys()) left.delete(one);
      for (const [one, value] of left) {
        if (valueOf(one) === value) { unsaved.delete(one); keepBasis(form, inPicture(one) ? "picture" : one.name, true); }
        const was = form.elements.namedItem(`was-${one.name}`);
        if (was) was.value = value;
      }
      saved = said.saved;
      if (answer.ok || saved) take(said, at); else if (back) back();
      if (!answer.ok) return refuseText(kept, said.why);
      if (file) {
        for (const one of findAll("[name=picture]", form)) unsaved.delete(one);
        form.dispatchEvent(new CustomEvent("uploaded", { bubbles: true, detail: said.html }));
        showUnsaved();
      }
    }).then(() => {
      if (saved) for (const one of left.keys()) note(one, unsaved.has(one) ? "Not saved yet" : saved);
    });
  };
  const showHeadline = (row, words) => {
    const title = find("h3", row), was = title.textContent;
    title.textContent = words;
    return () => { title.textContent = was; };
  };
  // Rejected input is kept, with the reason next to it.
  const refuseText = (left, why) => {
    for (const one of left.keys()) note(one, `Not saved. ${why}`);
    say(`Not saved: ${why}`);
    showUnsaved();
  };
  // The file would be lost on the conflict page, so the page is only shown after the next "Save", which images.js then doesn't intercept.
  const refuseFile = async (answer, form, left) => {
    if (answer.status === 401) return sayOut();
    if (answer.status === 409) form.dataset.plain = "";
    const why = find("h1", parse(await answer.text())).textContent;
    refuseText(left, answer.status === 409 ? `${why}. Select “${find("button[type=submit]:not([name])", form).textContent}” to continue` : why);
  };
  // A date changes with each digit. Changes that revoke an approval are confirmed when the form loses focus or with its buttons, because an
  // earlier question would receive what's typed into the next field.
  const TYPED = "textarea, input:not([type=checkbox], [type=radio], [type=file])";
  document.addEventListener("change", ({ target, isTrusted }) => {
    if (target.type !== "date" && !(isTrusted && mustAsk() && target.matches(TYPED))) saveLeft(target);
  });
  // If the page was updated around a field, the browser doesn't fire a change event. Switching windows doesn't count as leaving the field.
  document.addEventListener("focusout", ({ target, relatedTarget: next }) => {
    if (document.activeElement === target || mustAsk() && next && next.form === target.form) return;
    const left = mustAsk() ? [...unsaved].find((one) => one.form === target.form && savesItself(one)) : unsaved.has(target) && target;
    if (!left) return;
    saveLeft(left);
    // After the answer, focus the field that the editor was moving to.
    if (asking && next?.matches(TYPED)) find("dialog.asked").addEventListener("close", () => next.focus());
  });
  // The buttons of a form also save here if only texts have changed, so that another form opened in the meantime stays open.
  document.addEventListener("submit", (event) => {
    const form = event.target, button = event.submitter, isClosed = button?.name === "close";
    if (event.defaultPrevented || !form.dataset.saves) return;
    const left = [...unsaved].filter((one) => one.form === form);
    if (!left.every(savesItself) || form.matches("[data-saves=own], [data-saves=block], [data-plain]") || button?.name && !isClosed) {
      // If another form would lose input, the browser asks.
      leaving = [...unsaved].every((control) => !control.isConnected || control.form === form);
      return;
    }
    event.preventDefault();
    if (left.length) saveLeft(left[0]);
    queue.then(() => { if (isClosed && ![...unsaved].some((one) => one.form === form)) visit(find("a[data-close]", form).href); });
  });
  // A menu opens above its button if there's no space below. If there isn't enough space at all, it's scrolled into view.
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches("details.more[open]")) return;
    fillMenu(event.target.closest(ROWS));
    const menu = find(".menu", event.target);
    menu.classList.remove("up");
    const box = menu.getBoundingClientRect(), pane = menu.closest(".pane").getBoundingClientRect();
    const top = find("summary", event.target).getBoundingClientRect().top;
    if (box.bottom > Math.min(pane.bottom, innerHeight) && top - box.height > Math.max(pane.top, 0)) menu.classList.add("up");
    menu.scrollIntoView({ block: "nearest" });
  }, true);
  // Links are followed once input is saved, except for links to another view, which don't leave the page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || !waiting || showsView(link) || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    queue.then(() => { location.assign(link.href); });
  });
  window.addEventListener("beforeunload", (event) => {
    if (!leaving && [...unsaved].some((control) => control.isConnected)) event.preventDefault();
  });

  // --- keys ------------------------------------------------------------------------------------------------

  const focusRow = (row) => {
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    beat();
  };
  // The row with the focus, or under the pointer if that was moved last. A row that scrolls under the pointer doesn't count.
  let last;
  const noteRow = (event) => { last = event.target.closest(ROWS); };
  for (const name of ["focusin", "pointermove"]) document.addEventListener(name, noteRow, true);
  const currentRow = () => last?.isConnected ? last : document.activeElement.closest(ROWS);
  const step = (by) => {
    // Steps start at the focus, in or between rows. If it's elsewhere, they start in the edition.
    const held = document.activeElement, at = currentRow() || held, pane = at.closest("#stories, #edition");
    const rows = findAll(ROWS, pane || find("#edition")).filter((one) => one.offsetParent);
    const isAhead = (one) => at !== one && Boolean(at.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING) === by > 0;
    const ahead = pane ? rows.filter(isAhead) : rows, next = ahead.at(by > 0 ? 0 : -1);
    if (next) focusRow(next);
  };
  const press = (...words) => {
    const row = currentRow();
    if (!row) return;
    fillMenu(row);
    const button = findAll("button[name=act]", row).find((one) => words.some((word) => one.value === `${word} ${row.dataset.story}`));
    if (button) button.click(); else explainList(row);
  };
  // If a key doesn't work in the list, say so.
  const explainList = (row) => {
    if (row.closest("#stories")) say("This key works only in the edition. Press Esc to go there.");
  };
  // After a removal, the focus is on the next story, so a key that's pressed twice must only remove one.
  const pressOnce = (word) => { if (![...underWay].some((key) => /^(drop|keep) /.test(key))) press(word); };
  const follow = (selector, root = document) => root && find(selector, root)?.click();
  const followInMenu = (selector) => {
    const row = currentRow();
    if (!row) return;
    fillMenu(row);
    if (find(selector, row)) follow(selector, row); else explainList(row);
  };
  // Focuses a part of the page, opening collapsed sections. If it's on another tab, that tab's page is loaded.
  const reach = (selector, tab) => {
    const part = find(selector);
    for (let fold = part.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (part.offsetParent) part.focus(); else queue.then(() => { location.assign(`${findAll(".tabs a")[tab].href}#${part.id}`); });
  };
  const write = (field, link) => find(field) ? reach(field, 1) : follow(link);

  const askFirst = (question, work) => {
    const words = document.importNode(find("#question").content, true), [go, leave] = findAll("button", words);
    const dialog = desk.openDialog(find("h2", words).textContent);
    find("p", words).prepend(question);
    go.addEventListener("click", () => { dialog.close(); work(); });
    leave.addEventListener("click", () => dialog.close());
    dialog.append(words);
    leave.focus();
    return dialog;
  };
  const showKeys = async () => {
    const answer = await fetch(desk.dataset.keys);
    if (!answer.ok) return;
    const page = parse(await answer.text());
    const dialog = desk.openDialog("Keyboard shortcuts"), close = document.createElement("button");
    Object.assign(close, { className: "btn", textContent: "Close", autofocus: true });
    close.addEventListener("click", () => dialog.close());
    dialog.append(find("#keys", page), close);
  };
  const close = () => {
    const menu = find(".more[open] > summary");
    if (menu) { menu.focus(); return menu.click(); }
    const row = currentRow(), field = document.activeElement.form;
    const near = (row && find(".form, .move", row) && row) || (field && field.parentElement) || find(".st.sel") || find("#edition");
    const link = find(".move a.quiet, .form a.quiet", near), held = document.activeElement;
    if (link) return link.click();
    // Go from the list to the edition, if the search field is empty.
    const rows = held.closest("#stories") && !(field && held.value) ? findAll("#edition li.st") : [];
    if (rows.length) focusRow(rows.find((one) => one.dataset.place === place) || rows[0]);
  };
  const goTo = {
    e: "Edition", c: "Calendar", o: "Sources", t: "Sent", a: "Admin", s: "Send a test", r: "Review", h: "History",
  };
  let going = 0;

  const KEYS = {
    j: () => step(1), k: () => step(-1), l: () => press("lead"), p: () => press("pin", "unpin"),
    x: () => pressOnce("drop"), X: () => pressOnce("keep"),
    c: () => followInMenu("button[name=keep]"), a: () => press("add"), e: () => followInMenu(".acts a"),
    w: () => follow(".why > summary", currentRow()),
    u: () => followInMenu("a[href*='panel=under']"), M: () => followInMenu("a[href*='panel=merge']"),
    z: () => follow("button[value=undo]"), Z: () => follow("button[value=redo]"),
    s: () => write("#head-subject", ".mailhead a"), b: () => write("[data-blank] #block-kind", "#new-block"),
    n: () => reach("#own-url", 0), v: () => reach(".seg [aria-current]", 2),
    "/": () => reach("#words", 0), "?": showKeys, g: () => { going = Date.now(); },
  };
  for (const number of [1, 2, 3, 4, 5, 6]) KEYS[number] = () => findAll(".seg a")[number - 1]?.click();

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || find("dialog[open]")) return;
    const field = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select");
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && isCommand) {
      const button = event.target.form && find("button[name=close]", event.target.form);
      if (button) { event.preventDefault(); button.click(); }
      return;
    }
    // These texts only wrap and contain no line breaks, so Enter saves them.
    if (event.key === "Enter" && event.target.matches(".line")) {
      event.preventDefault();
      return find("button[type=submit]", event.target.form).click();
    }
    if (event.key === "Escape") return close();
    if (field) return;
    if (event.altKey && !isCommand && (event.key === "ArrowUp" || event.key === "ArrowDown") && currentRow()) {
      event.preventDefault();
      return press(event.key === "ArrowUp" ? "up" : "down");
    }
    if (!letters || isCommand || event.altKey) return;
    const there = Date.now() - going < 1500 && goTo[event.key];
    if (there) {
      going = 0;
      return findAll(".top nav a, .head a, .state a").find((one) => one.textContent.trim().startsWith(there))?.click();
    }
    const does = KEYS[event.key];
    // Holding down a key acts once, except for J and K.
    if (does) { event.preventDefault(); if (!event.repeat || "jk".includes(event.key)) does(); }
  });

  // --- views, without loading the page again -----------------------------------------------------------------

  const showsView = (link) => link.matches(".seg a") && find("#preview").offsetParent;
  const showView = (link) => {
    const key = new URL(link.href).searchParams.get("view") || "phone", frame = find(".frame");
    if (!frame) return location.assign(link.href);
    for (const one of findAll(".seg a")) one.toggleAttribute("aria-current", false);
    link.setAttribute("aria-current", "true");
    frame.className = `frame ${key}`;
    // Create a new frame, because changing the URL of the old one would add a step for the Back button.
    const old = find("iframe", frame), inner = old.cloneNode();
    inner.src = old.src.replace(/[^/?#]+(\?[^#]*)?(#.*)?$/, `${key}$1${place && `#${place}`}`);
    old.replaceWith(inner);
    history.replaceState(null, "", link.href);
    inTurn(refresh);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".seg a");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || !showsView(link)) return;
    event.preventDefault();
    showView(link);
  });

  // Sections sorted by page views don't accept written stories, either, so the form doesn't offer them.
  const takes = (section) => section && find(`#own option[value="${section}"]`);

  // --- who else is here ----------------------------------------------------------------------------------------

  // What's being edited. Moving from one story to another doesn't count.
  const placeNow = () => {
    const at = document.activeElement.closest("form[data-saves]") || find("form#head, .st.sel form[data-saves]");
    return at ? at.dataset.saves : "";
  };
  const placeWords = (at) => {
    if (at === "head") return "in the subject and intro";
    if (at === "block") return "in a labeled block";
    const row = document.getElementById(at);
    return row?.matches(".st") ? `in ${placeOf(row)}` : "";
  };
  let lastBeat = 0, told = { revision: "" };
  const beat = async () => {
    if (find("#saved a") || document.hidden || Date.now() - lastBeat < 1000) return;
    lastBeat = Date.now();
    const seq = desk.dataset.seq;
    const fields = { csrf_token: token(), place: placeNow(), revision: told.revision };
    const answer = await post({ action: desk.dataset.presence }, Object.entries(fields)).catch(() => null);
    if (answer?.status === 401) return sayOut();
    if (!answer?.ok) return;
    // If there's no news, the response only contains who else is here.
    const heard = await answer.json();
    told = { ...told, ...heard };
    showPresent(told);
    // This is skipped if the editor has acted since then, because the page is newer.
    if (!waiting && seq === desk.dataset.seq) showStanding(told.standing);
  };
  const IDLE = 60000; // milliseconds without a key or a pointer
  let acted = Date.now();
  const noteAct = () => { acted = Date.now(); };
  for (const name of ["keydown", "pointermove"]) document.addEventListener(name, noteAct, true);
  // Editors who are signed out may come back from signing in.
  document.addEventListener("visibilitychange", () => {
    if (find("#saved a")) say("");
    beat();
  });
  // The button doesn't take the focus, so that a field someone is typing in doesn't lose focus and isn't saved. After a minute without
  // input, the page updates itself, so that editors who return to it find the current state.
  const offerIt = () => {
    const button = document.createElement("button");
    Object.assign(button, { className: "lnk", type: "button", textContent: "Show changes" });
    button.addEventListener("mousedown", (event) => event.preventDefault());
    button.addEventListener("click", () => {
      find("#present").textContent = "";
      inTurn(async () => { await showPreview(); await refresh(); });
    });
    if (Date.now() - acted > IDLE && !isChoosing() && ![...unsaved].some((control) => control.isConnected)) setTimeout(() => button.click());
    return button;
  };
  // When a colleague approves the edition, sends it back, or undoes either action, or when it's being sent, the header says so, and actions
  // that no longer apply are removed.
  const showStanding = ({ key, badge, tone, words, approval }) => {
    const stands = find("#stands");
    if (key === (stands.dataset.key || desk.dataset.standing)) return;
    stands.dataset.key = key;
    desk.dataset.approval = approval;
    Object.assign(find(".head .pill"), { className: `pill ${tone}`, textContent: badge });
    findAll(".head .plan:not(#stands), .head .btn ~ .btn, .sticky .btn ~ .btn, #void > *").forEach((one) => one.remove());
    stands.replaceChildren(`${words} `, offerIt());
  };
  const showPresent = (now) => {
    const present = find("#present"), words = now.others.map((one) => [one.name, one.at && placeWords(one.at)].filter(Boolean).join(", "));
    const parts = words.length ? [`Also here: ${words.join("; ")}. `] : [];
    if (now.seq > Number(desk.dataset.seq) && !waiting) {
      parts.push(`${now.changed} `, offerIt());
    }
    if (present.textContent !== parts.map((part) => part.textContent || part).join("")) present.replaceChildren(...parts);
    findAll(".here").forEach((one) => one.remove());
    for (const one of now.others.filter((other) => other.at)) {
      const row = document.getElementById(one.at), line = row?.matches(".st") && find(".meta", row);
      if (!line) continue;
      const here = document.createElement("b");
      Object.assign(here, { className: "here", textContent: `${one.name} has this story open.` });
      line.prepend(here, " ");
    }
    if (!now.tray) return;
    const count = find(".tabs .sig") || document.createElement("span"), heading = find("#h-tray");
    if (!count.isConnected) find(".tabs a").append(" ", count);
    Object.assign(count, { className: "sig", textContent: `${now.tray} new` });
    if (heading) heading.textContent = now.waiting;
  };
  setInterval(beat, Number(desk.dataset.beat) * 1000);
  window.addEventListener("pagehide", () => {
    navigator.sendBeacon(desk.dataset.presence, new URLSearchParams({ csrf_token: token(), gone: "1" }));
  });
  document.documentElement.classList.add("quick");
  makeMenus();
  watchList();
  showUnsaved();
  showOpen();
  // Focus the row named in the URL.
  const named = document.getElementById(location.hash.slice(1));
  if (named?.matches(ROWS) && document.activeElement === document.body) focusRow(named);
  beat();
})();
