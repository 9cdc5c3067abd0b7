"""The table `[branding]` of `digest.toml`: the publisher's colors and fonts for emails and pages.

Layout, sizes, and order can't be set. A color that would make text unreadable is rejected, and the
error names the nearest readable color.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, ValidationInfo, field_validator, model_validator

from digest.settings import values
from digest.settings.colors import (
    READABLE_CONTRAST,
    VISIBLE_CONTRAST,
    contrast_ratio,
    find_nearest_readable_color,
    hue_distance,
    mix_colors,
)
from digest.settings.guarded_areas import GuardedArea
from digest.settings.values import setting

# The default backgrounds of pages on light and dark screens, and of panels on dark screens
# (docs/decisions/0006-mail-html.md).
PAPER, PAPER_DARK, TINT_DARK = "#FFFFFF", "#12161C", "#1B2129"
_RULE_SHARE = 0.18  # the text color's share in thin lines on a publisher's own background


@dataclass(frozen=True, slots=True)
class Palette:
    """The colors of a color scheme, as #RRGGBB.

    `line` is the color of fields' borders, and `on` the color of the text on buttons.
    """

    paper: str
    tint: str
    ink: str
    text: str
    muted: str
    rule: str
    line: str
    link: str
    signal: str
    on: str

    def on_paper(self, paper: str) -> "Palette":
        """Return the palette with a different page background, and thin lines that match it.

        If the background is the same, the palette is returned unchanged.
        """
        return (
            self if paper == self.paper else replace(self, paper=paper, rule=mix_colors(paper, self.ink, _RULE_SHARE))
        )

    def list_texts(self) -> dict[str, str]:
        """Return the text colors that publishers can't change, by name."""
        return {"text": self.text, "small print": self.muted}


_LIGHT = Palette(PAPER, "#F4F5F7", "#14181E", "#2A313A", "#56606C", "#D8DCE2", "#7D8692", "#0B4F8A", "#B0390C", PAPER)
_DARK = Palette(
    PAPER_DARK, TINT_DARK, "#F2F4F6", "#D3D9E0", "#A4AEBA", "#313A46", "#6F7A88", "#8FC0F5", "#F2966B", PAPER_DARK
)
_SYSTEM_FONT = "-apple-system,'Segoe UI',Helvetica,Arial,sans-serif"
# Each font has fallbacks with the same letter widths, so that lines break at the same places.
_FONTS = {
    "system": _SYSTEM_FONT,
    "arial": "Arial,'Liberation Sans',Arimo,Helvetica,sans-serif",
    "verdana": "Verdana,'DejaVu Sans',sans-serif",
    "tahoma": "Tahoma,'DejaVu Sans Condensed',sans-serif",
    "georgia": "Georgia,Gelasio,serif",
}
# Classic Outlook uses only the first name in a font family.
_OUTLOOK_FONTS = {
    "system": "Arial,sans-serif",
    "arial": "Arial,sans-serif",
    "verdana": "Verdana,sans-serif",
    "tahoma": "Tahoma,sans-serif",
    "georgia": "Georgia,serif",
}
_SERIF = "Georgia,serif"  # short, because an email contains it sixty times
_BUTTON_RADIUS = {"rounded": 6, "square": 0, "pill": 24}  # CSS pixels; a button is 48 pixels high
LOGO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MIN_HUE_DISTANCE = 30  # degrees; a label with a closer hue would look like a link


def _check_color(text: str) -> str:
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
Color = Annotated[str, AfterValidator(_check_color), values.FieldInputKind.COLOR]


class LightAndDarkLogo(values.SettingsTable):
    """The stored logo: the hashes of its two images under `/media/`, and their sizes when displayed."""

    light: str
    dark: str
    light_width: int  # CSS pixels, as are the next three
    dark_width: int
    light_height: int
    dark_height: int


class HeaderImage(values.SettingsTable):
    """The stored image shown above the masthead.

    `image` is its hash under `/media/`, and `height` is its height at the width of an email.
    """

    image: str
    height: int  # CSS pixels


