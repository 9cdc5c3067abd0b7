"""Colors as #rrggbb: their contrast ratios, and the nearest readable color."""

import colorsys
from collections.abc import Iterable
from functools import lru_cache

READABLE_CONTRAST = 4.5  # of text on its background (WCAG 2.2, 1.4.3)
VISIBLE_CONTRAST = 3.0  # of a logo or the border of a field on its background (WCAG 2.2, 1.4.11)
_LIGHTNESS_STEPS = 200
_MIN_SATURATION = 0.15  # below this chroma, a color is gray and its hue has no meaning


def relative_luminance(color: str) -> float:
    """Return the relative luminance of #rgb or #rrggbb, from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@lru_cache(maxsize=1024)  # each color in a style sheet asks for it
def contrast_ratio(text_color: str, background_color: str) -> float:
    """Return the contrast ratio of two colors, from 1 to 21 (WCAG 2.2)."""
    high, low = sorted((relative_luminance(text_color), relative_luminance(background_color)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def hue_distance(first: str, second: str) -> float | None:
    """Return the distance between two hues, from 0 to 180 degrees.

    If either color is gray, return None.
    """
    hues = []
    for color in (first, second):
        hue, _, saturation = colorsys.rgb_to_hls(*_channels(color))
        if saturation < _MIN_SATURATION:
            return None
        hues.append(hue * 360)
    apart = abs(hues[0] - hues[1])
    return min(apart, 360 - apart)


def find_nearest_readable_color(color: str, others: Iterable[str]) -> str | None:
    """Return the readable color that has the same hue and the nearest lightness.

    It has enough contrast with all `others`. If there's no such color, return None.
    """
    grounds = tuple(others)
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(color))
    for step in sorted(range(_LIGHTNESS_STEPS + 1), key=lambda step: abs(step / _LIGHTNESS_STEPS - lightness)):
        red, green, blue = colorsys.hls_to_rgb(hue, step / _LIGHTNESS_STEPS, saturation)
        candidate = f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"
        if all(contrast_ratio(candidate, ground) >= READABLE_CONTRAST for ground in grounds):
            return candidate
    return None


def mix_colors(ground: str, color: str, share: float) -> str:
    """Return `ground` mixed with `color`.

    `share` is the share of `color`, from 0 to 1.
    """
    pairs = zip(_channels(ground), _channels(color), strict=True)
    return "#" + "".join(f"{round(255 * (first + (second - first) * share)):02X}" for first, second in pairs)


def _channels(color: str) -> tuple[float, float, float]:
    digits = color.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue
