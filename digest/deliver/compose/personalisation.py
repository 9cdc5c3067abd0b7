"""What is one reader's own in a message: address, ids, tokens, when and where they signed up."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from digest.deliver.compose import headers
from digest.deliver.compose.identifiers import make_message_id
from digest.deliver.compose.message import PlaceholderValues, splice_message
from digest.deliver.compose.variants import build_variants
from digest.edition.approval import load_fragments
from digest.edition.rendering.sanitiser import sanitise_text
from digest.settings import Settings
from digest.store.models import Edition
from subscribers.consent.audience import AudienceMember
from subscribers.consent.preferences import Preferences
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing
from subscribers.errors import ApplicationError
from subscribers.phrases import full_date

_MAX_UNSUBSCRIBE_LENGTH = 77  # SendGrid's relay turns a longer List-Unsubscribe into encoded words
_SPECIMEN_TOKEN = "reader-token-goes-here"  # noqa: S105 - as long as a token, in a specimen


class ComposeError(ApplicationError):
    """No sound message can be written; the message says which field or setting is at fault."""


def fill_placeholders(
    reader: AudienceMember, message_id: str, date: datetime, *, keys: KeyRing, zone: ZoneInfo
) -> PlaceholderValues:
    """Return the values of the placeholders in a reader's message; `message_id` and `date` go into its header.

    Raises:
        DecryptionError: the reader's address does not open.
    """
    return PlaceholderValues(
        to=reader.decrypt_address(keys),
        message_id=message_id,
        date=headers.date_value(date, zone),
        leave_token=link_tokens.make_link_token(keys, reader.number, "leave", reader.link_generation),
        preferences_token=link_tokens.make_link_token(keys, reader.number, "preferences", reader.link_generation),
        signup_text=signup_text(reader.asked_at, reader.asked_where, zone),
    )


def compose_specimen(session: Session, edition: Edition, settings: Settings) -> bytes:
    """Compose the message that a reader of every section gets, for an invented reader: to preview and check.

    Its Date is the edition's release, so that the same edition gives the same bytes.
    """
    variants = build_variants(edition, load_fragments(session, edition), settings)
    template = variants.template_for(Preferences())
    if template is None:
        raise ComposeError(f"{edition.name} has no sections: draft it again.")
    zone = settings.file.publication.zone
    return splice_message(
        template,
        PlaceholderValues(
            to="reader@example.org",
            message_id=make_message_id(f"edition:{edition.name}", "specimen", settings.file.sender.list_id),
            date=headers.date_value(edition.release_at, zone),
            leave_token=_SPECIMEN_TOKEN,
            preferences_token=_SPECIMEN_TOKEN,
            signup_text=signup_text(edition.opens_at, "the sign-up page", zone),
        ),
    )


def signup_text(asked_at: datetime, where: str, zone: ZoneInfo) -> str:
    """Return when and where a reader asked for the mail: "March 4, 2026, at hls.today"."""
    place = _sanitise_place(where)
    day = full_date(asked_at.astimezone(zone))
    return f"{day}, at {place}" if place else day


_sanitise_place = lru_cache(maxsize=4096)(sanitise_text)  # many readers share a place


def check_unsubscribe_length(base_url: str) -> None:
    """Check that a reader's List-Unsubscribe is short enough to arrive intact.

    Raises:
        ComposeError: the base URL is too long.
    """
    length = len(f"<{base_url}/u/") + 22 + 1
    if length > _MAX_UNSUBSCRIBE_LENGTH:
        raise ComposeError(
            f"DIGEST_BASE_URL: with {base_url} List-Unsubscribe would have {length} characters; from 78 on SendGrid "
            f"garbles it. Use a host that is {length - _MAX_UNSUBSCRIBE_LENGTH} character(s) shorter."
        )
