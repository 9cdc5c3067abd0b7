"""The publisher's logo: two pictures that are kept by their names, for light and for dark screens."""

from sqlalchemy.orm import Session

from digest.collect.articles.images import find_image, logo_address
from digest.collect.codec.encoded_image import LOGO_HEIGHT
from digest.settings import BrandingSettings, LogoPair


def find_logo_pair(session: Session, branding: BrandingSettings) -> LogoPair | None:
    """Return the pictures that `look` names; None where it names none, or one of them is not kept."""
    names = (branding.logo, branding.logo_dark)
    if not all(names):
        return None
    rows = [find_image(session, logo_address(name)) for name in names]
    widths = [shown_logo_width(row.width, row.height) for row in rows if row is not None]
    hashes = [row.hash for row in rows if row is not None]
    if len(hashes) < len(names):
        return None
    return LogoPair(light=hashes[0], dark=hashes[1], light_width=widths[0], dark_width=widths[1])


def shown_logo_width(width: int, height: int) -> int:
    """Return how wide a logo of so many pixels is shown, in CSS pixels."""
    return max(1, round(width * LOGO_HEIGHT / height))
