"""Scenes indoors: the control room, the cargo scanner, the counting room."""

import random
from collections.abc import Callable

from tests.tools.svg_shapes import (
    INK,
    NIGHT,
    PAPER,
    RUST,
    SEA,
    WIDTH,
    circle,
    gradient_band,
    linear_gradient,
    path,
    person_figure,
    polygon,
    radial_glow,
    rect,
    stroke_line,
    svg_document,
    svg_element,
)


def control_room() -> str:
    """Two operators before a wall of screens that shows a water plant; one screen warns in red."""
    rng = random.Random(37)
    return svg_document(
        gradient_band("wall", "#15202E", "#1D2C3D", "#22344A", bottom=480),
        radial_glow("screens", (600, 250), 620, "#3C86A0", 0.35),
        rect(120, 70, 620, 300, "#0B1420", rx=8),
        rect(132, 82, 596, 276, "#10293A", rx=4),
        _plant(),
        *(rect(764, y, 250, 138, "#0B1420", rx=8) for y in (70, 232)),
        rect(774, 80, 230, 118, "#10293A", rx=4),
        _curve(rng, 774, 80, 230, 118),
        rect(774, 242, 230, 118, "#46161A", rx=4),
        polygon([(889, 262), (932, 334), (846, 334)], "none", stroke="#F58A6A", stroke_width=7, stroke_linejoin="round"),
        stroke_line((889, 286), (889, 310), "#F58A6A", 7),
        circle(889, 323, 4, "#F58A6A"),
        radial_glow("alarm", (889, 300), 200, "#D8452A", 0.35),
        rect(1036, 70, 130, 300, "#0B1420", rx=8),
        *(rect(1050, 88 + k * 27, 40 + rng.uniform(0, 62), 10, c, rx=5)
          for k, c in enumerate([SEA, SEA, "#C9A24A", SEA, SEA, "#D8452A", SEA, SEA, "#C9A24A", SEA])),
        gradient_band("floor", "#1B2633", "#0D141E", top=470),
        polygon([(60, 470), (1140, 470), (1200, 520), (0, 520)], "#3A4C5F"),
        rect(0, 520, WIDTH, 26, "#283747"),
        *(_desk_screen(x) for x in (250, 470, 690, 910)),
        _operator(370, 0.98, "#2A4157"),
        _operator(800, 1.02, "#5B3A34"),
        rect(1040, 470, 34, 34, PAPER, rx=4),
        path("M1074,478 q18,6 0,20", stroke=PAPER, stroke_width=5),
    )  # fmt: skip


def _plant() -> str:
    pipe, water = "#4FA3B5", "#2F7F95"
    tanks = [(180, 150), (340, 150), (500, 150)]
    out = [
        path("M152,300 L680,300 M220,250 L220,300 M380,250 L380,300 M540,250 L540,300 M580,180 L640,180 L640,300",
             stroke=pipe, stroke_width=6, stroke_linejoin="round"),
    ]  # fmt: skip
    for k, (x, y) in enumerate(tanks):
        level = (60, 44, 76)[k]
        out += [
            rect(x, y, 80, 100, "#0C1F2C", rx=8, stroke=pipe, stroke_width=4),
            rect(x + 5, y + 95 - level, 70, level, water, rx=4),
            rect(x + 14, y - 34, 52, 18, "#173B4E", rx=4),
            rect(x + 22, y - 28, 36, 6, "#9FD3DC", rx=3),
        ]
    out += [
        circle(152, 300, 14, "#10293A", stroke=pipe, stroke_width=5),
        circle(680, 300, 14, "#10293A", stroke=pipe, stroke_width=5),
        circle(460, 300, 16, "#D8452A"),
        stroke_line((460, 292), (460, 302), PAPER, 4),
        circle(460, 309, 2.5, PAPER),
        circle(300, 300, 9, "#7FE0A0"),
        circle(620, 300, 9, "#7FE0A0"),
    ]
    return "".join(out)


def _curve(rng: random.Random, x: float, y: float, w: float, h: float) -> str:
    grid = "".join(stroke_line((x + 12, y + h * k / 4), (x + w - 12, y + h * k / 4), "#2B5568", 1.5) for k in (1, 2, 3))
    points = [(x + 14 + k * (w - 28) / 11, y + h * (0.62 - 0.02 * k) - rng.uniform(-14, 14)) for k in range(12)]
    d = "M" + " L".join(f"{px:.0f},{py:.0f}" for px, py in points)
    return grid + path(d, stroke="#7FD3C2", stroke_width=4, stroke_linejoin="round", stroke_linecap="round")


