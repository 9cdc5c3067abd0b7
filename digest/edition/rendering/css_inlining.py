"""CSS inlining, done once per edition, and minification of the page.

Premailer inlines the styles, with settings that preserve dark mode and media queries. By default,
it would strip `!important` and fetch linked style sheets from the network. A second pass would
remove what the first one preserved, so a page is inlined exactly once, from its source.
"""

import logging
import os
import re
from copy import deepcopy
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from digest.edition.content.slotted_text import SlottedText
from digest.edition.rendering.sanitizer import RenderingError
from digest.edition.rendering.slot_marks import SlotMarks

if TYPE_CHECKING:
    from lxml.etree import _Element
    from premailer import Premailer

KEPT_STYLE_ATTRIBUTE = 'data-premailer="ignore"'
_CLASS_IN_CSS = re.compile(r"\.([a-z][\w-]*)")
_PLAIN_SELECTOR = re.compile(r"[\w.> -]+")  # matches only elements with all the classes in the selector
_SIMPLE_SELECTOR = re.compile(r"\w*(?:\.[\w-]+)*")  # matches an element wherever it is in a page
_STYLED_ATTRIBUTES = frozenset({"class", "style", "align", "valign", "bgcolor"})
# Elements in which whitespace between children is insignificant.
_SPACE_INSENSITIVE_TAGS = frozenset({"table", "tbody", "tr", "head", "html"})
_CELLS = frozenset({"td", "th", "tr"})
_ATTRIBUTE_PLACES = {"valign": _CELLS, "bgcolor": _CELLS | {"table", "body"}}
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
# libxml2 doesn't escape "<" in attributes, except as %3C in URLs.
_ATTRIBUTES_WITH_ANGLES = "//@*[contains(., '<')][not(name() = 'href' or name() = 'src' or name() = 'action')]"
_ANGLE_STAND_IN = "\ufdd0"  # a noncharacter (Unicode, 23.7)


# Between two edits, an edition is rendered several times: to show it, to check it, and to approve
# it. The cache key has slots as offsets, so the random marks don't matter.
@lru_cache(maxsize=16)
def inline_css(page: SlottedText) -> SlottedText:
    """Return a page with its style sheet moved into style attributes.

    The style block that's marked to be kept stays. Unused classes and insignificant whitespace are removed.

    Raises:
        RenderingError: the page has no such block, for example because it was already inlined.
    """
    marks = SlotMarks()
    html = marks.write(page)
    if KEPT_STYLE_ATTRIBUTE not in html:
        raise RenderingError(
            f"the page has no <style {KEPT_STYLE_ATTRIBUTE}>: it was already inlined, or it's missing from "
            "mail/edition/body.html"
        )
    # lxml and Premailer take half a second to import, so commands that don't render shouldn't import them.
    from lxml import etree

    root = etree.fromstring(html.strip(), etree.HTMLParser())
    # Without this check, Premailer would parse each image's style.
    align_floating_images = "float" in html.lower()
    if _has_only_simple_selectors(root):
        _inline_styles_by_sample(root, align_floating_images=align_floating_images)
    else:
        _inline_styles(root, align_floating_images=align_floating_images)
    _drop_unused_classes(root)
    _drop_misplaced_attributes(root)
    _minify_page(root)
    _mask_angles(root)
    out: bytes = etree.tostring(root.getroottree(), method="html", encoding="utf-8")
    return marks.split(out.decode("utf-8").replace(_ANGLE_STAND_IN, "&lt;"))


def _inline_styles(root: "_Element", *, align_floating_images: bool) -> None:
    """Move a page's style sheet into style attributes."""
    premailer = _create_premailer(root, align_floating_images=align_floating_images)
    classes = {name for value in root.xpath("//@class") for name in value.split()}
    premailer._parse_style_rules = partial(_list_matching_rules, classes)  # noqa: SLF001 - see there
    premailer.transform(pretty_print=False)


def _has_only_simple_selectors(root: "_Element") -> bool:
    """Return True if each rule of a page's style sheets depends only on an element's name and classes."""
    if root.find("head") is None or root.find("body//style") is not None:
        return False
    sheets = [style.text or "" for style in root.iter("style") if "data-premailer" not in style.attrib]
    selectors = (rule[1] for css in sheets for rule in _parse_style_sheet(css, 0)[0])
    return all(map(_SIMPLE_SELECTOR.fullmatch, selectors))


