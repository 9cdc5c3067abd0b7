"""The pictures of an edition: found or fetched, cut to the mail's shapes, and stored."""

from collections.abc import Iterator
from datetime import datetime

from digest.collect.encoded_image import CropShape, ImageError
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.collect.images import PreparedImage, crop_image, fetch_image, find_image, store_image
from digest.edition.content import EditionPicture, PictureCuts
from digest.edition.kinds import SECTION_KINDS
from digest.select.values import CandidateArticle, Proposal
from digest.settings import Settings
from digest.store.engine import Database

LEAD_SIZE = (560, 315)  # CSS pixels, as the template shows them; the files have twice as many
THUMB_SIZE = (120, 80)


def prepare_pictures(
    database: Database, fetcher: ContentFetcher, settings: Settings, proposal: Proposal, *, now: datetime
) -> tuple[dict[str, PictureCuts], tuple[str, ...]]:
    """Get the pictures of the stories that show one, and say which could not be had.

    A picture that fails costs the story its picture and nothing else.
    """
    cuts_by_url: dict[str, PictureCuts] = {}
    warnings: list[str] = []
    for candidate in _pictured_articles(settings, proposal):
        if not candidate.image or candidate.image in cuts_by_url:
            continue
        try:
            cuts_by_url[candidate.image] = _load_picture_cuts(database, fetcher, settings, candidate, now)
        except (FetchError, ImageError) as exc:
            warnings.append(f"no picture for “{candidate.title}”: {exc}")
    return cuts_by_url, tuple(warnings)


def _pictured_articles(settings: Settings, proposal: Proposal) -> Iterator[CandidateArticle]:
    for section in settings.file.sections:
        if SECTION_KINDS[section.kind].shows_pictures:
            yield from (placed.scored.story.lead for placed in proposal.sections.get(section.key, ()))


def _load_picture_cuts(
    database: Database, fetcher: ContentFetcher, settings: Settings, candidate: CandidateArticle, now: datetime
) -> PictureCuts:
    url = candidate.image or ""
    with database.read() as session:
        row = find_image(session, url)
        body = row.body if row else b""
    whole = None if body else fetch_image(fetcher, url, settings.file.limits)
    cuts = [
        crop_image(url, body or (whole.body if whole else b""), shape) for shape in (CropShape.LEAD, CropShape.THUMB)
    ]
    with database.write() as session:
        for picture in [*([whole] if whole else []), *cuts]:
            store_image(session, picture, now)
    lead, thumb = cuts
    return PictureCuts(_edition_picture(lead, LEAD_SIZE, candidate), _edition_picture(thumb, THUMB_SIZE, candidate))


def _edition_picture(stored: PreparedImage, size: tuple[int, int], candidate: CandidateArticle) -> EditionPicture:
    credit = f"Picture: {candidate.publisher}" if candidate.publisher else ""
    return EditionPicture(stored.hash, *size, alt=candidate.image_alt or "", credit=credit)