def _desk_screen(x: float) -> str:
    return (
        rect(x - 76, 404, 152, 88, "#0B1420", rx=6)
        + rect(x - 70, 410, 140, 76, "#17405A", rx=3)
        + "".join(rect(x - 60, 420 + k * 13, 40 + (k * 37) % 70, 6, "#8FCBD6", rx=3, opacity=0.8) for k in range(5))
        + rect(x - 8, 492, 16, 14, "#0B1420")
        + rect(x - 30, 504, 60, 6, "#0B1420", rx=3)
    )


def _operator(x: float, scale: float, colour: str) -> str:
    body = "".join(
        [
            path("M-120,260 Q-116,96 -64,74 Q-34,62 0,62 Q34,62 64,74 Q116,96 120,260 Z", colour),
            rect(-20, 30, 40, 44, "#C99570"),
            svg_element("ellipse", cx=0, cy=0, rx=44, ry=50, fill="#2A2026"),
            path("M-48,4 Q-50,-58 0,-58 Q50,-58 48,4", stroke="#0E151F", stroke_width=9),
            rect(-56, -8, 16, 34, "#0E151F", rx=7),
            rect(40, -8, 16, 34, "#0E151F", rx=7),
            path("M-96,300 Q-98,150 -60,140 L60,140 Q98,150 96,300 Z", "#0E151F"),
            path("M-84,300 Q-86,164 -52,156 L52,156 Q86,164 84,300 Z", "#18222F"),
        ]
    )
    return svg_element("g", body, transform=f"translate({x} 452) scale({scale})")


def cargo_scan() -> str:
    """Parcels ride into a scanner at an airport; the screen shows what is inside, an aircraft waits outside."""
    rng = random.Random(19)
    return svg_document(
        gradient_band("hall", "#DCE3E6", "#C3CED4", bottom=470),
        rect(40, 50, 760, 290, "#7FA9C4"),
        linear_gradient("out", (0, "#4F86AE", 1), (1, "#E9D9BE", 1)),
        rect(40, 50, 760, 290, "url(#out)"),
        rect(40, 290, 760, 50, "#8A949B"),
        svg_element("g", _aircraft(), transform="translate(150 140)"),
        *(rect(x, 50, 10, 290, "#F2F4F5") for x in (36, 290, 545, 798)),
        rect(30, 40, 784, 12, "#F2F4F5"),
        rect(30, 338, 784, 14, "#F2F4F5"),
        gradient_band("floor", "#8E9BA4", "#65727C", top=470),
        rect(0, 484, WIDTH, 22, "#2B3743"),
        rect(0, 506, WIDTH, 60, "#3E4C59"),
        *(circle(x, 536, 15, "#2B3743") + circle(x, 536, 6, "#8695A1") for x in range(30, WIDTH, 70)),
        *(rect(x, 566, 22, 109, "#2B3743") for x in (120, 420, 760, 1080)),
        _parcel(60, 484, 112, 84, "#C58F58"),
        _parcel(214, 484, 84, 120, "#A8713F"),
        _parcel(336, 484, 132, 66, "#D3A672"),
        _parcel(1080, 484, 96, 74, "#C58F58"),
        _scanner(),
        _screen(rng),
    )  # fmt: skip


def _aircraft() -> str:
    return "".join(
        [
            path("M0,130 Q6,104 60,100 L470,96 Q500,92 548,20 L590,20 L566,104 Q592,110 592,124 Q588,146 540,150 "
                 "L60,152 Q12,150 0,130 Z", "#F4F1EA"),
            path("M548,20 L590,20 L576,66 L524,62 Z", RUST),
            path("M0,130 Q6,144 60,152 L540,150 Q588,146 592,124 Q560,138 500,138 L60,140 Q20,140 0,130 Z",
                 "#B9C3C9"),
            *(circle(110 + k * 26, 118, 5.5, "#4C6C84") for k in range(14)),
            path("M20,116 L46,108 L56,118 L26,124 Z", "#33475A"),
            path("M250,140 L330,140 L450,198 L416,200 Z", "#8E9BA4"),
            rect(292, 152, 74, 26, "#DDE3E6", rx=13),
            rect(292, 152, 16, 26, "#5A6873", rx=8),
            *(circle(x, 168, 9, INK) for x in (90, 380, 402)),
        ]
    )  # fmt: skip


