"""The site's icon: the first letter of the publication's name, and the masthead's dot."""

from functools import lru_cache

from digest.collect.articles import images
from digest.settings import Settings


def find_icon_letter(settings: Settings) -> str:
    """Return the first letter of the publication's name, in upper case; empty if it has none."""
    return settings.file.publication.name.strip()[:1].upper()[:1]


def draw_site_icon(settings: Settings, size: int) -> bytes:
    """Return the icon as PNG, `size` pixels wide, drawn once in a child process.

    Raises:
        ImageError: no child process could draw it.
    """
    return _draw_icon(find_icon_letter(settings), settings.file.branding.label_dark, size)


_draw_icon = lru_cache(maxsize=8)(images.draw_icon)
