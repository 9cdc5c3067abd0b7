"""The pictures of an edition: found or fetched under the guards of collecting, cut, kept here."""

from collections.abc import Iterator
from datetime import datetime

from digest.collect.fetched import FetchError, Getter
from digest.collect.images import Picture as Kept
from digest.collect.images import PictureError, Shape, cut, fetch_picture, find, keep
from digest.db import Database
from digest.edition.arranging import Pictures
from digest.edition.content import Picture
from digest.select.values import Candidate, Choice
from digest.settings import Settings

LEAD = (560, 315)  # CSS pixels, as the template shows them; the files have twice as many
THUMB = (120, 80)


def cut_pictures(
    database: Database, getter: Getter, settings: Settings, choice: Choice, *, now: datetime
) -> tuple[dict[str, Pictures], tuple[str, ...]]:
    """Get the pictures of the stories that show one, and say which could not be had.

    A picture that fails costs the story its picture and nothing else.
    """
    found: dict[str, Pictures] = {}
    warnings: list[str] = []
    for candidate in _pictured(settings, choice):
        if not candidate.image or candidate.image in found:
            continue
        try:
            found[candidate.image] = _cuts(database, getter, settings, candidate, now)
        except (FetchError, PictureError) as exc:
            warnings.append(f"no picture for “{candidate.title}”: {exc}")
    return found, tuple(warnings)


def _pictured(settings: Settings, choice: Choice) -> Iterator[Candidate]:
    for section in settings.file.sections:
        if section.kind in {"featured", "stories"}:
            yield from (placed.scored.story.lead for placed in choice.sections.get(section.key, ()))


def _cuts(
    database: Database, getter: Getter, settings: Settings, candidate: Candidate, now: datetime
) -> Pictures:
    url = candidate.image or ""
    with database.read() as session:
        row = find(session, url)
        body = row.body if row else b""
    whole = None if body else fetch_picture(getter, url, settings.file.limits)
    cuts = [cut(url, body or (whole.body if whole else b""), shape) for shape in (Shape.LEAD, Shape.THUMB)]
    with database.write() as session:
        for picture in [*([whole] if whole else []), *cuts]:
            keep(session, picture, now)
    lead, thumb = cuts
    return Pictures(_shown(lead, LEAD, candidate), _shown(thumb, THUMB, candidate))


def _shown(kept: Kept, size: tuple[int, int], candidate: Candidate) -> Picture:
    credit = candidate.publisher
    return Picture(
        kept.hash, *size, alt=candidate.image_alt or "", credit=f"Picture: {credit}" if credit else ""
    )
