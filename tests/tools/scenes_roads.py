"""Scenes on the road: the border crossing and the open gate."""

import random
from collections.abc import Callable

from tests.tools.svg_shapes import (
    INK,
    NIGHT,
    PAPER,
    RUST,
    WIDTH,
    circle,
    gradient_band,
    hill_ridge,
    path,
    person_figure,
    polygon,
    radial_glow,
    rect,
    scatter_streaks,
    stroke_line,
    svg_document,
    svg_element,
    window_grid,
)


def crossing() -> str:
    """Trucks seen from behind wait in lanes under a long canopy with green and red signs."""
    rng = random.Random(21)
    return svg_document(
        gradient_band("sky", "#4F7C99", "#9FC0C4", "#F3DDB6", bottom=400),
        circle(940, 218, 56, "#FBEBC8"),
        scatter_streaks(rng, (0, 50, WIDTH, 150), [PAPER], 12),
        hill_ridge(rng, 330, 120, "#7B97A5", 150),
        hill_ridge(rng, 372, 70, "#5D7C86", 110),
        gradient_band("road", "#6B7278", "#474E57", top=388),
        *(polygon([(600 + k * 70 - 3, 388), (600 + k * 70 + 3, 388), (600 + k * 268 + 9, 675), (600 + k * 268 - 9, 675)],
                PAPER, opacity=0.75) for k in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)),
        _canopy(),
        *(_truck(x, y, s, colour) for x, y, s, colour in (
            (460, 420, 0.5, "#8D3A27"), (742, 420, 0.5, "#35566F"),
            (338, 470, 0.78, "#3B6371"), (866, 470, 0.78, "#B76A3E"),
            (70, 560, 1.28, "#C8A15C"), (600, 548, 1.2, "#E4DCCB"), (1136, 560, 1.28, "#6B7B52"),
        )),
    )  # fmt: skip


def _canopy() -> str:
    booths = [(-2, "g"), (-1, "g"), (0, "g"), (1, "r"), (2, "g")]
    out = [polygon([(70, 262), (1130, 262), (1160, 300), (40, 300)], "#24364A"), rect(40, 300, 1120, 16, RUST)]
    for k, light in booths:
        x = 600 + k * 200
        out += [
            rect(x - 106, 316, 14, 84, "#2D4156"),
            rect(x - 130, 340, 62, 62, "#E9E1D2"),
            rect(x - 124, 348, 50, 24, "#4C6E82"),
            rect(x - 130, 392, 62, 10, "#E8B24A"),
            rect(x - 34, 318, 68, 34, "#101A27", rx=5),
            _sign(x, 335, light),
        ]
    out.append(rect(1032, 316, 14, 84, "#2D4156"))
    return "".join(out)


def _sign(x: float, y: float, light: str) -> str:
    if light == "r":
        return stroke_line((x - 9, y - 9), (x + 9, y + 9), "#F26A4B", 5) + stroke_line(
            (x + 9, y - 9), (x - 9, y + 9), "#F26A4B", 5
        )
    return stroke_line((x, y - 11), (x, y + 10), "#7FE0A0", 5) + path(
        f"M{x - 9},{y + 2} L{x},{y + 11} L{x + 9},{y + 2}", stroke="#7FE0A0", stroke_width=5, stroke_linecap="round"
    )


def _truck(x: float, y: float, scale: float, colour: str) -> str:
    body = "".join(
        [
            svg_element("ellipse", cx=0, cy=96, rx=100, ry=12, fill=NIGHT, opacity=0.35),
            rect(-80, 60, 34, 38, INK, rx=6),
            rect(46, 60, 34, 38, INK, rx=6),
            rect(-86, -120, 172, 186, colour, rx=4),
            rect(-86, -120, 172, 12, "#FFFFFF", opacity=0.2),
            rect(58, -108, 28, 174, NIGHT, opacity=0.16),
            stroke_line((0, -104), (0, 58), NIGHT, 3, opacity=0.45),
            *(stroke_line((side * 30, -100), (side * 30, 54), NIGHT, 2, opacity=0.3) for side in (-1, 1)),
            *(rect(side * 34 - 6, -30, 12, 26, NIGHT, opacity=0.4) for side in (-1, 1)),
            rect(-86, 60, 172, 12, "#222C38"),
            rect(-82, 62, 24, 8, "#F2593A", rx=2),
            rect(58, 62, 24, 8, "#F2593A", rx=2),
            rect(-18, 74, 36, 14, PAPER, rx=2),
        ]
    )
    return svg_element("g", body, transform=f"translate({x} {y}) scale({scale})")


