// Searches the week's stories while someone is typing. Only the list is updated, and the Back button restores the previous list. The
// articles of an open story are searched on the page itself, and stories to merge with or put one under are searched with the panel's own
// form.
"use strict";
(() => {
  const TYPING = 150; // milliseconds between two letters
  // The query of the list, which isn't changed by links in the edition.
  const LISTED = ["q", "filter", "topic_filter", "order", "start"];
  const find = (selector, root = document) => root.querySelector(selector);
  let typing = 0, asking = new AbortController();
  const listUrl = (form) => {
    const url = new URL(form.action), asked = new URLSearchParams(location.search);
    url.hash = "";
    for (const [name, value] of new FormData(form)) if (value && name !== "was-q") url.searchParams.set(name, value);
    // A new search covers all tabs.
    const isSame = form.elements.namedItem("q").value.trim() === (asked.get("q") || ""), filter = isSame && asked.get("filter");
    if (filter) url.searchParams.set("filter", filter); else url.searchParams.delete("filter");
    return url;
  };
  // Returns false if the server doesn't respond, or responds with another page.
  const search = async () => {
    clearTimeout(typing);
    asking.abort();
    asking = new AbortController();
    const { signal } = asking, url = listUrl(find(".find")), part = new URL(url);
    part.searchParams.set("part", "results");
    const answer = await fetch(part, { redirect: "error", signal }).catch(() => null), text = answer?.ok && await answer.text().catch(() => "");
    if (signal.aborted) return true;
    const fresh = text && new DOMParser().parseFromString(text, "text/html");
    if (!fresh || !find("#results", fresh)) return false;
    // Only the first letter adds a step for the Back button.
    const isSearch = new URLSearchParams(location.search).has("q");
    history[isSearch ? "replaceState" : "pushState"](null, "", url);
    for (const id of ["#hits", "#results"]) find(id).replaceChildren(...find(id, fresh).childNodes);
    find("#results").dispatchEvent(new Event("listed", { bubbles: true }));
    return true;
  };
  const searchArticles = (field) => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const item of field.form.querySelectorAll("li")) {
      const text = find("div", item).textContent.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      // Hidden articles aren't split off, and are still selected when they're shown again.
      find("input", item).name = item.hidden ? "hidden" : "article";
    }
    countArticles(field.form);
  };
  const countArticles = (form) => {
    const count = form.querySelectorAll("[name=article]:checked").length;
    for (const said of form.querySelectorAll(".count")) said.textContent = count ? ` (${count})` : "";
  };
  // After a lead article is chosen or articles are split off, the page is updated, but the list keeps its position and search.
  document.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter;
    if (!form.matches(".arts:not([data-plain])") || event.defaultPrevented) return;
    event.preventDefault();
    const ends = () => [...document.querySelectorAll(".arts li > :last-child")], at = ends().indexOf(button);
    const scrolled = () => [find("#edition"), find(".st.sel .fields")], tops = scrolled().map((one) => one.scrollTop);
    const words = find("[type=search]", form)?.value;
    const url = button.getAttribute("formaction") || form.action, body = new URLSearchParams(new FormData(form, button));
    const answer = await fetch(url, { method: "POST", body }).catch(() => null);
    const fresh = answer?.ok && new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh || !find(".st.sel .arts", fresh)) {
      form.dataset.plain = "";
      return form.requestSubmit(button);
    }
    history.replaceState(null, "", answer.url.replace(/#.*/, ""));
    document.getElementById("desk").swap(fresh);
    const field = find(".arts [type=search]");
    if (field && words) {
      field.value = words;
      searchArticles(field);
    }
    const next = ends()[at]?.matches("button") ? ends()[at] : find(".arts > .row > button");
    next?.focus({ preventScroll: true });
    scrolled().forEach((one, part) => { one.scrollTop = tops[part]; });
  });
  document.addEventListener("change", ({ target }) => { if (target.form?.matches(".arts")) countArticles(target.form); });
  // Returns false if the server doesn't respond.
  const searchMatches = async (field) => {
    clearTimeout(typing);
    const list = find("#choices");
    if (!list) return true; // the panel was closed meanwhile
    asking.abort();
    asking = new AbortController();
    const { signal } = asking, url = new URL(field.form.action);
    url.search = new URLSearchParams([...new FormData(field.form), ["part", "choices"]]);
    const answer = await fetch(url, { redirect: "error", signal }).catch(() => null), text = answer?.ok && await answer.text().catch(() => "");
    if (signal.aborted) return true;
    if (!text) return false;
    list.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
    return true;
  };
  // No story is preselected unless there's only one.
  const enterMatches = (isChosen) => {
    const [first, ...others] = document.querySelectorAll("#choices input");
    if (!first) return;
    if (isChosen || !others.length) first.checked = true;
    first.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.key !== "ArrowDown" || !event.target.matches(".match [type=search]")) return;
    event.preventDefault();
    enterMatches(true);
  });
  // Letters typed while a panel or form is loading aren't shortcuts. In a panel with a search, they're entered in its field.
  let typed = "";
  const giveUp = () => {
    typed = "";
    delete document.getElementById("desk")?.dataset.opening;
  };
  window.addEventListener("keydown", (event) => {
    const { dataset } = document.getElementById("desk") || {}, isField = event.target.matches("input:not(.tick), textarea, select");
    if (!dataset?.opening || isField || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") giveUp();
    else if (event.key.length === 1) typed += event.key;
    else if (event.key !== "Enter") return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  window.addEventListener("pointerdown", giveUp, true);
  document.addEventListener("focusin", ({ target }) => {
    if (document.getElementById("desk")?.dataset.opening) return;
    if (typed && target.matches(".match [type=search]")) {
      target.value = typed;
      searchMatches(target);
    }
    typed = "";
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches(".arts [type=search]")) searchArticles(event.target);
    if (event.target.matches(".match [type=search]")) {
      clearTimeout(typing);
      typing = setTimeout(searchMatches, TYPING, event.target);
    }
    if (!event.target.closest(".find")) return;
    clearTimeout(typing);
    typing = setTimeout(search, TYPING);
  });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches(".find, .match")) return;
    event.preventDefault();
    if (form.matches(".match")) {
      if (await searchMatches(find("[type=search]", form))) enterMatches(false); else HTMLFormElement.prototype.submit.call(form);
      return;
    }
    if (await search()) find("#found").focus(); else HTMLFormElement.prototype.submit.call(form);
  });
  // The score of a story is fetched when its "Why" is opened.
  document.addEventListener("toggle", async ({ target }) => {
    const link = target.matches(".why[open]") && find(".points > a", target);
    if (!link) return;
    const part = new URL(link.href);
    part.searchParams.set("part", "score");
    const answer = await fetch(part, { redirect: "error" }).catch(() => null), text = answer?.ok && await answer.text().catch(() => "");
    const score = text && find(".points", new DOMParser().parseFromString(text, "text/html"));
    if (score) link.parentElement.replaceWith(score);
  }, true);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#edition a[href]");
    if (!link || link.pathname !== location.pathname) return;
    const url = new URL(link.href), asked = new URLSearchParams(location.search);
    for (const name of LISTED) if (asked.has(name)) url.searchParams.set(name, asked.get(name)); else url.searchParams.delete(name);
    if (url.href !== link.href) link.href = url.href;
  }, true);
})();
