"""The places of stories in the preview: IDs added to the displayed bytes, and links to the form of each story."""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from markupsafe import Markup, escape

from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.editing.arrangement import Arrangement
from digest.web.desk.outline.story_pool import story_anchor

UrlMaker = Callable[[str], str]  # takes the place of a story
Insertion = tuple[int, str]  # a position and a text
_BLANK = r"(?:\s|&nbsp;|&#160;|\xa0)+"
_BOX_TAG = re.compile(r"<(/?)(?:table|td|li|div)\b")
# A link covers its story, and is only visible while it's pointed at or focused.
_EDIT_STYLES = """<style>
[id^=at-]{scroll-margin-top:30vh}
[data-story]{position:relative}
.desk-edit{position:absolute;inset:-2px -6px;z-index:9;border-radius:4px}
.desk-edit:is(:hover,:focus-visible),.desk-edit:has(+:target){outline:2px solid #2F7CC4}
.desk-edit:is(:hover,:focus-visible)::after{content:attr(aria-label);position:absolute;right:4px;top:4px;padding:0 9px;
border-radius:4px;background:#0B4F8A;color:#fff;font:13px/22px sans-serif}
</style></head>"""
_EDIT_LINK = Markup('<a class="desk-edit" href="{}" target="_top" aria-label="Edit {}" data-place="{}"></a>')


def list_preview_anchors(content: EditionContent) -> dict[tuple[str, int], str]:
    """Return the ID of each entry's place in the preview, by section key and entry number.

    Entries are numbered from 1 in each section. The ID is derived from the entry's link, so that it
    doesn't change if the entry is moved or rewritten. Repeated IDs get a number.
    """
    return {anchor: name for anchor, name, _ in _list_places(content)}


def find_story_in_preview(place: str, content: EditionContent, arrangement: Arrangement) -> str:
    """Return the anchor of the story at a place in the preview, or ""."""
    entries = (entry for entry, name in list_preview_anchors(content).items() if name == place)
    key, number = next(entries, ("", 0))
    stories = arrangement.sections.get(key, ())[:number]
    return story_anchor(stories[-1].url) if stories else ""


def insert_preview_anchors(html: str, content: EditionContent, edit_url: UrlMaker | None = None) -> str:
    """Insert the IDs of entries' places into the HTML of an email.

    Entries without a heading or link of their own get none. Links don't get IDs, because the
    browser would move the focus there, away from an editor who is writing next to the preview.
    `edit_url` returns the URL for an ID. If given, each story is covered by a link to it.
    """
    titles = {section.key: section.title for section in content.sections}
    names_by_place: dict[int, str] = {}
    links: dict[int, str] = {}
    for (section, number), name, entry in _list_places(content):
        place = next((at for at in _find_tags(html, entry) if at not in names_by_place), None)
        if place is None:
            continue
        names_by_place[place] = name
        if edit_url:
            links[place] = _EDIT_LINK.format(edit_url(name), f"{titles[section]} {number}", name)
    boxes = _find_story_boxes(html, links)
    insertions = [(end, " data-story") for end in boxes.values()]
    for place, name in names_by_place.items():
        insertions += _mark_place(html, place, name, links[place] if place in boxes else "")
    for at, mark in sorted(insertions, reverse=True):
        html = f"{html[:at]}{mark}{html[at:]}"
    return html.replace("</head>", _EDIT_STYLES, 1) if edit_url else html


def _mark_place(html: str, place: int, name: str, link: str) -> Iterator[Insertion]:
    """Yield the insertions for the ID and link of a place.

    The link precedes a heading, so that it isn't part of the heading's name.
    """
    if html.startswith("<a", place):
        yield place, f'{link}<span id="{name}"></span>'
    else:
        yield place, link
        yield place + len("<h2"), f' id="{name}"'


def _find_story_boxes(html: str, places: Collection[int]) -> dict[int, int]:
    """Return the positions where attributes can be added to the boxes of stories, by place.

    The box is the outermost element around a place that contains neither another place nor the
    masthead. The position is the end of its tag name.
    """
    boxes: dict[int, int] = {}
    in_order = sorted(places)
    opened: list[re.Match[str]] = []
    for tag in _BOX_TAG.finditer(html, max(0, html.find("</h1>"))):
        if not tag[1]:
            opened.append(tag)
        elif opened:
            begin = opened.pop()
            first, past = bisect(in_order, begin.end()), bisect(in_order, tag.start())
            # Inner elements end before outer ones, so the outermost one is last.
            if past - first == 1:
                boxes[in_order[first]] = begin.end()
    return boxes


def _list_places(content: EditionContent) -> Iterator[tuple[tuple[str, int], str, SectionEntry]]:
    counts: Counter[str] = Counter()
    for section in content.sections:
        for number, entry in enumerate(section.entries, 1):
            anchor = story_anchor(entry.url or entry.headline)
            counts[anchor] += 1
            twice = f"-{counts[anchor]}" if counts[anchor] > 1 else ""
            yield (section.key, number), f"at-{anchor}{twice}", entry


def _find_tags(html: str, entry: SectionEntry) -> Iterator[int]:
    """Yield the positions of tags that an ID can be added to, first headings and then links, in the email's order."""
    if entry.url:
        hits = [m.start() for m in re.finditer(rf'<a\b[^>]*\bhref="{re.escape(str(escape(entry.url)))}"', html)]
    else:
        escaped = (str(escape(word)) for word in entry.headline.split())
        words = _BLANK.join(map(re.escape, escaped))
        hits = [m.start() for m in re.finditer(words, html)] if words else []
    for hit in hits:
        opened = max(html.rfind(f"<h{level}", 0, hit) for level in (2, 3, 4))
        if opened > html.rfind("</h", 0, hit):
            yield opened
    if entry.url:
        yield from hits
