"""Preparing an edition's images, which are found or fetched, cropped for email, and stored."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice

from sqlalchemy.orm import Session

from digest.collect.articles.email_images import (
    PreparedImage,
    crop_stored_image,
    fetch_image,
    find_image,
    find_uncropped_image,
    make_crop_source_url,
    prepare_uploaded_image,
    store_image,
)
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.collect.imaging.encoded_image import CropShape, FocusPoint, ImageError
from digest.edition.content.edition_content import EditionImage, ImageCrops
from digest.select.selection_types import CandidateArticle, Proposal
from digest.settings import Settings
from digest.store.engine import Database

LEAD_SIZE = (560, 315)  # CSS pixels in the template; the files have twice as many
THUMB_SIZE = (120, 80)
MAX_CANDIDATE_IMAGES = 12  # of the best left-out stories, for the editor; more than fit on the screen


def prepare_images(
    database: Database,
    fetcher: ContentFetcher,
    settings: Settings,
    articles: Iterable[CandidateArticle],
    *,
    now: datetime,
) -> tuple[dict[str, ImageCrops], tuple[str, ...]]:
    """Return the crops of articles' images, and messages about images that couldn't be used.

    The crops are keyed by the articles' `image`. If a story's image can't be used, the story has no
    image, and nothing else is affected.
    """
    cuts_by_url: dict[str, ImageCrops] = {}
    warnings: list[str] = []
    for candidate in articles:
        if not candidate.image or candidate.image in cuts_by_url:
            continue
        try:
            cuts_by_url[candidate.image] = crop_article_image(database, fetcher, settings, candidate, now)
        except (FetchError, ImageError) as exc:
            warnings.append(f"no image for “{candidate.title}”: {exc}")
    return cuts_by_url, tuple(warnings)


def list_illustrated_articles(settings: Settings, proposal: Proposal) -> Iterator[CandidateArticle]:
    """Yield the articles whose images editors see: the leads of placed stories and the best left-out ones."""
    for section in settings.file.sections:
        yield from (placed.scored.lead for placed in proposal.sections.get(section.key, ()))
    others = (out.scored.lead for out in proposal.left_out if out.admitted and out.scored.lead.image)
    yield from islice(others, MAX_CANDIDATE_IMAGES)


def crop_article_image(
    database: Database, fetcher: ContentFetcher, settings: Settings, candidate: CandidateArticle, now: datetime
) -> ImageCrops:
    """Return the crops of an article's image, fetching and cropping it if they aren't stored.

    Raises:
        FetchError: the image couldn't be fetched.
        ImageError: the fetched file isn't a usable image.
    """
    url = candidate.image or ""
    alt, maker = candidate.image_alt or "", candidate.image_credit or candidate.publisher
    credit = settings.subscriber_language.gettext("Image: %(publisher)s", publisher=maker) if maker else ""
    with database.read() as session:
        row = find_image(session, url)
        if row and (stored_crops := _find_cuts(session, url, since=row.made_at)):
            return _describe_cuts(stored_crops, alt, credit)
        body = row.body if row else b""
    full_image = None if body else fetch_image(fetcher, url, settings.file.limits)
    return _store_cuts(database, url, body, full_image, alt, credit, now)


def crop_uploaded_image(
    database: Database,
    settings: Settings,
    body: bytes,
    *,
    alt: str,
    credit: str,
    focus: FocusPoint | None = None,
    now: datetime,
) -> ImageCrops:
    """Return the crops of an uploaded image, which is decoded and re-encoded in a child process.

    Raises:
        ImageError: the upload isn't a usable image: it's an SVG file, broken, too large, or too
            small to show.
    """
    full_image = prepare_uploaded_image(body, settings.file.limits)
    return _store_cuts(database, full_image.source_url, b"", full_image, alt, credit, now, focus)


def recrop_image(
    database: Database, shown_image: EditionImage, focus: FocusPoint | None, now: datetime
) -> ImageCrops | None:
    """Crop the original of a displayed image again, around `focus` or the default focus point.

    Return None if the original isn't stored.

    Raises:
        ImageError: the stored image isn't usable.
    """
    with database.read() as session:
        full_image = find_uncropped_image(session, shown_image.hash)
        if full_image is None:
            return None
        url, body = full_image.source_url, full_image.body
    return _store_cuts(database, url, body, None, shown_image.alt, shown_image.credit, now, focus)


def _find_cuts(
    session: Session,
    url: str,
    *,
    since: datetime,
) -> dict[CropShape, str] | None:
    """Return the hashes of a stored image's crops.

    Return None if one is missing, or if the image may be from before `since`.
    """
    hashes: dict[CropShape, str] = {}
    for shape in CropShape:
        row = find_image(session, make_crop_source_url(url, shape))
        if row is None or row.made_at < since:
            return None
        hashes[shape] = row.hash
    return hashes


def _describe_cuts(
    hashes: Mapping[CropShape, str], alt: str, credit: str, focus: FocusPoint | None = None
) -> ImageCrops:
    return ImageCrops(
        EditionImage(hashes[CropShape.LEAD], *LEAD_SIZE, alt, credit, focus),
        EditionImage(hashes[CropShape.THUMB], *THUMB_SIZE, alt, credit, focus),
    )


def _store_cuts(
    database: Database,
    url: str,
    body: bytes,
    full_image: PreparedImage | None,
    alt: str,
    credit: str,
    now: datetime,
    focus: FocusPoint | None = None,
) -> ImageCrops:
    body = full_image.body if full_image else body
    cuts = {shape: crop_stored_image(url, body, shape, focus) for shape in CropShape}
    with database.write() as session:
        for picture in filter(None, (full_image, *cuts.values())):
            store_image(session, picture, now)
    return _describe_cuts({shape: picture.hash for shape, picture in cuts.items()}, alt, credit, focus)