def _parcel(x: float, foot: float, w: float, h: float, colour: str) -> str:
    return (
        rect(x, foot - h, w, h, colour)
        + rect(x + w * 0.42, foot - h, w * 0.16, h, "#EAD7B4", opacity=0.75)
        + rect(x, foot - h, w, 7, "#FFFFFF", opacity=0.2)
        + rect(x + w * 0.08, foot - h * 0.42, w * 0.26, h * 0.26, PAPER)
        + rect(x + w * 0.11, foot - h * 0.35, w * 0.2, 3, INK)
        + rect(x + w * 0.11, foot - h * 0.27, w * 0.14, 3, INK)
    )


def _scanner() -> str:
    return "".join(
        [
            path("M520,566 L520,300 Q520,262 560,262 L960,262 Q1000,262 1000,300 L1000,566 Z", "#5E7484"),
            path("M520,566 L520,300 Q520,262 560,262 L600,262 Q560,262 560,300 L560,566 Z", "#748A99"),
            rect(540, 400, 440, 106, "#16202C"),
            *(rect(544 + k * 31, 400, 27, 92 + (k % 3) * 6, "#2E3E4D", rx=3) for k in range(14)),
            rect(560, 286, 400, 20, "#E8B24A"),
            *(polygon([(566 + k * 40, 306), (586 + k * 40, 286), (602 + k * 40, 286), (582 + k * 40, 306)], INK)
              for k in range(10)),
            rect(0, 484, WIDTH, 22, "#2B3743"),
            rect(520, 506, 480, 60, "#4C6070"),
            circle(944, 350, 16, RUST),
            circle(898, 350, 9, "#7FE0A0"),
            circle(866, 350, 9, "#E8B24A"),
        ]
    )  # fmt: skip


