"""The table `[look]` of `digest.toml`: the publisher's own colours and letters, in the mail and on readers' pages.

Layout, sizes and order are no settings. A colour in which text could not be read is refused, with the nearest that can.
"""

import math
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from digest.settings import values
from digest.settings.colours import READABLE_CONTRAST, contrast_ratio, hue_distance, nearest_readable_colour
from digest.settings.concerns import Concern

# What no publisher changes: grounds and texts, light and dark (docs/decisions/0006-mail-html.md).
PAPER, PAPER_DARK, TINT_DARK = "#FFFFFF", "#12161C", "#1B2129"
_TEXTS_ON_TINT = {"text": "#2A313A", "small print": "#56606C"}
_SANS = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_SERIF = "Georgia,'Times New Roman',Times,serif"
LOGO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MIN_HUE_DISTANCE = 30  # degrees; nearer, a label is taken for a link


def _check_colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", text):
        raise ValueError(f"{text!r} is no colour such as #0B4F8A")
    return text.upper()


def _check_logo_name(name: str) -> str:
    if name and not LOGO_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a picture such as logo-light.png: letters, digits, dots and hyphens")
    return name


LogoName = Annotated[str, AfterValidator(_check_logo_name)]
Colour = Annotated[str, AfterValidator(_check_colour)]


class LogoPair(values.SettingsTable):
    """The logo as it is kept: the hashes of its two pictures under `/media/`, and the widths at which they are shown, 30 px high."""

    light: str
    dark: str
    light_width: int  # CSS pixels
    dark_width: int


class LookSettings(values.SettingsTable):
    """How mail and readers' pages are dressed; `_dark` is for dark screens."""

    concern: ClassVar = Concern.LOOK  # a logo is in every email at once, approved or not

    # A default has to be read on a tint of the publisher's too.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # The names of pictures that `digest media add` keeps; both, or none: then the publication's name is set in letters.
    logo: LogoName = ""
    logo_dark: LogoName = ""
    tint: Colour = "#F4F5F7"  # the ground of panels, and of a date
    accent: Colour = "#0B4F8A"  # links and buttons
    accent_dark: Colour = "#8FC0F5"
    label: Colour = "#B0390C"  # topics, ranks, deadlines
    label_dark: Colour = "#F2966B"
    headings: Literal["serif", "sans"] = "serif"
    bar: int = Field(default=6, ge=0, le=12)  # px; the line on top
    bar_colour: Literal["ink", "accent"] = "ink"

    @model_validator(mode="after")
    def _check_logos(self) -> Self:
        if bool(self.logo) != bool(self.logo_dark):
            given, missing = ("logo", "logo_dark") if self.logo else ("logo_dark", "logo")
            raise ValueError(
                f"{given} is given and {missing} is not: on one of a light and a dark screen it would not be seen"
            )
        return self

    @field_validator("tint")
    @classmethod
    def _check_tint(cls, tint: str) -> str:
        for what, colour in _TEXTS_ON_TINT.items():
            if contrast_ratio(colour, tint) < READABLE_CONTRAST:
                nearest = nearest_readable_colour(tint, _TEXTS_ON_TINT.values())
                raise ValueError(_contrast_sentence(f"{what} ({colour}) on it", colour, tint, nearest))
        return tint

    @field_validator("accent", "label", "accent_dark", "label_dark")
    @classmethod
    def _check_readable(cls, colour: str, info: ValidationInfo) -> str:
        grounds = _list_grounds(info)
        for what, ground in grounds.items():
            if contrast_ratio(colour, ground) < READABLE_CONTRAST:
                nearest = nearest_readable_colour(colour, grounds.values())
                raise ValueError(_contrast_sentence(f"{colour} on the {what} {ground}", colour, ground, nearest))
        return colour

    @field_validator("label", "label_dark")
    @classmethod
    def _check_hue(cls, colour: str, info: ValidationInfo) -> str:
        other = str(info.field_name).replace("label", "accent")
        accent = info.data.get(other)
        apart = hue_distance(colour, accent) if accent else None
        if apart is not None and apart < MIN_HUE_DISTANCE:
            raise ValueError(
                f"{colour} is {math.floor(apart)} degrees of hue from {other} {accent}, and {MIN_HUE_DISTANCE} are needed: "
                "readers would take a label for a link"
            )
        return colour

    @property
    def heading_font(self) -> str:
        """The CSS font family of what editors write: headlines, the intro."""
        return _SERIF if self.headings == "serif" else _SANS

    @property
    def outlook_heading_font(self) -> str:
        """The same for classic Outlook, which knows a family by its first name alone."""
        return "Georgia,serif" if self.headings == "serif" else "Arial,sans-serif"


def _list_grounds(info: ValidationInfo) -> dict[str, str]:
    if str(info.field_name).endswith("_dark"):
        return {"paper": PAPER_DARK, "tint": TINT_DARK}
    return {"paper": PAPER, "tint": info.data.get("tint", LookSettings.model_fields["tint"].default)}


def _contrast_sentence(what: str, first: str, second: str, nearest: str | None) -> str:
    measured = math.floor(contrast_ratio(first, second) * 10) / 10
    remedy = f"; {nearest} holds" if nearest else ""
    return f"{what} has a contrast of {measured}, and {READABLE_CONTRAST} is needed{remedy}"
