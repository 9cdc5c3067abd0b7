"""Scenes under a wide sky: the radio mast and the substation."""

import random
from collections.abc import Callable

from tests.tools.svg_shapes import (
    CREAM,
    MOSS,
    PAPER,
    RUST,
    SLATE,
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
    stroke_line,
    svg_document,
    svg_element,
)


def radio_mast() -> str:
    """A lattice mast with a hut on a ridge above the clouds at dawn; its signal goes out."""
    rng = random.Random(8)
    return svg_document(
        gradient_band("sky", "#233B5C", "#5B6E8C", "#C98D78", "#F4CDA0", bottom=560),
        *(circle(rng.uniform(0, WIDTH), rng.uniform(0, 200), rng.uniform(0.8, 2), PAPER, opacity=0.8) for _ in range(50)),
        radial_glow("dawn", (300, 470), 420, "#FBD9A0", 0.8),
        circle(300, 462, 52, "#FCE7BE"),
        hill_ridge(rng, 470, 80, "#A78690", 140),
        hill_ridge(rng, 520, 90, "#7B6E82", 120),
        linear_gradient("cloud", (0, "#F6DCC0", 0.7), (1, "#F6DCC0", 0.0)),
        rect(0, 496, WIDTH, 120, "url(#cloud)"),
        hill_ridge(rng, 570, 70, "#4D5068", 160),
        path("M-20,675 L-20,640 Q300,600 560,560 Q740,500 840,478 Q960,470 1050,520 Q1140,566 1220,590 L1220,675 Z",
             "#1B2739"),
        path("M300,675 Q620,600 800,520 Q850,500 880,500 Q800,580 640,675 Z", "#26364A"),
        _mast(870, 480),
        *(_pine(x, y, h) for x, y, h in (
            (520, 578, 64), (556, 570, 84), (598, 560, 58), (1074, 548, 74), (1112, 562, 92), (1152, 576, 66),
            (470, 590, 48), (1016, 520, 44))),
    )  # fmt: skip


def _mast(x: float, foot: float) -> str:
    top, steel = 96, "#141E2D"
    rungs = []
    height = foot - top
    wide = [5 + 27 * (k / 12) for k in range(13)]
    for k in range(12):
        y1, y2 = top + height * k / 12, top + height * (k + 1) / 12
        rungs += [
            stroke_line((x - wide[k], y1), (x + wide[k + 1], y2), steel, 3),
            stroke_line((x + wide[k], y1), (x - wide[k + 1], y2), steel, 3),
            stroke_line((x - wide[k], y1), (x + wide[k], y1), steel, 3),
        ]
    return "".join(
        [
            stroke_line((x - 5, top), (x - 32, foot), steel, 6),
            stroke_line((x + 5, top), (x + 32, foot), steel, 6),
            *rungs,
            stroke_line((x, top), (x, top - 44), steel, 5),
            circle(x, top - 46, 7, "#F2593A"),
            radial_glow("beacon", (x, top - 46), 60, "#F2593A", 0.8),
            radio_arcs((x, top + 20), CREAM, first=34, step=30, count=4, width=6),
            *(
                svg_element("ellipse", cx=x + side * 30, cy=y, rx=9, ry=22, fill=PAPER)
                for side, y in ((-1, 236), (1, 262))
            ),
            *(stroke_line((x, y), (x + side * 26, y), steel, 5) for side, y in ((-1, 236), (1, 262))),
            stroke_line((x - 6, top + 70), (x - 190, foot + 34), steel, 1.6),
            stroke_line((x + 6, top + 70), (x + 170, foot + 40), steel, 1.6),
            rect(x + 52, foot - 44, 96, 52, "#D8CFBF"),
            rect(x + 46, foot - 54, 108, 12, RUST),
            rect(x + 66, foot - 28, 22, 36, SLATE),
            rect(x + 106, foot - 30, 28, 18, SUN),
        ]
    )


def _pine(x: float, foot: float, high: float) -> str:
    return "".join(
        polygon([(x - high * w, foot - high * a), (x, foot - high * b), (x + high * w, foot - high * a)], "#0F1826")
        for w, a, b in ((0.28, 0.0, 0.5), (0.22, 0.28, 0.76), (0.16, 0.54, 1.0))
    )