def _screen(rng: random.Random) -> str:
    return "".join(
        [
            rect(1016, 250, 14, 234, "#2B3743"),
            rect(850, 52, 320, 206, "#16202C", rx=10),
            rect(862, 64, 296, 182, "#F5F7F2", rx=4),
            rect(886, 104, 112, 112, "#E39A4C", opacity=0.55, rx=4),
            rect(1022, 86, 112, 130, "#6FA36B", opacity=0.5, rx=4),
            path("M904,190 L932,126 L978,126 L978,190 Z", "#3D76B5", opacity=0.75),
            circle(950, 160, 20, "#244E86", opacity=0.8),
            *(rect(1036 + (k % 3) * 30, 104 + (k // 3) * 34, 22, 24, "#3F7D4E", opacity=0.75, rx=3) for k in range(9)),
            rect(1030, 134, 66, 34, "none", stroke=RUST, stroke_width=5, rx=3),
            rect(874, 226, 120 + rng.uniform(0, 20), 8, "#8695A1", rx=4),
            rect(1090, 226, 54, 8, RUST, rx=4),
        ]
    )


def counting_room() -> str:
    """Tables with ballot papers and sealed boxes under a camera; observers stand behind a rail."""
    rng = random.Random(53)
    return svg_document(
        gradient_band("wall", "#E8DDC9", "#D9CBB3", bottom=440),
        *(rect(x, 40, 150, 210, "#9CC0CF") + rect(x, 40, 150, 210, "none", stroke="#F6F1E6", stroke_width=10)
          + stroke_line((x + 75, 40), (x + 75, 250), "#F6F1E6", 6) for x in (70, 300, 750, 980)),
        rect(0, 356, WIDTH, 84, "#B49F80"),
        *(person_figure(x, 440, h, c) for x, h, c in (
            (110, 176, "#4B5F74"), (200, 168, "#7A4A3A"), (310, 182, "#3E5A56"), (868, 176, "#7A5A3A"),
            (972, 184, "#45566B"), (1084, 170, "#6B4350"))),
        rect(0, 372, 440, 12, "#7C5B3B"),
        rect(780, 372, 420, 12, "#7C5B3B"),
        *(rect(x, 372, 10, 90, "#7C5B3B") for x in (0, 140, 280, 430, 780, 910, 1050, 1190)),
        gradient_band("floor", "#8D7A62", "#6E5D49", top=440),
        _camera(600, 70),
        *(_counter(x, c) for x, c in ((470, "#2F5D6B"), (730, "#8A3D2A"))),
        polygon([(120, 470), (1080, 470), (1180, 560), (20, 560)], "#F2E9D8"),
        rect(20, 560, 1160, 24, "#CDBEA2"),
        *(rect(x, 584, 22, 91, "#5A4A38") for x in (70, 1110)),
        *(_stack(x, 524, n, rng) for x, n in ((250, 9), (376, 5), (520, 12), (664, 7), (806, 10), (930, 4))),
        _box(92, 640, 170),
        _box(930, 640, 170),
    )  # fmt: skip


def _camera(x: float, y: float) -> str:
    return (
        linear_gradient("view", (0, "#FFFFFF", 0.4), (1, "#FFFFFF", 0.0))
        + polygon([(x - 10, y + 26), (x + 10, y + 26), (x + 330, 470), (x - 330, 470)], "url(#view)")
        + rect(x - 5, 0, 10, y - 20, "#3A434D")
        + rect(x - 40, y - 22, 80, 20, "#3A434D", rx=6)
        + path(f"M{x - 34},{y - 4} Q{x - 32},{y + 34} {x},{y + 34} Q{x + 32},{y + 34} {x + 34},{y - 4} Z", "#1C252F")
        + circle(x, y + 14, 11, "#4F7C99")
        + circle(x + 22, y + 2, 4, "#F2593A")
    )


def _counter(x: float, colour: str) -> str:
    skin = "#C99570"
    return (
        path(f"M{x - 62},480 Q{x - 62},386 {x - 26},374 L{x + 26},374 Q{x + 62},386 {x + 62},480 Z", colour)
        + rect(x - 12, 352, 24, 28, skin)
        + circle(x, 328, 32, skin)
        + path(f"M{x - 35},330 Q{x - 38},288 {x},288 Q{x + 38},288 {x + 35},330 Q{x + 22},306 {x},308 "
               f"Q{x - 22},306 {x - 35},330 Z", "#3A2A24")
        + stroke_line((x - 54, 414), (x - 30, 500), colour, 24)
        + stroke_line((x + 54, 414), (x + 30, 500), colour, 24)
        + circle(x - 28, 506, 12, skin)
        + circle(x + 28, 506, 12, skin)
        + rect(x - 8, 396, 16, 24, PAPER, rx=2)
    )  # fmt: skip


def _stack(x: float, foot: float, papers: int, rng: random.Random) -> str:
    out = []
    for k in range(papers):
        shift = rng.uniform(-4, 4)
        out.append(rect(x + shift, foot - k * 5, 84, 6, "#FFFDF6" if k % 2 else "#DDD2BC"))
    top = foot - papers * 5
    out.append(polygon([(x + 4, top + 5), (x + 82, top + 5), (x + 74, top - 16), (x + 12, top - 16)], "#FFFDF6"))
    out += [stroke_line((x + 24, top - 10 + k * 6), (x + 62, top - 10 + k * 6), "#8695A1", 2) for k in range(2)]
    return "".join(out)


def _box(x: float, foot: float, w: float) -> str:
    return (
        svg_element("ellipse", cx=x + w / 2, cy=foot + 4, rx=w * 0.6, ry=9, fill=NIGHT, opacity=0.3)
        + rect(x, foot - 128, w, 128, "#34566E", rx=6)
        + rect(x - 8, foot - 146, w + 16, 26, "#28455A", rx=5)
        + rect(x + w * 0.28, foot - 138, w * 0.44, 8, INK, rx=4)
        + rect(x + w * 0.42, foot - 122, w * 0.16, 54, RUST, rx=3)
        + rect(x + w * 0.45, foot - 104, w * 0.1, 4, PAPER)
        + rect(x + w * 0.45, foot - 94, w * 0.1, 4, PAPER)
    )


SCENES: dict[str, Callable[[], str]] = {
    "control-room": control_room,
    "cargo-scan": cargo_scan,
    "counting-room": counting_room,
}
