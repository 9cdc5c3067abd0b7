"""The publisher's logo: two pictures that are kept by their names, for light and for dark screens."""

from sqlalchemy.orm import Session

from digest.collect.articles.images import find_image, make_logo_source_url
from digest.collect.codec.encoded_image import LOGO_HEIGHT
from digest.settings import BrandingSettings, LightAndDarkLogo


def find_light_and_dark_logo(session: Session, branding: BrandingSettings) -> LightAndDarkLogo | None:
    """Return the pictures that `look` names; None where it names none, or one of them is not kept."""
    names = (branding.logo, branding.logo_dark)
    if not all(names):
        return None
    light, dark = (find_image(session, make_logo_source_url(name)) for name in names)
    if light is None or dark is None:
        return None
    return LightAndDarkLogo(
        light=light.hash,
        dark=dark.hash,
        light_width=compute_logo_width(light.width, light.height),
        dark_width=compute_logo_width(dark.width, dark.height),
    )


def compute_logo_width(width: int, height: int) -> int:
    """Return how wide a logo of so many pixels is shown, in CSS pixels."""
    return max(1, round(width * LOGO_HEIGHT / height))
