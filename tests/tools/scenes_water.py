"""Scenes by the water: the container terminal, the flooded street, the pilot boat."""

import random
from collections.abc import Callable

from tests.tools.svg_shapes import (
    BRICK,
    CREAM,
    HEIGHT,
    INK,
    MIST,
    NAVY,
    NIGHT,
    PAPER,
    RUST,
    STEEL,
    SUN,
    WIDTH,
    circle,
    gradient_band,
    hill_ridge,
    linear_gradient,
    path,
    person_figure,
    polygon,
    radial_glow,
    radio_arcs,
    rect,
    scatter_streaks,
    stroke_line,
    svg_document,
    svg_element,
    window_grid,
)


def cranes() -> str:
    """A ship seen from its stern between two cranes at dusk; on one crane a modem sends."""
    rng = random.Random(11)
    return svg_document(
        gradient_band("sky", "#20395A", "#5A7389", "#D98E66", "#F2C084", bottom=470),
        scatter_streaks(rng, (0, 60, WIDTH, 260), [CREAM, PAPER], 16),
        radial_glow("halo", (600, 420), 330, SUN, 0.75),
        circle(600, 416, 74, "#FBE0AE"),
        hill_ridge(rng, 458, 46, "#6A6C78", 120),
        gradient_band("water", "#9A7468", "#3E5567", "#1A2B40", top=462),
        scatter_streaks(rng, (0, 478, WIDTH, 190), [CREAM, STEEL, SUN], 60),
        linear_gradient("shade", (0, NIGHT, 0.55), (1, NIGHT, 0.0)),
        polygon([(452, 560), (748, 560), (790, 675), (410, 675)], "url(#shade)"),
        _boxes(rng),
        _stern(),
        _crane(150, 1),
        svg_element("g", _crane(150, 1), transform=f"translate({WIDTH} 0) scale(-1 1)"),
        rect(0, 586, 300, 90, "#121B29"),
        rect(900, 586, 300, 90, "#121B29"),
        rect(0, 586, 300, 6, "#3A4654"),
        rect(900, 586, 300, 6, "#3A4654"),
        rect(232, 404, 30, 44, RUST, rx=4),
        stroke_line((247, 404), (247, 372), RUST, 5),
        circle(247, 370, 6, CREAM),
        radio_arcs((247, 370), CREAM, first=18, step=16, width=5),
    )


def _boxes(rng: random.Random) -> str:
    colours = ["#9A4330", "#B9653F", "#35566F", "#54708A", "#76825A", "#C99A5B", "#7B3B33", "#2C4A63"]
    rows = [9, 9, 9, 8, 7, 5]
    out = []
    for level, count in enumerate(rows):
        left = 600 - count * 34 / 2
        for column in range(count):
            x, y = left + column * 34, 446 - level * 32
            out.append(rect(x, y, 32.5, 30.5, rng.choice(colours)))
            out.append(stroke_line((x + 16, y + 5), (x + 16, y + 26), NIGHT, 1.2, opacity=0.35))
            out.append(rect(x, y, 32.5, 3, "#FFFFFF", opacity=0.16))
    return "".join(out)


def _stern() -> str:
    return (
        polygon([(430, 476), (770, 476), (752, 580), (722, 606), (478, 606), (448, 580)], "#1B2838")
        + polygon([(430, 476), (770, 476), (768, 488), (432, 488)], "#33465A")
        + polygon([(456, 588), (744, 588), (722, 606), (478, 606)], BRICK)
        + rect(540, 520, 120, 8, PAPER, rx=4, opacity=0.85)
        + rect(564, 538, 72, 6, PAPER, rx=3, opacity=0.6)
        + circle(452, 470, 5, "#F27D52")
        + circle(748, 470, 5, "#8FD6A9")
    )


def _crane(x: float, scale: float) -> str:
    dark, girder = "#131D2B", 14 * scale
    legs = [x - 60, x + 96]
    top, boom = 70, 232
    return "".join(
        [
            *(rect(leg - 8, boom, 16, 360, dark) for leg in legs),
            rect(legs[0] - 8, 440, 172, 13, dark),
            stroke_line((legs[0], 440), (legs[1], boom + 14), dark, 7),
            rect(-40, boom - girder, 590, girder, dark),
            *(stroke_line((k, boom - 2), (k + 20, boom - 13), "#3A4A5C", 2) for k in range(-30, 540, 30)),
            polygon([(x - 8, boom - 10), (x + 34, top), (x + 48, top), (x + 104, boom - 10), (x + 90, boom - 10),
                   (x + 41, top + 22), (x + 8, boom - 10)], dark),
            stroke_line((x + 41, top + 6), (540, boom - 12), dark, 5),
            stroke_line((x + 41, top + 6), (380, boom - 12), dark, 4),
            stroke_line((x + 41, top + 6), (-30, boom - 12), dark, 5),
            rect(x - 44, boom - 50, 74, 38, "#1D2A3B"),
            *(rect(x - 36 + k * 22, boom - 42, 14, 11, SUN, opacity=0.9) for k in range(3)),
            circle(x + 41, top, 5, "#F27D52"),
            circle(548, boom - 8, 4, "#F27D52"),
            stroke_line((418, boom), (418, 296), dark, 3),
            stroke_line((452, boom), (452, 296), dark, 3),
            rect(404, boom - 2, 62, 12, dark),
            rect(398, 296, 74, 9, dark),
            rect(401, 305, 68, 31, "#A6492F"),
            rect(401, 305, 68, 4, "#FFFFFF", opacity=0.18),
        ]
    )  # fmt: skip


