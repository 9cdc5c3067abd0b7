"""What stands in one reader's message and in no other: address, ids, tokens, when and where they asked."""

import re
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.db import Edition
from digest.deliver.encoding import WIDEST, safe
from digest.deliver.identity import message_id
from digest.deliver.letters import Filled, splice
from digest.deliver.variants import variants_of
from digest.edition.approval import fragments_of
from digest.settings import Settings
from subscribers import tokens
from subscribers.choices import Choices
from subscribers.roll import Reader
from subscribers.vault import Keys

_MOST_UNSUBSCRIBE = 77  # SendGrid's relay turns a longer List-Unsubscribe into encoded words
_NO_TOKEN = "reader-token-goes-here"  # noqa: S105 - stands in a specimen where a token would, as long as one


class LetterError(Exception):
    """No sound message can be written; the message says which field or setting is at fault."""


def fill(reader: Reader, message: str, *, keys: Keys, zone: ZoneInfo) -> Filled:
    """Work out what stands for the marks in a reader's message; `message` is its Message-ID.

    Raises:
        VaultError: the reader's address does not open.
    """
    return Filled(
        to=reader.address(keys),
        message_id=message,
        leave=tokens.make(keys, reader.number, "leave"),
        preferences=tokens.make(keys, reader.number, "preferences"),
        asked=asked_text(reader.asked_at, reader.asked_where, zone),
    )


def specimen(session: Session, edition: Edition, settings: Settings) -> bytes:
    """Give the message that a reader of every section gets, with an invented reader: for looking and checking."""
    variants = variants_of(edition, fragments_of(session, edition), settings)
    letter = variants.letter(Choices())
    if letter is None:
        raise LetterError(f"{edition.name} has no sections: draft it again.")
    zone = settings.file.publication.zone
    return splice(
        letter,
        Filled(
            to="reader@example.org",
            message_id=message_id(f"edition:{edition.name}", "specimen", settings.file.sender.list_id),
            leave=_NO_TOKEN,
            preferences=_NO_TOKEN,
            asked=asked_text(edition.opens_at, "the sign-up page", zone),
        ),
    )


def asked_text(asked_at: datetime, where: str, zone: ZoneInfo) -> str:
    """Say when and where a reader asked for the mail: "March 4, 2026, at hls.today", at most 60 characters."""
    day = asked_at.astimezone(zone)
    return _asked(f"{day:%B} {day.day}, {day.year}", where)


@lru_cache(maxsize=4096)
def _asked(day: str, where: str) -> str:
    """Write it with characters that need no escape in HTML or quoted-printable: the bytes are ready already."""
    place = " ".join(re.sub(r"[^A-Za-z0-9 .,:/()+-]", " ", where).split())
    said = f"{day}, at {place}"[:WIDEST].rstrip(" ,") if place else day
    if not safe(said):
        raise LetterError("the words on when a reader asked for the mail cannot stand in a message")
    return said


def require_one_click(base: str) -> None:
    """Make sure that a reader's List-Unsubscribe is short enough to survive.

    Raises:
        LetterError: the base URL is too long.
    """
    length = len(f"<{base}/u/") + 22 + 1
    if length > _MOST_UNSUBSCRIBE:
        raise LetterError(
            f"DIGEST_BASE_URL: with {base} List-Unsubscribe would have {length} characters; from 78 on SendGrid "
            f"garbles it. Use a host that is {length - _MOST_UNSUBSCRIBE} character(s) shorter."
        )