def substation() -> str:
    """Pylons and the transformers of a substation at blue hour, one cabinet open with a lamp inside."""
    rng = random.Random(41)
    return svg_document(
        gradient_band("sky", "#0F1F38", "#27476A", "#6F8CA0", "#E0B48A", bottom=520),
        *(circle(rng.uniform(0, WIDTH), rng.uniform(0, 260), rng.uniform(0.8, 2.2), PAPER, opacity=0.85)
          for _ in range(80)),
        hill_ridge(rng, 500, 60, "#31475C", 160),
        _wires(),
        _pylon(210, 470, 0.7),
        _pylon(980, 560, 1.15),
        hill_ridge(rng, 566, 30, "#1B2A3B", 200),
        gradient_band("gravel", "#2B3644", "#151D28", top=556),
        *(_transformer(x, 566) for x in (380, 560)),
        radial_glow("work", (746, 500), 190, "#FBDF9F", 0.85),
        rect(700, 440, 96, 130, "#51626F"),
        rect(712, 452, 72, 106, "#FBE3AE"),
        *(rect(720 + c * 16, 462 + r * 18, 11, 10, c2, rx=2)
          for c in range(4) for r, c2 in enumerate(["#3B6371", RUST, "#3B6371", MOSS, "#3B6371"])),
        polygon([(796, 440), (846, 456), (846, 586), (796, 570)], "#44545F"),
        person_figure(660, 600, 150, "#E08A3C"),
        rect(639, 524, 42, 6, PAPER, opacity=0.9),
        path("M640,466 Q642,444 660,444 Q678,444 680,466 Z", PAPER),
        rect(636, 464, 48, 6, PAPER, rx=3),
        _yard_fence(),
    )  # fmt: skip


def _pylon(x: float, foot: float, scale: float) -> str:
    steel = "#101A28"
    parts = [
        stroke_line((-46, 0), (-10, -250), steel, 6),
        stroke_line((46, 0), (10, -250), steel, 6),
        stroke_line((-10, -250), (0, -400), steel, 5),
        stroke_line((10, -250), (0, -400), steel, 5),
    ]
    for k in range(6):
        low, high = 46 - k * 6, 46 - (k + 1) * 6
        y1, y2 = -k * 41.6, -(k + 1) * 41.6
        parts += [stroke_line((-low, y1), (high, y2), steel, 3), stroke_line((low, y1), (-high, y2), steel, 3)]
    for y, wide in ((-250, 110), (-310, 88), (-364, 62)):
        parts += [
            stroke_line((-wide, y), (wide, y), steel, 5),
            stroke_line((-wide, y), (0, y - 28), steel, 3),
            stroke_line((wide, y), (0, y - 28), steel, 3),
            stroke_line((-wide, y), (-wide, y + 22), PAPER, 4, opacity=0.7),
            stroke_line((wide, y), (wide, y + 22), PAPER, 4, opacity=0.7),
        ]
    return svg_element("g", "".join(parts), transform=f"translate({x} {foot}) scale({scale})")


def _wires() -> str:
    wires = []
    for y, wide in ((-250, 110), (-310, 88), (-364, 62)):
        for side in (-1, 1):
            ax, ay = 210 + side * wide * 0.7, 470 + (y + 22) * 0.7
            bx, by = 980 + side * wide * 1.15, 560 + (y + 22) * 1.15
            middle = (ax + bx) / 2
            wires.append(path(f"M{ax},{ay} Q{middle},{max(ay, by) + 60} {bx},{by}", stroke="#101A28", stroke_width=2))
            wires.append(path(f"M{ax},{ay} Q{ax - 160},{ay + 30} -20,{ay - 20}", stroke="#101A28", stroke_width=2))
            wires.append(path(f"M{bx},{by} Q{bx + 120},{by + 30} 1260,{by - 30}", stroke="#101A28", stroke_width=2))
    return "".join(wires)


def _transformer(x: float, foot: float) -> str:
    return "".join(
        [
            rect(x - 62, foot - 104, 124, 96, "#4C5F6E", rx=5),
            *(rect(x - 56 + k * 16, foot - 98, 9, 84, "#3A4B59") for k in range(8)),
            rect(x - 70, foot - 112, 140, 14, "#5F7382", rx=3),
            rect(x - 74, foot - 10, 148, 12, "#0F1722"),
            *(rect(x - 42 + k * 38, foot - 158, 10, 48, PAPER, opacity=0.85) for k in range(3)),
            *(rect(x - 46 + k * 38, foot - 150 + j * 12, 18, 5, "#A9B7C1") for k in range(3) for j in range(3)),
            circle(x + 50, foot - 118, 4, "#7FE0A0"),
        ]
    )


def _yard_fence() -> str:
    posts = [stroke_line((x, 600), (x, 680), "#0B1220", 6) for x in range(-10, WIDTH + 40, 120)]
    mesh = [stroke_line((x, 610), (x + 40, 680), "#0B1220", 1.5) for x in range(-60, WIDTH, 20)]
    mesh += [stroke_line((x + 40, 610), (x, 680), "#0B1220", 1.5) for x in range(-60, WIDTH, 20)]
    return "".join([*mesh, *posts, stroke_line((0, 610), (WIDTH, 610), "#0B1220", 5)])


SCENES: dict[str, Callable[[], str]] = {"radio-mast": radio_mast, "substation": substation}
