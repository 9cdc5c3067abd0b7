"""The contrast of all texts in light and dark mode, computed from the final styles.

The email's styles are inline. Dark mode is a single `@media (prefers-color-scheme: dark)` block,
whose rules are all `!important`. Therefore, an element's color is that of the last dark rule that
matches it, or else its inline one, or else its parent's. Ratios and limits are those of WCAG 2.2,
1.4.3 (4.5, or 3 from 24 px and from 18.66 px bold).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cssselect import SelectorError

from digest.edition.preflight.rule_registry import PreflightFinding, PreflightInput, error_finding, preflight_rule
from digest.settings.colors import READABLE_CONTRAST, contrast_ratio

if TYPE_CHECKING:
    from lxml.etree import _Element

_DARK_MEDIA_BLOCK = re.compile(r"@media[^{]*prefers-color-scheme:\s*dark[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", re.DOTALL)
_CSS_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_HEX_COLOR = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextStyle:
    """The style in which an element's text is displayed.

    Colors are formatted as #rrggbb, and `size` is in CSS pixels.
    """

    text_color: str = "#000000"
    background_color: str = "#ffffff"
    size: float = 16
    bold: bool = False
    hidden: bool = False


@preflight_rule("contrast", is_for_admins=True)
def check_contrast(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Text has a contrast of at least 4.5 (3 if large) in the light and dark color schemes."""
    for scheme, overrides in (("light", {}), ("dark", find_dark_declarations(examined))):
        reported_pairs: set[tuple[str, str]] = set()
        for element, style in _walk_styled(examined.tree, TextStyle(), overrides):
            words = " ".join("".join(_own_text(element)).split())
            if not words or style.hidden or (style.text_color, style.background_color) in reported_pairs:
                continue
            needed = 3.0 if style.size >= 24 or (style.bold and style.size >= 18.66) else READABLE_CONTRAST
            if (contrast := contrast_ratio(style.text_color, style.background_color)) < needed:
                reported_pairs.add((style.text_color, style.background_color))
                yield error_finding(
                    f"“{words[:40]},” {style.text_color} on {style.background_color}, has a contrast ratio "
                    f"of {contrast:.1f}; the minimum is {needed}.",
                    "Choose colors with more contrast.",
                    f"{scheme} scheme",
                )


def find_dark_declarations(examined: PreflightInput) -> "dict[_Element, dict[str, str]]":
    """Return the CSS declarations for dark mode, by element. Elements that have none are omitted."""
    declarations: dict[_Element, dict[str, str]] = {}
    styles = examined.tree.iter("style")
    sheets = "\n".join(str(style.text or "") for style in styles)
    for block in _DARK_MEDIA_BLOCK.findall(sheets):
        for selectors, body in _CSS_RULE.findall(block):
            for selector in selectors.split(","):
                for element in _select_elements(examined.tree, selector.strip()):
                    declarations.setdefault(element, {}).update(_parse_declarations(body))
    return declarations


def _select_elements(tree: "_Element", selector: str) -> "list[_Element]":
    from lxml.cssselect import CSSSelector

    try:
        return list(CSSSelector(selector, translator="html")(tree))
    except SelectorError:
        return []


def _parse_declarations(style: str) -> dict[str, str]:
    parts = style.replace("!important", "").lower().split(";")
    pairs = (part.partition(":") for part in parts if ":" in part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _walk_styled(
    element: "_Element", inherited: TextStyle, dark_overrides: "dict[_Element, dict[str, str]]"
) -> "Iterator[tuple[_Element, TextStyle]]":
    style = _parse_declarations(str(element.get("style") or ""))
    computed = _computed_style(style | dark_overrides.get(element, {}), inherited)
    if isinstance(element.tag, str) and element.tag not in {"style", "script", "head", "title"}:
        yield element, computed
        for child in element:
            yield from _walk_styled(child, computed, dark_overrides)


def _computed_style(style: dict[str, str], inherited: TextStyle) -> TextStyle:
    size = re.match(r"([\d.]+)px", style.get("font-size", ""))
    weight = style.get("font-weight", "")
    return TextStyle(
        text_color=_parse_color(style.get("color", "")) or inherited.text_color,
        background_color=_parse_color(style.get("background-color", "")) or inherited.background_color,
        size=float(size[1]) if size else inherited.size,
        bold=weight in {"bold", "600", "700", "800", "900"} or (not weight and inherited.bold),
        hidden=inherited.hidden or style.get("display") == "none" or style.get("font-size") == "0",
    )


def _parse_color(value: str) -> str:
    match = _HEX_COLOR.search(value)
    return match[0].lower() if match else ""


def _own_text(element: "_Element") -> Iterator[str]:
    yield element.text or ""
    for child in element:
        yield child.tail or ""