class BrandingSettings(values.SettingsTable, title="Branding"):
    """Colors, fonts, and images of emails and public pages. Text needs a contrast of 4.5 (WCAG 2.2, 1.4.3).

    For the layout, use [custom templates](templates.md).
    """

    guarded_area: ClassVar = GuardedArea.LOOK  # a logo appears in all emails immediately, without approval

    # Defaults must also be readable on a tint of the publisher's own background.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    background: Color = setting(
        "#FFFFFF",
        "Page background",
        "Text must be readable on it.",
        "A dark one is used on all screens, with the dark colors. With a light one, dark screens use #12161C.",
    )
    tint: Color = setting("#F4F5F7", "Background of panels", "Text must be readable on it.")
    tint_dark: Color = setting("#1B2129", "Background of panels on dark screens", "It must be dark.")
    accent: Color = setting("#0B4F8A", "Links and buttons", "Also the lines under headlines.")
    accent_dark: Color = setting("#8FC0F5", "Links and buttons on dark screens", "It must be light.")
    label: Color = setting(
        "#B0390C",
        "Topics, ranks, and deadlines",
        "Its hue must be at least 30 degrees from that of links.",
    )
    label_dark: Color = setting("#F2966B", "Topics, ranks, and deadlines on dark screens", "It must be light.")
    font: Literal["system", "arial", "verdana", "tahoma", "georgia"] = setting(
        "system",
        "Text",
        "Everything but headlines and the intro.",
        choices={
            "system": "The device’s own font",
            "arial": "Arial",
            "verdana": "Verdana",
            "tahoma": "Tahoma (also Arabic and Hebrew)",
            "georgia": "Georgia",
        },
    )
    headings: Literal["serif", "sans"] = setting(
        "serif",
        "Headlines",
        "Also for the intro.",
        "`sans` is the text's font, unless that's Georgia.",
        choices={"serif": "With serifs", "sans": "Without serifs"},
    )
    button: Literal["rounded", "square", "pill"] = setting(
        "rounded",
        "Buttons",
        "Classic Outlook always shows square buttons.",
        choices={"rounded": "Rounded", "square": "Square", "pill": "Round ends"},
    )
    bar: int = setting(6, "Top line", "In pixels. Use 0 for no line.", ge=0, le=12)
    bar_color: Literal["ink", "accent"] = setting(
        "ink",
        "Color of the top line",
        "The color of text or of links.",
        choices={"ink": "Same as text", "accent": "Same as links"},
    )
    logo: LogoName = setting(
        "",
        "Logo",
        "A stored image. Leave empty to show the publication's name.",
        "Store it with [`digest media add`](commands.md#digest-media-add).",
    )
    logo_dark: LogoName = setting("", "Logo on dark screens", "Set both logos or neither.")
    logo_height: int = setting(30, "Logo height", "In pixels. A logo is at most 300 wide.", ge=20, le=60)
    header: LogoName = setting(
        "",
        "Header image",
        "A stored image above the masthead. Leave empty for none.",
        "It must not contain words.",
    )

    @model_validator(mode="after")
    def _check_logos(self) -> Self:
        if bool(self.logo) != bool(self.logo_dark):
            present_name, missing = ("logo", "logo_dark") if self.logo else ("logo_dark", "logo")
            raise ValueError(
                f"{present_name} is set but {missing} isn't; set both, so that the logo is visible on light and dark screens"
            )
        return self

    @field_validator("background")
    @classmethod
    def _check_background(cls, background: str) -> str:
        palette = _DARK if _is_dark(background) else _LIGHT
        _check_texts(background, palette)
        if (contrast := contrast_ratio(palette.line, background)) < VISIBLE_CONTRAST:
            raise ValueError(
                f"borders of fields ({palette.line}) on it have a contrast ratio of {math.floor(contrast * 10) / 10}, and at "
                f"least {VISIBLE_CONTRAST} is required; use a {'darker' if palette is _DARK else 'lighter'} color"
            )
        return background

    @field_validator("tint", "tint_dark")
    @classmethod
    def _check_tint(cls, tint: str, info: ValidationInfo) -> str:
        _check_texts(tint, _DARK if info.field_name == "tint_dark" else _LIGHT)
        return tint

    @field_validator("accent", "label", "accent_dark", "label_dark")
    @classmethod
    def _check_readable(cls, color: str, info: ValidationInfo) -> str:
        grounds = _list_grounds(info)
        for ground_name, ground in grounds.items():
            if contrast_ratio(color, ground) < READABLE_CONTRAST:
                nearest = find_nearest_readable_color(color, grounds.values())
                raise ValueError(_contrast_sentence(f"{color} on the {ground_name} {ground}", color, ground, nearest))
        return color

    @field_validator("label", "label_dark")
    @classmethod
    def _check_hue(cls, color: str, info: ValidationInfo) -> str:
        other = str(info.field_name).replace("label", "accent")
        accent = info.data.get(other)
        apart = hue_distance(color, accent) if accent else None
        if apart is not None and apart < MIN_HUE_DISTANCE:
            raise ValueError(
                f"the hue of {color} is only {math.floor(apart)} degrees from {other} {accent}, so labels would look "
                f"like links (at least {MIN_HUE_DISTANCE} degrees are required)"
            )
        return color

    @property
    def is_always_dark(self) -> bool:
        """True if the page background is dark, so that light screens also use the dark colors."""
        return _is_dark(self.background)

    @property
    def light(self) -> Palette:
        """The colors for light screens."""
        if self.is_always_dark:
            return self.dark
        palette = replace(_LIGHT, tint=self.tint, link=self.accent, signal=self.label)
        return palette.on_paper(self.background)

    @property
    def dark(self) -> Palette:
        """The colors for dark screens."""
        palette = replace(_DARK, tint=self.tint_dark, link=self.accent_dark, signal=self.label_dark)
        if not self.is_always_dark:
            return palette
        return replace(palette.on_paper(self.background), on=self.background)

    @property
    def text_font(self) -> str:
        """The CSS font family for text."""
        return _FONTS[self.font]

    @property
    def heading_font(self) -> str:
        """The CSS font family for headlines and the intro."""
        return _SERIF if self.headings == "serif" else _FONTS[self._sans]

    @property
    def outlook_text_font(self) -> str:
        """The font family for text in classic Outlook."""
        return _OUTLOOK_FONTS[self.font]

    @property
    def outlook_heading_font(self) -> str:
        """The font family for headlines and the intro in classic Outlook."""
        return "Georgia,serif" if self.headings == "serif" else _OUTLOOK_FONTS[self._sans]

    @property
    def _sans(self) -> str:
        return "system" if self.font == "georgia" else self.font

    @property
    def button_radius(self) -> int:
        """The corner radius of buttons, in CSS pixels."""
        return _BUTTON_RADIUS[self.button]

    @property
    def panel_radius(self) -> int:
        """The corner radius of panels and fields, in CSS pixels."""
        return min(self.button_radius, _BUTTON_RADIUS["rounded"])


