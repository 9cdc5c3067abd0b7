"""Charts as SVG inside a page: drawn by pygal, without its script and style, which our content policy forbids; the page's own style sheet colours them."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lxml import etree
from markupsafe import Markup

_SVG = "{http://www.w3.org/2000/svg}"
_DROPPED = {f"{_SVG}{name}" for name in ("defs", "script", "style", "title", "desc")}
_OVERLAYS = {"tooltip", "titles", "plot overlay"}
_LINE_BEGIN = re.compile(r"^M\s*([\d.]+)[ ,]+([\d.]+)")
_LINE_END = re.compile(r"([\d.]+)[ ,]+([\d.]+)\s*$")
_END_SPACE = 64  # pixels beside a line, for the number that it ends with
_LABEL_SIZE = 13  # pixels, as the style sheet sets them


def _load_pygal() -> Any:
    """Return pygal: 50 ms to load, for one page alone.

    It puts a finder of map plugins of the old kind, without `find_spec`, behind every later import, which warns of it (and
    from Python 3.12 on has no use for it). No map is drawn here, so it goes.
    """
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
    return pygal


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A number that should not be reached, with the words that stand on its line."""

    value: float
    words: str


def draw_line(
    sentence: str,
    labels: Sequence[str],
    values: Sequence[float | None],
    *,
    write: Callable[[float], str],
    limit: LimitLine | None = None,
    shown_labels: Sequence[str] = (),
    size: tuple[int, int] = (540, 190),
) -> Markup:
    """Draw values as a line from 0 up, with its last number beside its end, and a dashed limit.

    `sentence` says what there is to see, `write` writes a number.
    """
    pygal = _load_pygal()
    top = max([*(value for value in values if value is not None), limit.value * 1.2 if limit else 0, 0])
    chart = pygal.Line(**_options(size, top, write), show_dots=False, margin_right=_END_SPACE)
    _label_axis(chart, labels, shown_labels)
    chart.add("values", list(values))
    if limit:
        chart.add("limit", [limit.value] * len(labels))
    words_on_limit = limit.words if limit else ""
    last = values[-1] if values else None
    words_at_end = "" if last is None else write(last)
    return _clean_svg(
        chart.render(is_unicode=True), sentence, size, words_on_limit=words_on_limit, words_at_end=words_at_end
    )


def draw_bars(
    sentence: str,
    labels: Sequence[str],
    values: Sequence[float],
    *,
    write: Callable[[float], str],
    size: tuple[int, int] = (540, 190),
) -> Markup:
    """Draw values as bars from 0 up."""
    pygal = _load_pygal()
    chart = pygal.Bar(**_options(size, max([*values, 0]), write))
    _label_axis(chart, labels, ())
    chart.add("values", list(values))
    return _clean_svg(chart.render(is_unicode=True), sentence, size)


def _label_axis(chart: Any, labels: Sequence[str], shown_labels: Sequence[str]) -> None:
    chart.x_labels = list(labels)
    if shown_labels:
        chart.x_labels_major = list(shown_labels)
        chart.show_minor_x_labels = False


def _options(size: tuple[int, int], top: float, write: Callable[[float], str]) -> dict[str, Any]:
    from pygal.style import Style

    ticks = list_ticks(top)
    return {
        "js": [],
        "css": [],
        "style": Style(
            label_font_size=_LABEL_SIZE, major_label_font_size=_LABEL_SIZE, value_label_font_size=_LABEL_SIZE
        ),
        "disable_xml_declaration": True,
        "show_legend": False,
        "width": size[0],
        "height": size[1],
        "margin": 4,
        "truncate_label": -1,
        "include_x_axis": True,
        "range": (0, ticks[-1]),
        "y_labels": [{"value": tick, "label": write(tick)} for tick in ticks],
    }


def list_ticks(top: float) -> list[float]:
    """Return the round numbers of an axis that begins at 0 and reaches `top`, four steps at most."""
    if top <= 0:
        return [0.0, 1.0]
    step = next(
        size * 10.0**power for power in range(-6, 12) for size in (1, 2, 2.5, 5) if size * 10.0**power * 4 >= top
    )
    steps = 1
    while step * steps < top:
        steps += 1
    return [round(step * number, 9) for number in range(steps + 1)]


def _clean_svg(
    text: str, sentence: str, size: tuple[int, int], *, words_on_limit: str = "", words_at_end: str = ""
) -> Markup:
    """Take out what a page may not hold, and say in words what the picture shows."""
    root = etree.fromstring(text.encode())
    for node in list(root.iter()):
        is_hidden = node.tag is etree.Comment or node.tag in _DROPPED or node.get("class") in _OVERLAYS
        if is_hidden and node.getparent() is not None:
            node.getparent().remove(node)
    for node in root.iter():
        node.attrib.pop("style", None)
        node.attrib.pop("id", None)
    _write_beside_line(root, "serie-1", _LINE_BEGIN, words_on_limit, offset=(6, -6), style="limit-words")
    _write_beside_line(root, "serie-0", _LINE_END, words_at_end, offset=(6, 4), style="end-words")
    root.set("role", "img")
    root.set("aria-label", sentence)
    root.set("class", "pygal-chart wide" if size[0] > 600 else "pygal-chart")
    etree.cleanup_namespaces(root)
    return Markup(etree.tostring(root, encoding="unicode"))  # noqa: S704 - lxml has escaped every text


def _write_beside_line(
    root: Any, series: str, point: re.Pattern[str], words: str, *, offset: tuple[int, int], style: str
) -> None:
    """Write words beside the first or the last point of a line, whichever `point` finds in its path."""
    for path in root.iter(f"{_SVG}path"):
        found = point.search(path.get("d", ""))
        if words and found and series in path.getparent().get("class", "").split():
            x, y = (float(number) + distance for number, distance in zip(found.groups(), offset, strict=True))
            text = etree.SubElement(path.getparent(), f"{_SVG}text", x=f"{x:.1f}", y=f"{y:.1f}")
            text.set("class", style)
            text.text = words
            return
