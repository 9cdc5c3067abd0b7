"""The bounce mailbox: what is ours in it is stored, then put away; everything else stays there, unseen.

The order makes a crash harmless. A message is stored before it is moved, and noted as looked at after that: cut
short, it is read again, and a body that is stored already adds nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
    """What one look into the mailbox found. `stuck` says why stored messages could not be put away."""

    stored: int = 0
    known: int = 0  # stored before: a look was cut short, or a mail came twice
    left: Counter[Why] = field(default_factory=Counter)
    stuck: str = ""
    more: bool = False  # there may be further messages


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading a mailbox needs. `stopping` says whether the process is about to end."""

    database: Database
    keys: Keys
    place: BounceMailbox
    password: str
    clock: Callable[[], datetime]
    stopping: Callable[[], bool] = lambda: False


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
        _record(reader, trouble=str(exc))
        raise
    _record(reader, found)
    return found


def _look(reader: Reader, folder: Folder, found: Look, most: int) -> None:
    place: dict[str, str | int] = {"of": _mark(reader.place), "validity": folder.validity}
    with reader.database.read() as session:
        known = memos.recall(session, PLACE) or {}
    # another folder, or one whose messages were numbered anew, is read from its beginning
    first = int(known["next"]) if all(known.get(key) == value for key, value in place.items()) else 1
    numbers = folder.pending(first, most)
    found.more = len(numbers) == most
    for number in numbers:
        if reader.stopping():
            found.more = True
            break
        _take(reader, folder, number, found)
        _remember(reader, {**place, "next": number + 1})
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
    found.stuck = folder.put_away(number) or found.stuck


def _mark(place: BounceMailbox) -> str:
    return hashlib.sha256(f"{place.where} {place.user} {place.folder}".encode()).hexdigest()[:16]


def _remember(reader: Reader, value: dict[str, str | int]) -> None:
    with reader.database.write() as session:
        memos.remember(session, PLACE, value, now=reader.clock())


@dataclass(frozen=True, slots=True)
class Last:
    """How the last look went: why nothing could be read, so many times in a row, and what stands in the way of the rest."""

    at: datetime
    troubles: int = 0
    trouble: str = ""
    stuck: str = ""  # why what is stored could not be put away, the last time that there was something
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


def _record(reader: Reader, found: Look | None = None, *, trouble: str = "") -> None:
    now = reader.clock()
    with reader.database.write() as session:
        last = last_look(session) or Last(now)
        tried = found is not None and (found.stored or found.known)
        went = Last(
            at=now,
            troubles=last.troubles + 1 if trouble else 0,
            trouble=trouble,
            stuck=found.stuck if found is not None and tried else last.stuck,
            more=found is not None and found.more,
        )
        value = asdict(went)
        del value["at"]
        memos.remember(session, LOOKS, value, now=now)
    for now_said, said in ((went.trouble, last.trouble), (went.stuck, last.stuck)):
        if now_said and now_said != said:
            log.error("the bounce mailbox gives trouble", why=now_said)
        elif said and not now_said:
            log.info("the bounce mailbox is well again", was=said)
