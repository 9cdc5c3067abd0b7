"""Measure an email in a browser: its first screen, links, enlarged text, and what a screen reader speaks."""

from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

from playwright.sync_api import Page

FIRST_SCREEN = 400  # CSS pixels from the top, at a width of 390
FIRST_FACT = 500  # there the first sentence that says more than a headline begins
MIN_TARGET, MAIN_TARGET = 24, 44  # CSS pixels of height (WCAG 2.2, 2.5.8 and 2.5.5)

_LINKS = """[...document.querySelectorAll('a[href]')].filter(a => !a.closest('[aria-hidden=true]') && a.offsetParent).map(a => {
  const style = getComputedStyle(a), block = a.closest('p,li,td,h1,h2,h3');
  // The cue may be lent by a child, as a headline lends it to what stands in it.
  const lined = [a, ...a.querySelectorAll('*')].some(e => getComputedStyle(e).textDecorationLine.includes('underline'));
  const filled = [a, a.parentElement].some(e => !['rgba(0, 0, 0, 0)', 'rgb(255, 255, 255)'].includes(getComputedStyle(e).backgroundColor));
  const words = [...block.childNodes].some(n => n.nodeType === 3 && /[A-Za-z]{2}/.test(n.data));
  return {text: a.innerText.trim(), image: !!a.querySelector('img'), cue: lined || filled && a.offsetHeight >= 40,
          height: Math.round(a.getBoundingClientRect().height), inline: words && style.display === 'inline', main: a.classList.contains('act')}
})"""
_ENLARGE = """factor => { const sizes = [...document.querySelectorAll('body *')].map(e => { const s = getComputedStyle(e); return [e, s.fontSize, s.lineHeight]; });
  for (const [e, size, line] of sizes) { e.style.setProperty('font-size', parseFloat(size) * factor + 'px', 'important');
    if (line !== 'normal') e.style.setProperty('line-height', parseFloat(line) * factor + 'px', 'important'); } }"""


class MeasuredLink(TypedDict):
    """A link that is seen: whether it has a cue besides its colour, its height, whether it stands within a sentence."""

    text: str
    image: bool
    cue: bool
    height: int
    inline: bool
    main: bool


def measure_links(page: Page) -> list[MeasuredLink]:
    """List the links that are seen and spoken."""
    found: list[MeasuredLink] = page.evaluate(_LINKS)
    return found


def links_without_cue(page: Page) -> list[str]:
    """Name the links of words that only their colour tells from text."""
    return [link["text"] for link in measure_links(page) if not link["image"] and not link["cue"]]


def small_targets(page: Page) -> list[str]:
    """Name the links that are too low for a finger; those within a sentence may be (WCAG 2.2, 2.5.8)."""
    return [
        f"{link['text']}: {link['height']} px"
        for link in measure_links(page)
        if link["height"] < (MAIN_TARGET if link["main"] else 0 if link["inline"] else MIN_TARGET)
    ]


def first_headline_top(page: Page) -> int:
    """Return where the first linked headline begins, in CSS pixels."""
    return int(page.evaluate("Math.round(document.querySelector('[role=list] a').getBoundingClientRect().y + scrollY)"))


_TEXT_TOP = """start => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  while (texts.nextNode()) if (texts.currentNode.data.replaceAll('\\u00a0', ' ').trim().startsWith(start)) {
    range.selectNodeContents(texts.currentNode);
    return Math.round(range.getBoundingClientRect().y + scrollY);
  }
}"""


_BROKEN_WORDS = """selector => [...document.querySelectorAll(selector)].flatMap(element => {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), range = document.createRange(), broken = [];
  while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
    range.setStart(texts.currentNode, word.index);
    range.setEnd(texts.currentNode, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
  }
  return broken;
})"""


_LEADING_DOTS = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange(), lines = [];
  while (texts.nextNode()) for (const dot of texts.currentNode.data.matchAll(/·/g)) {
    range.setStart(texts.currentNode, dot.index);
    range.setEnd(texts.currentNode, dot.index + 1);
    const block = texts.currentNode.parentElement.closest('p,td,li,h1,h2,h3'), box = range.getBoundingClientRect();
    if (box.width && box.left - block.getBoundingClientRect().left < 10) lines.push(block.innerText);
  }
  return lines;
}"""


def find_leading_dots(page: Page) -> list[str]:
    """List the texts in which a line begins with a middle dot."""
    texts: list[str] = page.evaluate(_LEADING_DOTS)
    return texts


def find_broken_words(page: Page, selector: str) -> list[str]:
    """List the words in elements that are parted by the end of a line."""
    words: list[str] = page.evaluate(_BROKEN_WORDS, selector)
    return words


def find_text_top(page: Page, start: str) -> int:
    """Return where the first text that begins with `start` begins, in CSS pixels."""
    return int(page.evaluate(_TEXT_TOP, start))


def next_deadline_bottom(page: Page) -> int:
    """Return where the next deadline ends, in CSS pixels."""
    cell = "[...document.querySelectorAll('td')].findLast(e => e.innerText.startsWith('Next deadline'))"
    return int(page.evaluate(f"Math.round({cell}.getBoundingClientRect().bottom + scrollY)"))


def enlarge_text(page: Page, factor: float) -> None:
    """Enlarge all text, and nothing else, as a reader's own setting does."""
    page.evaluate(_ENLARGE, factor)


