"""The publication's stored logo and header image, and checks that the logo is visible."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sqlalchemy.orm import Session, undefer

from digest.collect.articles.email_images import find_image, make_header_source_url, make_logo_source_url
from digest.collect.imaging.encoded_image import HEADER_WIDTH, WIDEST_LOGO, ImageError, LogoColors
from digest.collect.sandbox.client import count_colors_in_child
from digest.settings import BrandingSettings, HeaderImage, LightAndDarkLogo
from digest.settings.colors import VISIBLE_CONTRAST, contrast_ratio
from digest.store.models import MediaFile

# Minimum visible shares of a logo's opaque pixels. Letters in a box of the page's color exceed the first.
_MIN_VISIBLE_SHARE, _MIN_CLEAR_SHARE = 0.05, 0.5
_MIN_CONTRAST = 1.5  # at lower contrast, a color looks like the background; logos don't need more (WCAG 2.2, 1.4.11)


def find_light_and_dark_logo(session: Session, branding: BrandingSettings) -> LightAndDarkLogo | None:
    """Return the logos that `branding` names, or None if either of them isn't set or isn't stored.

    If the branding is always dark, both are the dark logo.
    """
    light, dark = (_find_logo(session, name) for name in (branding.logo, branding.logo_dark))
    if light is None or dark is None:
        return None
    if branding.is_always_dark:
        light = dark
    light_width, light_height = compute_logo_size(light.width, light.height, branding.logo_height)
    dark_width, dark_height = compute_logo_size(dark.width, dark.height, branding.logo_height)
    return LightAndDarkLogo(
        light=light.hash,
        dark=dark.hash,
        light_width=light_width,
        dark_width=dark_width,
        light_height=light_height,
        dark_height=dark_height,
    )


def _find_logo(session: Session, name: str) -> MediaFile | None:
    return find_image(session, make_logo_source_url(name)) if name else None


def compute_logo_size(width: int, height: int, shown_height: int) -> tuple[int, int]:
    """Return the display width and height, in CSS pixels, of a logo that measures `width` x `height` pixels."""
    scale = min(shown_height / height, WIDEST_LOGO / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def find_header_image(session: Session, branding: BrandingSettings) -> HeaderImage | None:
    """Return the header image that `branding` names, or None if there's none or it isn't stored."""
    row = find_image(session, make_header_source_url(branding.header)) if branding.header else None
    return HeaderImage(image=row.hash, height=round(HEADER_WIDTH * row.height / row.width)) if row else None


@dataclass(frozen=True, slots=True)
class LogoProblem:
    """A logo that's hard to see: the setting that names it, what's wrong, and what to do.

    It's an error if almost nothing of the logo can be seen.
    """

    setting: Literal["logo", "logo_dark"]
    level: Literal["error", "warning"]
    message: str
    advice: str


def find_logo_problems(session: Session, branding: BrandingSettings) -> Iterator[LogoProblem]:
    """Yield the logos that are hard to see on their backgrounds.

    The light logo is also reported if it's invisible on the dark background.
    """
    light, dark = branding.light.paper, branding.dark.paper
    shown_on: list[tuple[Literal["logo", "logo_dark"], str]] = [("logo_dark", dark)]
    if not branding.is_always_dark:
        shown_on.insert(0, ("logo", light))
    for setting, paper in shown_on:
        visibility = _measure_visibility(session, getattr(branding, setting), paper)
        if visibility is None or not visibility.is_faint:
            continue
        level: Literal["error", "warning"] = "error" if visibility.is_invisible else "warning"
        place = f"on the page background {paper}"
        message = (
            f"Almost none of the logo in branding.{setting} can be seen {place}."
            if visibility.is_invisible
            else f"Most of the logo in branding.{setting} is hard to see {place} (contrast ratio below {VISIBLE_CONTRAST:g})."
        )
        other = "darker" if paper == light and setting == "logo" else "lighter"
        yield LogoProblem(setting, level, message, f"Use a {other} version of the logo.")
    if branding.is_always_dark:
        return
    visibility = _measure_visibility(session, branding.logo, dark)
    if visibility is not None and visibility.is_invisible:
        yield LogoProblem(
            "logo",
            "warning",
            f"Almost none of the logo in branding.logo can be seen on {dark}. Apps that darken emails themselves, such as "
            "Gmail, show it there.",
            "Give the logo a light outline or a light background.",
        )


@dataclass(frozen=True, slots=True)
class _Visibility:
    """The shares of a logo's opaque pixels that are visible at all and that are clearly visible."""

    seen: float
    clear: float
    is_cut_out: bool

    @property
    def is_invisible(self) -> bool:
        return self.seen < _MIN_VISIBLE_SHARE

    @property
    def is_faint(self) -> bool:
        return self.clear < (_MIN_CLEAR_SHARE if self.is_cut_out else _MIN_VISIBLE_SHARE)


def _measure_visibility(session: Session, name: str, paper: str) -> _Visibility | None:
    """Measure how well a logo can be seen on a background.

    Return None if there's no logo or its colors can't be counted.
    """
    row = _find_logo(session, name)
    if row is None:
        return None
    try:
        colors = _count_colors(session.get_one(MediaFile, row.hash, options=[undefer(MediaFile.body)]).body)
    except ImageError:  # the problem is noticed where the image is shown
        return None
    total = max(1, sum(colors.counts.values()))
    contrasts = [(contrast_ratio(color, paper), count) for color, count in colors.counts.items()]
    seen, clear = (
        sum(count for contrast, count in contrasts if contrast >= minimum) / total
        for minimum in (_MIN_CONTRAST, VISIBLE_CONTRAST)
    )
    return _Visibility(seen, clear, colors.is_cut_out)


@lru_cache(maxsize=8)
def _count_colors(body: bytes) -> LogoColors:
    return count_colors_in_child(body)
