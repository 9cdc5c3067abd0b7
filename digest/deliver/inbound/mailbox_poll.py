"""Polling the bounce mailbox.

Messages about our emails are stored, and then moved or deleted. All others are left unread. Because
of this order, crashes are harmless: a message is stored before it's moved, and the position is saved
afterward. After an interruption, the message is read again but not stored twice.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.events.mailbox import incoming_mail
from digest.deliver.events.mailbox.unsubscribe_requests import UnsubscribeRequest
from digest.deliver.inbound import imap, payloads
from digest.settings import BounceMailboxSettings
from digest.store.delivery_models import Delivery, StoredInstallationValue
from digest.store.engine import Database
from subscribers.consent import audience, ledger
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.store import people

MAX_MESSAGES = 200  # maximum messages per poll
POLL_INTERVAL, MAX_POLL_INTERVAL = timedelta(minutes=1), timedelta(minutes=30)
# Minimum time between answers to one subscriber, because anyone can forge requests in their name.
ANSWER_INTERVAL = timedelta(days=7)
POSITION_STATE_KEY = "mailbox"  # name of the state that says how far the folder was read
LAST_POLL_STATE_KEY = "mailbox looks"  # name of the state with the last poll's result and time

log = get_logger("inbound")


@dataclass(slots=True)
class PollResult:
    """The result of a poll. `stuck` is why stored messages couldn't be moved.

    `answered` counts the people who asked to unsubscribe and were sent their link.
    """

    stored: int = 0
    already_stored: int = 0  # because a poll was interrupted, or a message arrived twice
    answered: int = 0
    ignored: Counter[incoming_mail.IgnoreReason] = field(default_factory=Counter)
    stuck: str = ""
    more: bool = False  # True if there may be more messages


@dataclass(frozen=True, slots=True)
class MailboxPoller:
    """The resources for polling a mailbox.

    `queue` queues an email. `stopping` returns True if the process is about to end.
    """

    database: Database
    keys: KeyRing
    mailbox: BounceMailboxSettings
    password: str
    clock: Callable[[], datetime]
    queue: QueueMail
    stopping: Callable[[], bool] = lambda: False


def poll_mailbox(poller: MailboxPoller, *, limit: int = MAX_MESSAGES) -> PollResult:
    """Read up to `limit` messages, and save and return the result of the poll.

    Raises:
        MailboxError: the mailbox can't be read. Messages stored until then stay stored.
    """
    result = PollResult()
    try:
        with imap.open_mailbox_folder(poller.mailbox, poller.password) as folder:
            _poll_folder(poller, folder, result, limit)
    except imap.MailboxError as exc:
        _record_poll(poller, trouble=str(exc))
        raise
    _record_poll(poller, result)
    return result


def _poll_folder(poller: MailboxPoller, folder: imap.MailboxFolder, result: PollResult, limit: int) -> None:
    place = f"{poller.mailbox.host_and_port} {poller.mailbox.user} {poller.mailbox.folder}"
    fingerprint = hashlib.sha256(place.encode()).hexdigest()[:16]
    numbering: dict[str, str | int] = {"of": fingerprint, "validity": folder.uid_validity}
    with poller.database.read() as session:
        position = installation_hold.read_installation_value(session, POSITION_STATE_KEY) or {}
    # Start at the beginning if it's a different folder or its messages were renumbered.
    first = int(position["next"]) if numbering.items() <= position.items() else 1
    uids = folder.list_next_uids(first, limit)
    result.more = len(uids) == limit
    for uid in uids:
        if poller.stopping():
            result.more = True
            break
        _process_message(poller, folder, uid, result)
        _save_position(poller, {**numbering, "next": uid + 1})
    if not result.more and folder.uid_next is not None and folder.uid_next > first:
        _save_position(poller, {**numbering, "next": folder.uid_next})


def _process_message(poller: MailboxPoller, folder: imap.MailboxFolder, uid: int, result: PollResult) -> None:
    raw = folder.fetch_message(uid)
    if raw is None:
        return
    now = poller.clock()
    mail = incoming_mail.read_incoming_mail(raw, keys=poller.keys, received_at=now)
    if isinstance(mail, incoming_mail.IgnoreReason):
        result.ignored[mail] += 1
        return
    if isinstance(mail, UnsubscribeRequest):  # it stays in the mailbox, so that people can read it
        with poller.database.write() as session:
            answered = _answer_leave_request(session, poller.keys, mail, poller.queue, now=now)
        if answered:
            result.answered += 1
        else:
            result.ignored[incoming_mail.IgnoreReason.PERSONAL_REPLY] += 1
        return
    new = payloads.store_payload(poller.database, poller.keys, raw, origin=incoming_mail.REPORTED_BY, now=now)
    result.stored += new
    result.already_stored += not new
    result.stuck = folder.move_or_delete(uid) or result.stuck


def _save_position(poller: MailboxPoller, position: dict[str, str | int]) -> None:
    with poller.database.write() as session:
        installation_hold.write_installation_value(session, POSITION_STATE_KEY, position, now=poller.clock())


@dataclass(frozen=True, slots=True)
class LastPoll:
    """The result of the last mailbox poll.

    `troubles` is the number of polls that have failed in a row, and `trouble` is why the last one failed.
    """

    at: datetime
    troubles: int = 0
    trouble: str = ""
    # Why stored messages couldn't be moved the last time there were any.
    stuck: str = ""
    more: bool = False


def read_last_mailbox_poll(session: Session) -> LastPoll | None:
    """Return the result of the last poll, or None if there was none."""
    state = session.get(StoredInstallationValue, LAST_POLL_STATE_KEY)
    return LastPoll(state.at, **state.value) if state else None


def claim_poll_turn(database: Database, *, now: datetime) -> bool:
    """Claim the next poll if it's due. Return True if this process claimed it.

    Polls are due every minute, immediately if there were more messages, and at growing intervals
    after errors.
    """
    with database.read() as session:
        last = read_last_mailbox_poll(session)
    if last is not None and last.at > now - _time_to_next_poll(last):
        return False
    with database.write() as session:
        if last is None:
            installation_hold.write_installation_value(session, LAST_POLL_STATE_KEY, {}, now=now)
            return True
        claim = (
            update(StoredInstallationValue)
            .where(StoredInstallationValue.name == LAST_POLL_STATE_KEY, StoredInstallationValue.at == last.at)
            .values(at=now)
        )
        return session.connection().execute(claim).rowcount == 1


def _time_to_next_poll(last: LastPoll) -> timedelta:
    if last.more:
        return timedelta(0)
    return min(MAX_POLL_INTERVAL, POLL_INTERVAL * (1 << min(last.troubles, 10)))


def _record_poll(
    poller: MailboxPoller,
    result: PollResult | None = None,
    *,
    trouble: str = "",
) -> None:
    now = poller.clock()
    with poller.database.write() as session:
        last = read_last_mailbox_poll(session) or LastPoll(now)
        latest = _follow_poll(last, result, trouble, now)
        value = asdict(latest)
        del value["at"]
        installation_hold.write_installation_value(session, LAST_POLL_STATE_KEY, value, now=now)
    _log_change(last.trouble, latest.trouble)
    _log_change(last.stuck, latest.stuck)


def _follow_poll(last: LastPoll, result: PollResult | None, trouble: str, now: datetime) -> LastPoll:
    """Return the record of a poll, given either its result or the trouble that made it fail."""
    if result is None:
        return LastPoll(now, last.troubles + 1, trouble, last.stuck)
    tried_to_move = result.stored or result.already_stored
    return LastPoll(now, stuck=result.stuck if tried_to_move else last.stuck, more=result.more)


def _log_change(previous: str, problem: str) -> None:
    if problem and problem != previous:
        log.error("the bounce mailbox can't be read", why=problem)
    elif previous and not problem:
        log.info("the bounce mailbox works again", was=previous)


def _answer_leave_request(
    session: Session, keys: KeyRing, request: UnsubscribeRequest, queue: QueueMail, *, now: datetime
) -> bool:
    """Queue an email with the unsubscribe link. Return True if it was queued.

    It isn't done if the address isn't subscribed, or was sent the link in the last week.
    """
    number = people.find_person_number(session, keys, request.sender)
    if number is None or ledger.lock_person(session, number) is None or not audience.may_email_person(session, number):
        return False
    lately = (Delivery.person == number, Delivery.purpose.like("leave:%"), Delivery.due_at > now - ANSWER_INTERVAL)
    if session.scalar(select(exists().where(*lately))):
        return False
    queue(session, MailRequest("leave", number, f"{now:%Y%m%dT%H%M%S%f}"))
    return True