def open_gate() -> str:
    """People walk out through an open gate in a high fence to a waiting bus at sunrise."""
    rng = random.Random(29)
    return svg_document(
        gradient_band("sky", "#394B68", "#A47D84", "#F0B37F", "#FBDFAE", bottom=520),
        radial_glow("sun", (860, 452), 380, "#FFE9BB", 0.95),
        circle(860, 446, 70, "#FFF2D2"),
        hill_ridge(rng, 470, 46, "#8D7482", 150),
        _block(rng),
        gradient_band("earth", "#6B5A5C", "#332E3B", top=506),
        polygon([(520, 506), (760, 506), (1240, 675), (300, 675)], "#A98672", opacity=0.55),
        _fence(-20, 500),
        _fence(1010, 1220),
        polygon([(500, 300), (560, 330), (560, 560), (500, 530)], "#222C3B", opacity=0.92),
        *(stroke_line((506 + k * 9, 312 + k * 4.6), (506 + k * 9, 526 + k * 4.6), "#4B5A6C", 2) for k in range(6)),
        svg_element("g", _bus(), transform="translate(850 372)"),
        *(person_figure(x, foot, h, c) for x, foot, h, c in (
            (590, 556, 104, "#2B3343"), (636, 562, 112, "#3A3442"), (676, 552, 84, "#2B3343"),
            (726, 572, 122, "#45343A"), (776, 574, 116, "#2A3648"), (812, 566, 78, "#3A3442"))),
        *(svg_element("ellipse", cx=x - 60, cy=y, rx=60, ry=5, fill=NIGHT, opacity=0.3)
          for x, y in ((590, 556), (636, 562), (726, 572), (776, 574))),
    )  # fmt: skip


def _block(rng: random.Random) -> str:
    glass = ["#39465A", "#39465A", "#39465A", "#D9A662"]
    return "".join(
        [
            rect(60, 190, 330, 330, "#4A5265"),
            rect(60, 190, 330, 14, "#323A4C"),
            window_grid((86, 226), 6, 5, size=(32, 36), gap=(18, 20), colours=glass, rng=rng),
            *(stroke_line((86 + c * 50 + k * 8, 226 + r * 56), (86 + c * 50 + k * 8, 262 + r * 56), "#232B39", 2)
              for c in range(6) for r in range(5) for k in (1, 2, 3)),
            rect(330, 290, 150, 230, "#3B4356"),
            window_grid((350, 320), 3, 3, size=(26, 34), gap=(16, 24), colours=glass, rng=rng),
        ]
    )  # fmt: skip


def _fence(left: float, right: float) -> str:
    out = []
    for x in range(int(left), int(right) + 1, 44):
        out.append(stroke_line((x, 316), (x, 548), "#1D2532", 5))
        out.append(stroke_line((x, 316), (x + 14, 292), "#1D2532", 4))
    out += [stroke_line((left, y), (right, y), "#1D2532", 2) for y in (330, 392, 454, 516, 544)]
    coils = "".join(f"M{x},300 a10,10 0 1 1 16,2 " for x in range(int(left), int(right), 16))
    out.append(path(coils, stroke="#1D2532", stroke_width=2))
    return "".join(out)


def _bus() -> str:
    return "".join(
        [
            svg_element("ellipse", cx=140, cy=214, rx=190, ry=12, fill=NIGHT, opacity=0.35),
            path("M-20,196 L-20,40 Q-18,16 8,16 L290,16 Q316,16 318,44 L322,196 Z", "#E9E0CE"),
            rect(-20, 128, 342, 20, "#2F6C7A"),
            *(rect(44 + k * 66, 40, 56, 58, "#33475A", rx=4) for k in range(4)),
            rect(-8, 40, 40, 150, "#22303F", rx=4),
            stroke_line((12, 40), (12, 190), "#E9E0CE", 3),
            *(circle(x, 200, 28, "#171E29") + circle(x, 200, 12, "#8F9AA3") for x in (84, 250)),
            rect(-24, 158, 12, 18, "#FBE7B4", rx=3),
        ]
    )


SCENES: dict[str, Callable[[], str]] = {"crossing": crossing, "open-gate": open_gate}
