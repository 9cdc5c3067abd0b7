"""One-time tokens: 128 random bits in an email, of which only a hash is stored in the database.

Unlike email tokens (`crypto.link_tokens`), they expire, work once, and allow actions that a
forwarded email must not allow: consenting, viewing one's data, changing the address, erasure, and
signing in. Opening their page changes nothing. `use_token` is called when the button is pressed.

A person's token only works while their row has the address from when it was made, because the
number may be someone else's later.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session

from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.loggers import get_logger
from subscribers.store import people
from subscribers.store.database import count_rows
from subscribers.store.keyed_row_seals import filter_genuine_rows, find_keys_of_session, keep_if_genuine
from subscribers.store.models import Person
from subscribers.store.signup_models import OneTimeToken

OneTimePurpose = Literal[
    "confirm",
    "change address",
    "stop address change",
    "my data",
    "undo on page",
    "undo by mail",
    "restore choices",
    "stay",
    "erase",
    "sign in",
    "staff address",
]
# Their expiry is processed by `lifecycle.expiry` and `lifecycle.inactivity_questions`.
_SETTLED_AT_END: tuple[OneTimePurpose, ...] = (
    "confirm",
    "stay",
)
TOKEN_LENGTH = 22  # in characters: 128 bits in base64url
# The time after their end, so that pages can say "used" or "expired" instead of "unknown".
TOKEN_RETENTION = timedelta(days=60)
log = get_logger("people")
# The limit per purpose and person, for emails that others than the owner can trigger.
LINKS_PER_WEEK = 3


class TokenState(StrEnum):
    """The state of a token."""

    UNKNOWN = "unknown"
    FRESH = "fresh"
    USED = "used"
    EXPIRED = "expired"  # it expired, or was replaced by a newer one


class ActionLinkState(StrEnum):
    """The state of an action's link, as displayed on its page."""

    UNKNOWN = "unknown"
    OPEN = "open"  # the button works
    DONE = "done"
    # For address changes: the new address is already in the database or suppressed.
    TAKEN = "taken"
    # For address changes: the subscriber was erased, which ends links as if they were used.
    ERASED = "erased"
    OVER = "over"  # it expired, or its action no longer makes sense


@dataclass(frozen=True, slots=True)
class TokenLookup:
    """A token and its state.

    If it's unknown, the other fields are empty. `owner` is the person's row, if the token only
    works for its address.
    """

    state: TokenState
    person: int | None = None
    serial: str = ""
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    owner: Person | None = field(default=None, repr=False)


def issue_token(
    session: Session,
    purpose: OneTimePurpose,
    person: int | None,
    *,
    now: datetime,
    expires_at: datetime,
    serial: str = "",
) -> str:
    """Create a token (22 characters of base64url) and store its hash.

    The token can't be read from the database.
    """
    token = secrets.token_urlsafe(16)
    row = OneTimeToken(
        hash=hash_token(token),
        purpose=purpose,
        person=person,
        serial=serial,
        made_at=now,
        expires_at=expires_at,
        bound_to=None if person is None else _bind_to_owner(session, token, person),
    )
    session.add(row)
    session.flush()
    return token


def hash_token(token: str) -> str:
    """Return the hash that's stored in place of a token.

    The token has 128 random bits, so neither a salt nor a slow function is needed.
    """
    return hashlib.sha256(b"one-time\0" + token.encode()).hexdigest()


def look_up_token(session: Session, token: str, purpose: OneTimePurpose, *, now: datetime) -> TokenLookup:
    """Return the state of a token.

    Nothing is changed. A token for another purpose is unknown.
    """
    return _describe_token(session, token, _find_row(session, token, purpose), now)


def has_token_ended(session: Session, token: str) -> bool:
    """Return True if a token, for any purpose, was used or replaced."""
    ended = (OneTimeToken.hash == hash_token(token)) & OneTimeToken.ended_at.is_not(None)
    return bool(session.scalar(select(exists().where(ended))))


def use_token(session: Session, token: str, purpose: OneTimePurpose, *, now: datetime) -> TokenLookup:
    """Use a token, and return its state from before it was used.

    Only one of two concurrent calls gets the state `FRESH`.
    """
    row = _find_row(session, token, purpose, lock=True)
    lookup = _describe_token(session, token, row, now)
    if row is not None and lookup.state is TokenState.FRESH:
        row.ended_at, row.used = now, True
        session.flush()
    return lookup


def may_email_link(session: Session, person: int, purpose: OneTimePurpose, *, now: datetime) -> bool:
    """Return True if another link may be emailed to a person.

    Anyone with a forwarded email can request such links.
    """
    return count_tokens_since(session, person, purpose, now - timedelta(days=7)) < LINKS_PER_WEEK


def count_tokens_since(session: Session, person: int, purpose: OneTimePurpose, since: datetime) -> int:
    """Return how many tokens for a purpose, in any state, have been issued to a person since a given moment.

    The moment can be at most 60 days ago.
    """
    mine = (OneTimeToken.person == person, OneTimeToken.purpose == purpose, OneTimeToken.made_at > since)
    return count_rows(session, OneTimeToken, *mine)


def revoke_tokens(
    session: Session,
    person: int,
    purpose: OneTimePurpose,
    *,
    now: datetime,
    used: bool = False,
) -> None:
    """End a person's open tokens for a purpose.

    The action was done in another way or is no longer wanted.
    """
    _end_where(session, OneTimeToken.person == person, OneTimeToken.purpose == purpose, now=now, used=used)


