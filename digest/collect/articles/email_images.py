"""Images for emails: fetched, shrunk, stored once, and served from `/media/<hash>`.

Network requests and image codecs run outside of transactions:

    with database.read() as session:
        stored = find_image(session, url)
    picture = fetch_image(fetcher, url, limits)
    with database.write() as session:
        stored = store_image(session, picture, now)
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from digest.collect.fetch.result import ContentFetcher
from digest.collect.imaging.encoded_image import (
    DEFAULT_FOCUS,
    CropShape,
    EncodedImage,
    FocusPoint,
    ImageError,
    SocialCardTexts,
)
from digest.collect.sandbox.client import encode_image_in_child
from digest.settings import UsageLimitSettings
from digest.store.approval_models import Approval, ApprovalState
from digest.store.models import Edition, EditionState, MediaFile
from subscribers.loggers import get_logger

log = get_logger(__name__)
_FOCUS_MARK = "@"  # precedes the focus point in the `source_url` of a crop
IMAGE_ACCEPT = "image/jpeg, image/png, image/webp, image/avif, image/gif;q=0.8"


@dataclass(frozen=True, slots=True)
class PreparedImage(EncodedImage):
    """An encoded image that isn't stored yet, and the URL or label of its origin."""

    source_url: str

    @property
    def hash(self) -> str:
        """The SHA-256 hash of the image's bytes, in hex."""
        return hashlib.sha256(self.body).hexdigest()


def fetch_image(fetcher: ContentFetcher, url: str, limits: UsageLimitSettings) -> PreparedImage:
    """Fetch an image and shrink it for use in emails, to at most 1200 pixels wide and 200 KB.

    Raises:
        FetchError: the image couldn't be fetched.
        ImageError: the image is unusable: SVG, broken, too many pixels, or too small to show.
    """
    answer = fetcher.get(url, accept=IMAGE_ACCEPT, max_bytes=limits.image_bytes)
    return _encode("fit picture", answer.body, url, max_pixels=limits.image_pixels)


def prepare_uploaded_image(body: bytes, limits: UsageLimitSettings) -> PreparedImage:
    """Shrink an uploaded image for use in emails, as `fetch_image` does.

    Its `source_url` is "upload:" followed by its hash.

    Raises:
        ImageError: the image is too large or otherwise unusable: SVG, broken, too many pixels,
            or too small to show.
    """
    _check_size(body, limits)
    source_url = f"upload:{hashlib.sha256(body).hexdigest()}"
    return _encode("fit picture", body, source_url, max_pixels=limits.image_pixels)


def prepare_logo(body: bytes, name: str, limits: UsageLimitSettings) -> PreparedImage:
    """Shrink a logo for use in emails. The result's `source_url` is "logo:" followed by `name`.

    Raises:
        ImageError: the logo is too large or otherwise unusable: SVG, broken, too many pixels,
            too low, or too wide.
    """
    _check_size(body, limits)
    return _encode("fit logo", body, make_logo_source_url(name), max_pixels=limits.image_pixels)


def prepare_header(body: bytes, name: str, limits: UsageLimitSettings) -> PreparedImage:
    """Shrink a header image for use in emails. The result's `source_url` is "header:" followed by `name`.

    Raises:
        ImageError: the image is too large or otherwise unusable: SVG, broken, too many pixels,
            too narrow, or too tall.
    """
    _check_size(body, limits)
    return _encode("fit header", body, make_header_source_url(name), max_pixels=limits.image_pixels)


def _check_size(body: bytes, limits: UsageLimitSettings) -> None:
    if len(body) > limits.image_bytes:
        raise ImageError(f"{len(body):,} bytes is over the limit of {limits.image_bytes:,} (limits.image_bytes)")


def _encode(operation: str, body: bytes, source_url: str, **options: Any) -> PreparedImage:
    image = encode_image_in_child(operation, body, **options)
    return PreparedImage(**asdict(image), source_url=source_url)


def make_logo_source_url(name: str) -> str:
    """Return the `source_url` under which a logo is stored."""
    return f"logo:{name}"


def make_header_source_url(name: str) -> str:
    """Return the `source_url` under which a header image is stored."""
    return f"header:{name}"


