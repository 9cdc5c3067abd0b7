"""The site's icon: the first letter of the publication's name and the masthead's dot."""

from contextlib import suppress
from functools import lru_cache

from digest.collect.articles import email_images
from digest.collect.imaging.encoded_image import ImageError
from digest.settings import Settings


def find_icon_letter(settings: Settings) -> str:
    """Return the first letter of the publication's name in upper case, or an empty string."""
    return settings.file.publication.name.strip()[:1].upper()[:1]


def draw_site_icon(settings: Settings, size: int) -> bytes | None:
    """Return the icon as a PNG image that's `size` pixels wide.

    A child process draws it once. If that fails, return None.
    """
    with suppress(ImageError):
        return _draw_icon(find_icon_letter(settings), settings.file.branding.label_dark, size)
    return None


_draw_icon = lru_cache(maxsize=8)(email_images.draw_icon)
