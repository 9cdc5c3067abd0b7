"""Three publishers' branding, each with its own logo, colors, and fonts, and without a custom template."""

import io
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from digest.app.settings.brand_images import store_brand_image
from digest.edition.content.edition_content import EditionContent
from digest.installation.opened_installation import Installation
from tests.actors import ADMIN

ARABIC_HEADLINE = "الموانئ أمام مهلة عشرة أيام لفحص روابط رافعاتها"
ARABIC_SUMMARY = "يطلب إشعار مشترك من مشغلي المحطات حصر كل مودم خلوي في رافعاتهم."


@dataclass(frozen=True)
class Brand:
    """A publication's name and language, its `[branding]`, and what its images show: a logo's colors and, for some, a header's."""

    name: str
    branding: dict[str, Any]
    logo: tuple[str, str]
    language: str = "en"
    header: str = ""


BRANDS = {
    "dark newspaper": Brand(
        "The Night Ledger",
        {
            "background": "#15130F",
            "tint_dark": "#221F19",
            "accent_dark": "#F0B94B",
            "label_dark": "#FF8F7A",
            "font": "georgia",
            "button": "square",
            "bar": 2,
            "logo": "mark.png",
            "logo_dark": "mark-dark.png",
            "logo_height": 48,
        },
        ("#3A352A", "#F6EFE0"),
    ),
    "bright agency": Brand(
        "Brightside",
        {
            "background": "#F5F9FF",
            "tint": "#E3EEFF",
            "tint_dark": "#16254A",
            "accent": "#0052CC",
            "accent_dark": "#8CB8FF",
            "label": "#B3005E",
            "label_dark": "#FF8AC4",
            "font": "verdana",
            "headings": "sans",
            "button": "pill",
            "bar": 0,
            "logo": "mark.png",
            "logo_dark": "mark-dark.png",
            "logo_height": 60,
            "header": "header.jpg",
        },
        ("#0A3FA8", "#8CB8FF"),
        header="#FFB000",
    ),
    "right to left": Brand(
        "المرصد",
        {
            "background": "#F7F4EC",
            "tint": "#EFEAE0",
            "accent": "#00606B",
            "accent_dark": "#6FD0DB",
            "label": "#8A2C5E",
            "label_dark": "#F09AC4",
            "font": "tahoma",
            "headings": "sans",
            "bar": 4,
            "bar_color": "accent",
            "logo": "mark.png",
            "logo_dark": "mark-dark.png",
            "logo_height": 40,
        },
        ("#00606B", "#6FD0DB"),
        language="he",
    ),
}


def store_brand_images(installation: Installation, brand: Brand, now: datetime) -> None:
    """Store a brand's logos and header under the names that its settings have."""
    for name, colour in zip(("mark.png", "mark-dark.png"), brand.logo, strict=True):
        store_brand_image(installation, ADMIN, name, draw_mark(brand, colour), now=now)
    if brand.header:
        picture = io.BytesIO()
        image = Image.linear_gradient("L").resize((1120, 186))
        Image.merge("RGB", (image, image.rotate(180), Image.new("L", image.size, 200))).save(picture, "JPEG")
        store_brand_image(installation, ADMIN, "header.jpg", picture.getvalue(), kind="header", now=now)


def draw_mark(brand: Brand, colour: str) -> bytes:
    """Draw a disk and a wordmark of one color, 120 pixels high."""
    words = brand.name if brand.name.isascii() else ""
    font = ImageFont.load_default(66)
    width = 130 + int(font.getlength(words)) + (10 if words else 90)
    image = Image.new("RGBA", (width, 120))
    pen = ImageDraw.Draw(image)
    pen.ellipse((6, 6, 114, 114), outline=colour, width=16)
    if words:
        pen.text((130, 24), words, fill=colour, font=font)
    else:
        pen.rounded_rectangle((132, 42, width - 4, 78), 18, fill=colour)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def write_in_arabic(content: EditionContent) -> EditionContent:
    """Give each story of an edition an Arabic headline and summary."""
    sections = (
        replace(
            section,
            entries=tuple(
                replace(entry, headline=ARABIC_HEADLINE, summary=entry.summary and ARABIC_SUMMARY)
                for entry in section.entries
            ),
        )
        for section in content.sections
    )
    return replace(content, subject=ARABIC_HEADLINE, sections=tuple(sections))