def flood() -> str:
    """A street of houses under water at dusk; two responders in a rubber boat with a lamp."""
    rng = random.Random(5)
    homes = [(-60, 250, 190), (150, 210, 210), (392, 264, 176), (598, 200, 220), (850, 250, 190), (1066, 216, 220)]
    walls = ["#5C6B7A", "#72606A", "#4E6473", "#6C6F7E", "#56697A", "#6B5F68"]
    return svg_document(
        gradient_band("sky", "#2A3B52", "#556A7F", "#93A3AC", bottom=460),
        hill_ridge(rng, 330, 60, "#64788A", 150),
        *(_home(x, y, w, walls[i], rng) for i, (x, y, w) in enumerate(homes)),
        gradient_band("water", "#5B7182", "#324A5E", "#1C2E42", top=446),
        *(_mirror(x, y, w) for x, y, w in homes),
        scatter_streaks(rng, (0, 456, WIDTH, 210), [MIST, STEEL, "#8FA3B2"], 80),
        _post(1010),
        svg_element("g", _boat(), transform="translate(30 8)"),
        *_rain(rng),
    )


def _home(x: float, y: float, w: float, wall: str, rng: random.Random) -> str:
    roof = "#2B3646"
    lit = ["#F3CE8E", "#F3CE8E", "#33465A"]
    return (
        polygon([(x - 16, y + 74), (x + w / 2, y - 14), (x + w + 16, y + 74)], roof)
        + rect(x + w * 0.7, y - 8, 24, 54, "#3B3F4B")
        + rect(x, y + 70, w, 320, wall)
        + rect(x, y + 70, w, 12, NIGHT, opacity=0.25)
        + window_grid((x + w * 0.14, y + 104), 3, 1, size=(w * 0.18, 54), gap=(w * 0.09, 20), colours=lit, rng=rng)
        + rect(x + w * 0.14, y + 190, w * 0.72, 70, "#2D3B4B")
        + rect(x, y + 182, w, 4, "#FFFFFF", opacity=0.14)
    )


def _mirror(x: float, y: float, w: float) -> str:
    return rect(x + w * 0.16, 452, w * 0.2, 90 + (y - 200) * 0.6, "#F3CE8E", opacity=0.16, rx=6)


def _post(x: float) -> str:
    return (
        rect(x - 5, 300, 10, 232, "#1B2636")
        + polygon([(x, 262), (x + 58, 320), (x, 378), (x - 58, 320)], "#E8B24A")
        + polygon([(x, 274), (x + 46, 320), (x, 366), (x - 46, 320)], "#E8B24A", stroke=INK, stroke_width=4)
        + "".join(
            path(
                f"M{x - 24},{318 + k * 15} q6,-9 12,0 t12,0 t12,0 t12,0",
                stroke=INK, stroke_width=5, stroke_linecap="round",
            )
            for k in (-1, 0, 1)
        )
        + rect(x - 30, 528, 60, 4, MIST, rx=2, opacity=0.7)
    )  # fmt: skip


def _boat() -> str:
    return "".join(
        [
            radial_glow("lamp", (640, 430), 190, "#FBE3A8", 0.75),
            linear_gradient("cone", (0, "#FBE3A8", 0.35), (1, "#FBE3A8", 0.0), across=True),
            polygon([(664, 424), (1060, 452), (1060, 600), (664, 444)], "url(#cone)"),
            person_figure(420, 566, 176, "#C8502A"),
            person_figure(528, 572, 172, "#D9843A"),
            _helmet(420, 403),
            _helmet(528, 412),
            stroke_line((398, 470), (330, 600), INK, 7),
            stroke_line((552, 470), (640, 436), "#D9843A", 15),
            rect(632, 420, 32, 24, INK, rx=6),
            circle(664, 432, 13, "#FFF4D6"),
            path("M296,548 Q300,600 360,608 L640,608 Q712,604 738,536 Q690,560 640,560 L350,560 Q318,560 296,548 Z",
                 "#B0390C"),
            path("M296,548 Q318,560 350,560 L640,560 Q690,560 738,536 Q728,574 640,578 L350,578 Q308,576 296,548 Z",
                 "#D65A2B"),
            rect(378, 586, 230, 6, PAPER, rx=3, opacity=0.7),
            *(rect(250 + k * 76, 612 + (k % 3) * 9, 120, 4, "#C9D5DC", rx=2, opacity=0.4) for k in range(7)),
        ]
    )  # fmt: skip