def _is_dark(background: str) -> bool:
    return contrast_ratio(_DARK.text, background) > contrast_ratio(_LIGHT.text, background)


def _check_texts(ground: str, palette: Palette) -> None:
    for text_name, color in palette.list_texts().items():
        if contrast_ratio(color, ground) < READABLE_CONTRAST:
            nearest = find_nearest_readable_color(ground, palette.list_texts().values())
            raise ValueError(_contrast_sentence(f"{text_name} ({color}) on it", color, ground, nearest))


def _list_grounds(info: ValidationInfo) -> dict[str, str]:
    """Return the backgrounds on which a color is used, as set by earlier fields.

    Rejected backgrounds are replaced with the defaults.
    """
    background = str(info.data.get("background", PAPER))
    if str(info.field_name).endswith("_dark"):
        paper = background if _is_dark(background) else PAPER_DARK
        return {"page background": paper, "background of panels": str(info.data.get("tint_dark", TINT_DARK))}
    paper = PAPER if _is_dark(background) else background
    return {"page background": paper, "background of panels": str(info.data.get("tint", _LIGHT.tint))}


def _contrast_sentence(ground_name: str, first: str, second: str, nearest: str | None) -> str:
    measured = math.floor(contrast_ratio(first, second) * 10) / 10
    remedy = f"; {nearest} works" if nearest else ""
    return f"{ground_name} has a contrast ratio of {measured}, and at least {READABLE_CONTRAST} is required{remedy}"