def revoke_all_tokens(session: Session, numbers: Collection[int], *, now: datetime) -> None:
    """End every open token of people (at most 1,000) as if it had been used."""
    _end_where(session, OneTimeToken.person.in_(numbers), now=now, used=True)


def revoke_tokens_by_serial(
    session: Session, purpose: OneTimePurpose, serial: str | None = None, *, now: datetime
) -> None:
    """End the open tokens for a purpose, either those with a given serial or all of them."""
    own = (OneTimeToken.serial == serial,) if serial is not None else ()
    _end_where(session, OneTimeToken.purpose == purpose, *own, now=now, used=False)


def _end_where(
    session: Session,
    *conditions: ColumnElement[bool],
    now: datetime,
    used: bool,
) -> None:
    open_rows = select(OneTimeToken).where(*conditions, OneTimeToken.ended_at.is_(None)).order_by(OneTimeToken.id)
    for row in session.scalars(open_rows.with_for_update()):
        row.ended_at, row.used = now, used
    session.flush()


def was_token_issued(session: Session, person: int, purpose: OneTimePurpose, *, serial: str) -> bool:
    """Return True if a person has ever been issued a token for a purpose with this `serial`."""
    mine = (OneTimeToken.person == person, OneTimeToken.purpose == purpose, OneTimeToken.serial == serial)
    return bool(session.scalar(select(exists().where(*mine))))


def find_open_token(
    session: Session,
    person: int,
    purpose: OneTimePurpose,
    *,
    now: datetime,
) -> OneTimeToken | None:
    """Return a person's first open token for a purpose, or None if there's none."""
    return next(iter(list_open_tokens(session, person, purpose, now=now)), None)


def list_open_tokens(
    session: Session, person: int, purpose: OneTimePurpose, *, now: datetime
) -> Sequence[OneTimeToken]:
    """Return a person's open tokens for a purpose, oldest first."""
    query = (
        select(OneTimeToken)
        .where(
            OneTimeToken.person == person,
            OneTimeToken.purpose == purpose,
            OneTimeToken.ended_at.is_(None),
            OneTimeToken.expires_at > now,
        )
        .order_by(OneTimeToken.id)
    )
    return filter_genuine_rows(session, session.scalars(query))


def delete_old_tokens(session: Session, *, now: datetime) -> None:
    """Delete tokens that ended or expired long ago.

    If their expiry has consequences, they're kept until it's processed.
    """
    old = now - TOKEN_RETENTION
    ran_out = (OneTimeToken.expires_at < old) & OneTimeToken.purpose.not_in(_SETTLED_AT_END)
    session.execute(delete(OneTimeToken).where((OneTimeToken.ended_at < old) | ran_out))


def _find_row(
    session: Session,
    token: str,
    purpose: OneTimePurpose,
    *,
    lock: bool = False,
) -> OneTimeToken | None:
    if len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    query = select(OneTimeToken).where(OneTimeToken.hash == hash_token(token), OneTimeToken.purpose == purpose)
    return keep_if_genuine(session, session.scalar(query.with_for_update() if lock else query))


def _describe_token(session: Session, token: str, row: OneTimeToken | None, now: datetime) -> TokenLookup:
    """Return the state of a token.

    A token that would work for a different person from the one it was made for is unknown.
    """
    lookup = _describe_row(row, now)
    if row is None or row.bound_to is None or lookup.state is not TokenState.FRESH:
        return lookup
    owner = session.get(Person, row.person)
    if owner is None or (owner.ciphertext is not None and not _is_bound_to(session, token, row.bound_to, owner)):
        log.error("a one-time link isn't its subscriber's and was ignored", row=row.id)
        return TokenLookup(TokenState.UNKNOWN)
    return replace(lookup, owner=owner)


def is_token_made_for(session: Session, token: str, address: str) -> bool:
    """Return True if a token wasn't made for someone else, so that it may be emailed to a person with `address`."""
    bound_to = session.scalar(select(OneTimeToken.bound_to).where(OneTimeToken.hash == hash_token(token)))
    return bound_to is None or _matches(find_keys_of_session(session), token, bound_to, address)


def _bind_to_owner(session: Session, token: str, person: int) -> str:
    """Return a hash of the owner's address and the token, or "" if the address fails verification."""
    keys, owner = find_keys_of_session(session), session.get(Person, person)
    address = people.read_address_matching_commitment(session, keys, owner) if owner is not None else None
    return _bind(keys.current("token"), token, address.mailbox) if address else ""


def _is_bound_to(session: Session, token: str, bound_to: str, owner: Person) -> bool:
    keys = find_keys_of_session(session)
    address = people.read_address_matching_commitment(session, keys, owner)
    return address is not None and _matches(keys, token, bound_to, address.mailbox)


def _matches(keys: KeyRing, token: str, bound_to: str, mailbox: str) -> bool:
    return any(hmac.compare_digest(_bind(key, token, mailbox), bound_to) for key in keys.of_kind("token"))


def _bind(key: SecretKey, token: str, mailbox: str) -> str:
    return keyed_hash(key.secret, b"one-time\0", f"{token} {mailbox.casefold()}".encode())


def _describe_row(row: OneTimeToken | None, now: datetime) -> TokenLookup:
    if row is None:
        return TokenLookup(TokenState.UNKNOWN)
    if row.ended_at is not None:
        token_state = TokenState.USED if row.used else TokenState.EXPIRED
    else:
        token_state = TokenState.FRESH if row.expires_at > now else TokenState.EXPIRED
    return TokenLookup(token_state, row.person, row.serial, row.expires_at, row.ended_at)