def _helmet(x: float, y: float) -> str:
    return (
        circle(x, y + 4, 14, "#E3B48C")
        + path(f"M{x - 19},{y + 1} Q{x - 18},{y - 19} {x},{y - 19} Q{x + 18},{y - 19} {x + 19},{y + 1} Z", PAPER)
        + rect(x - 21, y - 2, 44, 5, PAPER, rx=2.5)
    )


def _rain(rng: random.Random) -> list[str]:
    return [
        stroke_line((x, y), (x - 7, y + 26), "#D6E0E6", 1.6, opacity=0.28)
        for x, y in ((rng.uniform(0, WIDTH), rng.uniform(-20, HEIGHT)) for _ in range(120))
    ]


def pilot_boat() -> str:
    """A pilot boat climbs a swell below a lighthouse that is on."""
    rng = random.Random(3)
    return svg_document(
        gradient_band("sky", "#17304A", "#2F5A70", "#7FA6A4", "#E9C79B", bottom=480),
        scatter_streaks(rng, (0, 70, WIDTH, 250), [PAPER, MIST], 18),
        linear_gradient("beam", (0, CREAM, 0.75), (1, CREAM, 0.0), across=True),
        polygon([(262, 172), (1200, 20), (1200, 250), (262, 190)], "url(#beam)"),
        path("M-20,480 L-20,392 Q60,352 150,372 Q230,350 330,392 Q410,420 450,480 Z", "#233546"),
        path("M-20,480 L-20,430 Q110,384 230,412 Q320,420 390,480 Z", "#182737"),
        _lighthouse(220),
        rect(0, 470, WIDTH, 205, "#2C5668"),
        *(
            path(_wave(y, high, shift), colour)
            for y, high, shift, colour in (
                (486, 14, 0, "#3B6C7B"), (520, 20, 90, "#2B5668"), (566, 26, 30, "#1F4457"),
            )
        ),
        svg_element("g", _pilot(), transform="translate(690 352) rotate(-6)"),
        path("M520,590 Q640,548 760,566 Q860,520 960,536 Q1010,512 1060,566 Q900,574 760,590 Z", PAPER, opacity=0.75),
        path(_wave(582, 26, 190), "#1A3D51"),
        path(_wave(614, 28, 150), "#17364A"),
        path(_wave(650, 24, 60), "#10283A"),
        scatter_streaks(rng, (0, 520, WIDTH, 140), [PAPER, MIST, "#7FB0B4"], 46),
        *(circle(952 + k * 12, 530 - rng.uniform(0, 60), rng.uniform(2, 6), PAPER, opacity=0.8) for k in range(9)),
    )  # fmt: skip


def _wave(y: float, high: float, shift: float) -> str:
    d = f"M-300,{HEIGHT} L-300,{y}"
    for k in range(9):
        x = -300 - shift + k * 220
        d += f" C{x + 60},{y - high} {x + 130},{y - high} {x + 220},{y}"
    return f"{d} L1700,{HEIGHT} Z"


def _lighthouse(x: float) -> str:
    return (
        polygon([(x - 34, 404), (x - 20, 204), (x + 20, 204), (x + 34, 404)], PAPER)
        + polygon([(x - 29.8, 344), (x - 25.6, 284), (x + 25.6, 284), (x + 29.8, 344)], RUST)
        + polygon([(x + 4, 204), (x + 20, 204), (x + 34, 404), (x + 8, 404)], NIGHT, opacity=0.18)
        + rect(x - 30, 196, 60, 10, INK)
        + rect(x - 17, 164, 34, 32, "#FBE3A8")
        + polygon([(x - 22, 164), (x, 138), (x + 22, 164)], RUST)
        + radial_glow("lantern", (x, 180), 110, "#FFF1C9", 0.9)
        + rect(x - 6, 372, 14, 32, INK)
    )


def _pilot() -> str:
    return "".join(
        [
            path("M-170,196 L210,180 Q262,176 300,128 L-150,150 Z", "#C4481F"),
            path("M-176,214 L180,214 Q250,206 282,150 L-166,176 Z", "#1B2838"),
            rect(-128, 170, 330, 6, PAPER, opacity=0.8, transform="rotate(-3 0 170)"),
            polygon([(-70, 158), (-60, 66), (84, 60), (122, 146)], PAPER),
            polygon([(-46, 108), (-42, 80), (72, 76), (90, 104)], NAVY),
            stroke_line((2, 78), (4, 106), PAPER, 5),
            stroke_line((44, 77), (50, 105), PAPER, 5),
            rect(-54, 52, 138, 12, "#C4481F", rx=3),
            stroke_line((6, 52), (6, -26), INK, 5),
            stroke_line((-20, 6), (34, 4), INK, 4),
            circle(6, -30, 7, SUN),
            stroke_line((124, 146), (292, 126), INK, 3),
            *(stroke_line((140 + k * 38, 144 - k * 5), (140 + k * 38, 112 - k * 4), INK, 3) for k in range(4)),
            stroke_line((140, 112), (256, 99), INK, 3),
            path("M-176,214 Q-236,206 -300,232 Q-226,226 -160,240 Z", PAPER, opacity=0.55),
        ]
    )


SCENES: dict[str, Callable[[], str]] = {"cranes": cranes, "flood": flood, "pilot-boat": pilot_boat}
