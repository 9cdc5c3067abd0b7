"""Pictures for the mail: fetched under the guards of `fetch`, made small, kept once, served from `/media/<hash>`.

The network and the codecs run outside a transaction:

    with database.read() as session:
        kept = find(session, url)
    picture = fetch_picture(fetcher, url, limits)
    with database.write() as session:
        kept = keep(session, picture, now)
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from PIL import ImageOps
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from digest.collect.fetched import Getter
from digest.collect.pixels import Encoded, PictureError, decode, encode
from digest.db import Media
from digest.settings import Limits

__all__ = [
    "Picture",
    "PictureError",
    "Shape",
    "cut",
    "fetch_picture",
    "find",
    "keep",
]

ACCEPT = "image/jpeg, image/png, image/webp, image/avif, image/gif;q=0.8"
WIDEST = 1200  # pixels: twice the mail's column
TALLEST = 2400  # pixels
HEAVIEST = 200_000  # bytes
NARROWEST = 120  # pixels; below are icons and tracking pixels
LOWEST = 60  # pixels; below are rules and spacers


class Shape(StrEnum):
    """The crops that the mail shows; a mail client cannot crop."""

    LEAD = "lead"
    THUMB = "thumb"


_CUTS = {Shape.LEAD: ((1120, 630), 120_000), Shape.THUMB: ((240, 160), 30_000)}  # pixels, bytes
_CENTRE = (0.5, 0.4)  # faces are in the upper half more often than not


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture ready to be kept. `hash` is the SHA-256 of `body`, in hex; width and height are pixels."""

    source_url: str
    content_type: str
    width: int
    height: int
    body: bytes
    hash: str


def fetch_picture(fetcher: Getter, url: str, limits: Limits) -> Picture:
    """Fetch `url` and make it fit for the mail: at most 1200 pixels wide and 200 KB.

    Raises:
        FetchError: it could not be fetched.
        PictureError: what came is no usable picture: SVG, broken, too many pixels, or too small to show.
    """
    got = fetcher.get(url, accept=ACCEPT, max_bytes=limits.image_bytes)
    image = decode(got.body, most_pixels=limits.image_pixels, at_most=(WIDEST, TALLEST))
    if image.width < NARROWEST or image.height < LOWEST:
        raise PictureError(
            f"{image.width} x {image.height} pixels: too small to show ({NARROWEST} x {LOWEST} are needed)"
        )
    return _picture(url, encode(image, HEAVIEST))


def cut(source_url: str, body: bytes, shape: Shape) -> Picture:
    """Cut a kept picture to a shape of the mail, covering all of it; a small one is enlarged.

    Its `source_url` is the picture's with `#lead` or `#thumb`.

    Raises:
        PictureError: `body` is no picture.
    """
    size, heaviest = _CUTS[shape]
    image = decode(body, most_pixels=WIDEST * TALLEST, at_most=(WIDEST, TALLEST))
    made = encode(ImageOps.fit(image, size, centering=_CENTRE), heaviest, fixed_size=True)
    return _picture(f"{source_url}#{shape}", made)


def find(session: Session, source_url: str) -> Media | None:
    """Give the picture that was kept for an address (with `#lead` or `#thumb` its cut), so as not to fetch it again."""
    wanted = select(Media).where(Media.source_url == source_url).order_by(Media.made_at.desc(), Media.hash)
    return session.scalars(wanted.limit(1)).first()


def keep(session: Session, picture: Picture, now: datetime) -> Media:
    """Keep a picture, and give its row; the same bytes from another address give the row that is there.

    So use the row, not a look-up by address: of two addresses with the same bytes only the first is stored,
    and the second is fetched again next time.
    """
    if row := session.get(Media, picture.hash):
        return row
    row = Media(
        hash=picture.hash,
        source_url=picture.source_url,
        content_type=picture.content_type,
        width=picture.width,
        height=picture.height,
        size=len(picture.body),
        body=picture.body,
        made_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another process kept the same bytes just now
        return session.get_one(Media, picture.hash)
    return row


def _picture(source_url: str, made: Encoded) -> Picture:
    return Picture(
        source_url=source_url,
        content_type=made.content_type,
        width=made.width,
        height=made.height,
        body=made.body,
        hash=hashlib.sha256(made.body).hexdigest(),
    )
