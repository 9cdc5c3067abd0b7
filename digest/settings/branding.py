"""The table `[branding]` of `digest.toml`: the publisher's own colours and letters, in the mail and on readers' pages.

Layout, sizes and order are no settings. A colour in which text could not be read is refused, with the nearest that can.
"""

import math
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, ValidationInfo, field_validator, model_validator

from digest.settings import values
from digest.settings.affected_areas import AffectedArea
from digest.settings.colors import READABLE_CONTRAST, contrast_ratio, find_nearest_readable_color, hue_distance
from digest.settings.values import setting

# What no publisher changes: grounds and texts, light and dark (docs/decisions/0006-mail-html.md).
PAPER, PAPER_DARK, TINT_DARK = "#FFFFFF", "#12161C", "#1B2129"
_TEXTS_ON_TINT = {"text": "#2A313A", "small print": "#56606C"}
_SANS = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_SERIF = "Georgia,serif"  # short, because it's in an email sixty times
LOGO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MIN_HUE_DISTANCE = 30  # degrees; nearer, a label is taken for a link


def _check_colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", text):
        raise ValueError(f"{text!r} isn't a color; use one such as #0B4F8A")
    return text.upper()


def _check_logo_name(name: str) -> str:
    if name and not LOGO_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} isn't a valid image name; use one such as logo-light.png (use letters, digits, dots, and hyphens)"
        )
    return name


LogoName = Annotated[str, AfterValidator(_check_logo_name)]
Colour = Annotated[str, AfterValidator(_check_colour), values.FieldInputKind.COLOR]


class LightAndDarkLogo(values.SettingsTable):
    """The logo as it is kept: the hashes of its two pictures under `/media/`, and the widths at which they are shown, 30 px high."""

    light: str
    dark: str
    light_width: int  # CSS pixels
    dark_width: int


class BrandingSettings(values.SettingsTable, title="Branding"):
    """Your own colors and fonts, in emails, their web copies, and subscribers' pages. Unreadable colors are rejected.

    Editors' pages keep their own design. To change layout, sizes, or order, use [custom templates](templates.md). A color is rejected if text in it would
    have a contrast below 4.5 on paper or on `tint` (WCAG 2.2, 1.4.3); the error names the nearest color that's readable. A label is rejected
    if its hue is within 30 degrees of the accent's.
    """

    affected_area: ClassVar = AffectedArea.LOOK  # a logo is in every email at once, approved or not

    # A default has to be read on a tint of the publisher's too.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    tint: Colour = setting(
        "#F4F5F7",
        "Background of panels",
        "Text must be readable on it.",
        "On dark screens, it's always #1B2129.",
    )
    accent: Colour = setting("#0B4F8A", "Links and buttons", "Also for the lines under headlines.")
    accent_dark: Colour = setting("#8FC0F5", "Links and buttons on dark screens", "It must be readable on #12161C.")
    label: Colour = setting(
        "#B0390C",
        "Topics, ranks, and deadlines",
        "Its hue must differ from that of links.",
        "It's also the color of the dot in the publication's name.",
    )
    label_dark: Colour = setting(
        "#F2966B", "Topics, ranks, and deadlines on dark screens", "It must be readable on #12161C."
    )
    headings: Literal["serif", "sans"] = setting(
        "serif",
        "Headlines",
        "The font of headlines and the intro.",
        choices={"serif": "With serifs", "sans": "Without serifs"},
    )
    bar: int = setting(6, "Top line", "In pixels; 0 for no line.", ge=0, le=12)
    bar_colour: Literal["ink", "accent"] = setting(
        "ink",
        "Color of the top line",
        "The same as text, or as links.",
        choices={"ink": "Same as text", "accent": "Same as links"},
    )
    logo: LogoName = setting(
        "",
        "Logo",
        "The name of a stored image. Leave empty to show the publication's name.",
        "[`digest media add`](commands.md#digest-media-add) stores an image. The logo is 30 pixels high, in the masthead. An older "
        "draft shows it once it's drafted again.",
    )
    logo_dark: LogoName = setting("", "Logo on dark screens", "Set both logos or neither.")

    @model_validator(mode="after")
    def _check_logos(self) -> Self:
        if bool(self.logo) != bool(self.logo_dark):
            present_name, missing = ("logo", "logo_dark") if self.logo else ("logo_dark", "logo")
            raise ValueError(
                f"{present_name} is set but {missing} isn't; set both, so that the logo is visible on light and dark screens"
            )
        return self

    @field_validator("tint")
    @classmethod
    def _check_tint(cls, tint: str) -> str:
        for text_name, colour in _TEXTS_ON_TINT.items():
            if contrast_ratio(colour, tint) < READABLE_CONTRAST:
                nearest = find_nearest_readable_color(tint, _TEXTS_ON_TINT.values())
                raise ValueError(_contrast_sentence(f"{text_name} ({colour}) on it", colour, tint, nearest))
        return tint

    @field_validator("accent", "label", "accent_dark", "label_dark")
    @classmethod
    def _check_readable(cls, colour: str, info: ValidationInfo) -> str:
        grounds = _list_grounds(info)
        for ground_name, ground in grounds.items():
            if contrast_ratio(colour, ground) < READABLE_CONTRAST:
                nearest = find_nearest_readable_color(colour, grounds.values())
                raise ValueError(_contrast_sentence(f"{colour} on the {ground_name} {ground}", colour, ground, nearest))
        return colour

    @field_validator("label", "label_dark")
    @classmethod
    def _check_hue(cls, colour: str, info: ValidationInfo) -> str:
        other = str(info.field_name).replace("label", "accent")
        accent = info.data.get(other)
        apart = hue_distance(colour, accent) if accent else None
        if apart is not None and apart < MIN_HUE_DISTANCE:
            raise ValueError(
                f"the hue of {colour} is only {math.floor(apart)} degrees from {other} {accent}, so labels would look "
                f"like links (at least {MIN_HUE_DISTANCE} degrees are required)"
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
    return {"paper": PAPER, "tint": info.data.get("tint", BrandingSettings.model_fields["tint"].default)}


def _contrast_sentence(ground_name: str, first: str, second: str, nearest: str | None) -> str:
    measured = math.floor(contrast_ratio(first, second) * 10) / 10
    remedy = f"; {nearest} works" if nearest else ""
    return f"{ground_name} has a contrast ratio of {measured}, and at least {READABLE_CONTRAST} is required{remedy}"
