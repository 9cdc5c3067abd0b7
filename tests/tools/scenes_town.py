"""Scenes in town: the fire station and the hospital at night."""

import random
from collections.abc import Callable

from tests.tools.svg_shapes import (
    CREAM,
    INK,
    NIGHT,
    PAPER,
    RUST,
    WIDTH,
    circle,
    gradient_band,
    hill_ridge,
    linear_gradient,
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


def fire_engine() -> str:
    """A fire engine stands before an open station bay at dusk; beside it a car under a fire blanket."""
    rng = random.Random(17)
    return svg_document(
        gradient_band("sky", "#22344E", "#6C6F86", "#DB9A73", bottom=530),
        scatter_streaks(rng, (0, 40, WIDTH, 160), [CREAM], 12),
        _station(rng),
        gradient_band("yard", "#5A5F69", "#343B46", top=520),
        *(rect(x, 560, 90, 7, PAPER, opacity=0.35, rx=3) for x in range(20, WIDTH, 150)),
        svg_element("ellipse", cx=470, cy=600, rx=380, ry=18, fill=NIGHT, opacity=0.4),
        svg_element("g", _engine(), transform="translate(120 310)"),
        svg_element("ellipse", cx=1010, cy=606, rx=160, ry=12, fill=NIGHT, opacity=0.4),
        svg_element("g", _covered_car(), transform="translate(1010 606)"),
        person_figure(842, 606, 150, "#C9A24A"),
        rect(821, 530, 42, 6, PAPER, opacity=0.9),
        rect(829, 576, 13, 5, PAPER, opacity=0.9),
        rect(844, 576, 13, 5, PAPER, opacity=0.9),
        path("M822,472 Q824,450 842,450 Q860,450 862,472 Z", RUST),
        rect(817, 470, 50, 6, RUST, rx=3),
    )


def _station(rng: random.Random) -> str:
    bays = []
    for x in (150, 480):
        bays += [
            rect(x, 240, 270, 290, "#1A2431"),
            rect(x, 240, 270, 290, "url(#bay)"),
            rect(x, 240, 270, 34, "#C6BBA8"),
        ]
        bays += [stroke_line((x, 240 + k * 11), (x + 270, 240 + k * 11), "#8D8578", 1.5) for k in range(1, 4)]
    return "".join(
        [
            linear_gradient("bay", (0, "#FBE0A4", 0.85), (1, "#E3A55E", 0.45)),
            rect(60, 176, 800, 354, "#84473A"),
            *(stroke_line((60, y), (860, y), NIGHT, 1, opacity=0.14) for y in range(190, 530, 14)),
            rect(40, 150, 840, 30, "#C9BDA9"),
            *bays,
            rect(880, 60, 120, 470, "#76402F"),
            rect(868, 44, 144, 22, "#C9BDA9"),
            window_grid((908, 104), 2, 3, size=(26, 54), gap=(14, 40), colours=["#F3CE8E", "#2D3B4B"], rng=rng),
            circle(815, 214, 20, PAPER),
            stroke_line((815, 214), (815, 202), INK, 3),
            stroke_line((815, 214), (824, 218), INK, 3),
            rect(1000, 400, 220, 130, "#5E3A33"),
            rect(1000, 390, 220, 14, "#C9BDA9"),
        ]
    )


def _engine() -> str:
    red, deep = "#C23A1C", "#96280F"
    return "".join(
        [
            rect(0, 84, 470, 176, red, rx=6),
            path("M470,260 L470,70 Q472,56 488,56 L610,56 Q632,56 640,80 L664,150 L668,260 Z", red),
            rect(0, 222, 668, 38, deep),
            rect(0, 176, 668, 18, PAPER),
            rect(0, 182, 668, 6, "#E8B24A"),
            path("M560,76 L606,76 Q618,76 623,90 L642,150 L560,150 Z", "#2E4A60"),
            path("M566,82 L590,82 L572,144 L566,144 Z", "#FFFFFF", opacity=0.25),
            rect(486, 76, 58, 74, "#2E4A60", rx=4),
            stroke_line((552, 70), (552, 250), deep, 3),
            stroke_line((474, 70), (474, 250), deep, 3),
            *(rect(18 + k * 112, 100, 98, 66, "#B9C2C8", rx=3) for k in range(4)),
            *(stroke_line((18 + k * 112, 100 + j * 9), (116 + k * 112, 100 + j * 9), "#7E8A94", 1.5)
              for k in range(4) for j in range(1, 7)),
            rect(18, 52, 520, 10, "#D5DADD"),
            rect(18, 30, 520, 8, "#D5DADD"),
            *(stroke_line((34 + k * 28, 32), (34 + k * 28, 58), "#AAB4BB", 4) for k in range(18)),
            rect(30, 62, 12, 24, INK),
            rect(420, 62, 12, 24, INK),
            rect(566, 36, 60, 20, "#3E8FD0", rx=8),
            radial_glow("blue", (596, 44), 120, "#79BFF2", 0.8),
            *(circle(x, 262, 46, "#161D27") + circle(x, 262, 24, "#9AA5AE") + circle(x, 262, 9, "#39434E")
              for x in (104, 208, 566)),
            rect(652, 196, 20, 26, "#FBE7B4", rx=4),
            rect(0, 196, 12, 26, "#F2593A", rx=2),
            rect(640, 244, 44, 18, "#C8CED2", rx=4),
        ]
    )  # fmt: skip


def _covered_car() -> str:
    return (
        circle(-84, -22, 24, "#161D27")
        + circle(84, -22, 24, "#161D27")
        + path("M-150,-14 Q-156,-60 -112,-74 Q-70,-128 -10,-130 Q60,-130 96,-78 Q150,-70 150,-14 "
               "Q130,-24 110,-12 Q86,-26 60,-12 Q30,-24 0,-12 Q-30,-24 -60,-12 Q-90,-26 -112,-12 Q-130,-24 -150,-14 Z",
               "#B8BDBE")
        + path("M-112,-74 Q-60,-84 -20,-78 Q40,-86 96,-78", stroke="#8C9498", stroke_width=4)
        + path("M-60,-16 Q-66,-60 -50,-104 M40,-16 Q52,-60 40,-118 M100,-18 Q110,-50 100,-76",
               stroke="#8C9498", stroke_width=3)
        + "".join(
            path(f"M{x},-140 q-16,-22 0,-44 q16,-22 0,-44", stroke=PAPER, stroke_width=7, stroke_linecap="round",
                 opacity=0.3)
            for x in (-40, 6, 52)
        )
    )  # fmt: skip


def hospital() -> str:
    """A hospital at night with half of its windows dark and an ambulance at the lit entrance."""
    rng = random.Random(13)
    lit, dark = "#F5D08C", "#22344A"
    return svg_document(
        gradient_band("sky", "#0C1729", "#1C3350", "#3D5876", bottom=560),
        *(circle(rng.uniform(0, WIDTH), rng.uniform(0, 260), rng.uniform(0.8, 2.2), PAPER, opacity=0.8)
          for _ in range(70)),
        radial_glow("moonlight", (180, 130), 170, "#DDE7F0", 0.35),
        path("M190,84 A48,48 0 1 0 228,150 A42,42 0 0 1 190,84 Z", "#E9EEF2"),
        hill_ridge(rng, 500, 70, "#16263B", 130),
        rect(300, 190, 330, 370, "#35506A"),
        rect(300, 180, 330, 14, "#4C6884"),
        window_grid((326, 218), 7, 6, size=(28, 34), gap=(14, 18), colours=[lit, dark, dark], rng=rng),
        rect(600, 96, 330, 464, "#40607D"),
        rect(590, 84, 350, 16, "#5A7A97"),
        window_grid((628, 130), 7, 7, size=(28, 34), gap=(12, 16), colours=[lit, dark, lit, dark, dark], rng=rng),
        rect(900, 280, 240, 280, "#35506A"),
        rect(900, 270, 250, 14, "#4C6884"),
        window_grid((926, 310), 5, 3, size=(28, 34), gap=(14, 18), colours=[lit, dark], rng=rng),
        _rooftop_sign(765, 52),
        radial_glow("entry", (765, 520), 260, "#FBDF9F", 0.75),
        rect(650, 452, 230, 16, RUST),
        rect(668, 468, 194, 92, "#FBE3AE"),
        *(stroke_line((668 + k * 48.5, 468), (668 + k * 48.5, 560), "#7B6A4A", 4) for k in range(5)),
        gradient_band("street", "#27323F", "#141C27", top=556),
        polygon([(668, 558), (862, 558), (980, 675), (560, 675)], "#FBE3AE", opacity=0.16),
        svg_element("g", _ambulance(), transform="translate(330 440)"),
        person_figure(710, 580, 110, "#1F2C3D"),
        person_figure(800, 586, 114, "#24405A"),
        *(_tree(x, y, s) for x, y, s in ((90, 575, 1.15), (210, 570, 0.8), (1060, 572, 1.0), (1160, 578, 1.25))),
    )  # fmt: skip


def _rooftop_sign(x: float, y: float) -> str:
    return (
        radial_glow("sign", (x, y), 120, "#7FB8EA", 0.8)
        + rect(x - 34, y - 34, 68, 68, "#2B6DA8", rx=8)
        + rect(x - 19, y - 22, 10, 44, PAPER)
        + rect(x + 9, y - 22, 10, 44, PAPER)
        + rect(x - 19, y - 5, 38, 10, PAPER)
    )


def _ambulance() -> str:
    return "".join(
        [
            svg_element("ellipse", cx=130, cy=152, rx=170, ry=12, fill=NIGHT, opacity=0.5),
            path("M0,140 L0,24 Q0,16 8,16 L186,16 L186,140 Z", "#EEF1F2"),
            path("M186,140 L186,44 L228,44 Q240,44 246,58 L262,94 Q282,98 282,112 L282,140 Z", "#EEF1F2"),
            rect(0, 88, 282, 16, RUST),
            polygon([(198, 56), (226, 56), (242, 90), (198, 90)], "#2E4A60"),
            rect(96, 32, 56, 40, "#2E4A60", rx=4),
            rect(40, 30, 12, 46, "#2B6DA8"),
            rect(23, 47, 46, 12, "#2B6DA8"),
            rect(150, 4, 46, 14, "#3E8FD0", rx=6),
            radial_glow("blue", (173, 10), 90, "#79BFF2", 0.85),
            *(circle(x, 142, 27, "#161D27") + circle(x, 142, 12, "#9AA5AE") for x in (58, 226)),
            rect(272, 112, 12, 14, "#FBE7B4", rx=3),
        ]
    )


def _tree(x: float, foot: float, scale: float) -> str:
    return (
        rect(x - 5 * scale, foot - 60 * scale, 10 * scale, 60 * scale, "#0E1622")
        + circle(x, foot - 92 * scale, 46 * scale, "#13202F")
        + circle(x - 26 * scale, foot - 70 * scale, 32 * scale, "#13202F")
        + circle(x + 28 * scale, foot - 72 * scale, 34 * scale, "#182738")
    )


SCENES: dict[str, Callable[[], str]] = {"fire-engine": fire_engine, "hospital": hospital}
