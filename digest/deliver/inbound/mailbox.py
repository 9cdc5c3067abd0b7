"""The bounce mailbox: what is ours in it is stored, then put away; everything else stays there, unseen.

The order makes a crash harmless. A message is stored before it is moved, and noted as looked at after that: cut
short, it is read again, and a body that is stored already adds nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import update
from sqlalchemy.orm import Session

from digest.db import Database
from digest.deliver import memos
from digest.deliver.inbound import imap, mail, payloads
from digest.deliver.inbound.imap import Folder, MailboxError
from digest.deliver.inbound.mail import Why
from digest.delivery_db import Memo
from digest.settings import BounceMailbox
from subscribers.vault import Keys

MOST = 200  # messages at one look
EVERY, LONGEST_REST = timedelta(minutes=1), timedelta(minutes=30)
PLACE = "mailbox"  # the memo: how far the folder was read
LOOKS = "mailbox looks"  # the memo: how the last look went; its time is when that was

log = structlog.get_logger("inbound")


@dataclass(slots=True)
class Look:
    """What one look into the mailbox found. `trouble` says why stored messages could not be put away."""

    stored: int = 0
    known: int = 0  # stored before: a look was cut short, or a mail came twice
    left: Counter[Why] = field(default_factory=Counter)
    trouble: str = ""
    more: bool = False  # there may be further messages


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading a mailbox needs."""

    database: Database
    keys: Keys
    place: BounceMailbox
    password: str
    clock: Callable[[], datetime]


def look(reader: Reader, *, most: int = MOST) -> Look:
    """Look at the next messages, and remember how it went.

    Raises:
        MailboxError: the mailbox cannot be read; what was stored before that is stored.
    """
    found = Look()
    try:
        with imap.opened(reader.place, reader.password) as folder:
            _look(reader, folder, found, most)
    except MailboxError as exc:
        _record(reader, str(exc))
        raise
    _record(reader, found.trouble, more=found.more)
    return found


def _look(reader: Reader, folder: Folder, found: Look, most: int) -> None:
    place: dict[str, str | int] = {"of": _mark(reader.place), "validity": folder.validity}
    with reader.database.read() as session:
        known = memos.recall(session, PLACE) or {}
    # another folder, or one whose messages were numbered anew, is read from its beginning
    first = int(known["next"]) if all(known.get(key) == value for key, value in place.items()) else 1
    numbers = folder.pending(first, most)
    for number in numbers:
        _take(reader, folder, number, found)
        _remember(reader, {**place, "next": number + 1})
    found.more = len(numbers) == most
    if not found.more and folder.end is not None and folder.end > first:
        _remember(reader, {**place, "next": folder.end})


def _take(reader: Reader, folder: Folder, number: int, found: Look) -> None:
    raw = folder.message(number)
    if raw is None:
        return
    now = reader.clock()
    heard = mail.read(raw, keys=reader.keys, received_at=now)
    if isinstance(heard, Why):
        found.left[heard] += 1
        return
    new = payloads.store(reader.database, reader.keys, raw, now=now, origin="mailbox")
    found.stored += new
    found.known += not new
    found.trouble = folder.put_away(number) or found.trouble


def _mark(place: BounceMailbox) -> str:
    return hashlib.sha256(f"{place.where} {place.user} {place.folder}".encode()).hexdigest()[:16]


def _remember(reader: Reader, value: dict[str, str | int]) -> None:
    with reader.database.write() as session:
        memos.remember(session, PLACE, value, now=reader.clock())


@dataclass(frozen=True, slots=True)
class Last:
    """How the last look went: trouble, and how many looks in a row it has been there."""

    at: datetime
    troubles: int = 0
    trouble: str = ""
    more: bool = False


def last_look(session: Session) -> Last | None:
    """Say how the last look went; None where there was none."""
    memo = session.get(Memo, LOOKS)
    return Last(memo.at, **memo.value) if memo else None


def its_turn(database: Database, *, now: datetime) -> bool:
    """Take the turn to look, if it is time: every minute, at once where there was more, after trouble ever later.

    Of many processes one gets it.
    """
    with database.read() as session:
        last = last_look(session)
    if last is not None and last.at > now - _rest(last):
        return False
    with database.write() as session:
        if last is None:
            memos.remember(session, LOOKS, {}, now=now)
            return True
        mine = update(Memo).where(Memo.name == LOOKS, Memo.at == last.at).values(at=now)
        return session.connection().execute(mine).rowcount == 1


def _rest(last: Last) -> timedelta:
    return timedelta(0) if last.more else min(LONGEST_REST, EVERY * (1 << min(last.troubles, 10)))


def _record(reader: Reader, trouble: str, *, more: bool = False) -> None:
    now = reader.clock()
    with reader.database.write() as session:
        last = last_look(session) or Last(now)
        troubles = last.troubles + 1 if trouble else 0
        memos.remember(session, LOOKS, {"troubles": troubles, "trouble": trouble, "more": more}, now=now)
    if trouble and trouble != last.trouble:
        log.error("the bounce mailbox gives trouble", why=trouble)
    elif last.trouble and not trouble:
        log.info("the bounce mailbox is read again")