def make_crop_source_url(source_url: str, shape: CropShape, focus: FocusPoint | None = None) -> str:
    """Return the `source_url` of a crop: `upload:…#lead`, or `upload:…#lead@0.25,0.4` with a focus point."""
    return f"{source_url}#{shape}{_FOCUS_MARK}{focus[0]},{focus[1]}" if focus else f"{source_url}#{shape}"


def crop_stored_image(source_url: str, body: bytes, shape: CropShape, focus: FocusPoint | None = None) -> PreparedImage:
    """Crop a stored image to a shape's size around its focus point, enlarging it if it's too small.

    See `make_crop_source_url` for the crop's `source_url`.

    Raises:
        ImageError: `body` isn't an image.
    """
    crop_url = make_crop_source_url(source_url, shape, focus)
    return _encode("crop picture", body, crop_url, shape=shape, focus=focus or DEFAULT_FOCUS)


def draw_social_card(
    source_url: str, picture: bytes, words: SocialCardTexts, focus: FocusPoint | None = None
) -> PreparedImage:
    """Draw the social card of an edition.

    `picture` is an image to crop around its focus point, or b"" for a card without one.

    Raises:
        ImageError: the font lacks a letter of the texts, or `picture` isn't an image.
    """
    return _encode("draw card", picture, source_url, focus=focus or DEFAULT_FOCUS, **asdict(words))


def draw_icon(letter: str, dot_color: str, size: int) -> bytes:
    """Return the site's icon as a PNG file, `size` pixels wide, with a letter and a colored dot.

    Raises:
        ImageError: the child process couldn't draw it.
    """
    return _encode("draw icon", b"", "", letter=letter, dot_color=dot_color, size=size).body


def find_image(session: Session, source_url: str) -> MediaFile | None:
    """Return the latest stored image with the given `source_url`, or None. Crops have source URLs of their own."""
    kept = select(MediaFile).where(MediaFile.source_url == source_url)
    newest = kept.order_by(MediaFile.made_at.desc(), MediaFile.hash)
    return session.scalar(newest.limit(1))


def find_uncropped_image(session: Session, crop_hash: str) -> MediaFile | None:
    """Return the image that a crop was made from, or None if the image or the crop isn't stored."""
    crop = session.get(MediaFile, crop_hash)
    return find_image(session, crop.source_url.rpartition("#")[0]) if crop else None


def load_image(session: Session, content_hash: str) -> MediaFile | None:
    """Return the stored image with the given hash, or None if it's missing or its bytes don't match the hash."""
    picture = session.get(MediaFile, content_hash, options=[undefer(MediaFile.body)])
    if picture is None or hashlib.sha256(picture.body).hexdigest() == content_hash:
        return picture
    log.error("an image was changed in the database", picture=content_hash)
    return None


def delete_stored_image(session: Session, source_url: str) -> None:
    """Delete a stored image and its crops, except those used in a sent or approved edition."""
    crop_urls = [make_crop_source_url(source_url, shape) for shape in CropShape]
    focused = (MediaFile.source_url.startswith(url + _FOCUS_MARK, autoescape=True) for url in crop_urls)
    unsent = (EditionState.DRAFT, EditionState.INCOMPLETE)
    went_out = select(Edition.id).where(Edition.state.not_in(unsent))
    approved = select(Approval.id).where(Approval.state != ApprovalState.REVOKED)
    hashes = select(MediaFile.hash).where(or_(MediaFile.source_url.in_([source_url, *crop_urls]), *focused))
    for media_hash in session.scalars(hashes).all():
        uses = (
            went_out.where(cast(Edition.content, Text).contains(media_hash)),
            approved.where(cast(Approval.content, Text).contains(media_hash)),
        )
        if all(session.scalar(query.limit(1)) is None for query in uses):
            session.execute(delete(MediaFile).where(MediaFile.hash == media_hash))


def store_image(session: Session, image: PreparedImage, now: datetime) -> MediaFile:
    """Store an image and return its row. If the same bytes are already stored, return that row.

    Use the returned row rather than looking it up by URL. If two URLs have the same bytes, only the
    first is stored, and the second is fetched again next time.
    """
    if row := session.get(MediaFile, image.hash):
        return row
    size = len(image.body)
    row = MediaFile(hash=image.hash, size=size, made_at=now, **asdict(image))
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another process just stored the same bytes
        return session.get_one(MediaFile, image.hash)
    return row
