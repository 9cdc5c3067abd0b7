"""Style sheets into style attributes, once an edition, and the page made lean.

Premailer does the inlining, with the settings that keep dark mode and media queries alive: the defaults would
strip `!important` from them and fetch linked style sheets from the network. A second pass would eat what the
first one kept, so a page is inlined exactly once, from its source.
"""

import logging
import os
import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from digest.edition.content.placeholders import SlottedText
from digest.edition.rendering.sanitizer import RenderingError
from digest.edition.rendering.slot_marks import SlotMarks

if TYPE_CHECKING:
    from lxml.etree import _Element
    from premailer import Premailer

KEPT_STYLE_ATTRIBUTE = 'data-premailer="ignore"'
_CLASS_IN_CSS = re.compile(r"\.([a-z][\w-]*)")
_PLAIN_SELECTOR = re.compile(r"[\w.> -]+")  # elements with all the classes that it names
# White space between the children of these means nothing.
_SPACE_INSENSITIVE_TAGS = frozenset({"table", "tbody", "tr", "head", "html"})
_CELLS = frozenset({"td", "th", "tr"})
_ATTRIBUTE_PLACES = {"valign": _CELLS, "bgcolor": _CELLS | {"table", "body"}}
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
# libxml2 writes "<" in an attribute as it is, but in addresses as %3C.
_ATTRIBUTES_WITH_ANGLES = "//@*[contains(., '<')][not(name() = 'href' or name() = 'src' or name() = 'action')]"
_ANGLE_STAND_IN = "\ufdd0"  # no character (Unicode, 23.7)


# Between two edits, an edition is rendered several times: to show it, to check it, to approve it. The slots are positions in the
# key, so the marks that are new each time don't matter.
@lru_cache(maxsize=16)
def inline_css(page: SlottedText) -> SlottedText:
    """Return a whole page with its style sheet in style attributes; the block marked as kept stays one.

    Classes that no kept rule names are dropped, and white space that a browser would not show.

    Raises:
        RenderingError: the page has no kept style block, as one that was inlined before.
    """
    marks = SlotMarks()
    html = marks.write(page)
    if KEPT_STYLE_ATTRIBUTE not in html:
        raise RenderingError(
            f"the page has no <style {KEPT_STYLE_ATTRIBUTE}>: it was already inlined, or it's missing from "
            "mail/edition/body.html"
        )
    # lxml and Premailer take half a second to import, which commands that render nothing do without.
    from lxml import etree

    root = etree.fromstring(html.strip(), etree.HTMLParser())
    # Each picture's style would be parsed to look for it.
    premailer = _create_premailer(root, align_floating_images="float" in html.lower())
    classes = {name for value in root.xpath("//@class") for name in value.split()}
    premailer._parse_style_rules = partial(_list_matching_rules, classes)  # noqa: SLF001 - see there
    premailer.transform(pretty_print=False)
    _drop_unused_classes(root)
    _drop_misplaced_attributes(root)
    _minify_page(root)
    _mask_angles(root)
    out: bytes = etree.tostring(root.getroottree(), method="html", encoding="utf-8")
    return marks.split(out.decode("utf-8").replace(_ANGLE_STAND_IN, "&lt;"))


def _mask_angles(root: "_Element") -> None:
    """Let a stand-in take the place of "<" in attributes: what is cut by comments must find none in an article's words."""
    for value in root.xpath(_ATTRIBUTES_WITH_ANGLES):
        value.getparent().set(value.attrname, value.replace("<", _ANGLE_STAND_IN))


def _create_premailer(root: "_Element | None", *, align_floating_images: bool = False) -> "Premailer":
    # Read when Premailer is imported: it would keep 128 parsed styles, fewer than an edition has, and parse all anew.
    os.environ.setdefault("PREMAILER_CACHE_MAXSIZE", "1024")
    from premailer import Premailer

    return Premailer(
        root,
        allow_network=False,
        strip_important=False,
        disable_validation=True,
        cache_css_parsing=True,
        cssutils_logging_level=logging.CRITICAL,
        align_floating_images=align_floating_images,
        # Our templates write these two for Outlook; from CSS they would become "auto" and "100%".
        disable_basic_attributes=["width", "height"],
    )


def _list_matching_rules(classes: set[str], css: str, index: int) -> tuple[list[Any], list[Any]]:
    """Return what `_parse_style_sheet` does without rules of classes that the page doesn't have: each would be sought in all of it."""
    rules, kept_rules = _parse_style_sheet(css, index)

    def may_match(selector: str) -> bool:
        return not _PLAIN_SELECTOR.fullmatch(selector) or classes.issuperset(_CLASS_IN_CSS.findall(selector))

    return [rule for rule in rules if may_match(rule[1])], kept_rules


@lru_cache(maxsize=16)
def _parse_style_sheet(css: str, index: int) -> tuple[list[Any], list[Any]]:
    """Return what Premailer makes of a style sheet, the page's `index`th: the rules to inline, and those that stay.

    It keeps a parsed style sheet, but writes its rules anew for each page, which takes longer than to apply them.
    """
    premailer = _create_premailer(None)
    rules: tuple[list[Any], list[Any]] = premailer._parse_style_rules(css, index)  # noqa: SLF001 - see above
    return rules


def _drop_unused_classes(root: "_Element") -> None:
    """Drop the classes that neither the kept style block nor the one for Outlook names."""
    from lxml import etree

    css = "".join(style.text or "" for style in root.iter("style"))
    css += "".join(comment.text or "" for comment in root.iter(etree.Comment))
    used = set(_CLASS_IN_CSS.findall(css))
    for element in root.iter(etree.Element):
        names = dict.fromkeys(element.attrib.pop("class", "").split())
        if kept := [name for name in names if name in used]:
            element.attrib["class"] = " ".join(kept)


def _drop_misplaced_attributes(root: "_Element") -> None:
    """Drop what Premailer makes of CSS where HTML has no such attribute: `valign` of a link, `bgcolor` of a picture."""
    for element in root.iter():
        if isinstance(element.tag, str):
            for name in ("valign", "bgcolor"):
                if element.tag not in _ATTRIBUTE_PLACES[name]:
                    element.attrib.pop(name, None)


def _minify_page(root: "_Element") -> None:
    """Collapse white space as a browser does, and write style attributes without blanks or double quotes."""
    for element in root.iter():
        if isinstance(element.tag, str):
            if "style" in element.attrib:
                element.attrib["style"] = _minify_style(element.attrib["style"])
            if element.tag != "style":
                element.text = _collapse_white_space(element.text, element.tag)
        parent = element.getparent()
        if parent is not None:
            element.tail = _collapse_white_space(element.tail, parent.tag)


def tie_dots(text: str) -> str:
    """Tie each middle dot to the word before it, so that none begins a line."""
    return text.replace(" \N{MIDDLE DOT} ", "\N{NO-BREAK SPACE}\N{MIDDLE DOT} ")


def _minify_style(style: str) -> str:
    return style.replace("; ", ";").replace(", ", ",").replace('"', "'")


def _collapse_white_space(text: str | None, parent_tag: str) -> str | None:
    if text is None or (parent_tag in _SPACE_INSENSITIVE_TAGS and not text.strip(" \t\r\n")):
        return None
    return tie_dots(_WHITE_SPACE.sub(lambda run: "\n" if "\n" in run[0] else " ", text))