def list_accessible_passages(page: Page) -> list[str]:
    """List what Chromium's accessibility tree holds, in order: "heading 2: In this issue", "link: Read at CISA", "text: …".

    A heading or a link is named by all that it holds; the pieces in it are not listed again.
    """
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    by_id = {node["nodeId"]: node for node in nodes}
    passages: list[str] = []
    _walk(by_id, nodes[0]["nodeId"], passages)
    return passages


def outline_passages(passages: list[str]) -> list[str]:
    """Take from the accessible passages what one walks by: landmarks, headings (linked ones in one line), links, dates after their labels."""
    outline: list[str] = []
    for before, passage in pairwise(["", *(" ".join(p.split()) for p in passages)]):
        text = passage.removeprefix("text: ")
        if before == "text: Next deadline:" or text.startswith(("Deadline: ", "Event: ")):
            outline.append(f"date: {text}")
        elif passage.startswith("link: ") and outline and _is_heading_of(outline[-1], passage):
            outline[-1] = f"linked {outline[-1]}"
        elif not passage.startswith(("text: ", "list")):
            outline.append(passage)
    return outline


def _is_heading_of(heading: str, link: str) -> bool:
    return heading.startswith("heading ") and heading.endswith(link.removeprefix("link: "))


_STRUCTURE = {"list", "listitem", "region", "main"}


def _walk(by_id: dict[str, Any], node_id: str, passages: list[str]) -> None:
    node = by_id[node_id]
    role, name = node.get("role", {}).get("value", ""), " ".join(str(node.get("name", {}).get("value", "")).split())
    if node.get("ignored"):
        role = ""
    if role in {"heading", "link", "image"}:
        level = next((f" {p['value']['value']}" for p in node.get("properties", ()) if p["name"] == "level"), "")
        passages.append(f"{role}{level}: {name}")
        if role == "heading":
            passages += [f"link: {by_id[c]['name']['value']}" for c in _links_in(by_id, node)]
        return
    if role == "StaticText" and name:
        passages.append(f"text: {name}")
        return
    if role in _STRUCTURE:
        passages.append(f"{role}: {name}".removesuffix(": "))
    for child in node.get("childIds", ()):
        if child in by_id:
            _walk(by_id, child, passages)


def _links_in(by_id: dict[str, Any], node: dict[str, Any]) -> list[str]:
    found = []
    for child in node.get("childIds", ()):
        below = by_id.get(child)
        if below is None:
            continue
        if not below.get("ignored") and below.get("role", {}).get("value") == "link":
            found.append(child)
        else:
            found += _links_in(by_id, below)
    return found


_LINE_FAULTS = r"""() => {
  const broken = [], dotted = [], range = document.createRange();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    if (!node.parentElement.checkVisibility()) continue;
    for (const word of node.data.matchAll(/[^\s\u00ad\u200b]+/g)) {
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      const tops = new Set([...range.getClientRects()].filter(r => r.width > 1).map(r => Math.round(r.top)));
      if (tops.size > 1 && !/[-\/.@\u2013\u2014]/.test(word[0])) broken.push(word[0]);
      if (!word[0].startsWith('\u00b7')) continue;
      let block = node.parentElement;
      while (getComputedStyle(block).display.startsWith('inline')) block = block.parentElement;
      range.setEnd(node, word.index + 1);
      const dot = range.getBoundingClientRect();
      range.selectNodeContents(block); range.setEnd(node, word.index);
      const before = [...range.getClientRects()].some(r => r.width > 2 && r.top < dot.bottom - 2 && r.bottom > dot.top + 2);
      if (dot.width && !before) dotted.push(block.innerText.slice(0, 60));
    }
  }
  return [broken, dotted];
}"""


class LineFaults(NamedTuple):
    """Words that are broken without a hyphen, and the beginnings of blocks with a line that starts with a middle dot."""

    broken_words: list[str]
    leading_dots: list[str]


def find_line_faults(page: Page) -> LineFaults:
    """Find what's wrong with the lines of a page as they're drawn now."""
    return LineFaults(*page.evaluate(_LINE_FAULTS))
