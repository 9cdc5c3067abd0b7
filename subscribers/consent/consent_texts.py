"""Consent texts: the current one, from the settings, and a register of all versions ever used.

A text gets its version when someone is first asked to agree to it or agrees to it. A different text
gets a new version. If an earlier text is used again, it's recognized by its hash and has the same
version. Each consent event also stores the text, version, and hash.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from subscribers.store.database import upsert
from subscribers.store.models import PublishedConsentText

NAME_PLACEHOLDER = "{name}"
# This is the prefix of the text of an import without a known consent text. The origin of the import follows.
NOT_RECORDED_BY = "not recorded by "
MIN_LETTERS = 10
MAX_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class ConsentText:
    """A consent text as shown.

    Its version is assigned by the register.
    """

    language: str
    text: str

    @property
    def hash(self) -> str:
        """The SHA-256 of the text, as 64 hex digits."""
        return hash_consent_text(self.text)


@dataclass(frozen=True, slots=True)
class ConsentTextVersion:
    """A version of a consent text in the register, as it was shown."""

    version: str
    language: str
    text: str
    first_used_at: datetime

    @property
    def hash(self) -> str:
        """The SHA-256 of the text, as stored in the ledger."""
        return hash_consent_text(self.text)

    def as_json(self) -> dict[str, str]:
        """Return the version in the form that's stored in the ledger."""
        return {
            "wording": self.text,
            "wording_version": self.version,
            "wording_hash": self.hash,
            "language": self.language,
        }


def read_consent_text_of_event(body: Mapping[str, Any]) -> str:
    """Return the consent text that an event proves was shown, or "" if it doesn't prove any. Pure.

    For imports, `wording` may say that the text wasn't recorded. Only texts that were shown have a hash.
    """
    words = body.get("wording")
    return words if isinstance(words, str) and body.get("wording_hash") else ""


def read_claimed_consent_text(body: Mapping[str, Any]) -> str:
    """Return the consent text in an event, whether it's proven or only claimed by an imported list. Pure.

    If it wasn't recorded, return "".
    """
    words = read_consent_text_of_event(body) or body.get("wording")
    is_known = isinstance(words, str) and (body.get("wording_hash") or not words.startswith(NOT_RECORDED_BY))
    return str(words) if is_known else ""


def hash_consent_text(text: str) -> str:
    """Return the SHA-256 of a consent text, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_consent_template(template: str) -> str:
    """Check that a publisher's consent text can be used, and return it with whitespace collapsed.

    An empty text is returned unchanged.

    Raises:
        ValueError: the text can't be used; the message says why and what to do.
    """
    text = " ".join(template.split())
    if not text and template:
        raise ValueError("is blank; enter the consent text, or leave the setting out to use the standard text")
    if not text:
        return ""
    if not text.isprintable():
        raise ValueError("contains a control character; enter the text again without it")
    if match := re.search(r"\{[^{}]*\}|[{}]", text.replace(NAME_PLACEHOLDER, "")):
        raise ValueError(f"{match[0]!r} isn't a placeholder; use only {NAME_PLACEHOLDER}, for the publication's name")
    if match := re.search(r"</?[A-Za-z][^>]*>", text):
        raise ValueError(f"{match[0]!r} would be shown as is; use plain text without markup")
    if sum(character.isalpha() for character in text.replace(NAME_PLACEHOLDER, "")) < MIN_LETTERS:
        raise ValueError("the text is too short to say what's sent and how to unsubscribe; enter a full sentence")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the text has {len(text)} characters, over the limit of {MAX_CHARACTERS}; shorten it")
    return text


def fill_consent_template(template: str, *, name: str, language: str) -> ConsentText:
    """Return a checked consent text with the publication's name filled in."""
    return ConsentText(language, template.replace(NAME_PLACEHOLDER, name))


def register_consent_text(session: Session, words: ConsentText, now: datetime) -> ConsentTextVersion:
    """Return a consent text's version in the register, adding the text if it's new.

    A new text gets the next version.
    """
    while (existing_version := _find_by_text(session, words)) is None:
        row = {
            "version": _find_next_version(session),
            "language": words.language,
            "text": words.text,
            "hash": words.hash,
            "first_used_at": now,
        }
        # Nothing is inserted if another process was faster, with this text or another one.
        session.execute(upsert(session, PublishedConsentText).values(row).on_conflict_do_nothing())
    return existing_version


def find_consent_text(session: Session, version: str, current: ConsentText) -> ConsentText | None:
    """Return the consent text whose version was submitted with a form, or None if there's no such version.

    A form embedded elsewhere may be older than the settings. People agreed to the text that was shown in it.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        return None
    if row := session.get(PublishedConsentText, int(version)):
        return ConsentText(row.language, row.text)
    is_next = _find_by_text(session, current) is None and int(version) == _find_next_version(session)
    return current if is_next else None


def find_consent_text_version(session: Session, words: ConsentText, stated_version: str = "") -> str:
    """Return the version of a text that a person agreed to elsewhere, or "" if the text isn't in the register.

    A version that was stated, such as another service's, is returned unchanged unless it
    contradicts the register.

    Raises:
        ValueError: the register has another text for that version, or another version of this
            text.
    """
    registered = _find_by_text(session, words)
    version = registered.version if registered else ""
    if stated_version in ("", version):
        return version
    if registered or stated_version in {text.version for text in list_consent_texts(session)}:
        raise ValueError(f"the consent text doesn't match version {stated_version}")
    return stated_version


def list_consent_texts(session: Session) -> tuple[ConsentTextVersion, ...]:
    """Return all consent texts in the register, newest first."""
    rows = session.scalars(select(PublishedConsentText).order_by(PublishedConsentText.version.desc()))
    return tuple(_read_row(row) for row in rows)


def find_register_fault(session: Session, hashes: Collection[str]) -> str:
    """Return a description of the first fault in the register, or "" if there's none.

    `hashes` are those of the texts in consent events.
    """
    registered_hashes = {row.hash for row in session.scalars(select(PublishedConsentText))}
    for row in session.scalars(select(PublishedConsentText).order_by(PublishedConsentText.version)):
        if hash_consent_text(row.text) != row.hash:
            return f"version {row.version} of the consent text doesn't match its hash"
    missing = sorted(set(hashes) - registered_hashes)
    return f"the consent text with the SHA-256 {missing[0]} was agreed to but isn't on record" if missing else ""


def _find_by_text(session: Session, words: ConsentText) -> ConsentTextVersion | None:
    query = select(PublishedConsentText).where(
        PublishedConsentText.hash == words.hash, PublishedConsentText.language == words.language
    )
    row = session.scalar(query)
    return _read_row(row) if row else None


def _find_next_version(session: Session) -> int:
    return (session.scalar(select(func.max(PublishedConsentText.version))) or 0) + 1


def _read_row(row: PublishedConsentText) -> ConsentTextVersion:
    return ConsentTextVersion(str(row.version), row.language, row.text, row.first_used_at)