def _inline_styles_by_sample(root: "_Element", *, align_floating_images: bool) -> None:
    """Move a page's style sheet into style attributes, for simple selectors only.

    Premailer searches the page for each rule. It gets a page with one element of each kind, whose
    styles are then copied to all others.
    """
    from lxml import etree

    head, body = root.find("head"), root.find("body")
    sample = etree.Element("html", _pick_styled_attributes(root))
    sample.append(deepcopy(head))
    sample_body = etree.SubElement(sample, "body", _pick_styled_attributes(body))
    samples: dict[tuple[object, ...], _Element] = {}
    styled_elements = [(root, sample), (body, sample_body)]
    for element in body.iterdescendants(etree.Element):
        attributes = _pick_styled_attributes(element)
        kind = (element.tag, *sorted(attributes.items()))
        if kind not in samples:
            samples[kind] = etree.SubElement(sample_body, element.tag, attributes)
        styled_elements.append((element, samples[kind]))
    _inline_styles(sample, align_floating_images=align_floating_images)
    root.replace(head, sample[0])
    for element, styled in styled_elements:
        element.attrib.update(styled.attrib)


def _pick_styled_attributes(element: "_Element") -> dict[str, str]:
    """Return the attributes that simple selectors or Premailer may read or write."""
    return {name: value for name, value in element.attrib.items() if name in _STYLED_ATTRIBUTES}


def _mask_angles(root: "_Element") -> None:
    """Replace "<" in attributes with a stand-in.

    This way, articles' text can't match the comments at which pages are cut.
    """
    for value in root.xpath(_ATTRIBUTES_WITH_ANGLES):
        value.getparent().set(value.attrname, value.replace("<", _ANGLE_STAND_IN))


def _create_premailer(root: "_Element | None", *, align_floating_images: bool = False) -> "Premailer":
    # This is read when Premailer is imported. Its default of 128 parsed styles is less than an
    # edition has, so all of them would be parsed again.
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
        # Our templates set these two attributes for Outlook. From CSS, they would become "auto" and "100%".
        disable_basic_attributes=["width", "height"],
    )


def _list_matching_rules(
    classes: set[str],
    css: str,
    index: int,
) -> tuple[list[Any], list[Any]]:
    """Return the rules from `_parse_style_sheet`, except those for classes that aren't on the page.

    Premailer would search the page for each of them.
    """
    rules, kept_rules = _parse_style_sheet(css, index)

    def may_match(selector: str) -> bool:
        return not _PLAIN_SELECTOR.fullmatch(selector) or classes.issuperset(_CLASS_IN_CSS.findall(selector))

    return [rule for rule in rules if may_match(rule[1])], kept_rules


@lru_cache(maxsize=16)
def _parse_style_sheet(css: str, index: int) -> tuple[list[Any], list[Any]]:
    """Return Premailer's rules for a style sheet: those to inline, and those to keep.

    `index` is the style sheet's index in the page. Premailer caches parsed style sheets but
    rebuilds their rules for each page, which takes longer than applying them.
    """
    premailer = _create_premailer(None)
    rules: tuple[list[Any], list[Any]] = premailer._parse_style_rules(css, index)  # noqa: SLF001 - see above
    return rules


def _drop_unused_classes(root: "_Element") -> None:
    """Remove classes that are used neither by the kept style block nor by the one for Outlook."""
    from lxml import etree

    css = "".join(style.text or "" for style in root.iter("style"))
    css += "".join(comment.text or "" for comment in root.iter(etree.Comment))
    used = set(_CLASS_IN_CSS.findall(css))
    for element in root.iter(etree.Element):
        names = dict.fromkeys(element.attrib.pop("class", "").split())
        if kept := [name for name in names if name in used]:
            element.attrib["class"] = " ".join(kept)


def _drop_misplaced_attributes(root: "_Element") -> None:
    """Remove attributes, added by Premailer, that HTML doesn't define for the element, such as a link's `valign`."""
    for element in root.iter():
        if isinstance(element.tag, str):
            for name in ("valign", "bgcolor"):
                if element.tag not in _ATTRIBUTE_PLACES[name]:
                    element.attrib.pop(name, None)


def _minify_page(root: "_Element") -> None:
    """Collapse whitespace as browsers do, and minify style attributes."""
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
    """Join each middle dot to the word before it, so that no line starts with a dot."""
    return text.replace(" \N{MIDDLE DOT} ", "\N{NO-BREAK SPACE}\N{MIDDLE DOT} ")


def _minify_style(style: str) -> str:
    return style.replace("; ", ";").replace(", ", ",").replace('"', "'")


def _collapse_white_space(text: str | None, parent_tag: str) -> str | None:
    if text is None or (parent_tag in _SPACE_INSENSITIVE_TAGS and not text.strip(" \t\r\n")):
        return None
    return tie_dots(_WHITE_SPACE.sub(lambda run: "\n" if "\n" in run[0] else " ", text))
