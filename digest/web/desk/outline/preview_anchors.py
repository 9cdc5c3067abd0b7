"""Where each story stands in the preview: ids that the desk puts into the shown bytes, so that an address leads to it."""

import re
from collections import Counter
from collections.abc import Iterator

from markupsafe import escape

from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.web.desk.outline.story_pool import story_anchor

_BLANK = r"(?:\s|&nbsp;|&#160;|\xa0)+"


def list_preview_anchors(content: EditionContent) -> dict[tuple[str, int], str]:
    """Name the place of each entry, by its section's key and its number in it, counted from 1.

    The name is made of what the entry links to, so that it stays while the entry moves and is written anew; of what stands twice the
    second has a number.
    """
    return {anchor: name for anchor, name, _ in _list_places(content)}


def insert_preview_anchors(html: str, content: EditionContent) -> str:
    """Put the ids into a mail's HTML: an entry without a heading or a link of its own in it gets none.

    None is put on a link: an address that leads to what takes the focus takes it away from who writes beside the preview.
    """
    names_by_place: dict[int, str] = {}
    for _, name, entry in _list_places(content):
        place = next((at for at in _find_tags(html, entry) if at not in names_by_place), None)
        if place is not None:
            names_by_place[place] = name
    for place in sorted(names_by_place, reverse=True):
        is_link = html.startswith("<a", place)
        mark = (
            f'<span id="{names_by_place[place]}"></span>'
            if is_link
            else f'{html[place : place + 3]} id="{names_by_place[place]}"'
        )
        html = f"{html[:place]}{mark}{html[place if is_link else place + 3 :]}"
    return html


def _list_places(content: EditionContent) -> Iterator[tuple[tuple[str, int], str, SectionEntry]]:
    counts: Counter[str] = Counter()
    for section in content.sections:
        for number, entry in enumerate(section.entries, 1):
            anchor = story_anchor(entry.url or entry.headline)
            counts[anchor] += 1
            twice = f"-{counts[anchor]}" if counts[anchor] > 1 else ""
            yield (section.key, number), f"at-{anchor}{twice}", entry


def _find_tags(html: str, entry: SectionEntry) -> Iterator[int]:
    """Give where the tags begin that an id may go to: the headings first, then the links, each in the mail's order."""
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
