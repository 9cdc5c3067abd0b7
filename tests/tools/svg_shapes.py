"""Small functions that return SVG shapes for the sample's images, on a canvas of 1200 by 675."""

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

WIDTH, HEIGHT = 1200, 675

NIGHT = "#0F1A2B"
INK = "#16202F"
NAVY = "#1E2F49"
SLATE = "#3C5268"
STEEL = "#6B8296"
MIST = "#A9B7C1"
PAPER = "#EFE6D6"
CREAM = "#F6E3BE"
SUN = "#F4C27A"
CORAL = "#DE8A5A"
RUST = "#B0390C"
BRICK = "#8C3A26"
MOSS = "#6B7B52"
SEA = "#2F6C7A"

Point = tuple[float, float]


def svg_element(name: str, body: str = "", /, **attributes: Any) -> str:
    """Give an element; `stroke_width` becomes `stroke-width`, None is left out."""
    said = "".join(
        f' {key.replace("_", "-")}="{_attribute_text(value)}"' for key, value in attributes.items() if value is not None
    )
    return f"<{name}{said}>{body}</{name}>" if body else f"<{name}{said}/>"


def _attribute_text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) and abs(value) >= 1 else str(value)


def rect(x: float, y: float, w: float, h: float, fill: str, **more: Any) -> str:
    """Give a filled rectangle."""
    return svg_element("rect", x=x, y=y, width=w, height=h, fill=fill, **more)


def circle(x: float, y: float, r: float, fill: str, **more: Any) -> str:
    """Give a filled circle."""
    return svg_element("circle", cx=x, cy=y, r=r, fill=fill, **more)


def polygon(points: Iterable[Point], fill: str, **more: Any) -> str:
    """Give a filled polygon."""
    return svg_element("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill=fill, **more)


def path(d: str, fill: str = "none", **more: Any) -> str:
    """Give a path."""
    return svg_element("path", d=d, fill=fill, **more)


def stroke_line(a: Point, b: Point, stroke: str, width: float = 4, **more: Any) -> str:
    """Give a straight stroke."""
    return svg_element(
        "line", x1=a[0], y1=a[1], x2=b[0], y2=b[1], stroke=stroke, stroke_width=width, stroke_linecap="round", **more
    )


def linear_gradient(name: str, *stops: tuple[float, str, float], across: bool = False) -> str:
    """Give a gradient to fill with `url(#name)`; a stop is (place, colour, opacity)."""
    end = {"x2": 1, "y2": 0} if across else {"x2": 0, "y2": 1}
    inside = "".join(svg_element("stop", offset=o, stop_color=c, stop_opacity=a) for o, c, a in stops)
    return svg_element("linearGradient", inside, id=name, x1=0, y1=0, **end)


def gradient_band(name: str, *colours: str, top: float = 0, bottom: float = HEIGHT) -> str:
    """Fill a band over the whole width with an even gradient."""
    last = max(len(colours) - 1, 1)
    stops = [(i / last, c, 1.0) for i, c in enumerate(colours)]
    return linear_gradient(name, *stops) + rect(0, top, WIDTH, bottom - top, f"url(#{name})")


def radial_glow(name: str, at: Point, r: float, colour: str, strength: float = 0.8) -> str:
    """Give a soft round light."""
    inside = svg_element("stop", offset=0, stop_color=colour, stop_opacity=strength) + svg_element(
        "stop", offset=1, stop_color=colour, stop_opacity=0
    )
    return svg_element("radialGradient", inside, id=name) + circle(at[0], at[1], r, f"url(#{name})")


def scatter_streaks(
    rng: random.Random, box: tuple[float, float, float, float], colours: Sequence[str], count: int
) -> str:
    """Scatter flat strokes over a box (x, y, w, h): light on water, thin cloud."""
    x, y, w, h = box
    strokes = []
    for _ in range(count):
        length = rng.uniform(30, 180)
        left, top = rng.uniform(x - 40, x + w - length / 2), rng.uniform(y, y + h)
        strokes.append(
            rect(
                left,
                top,
                length,
                rng.uniform(2.5, 5),
                rng.choice(list(colours)),
                rx=2.5,
                opacity=rng.uniform(0.1, 0.45),
            )
        )
    return "".join(strokes)


def hill_ridge(rng: random.Random, level: float, rise: float, fill: str, step: int = 90) -> str:
    """Give a line of hills from edge to edge, filled down to the bottom."""
    points = [(x, level - rng.uniform(0, rise)) for x in range(-step, WIDTH + 2 * step, step)]
    d = f"M{points[0][0]},{points[0][1]:.1f}"
    for (ax, ay), (bx, by) in pairwise(points):
        middle = (ax + bx) / 2
        d += f" C{middle:.1f},{ay:.1f} {middle:.1f},{by:.1f} {bx:.1f},{by:.1f}"
    return path(f"{d} L{WIDTH + 200},{HEIGHT} L-200,{HEIGHT} Z", fill)


def window_grid(
    at: Point, columns: int, rows: int, *, size: Point, gap: Point, colours: Sequence[str], rng: random.Random
) -> str:
    """Give a grid of windows, each in one of the colours."""
    return "".join(
        rect(
            at[0] + c * (size[0] + gap[0]), at[1] + r * (size[1] + gap[1]), size[0], size[1], rng.choice(list(colours))
        )
        for r in range(rows)
        for c in range(columns)
    )


def person_figure(x: float, foot: float, height: float, fill: str, **more: Any) -> str:
    """Give a standing figure as a plain silhouette."""
    head = height * 0.085
    top = foot - height
    body = (
        circle(x, top + head, head, fill)
        + path(
            f"M{x - height * 0.13:.1f},{top + height * 0.55:.1f} Q{x - height * 0.15:.1f},{top + height * 0.2:.1f} "
            f"{x:.1f},{top + height * 0.19:.1f} Q{x + height * 0.15:.1f},{top + height * 0.2:.1f} "
            f"{x + height * 0.13:.1f},{top + height * 0.55:.1f} Z",
            fill,
        )
        + rect(x - height * 0.1, top + height * 0.5, height * 0.085, height * 0.5, fill)
        + rect(x + height * 0.015, top + height * 0.5, height * 0.085, height * 0.5, fill)
    )
    return svg_element("g", body, **more)


def radio_arcs(at: Point, colour: str, *, first: float = 16, step: float = 14, count: int = 3, width: float = 5) -> str:
    """Give the arcs of a radio signal, to both sides of a point."""
    return "".join(
        _radio_arc(at, side * (first + i * step), colour, stroke_width=width, opacity=1 - i * 0.22)
        for i in range(count)
        for side in (-1, 1)
    )


def _radio_arc(at: Point, reach: float, colour: str, **more: Any) -> str:
    x, y = at
    up = abs(reach) * 0.72
    d = f"M{x + reach * 0.7:.1f},{y - up:.1f} Q{x + reach * 1.35:.1f},{y:.1f} {x + reach * 0.7:.1f},{y + up:.1f}"
    return path(d, stroke=colour, stroke_linecap="round", **more)


def svg_document(*parts: str) -> str:
    """Put a scene together as one SVG document."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'
    )
