"""The web copy of an edition, with its corrections.

The approved text is struck through but legible.

The stored copy doesn't change. Corrections are inserted into its page: a list of all of them at the
top, and each one next to the text that it corrects.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from subscribers.subscriber_language import SubscriberLanguage

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_WHITE_SPACE = re.compile(r"\s+")
_INLINE_TAGS = frozenset({"a", "span", "ins", "b", "strong", "em"})
_SMALL = "font-size:14px;line-height:20px;margin:6px 0 0"
_BOX = "border-left:4px solid #B0390C;padding:10px 14px;margin:18px auto 0;max-width:530px;text-align:start"


@dataclass(frozen=True, slots=True)
class DisplayedCorrection:
    """A correction as displayed: the story, the old and new text, the reason, and the date and name."""

    story: str
    was: str
    becomes: str
    note: str
    signature: str


def insert_corrections(html: str, corrections: Sequence[DisplayedCorrection], language: SubscriberLanguage) -> str:
    """Return a web copy with its corrections inserted in chronological order."""
    if not corrections:
        return html
    # only needed for corrections, and takes half a second to import
    import lxml.html

    page = lxml.html.document_fromstring(html, parser=lxml.html.HTMLParser(encoding="utf-8"))
    for correction in corrections:
        for element in _find_texts(page.body, correction.was):
            _strike(element, correction, language, {"style": _SMALL})
    main = next(iter(page.xpath("//*[@role='main']")), page.body)
    main.insert(0, _make_list(corrections, language))
    return str(lxml.html.tostring(page, encoding="unicode", doctype="<!DOCTYPE html>"))


def insert_fragment_corrections(
    html: str, corrections: Sequence[DisplayedCorrection], language: SubscriberLanguage, *, with_notes: bool
) -> str:
    """Return a fragment of a web edition with its corrections inserted.

    The list of corrections is at the top of the fragment's page. If `with_notes` is false, as in a
    table of contents, the old text is struck through but the reason is omitted.
    """
    if not corrections:
        return html
    import lxml.html

    piece = lxml.html.fragment_fromstring(html, create_parent="div")
    for correction in corrections:
        for element in _find_texts(piece, correction.was):
            # The list of sources repeats the headline, which already has the note.
            classes = [ancestor.get("class", "").split() for ancestor in element.iterancestors()]
            has_note = with_notes and not any("srcs" in names for names in classes)
            _strike(element, correction, language, {"class": "corr"} if has_note else None)
    return "".join(lxml.html.tostring(child, encoding="unicode") for child in piece)


def _find_texts(root: "HtmlElement", text: str) -> list["HtmlElement"]:
    """Return the innermost elements that contain a text and nothing else."""
    squeezed = _squeeze(text)
    elements = (element for element in root.iter("*") if element.tag != "del")
    saying = [element for element in elements if _squeeze(element.text_content()) == squeezed]
    return [element for element in saying if not any(child in saying for child in element)]


def _squeeze(text: str) -> str:
    return _WHITE_SPACE.sub(" ", text.replace("\N{NO-BREAK SPACE}", " ")).strip()


def _strike(
    element: "HtmlElement",
    correction: DisplayedCorrection,
    language: SubscriberLanguage,
    note_attributes: dict[str, str] | None,
) -> None:
    """Strike through an element's text, and put the new text next to it.

    If `note_attributes` is given, also put a note after the element's block.
    """
    from lxml.html import builder as b

    for child in list(element):
        element.remove(child)
    element.text = None
    struck, now = b.DEL(correction.was), b.INS(correction.becomes)
    struck.tail = " "
    element.extend([struck, now])
    if note_attributes is None:
        return
    block = element
    while block.tag in _INLINE_TAGS and block.getparent() is not None:
        block = block.getparent()
    text = language.gettext("Corrected %(signature)s. %(note)s", signature=correction.signature, note=correction.note)
    note = b.P(text, note_attributes)
    if block.tag in {"td", "div", "li"}:
        block.append(note)
    else:
        block.addnext(note)


def _make_list(corrections: Sequence[DisplayedCorrection], language: SubscriberLanguage) -> "HtmlElement":
    from lxml.html import builder as b

    count = language.ngettext(
        "This edition has %(num)s correction.", "This edition has %(num)s corrections.", len(corrections)
    )
    head = b.P(b.B(count), style="margin:0")
    box = b.DIV(head, role="note", style=_BOX)
    for correction in corrections:
        story_label = language.gettext("In “%(story)s”:", story=correction.story)
        box.append(
            b.P(
                b.B(correction.signature),
                f". {story_label} ",
                b.DEL(correction.was),
                " ",
                b.INS(correction.becomes),
                f" {correction.note}",
                style=_SMALL,
            )
        )
    return box
