"""The places in a message where slots are allowed.

A slot may be in the path of a complete link to this site. The sign-up slot may be in a line without
URLs. Operators can write their own templates, in which a slot elsewhere could send a subscriber's
token to another site.
"""

import re
from collections import Counter
from collections.abc import Iterator

from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot, SlottedText
from digest.edition.rendering.slot_marks import SlotMarks

_HIDDEN_ELEMENTS = frozenset({"script", "style", "title"})


def find_misplaced_slots(part: SlottedText, base: str, *, is_html: bool) -> Iterator[str]:
    """Yield a sentence about each misplaced slot in a part.

    `base` is the base URL, without a trailing slash.
    """
    sound = _list_html_slots(part, base) if is_html else _list_text_slots(part, base)
    for slot in Counter(slot for _, slot in part.slots) - Counter(sound):
        yield f"the placeholder {slot.name} could lead to another site."


def _list_html_slots(part: SlottedText, base: str) -> Iterator[Slot]:
    """Yield the slots of an HTML part that are in allowed places, according to a parser."""
    import lxml.html

    marks = SlotMarks()
    for element in lxml.html.document_fromstring(marks.write(part)).iter():
        if element.tag == "a":
            yield from _list_link_slots(marks.split(element.get("href", "")), base)
        if isinstance(element.tag, str) and element.tag not in _HIDDEN_ELEMENTS:
            yield from _list_line_slots(marks.split(element.text or ""))
        yield from _list_line_slots(marks.split(element.tail or ""))


def _list_text_slots(part: SlottedText, base: str) -> Iterator[Slot]:
    """Yield the slots of a text part that are in allowed places.

    These are complete URLs between spaces, and lines without URLs.
    """
    marks = SlotMarks()
    for line in marks.write(part).splitlines():
        yield from _list_line_slots(marks.split(line))
        for word in line.split():
            yield from _list_link_slots(marks.split(word), base)


def _list_link_slots(link: SlottedText, base: str) -> Iterator[Slot]:
    """Yield the slot of a link to one of this site's pages.

    The slot may be followed by a subpage and a fragment.
    """
    for path, slot in (("/u/", LEAVE_SLOT), ("/preferences/", PREFERENCES_SLOT)):
        page = base + path
        is_whole = re.fullmatch(rf"{re.escape(page)}(?:/[a-z-]+)?(?:#[\w-]*)?", link.text)
        if is_whole and link.slots == ((len(page), slot),):
            yield slot


def _list_line_slots(line: SlottedText) -> Iterator[Slot]:
    """Yield a line's slots for the sign-up source, unless the line contains a URL."""
    if "://" not in line.text:
        yield from (slot for _, slot in line.slots if slot == SIGNUP_SLOT)
