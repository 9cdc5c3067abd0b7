"""Evidence in a mail server's log about uncertain deliveries: delivered, bounced, in transit, or never accepted.

A message in the log is evidence by itself. A missing one is evidence only if the log covers the
whole time in which it may have been handed over, and contains messages that the server is known to
have accepted. Another server's log, or an incomplete log, proves nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.postfix_log import MailLogError, PostfixLog, make_log_event, read_postfix_log
from digest.deliver.plan.delivery_plan import IS_UNCERTAIN, is_delivery_of_edition
from digest.deliver.send.uncertain.uncertain_deliveries import ACCEPTED_BY_WORD
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from subscribers.english_text import count_with_noun

# The longest time from a claim to the final dot, if there's no lease.
MAX_HANDOVER_TIME = timedelta(hours=1)
# The largest accepted difference between the clocks of two machines.
CLOCK_TOLERANCE = timedelta(minutes=5)
WITNESS_COUNT = 2000  # accepted deliveries to look for in the log
# Other providers' deliveries are never in such a log. For the deliveries of a restored copy, the
# provider is unknown.
_OVER_SMTP = ("smtp", "")


class LogVerdict(StrEnum):
    """A log's verdict on an uncertain delivery."""

    DELIVERED = "delivered"
    IN_QUEUE = "accepted, but still in transit when the log ends"
    BOUNCED = "bounced"
    NOT_ACCEPTED = "never accepted by the mail server"
    UNKNOWN = "unresolved (the log doesn't cover the time)"


_VERDICT_BY_KIND = {EventKind.DELIVERED: LogVerdict.DELIVERED, EventKind.BOUNCED: LogVerdict.BOUNCED}


@dataclass(frozen=True, slots=True)
class UncertainHandover:
    """An uncertain delivery, and the period in which it may have been handed over."""

    delivery_id: str
    message_id: str
    start: datetime
    end: datetime
    over_smtp: bool


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """The evidence in a log about an edition's uncertain deliveries.

    `spans` are the periods covered by the log, as far as they overlap those of the deliveries.
    `incomplete_reason` says why missing messages prove nothing, or is empty.
    """

    verdicts: Counter[LogVerdict]
    events: tuple[DeliveryEvent, ...]
    not_accepted: tuple[str, ...]
    spans: tuple[tuple[datetime, datetime], ...]
    incomplete_reason: str


def examine_mail_log(
    database: Database,
    edition: str,
    files: Sequence[Path],
    *,
    zone: tzinfo | None,
    longest_silence: timedelta,
    now: datetime,
) -> LogEvidence:
    """Search a Postfix log for evidence about an edition's uncertain deliveries.

    See `read_postfix_log` for the arguments.

    Raises:
        MailLogError: a file can't be read, or its clock differs from ours.
    """
    with database.read() as session:
        doubtful = _load_doubtful(session, edition)
        witnesses = _load_witnesses(session, edition, doubtful)
    ids = {delivery.message_id for delivery in doubtful} | witnesses.keys()
    log = read_postfix_log(files, ids, zone=zone, longest_silence=longest_silence, now=now)
    _check_clocks(log, witnesses)
    return weigh_log_evidence(log, doubtful, witnesses, now=now)


def weigh_log_evidence(
    log: PostfixLog, doubtful: Sequence[UncertainHandover], witnesses: dict[str, datetime], *, now: datetime
) -> LogEvidence:
    """Decide what a log proves. Pure.

    `witnesses` maps the Message-IDs of accepted messages to their times.
    """
    reason = _incomplete_reason(log, witnesses)
    verdicts: Counter[LogVerdict] = Counter()
    events, not_accepted = [], []
    for delivery in doubtful:
        message = log.messages.get(delivery.message_id)
        if message is not None:
            verdict = _VERDICT_BY_KIND.get(message.kind, LogVerdict.IN_QUEUE)
            events.append(
                make_log_event(
                    delivery.delivery_id, message.kind, message.status, reported_at=message.reported_at, now=now
                )
            )
        elif not reason and delivery.over_smtp and _covers_doubt(log, delivery):
            verdict = LogVerdict.NOT_ACCEPTED
            not_accepted.append(delivery.delivery_id)
        else:
            verdict = LogVerdict.UNKNOWN
        verdicts[verdict] += 1
    return LogEvidence(verdicts, tuple(events), tuple(not_accepted), _spans_of_doubts(log, doubtful), reason)


def _spans_of_doubts(
    log: PostfixLog,
    doubtful: Sequence[UncertainHandover],
) -> tuple[tuple[datetime, datetime], ...]:
    if not doubtful:
        return ()
    first, last = _enclose_doubts(doubtful)
    spans = log.coverage.merge_spans()
    return tuple((start, end) for start, end in spans if start <= last and end >= first)


def _enclose_doubts(doubtful: Sequence[UncertainHandover]) -> tuple[datetime, datetime]:
    """Return the start and end of the period in which any of the deliveries may have been handed over."""
    return min(delivery.start for delivery in doubtful), max(delivery.end for delivery in doubtful)


def _covers_doubt(log: PostfixLog, delivery: UncertainHandover) -> bool:
    return log.coverage.covers_time(delivery.start - CLOCK_TOLERANCE, delivery.end + CLOCK_TOLERANCE)


def _incomplete_reason(log: PostfixLog, witnesses: dict[str, datetime]) -> str:
    covers_time = log.coverage.covers_time
    covered = {id_ for id_, at in witnesses.items() if covers_time(at, at)}
    missing = len(covered - log.messages.keys())
    if missing:
        return (
            f"{missing:,} of {len(covered):,} messages that the mail server accepted are missing from the log, so "
            "the log is incomplete"
        )
    return "" if log.messages else "no messages of this edition are in the log"


def _check_clocks(log: PostfixLog, witnesses: dict[str, datetime]) -> None:
    logged_witnesses = witnesses.keys() & log.messages.keys()
    differences = [(log.messages[id_].entered_at - witnesses[id_]).total_seconds() for id_ in logged_witnesses]
    difference = timedelta(seconds=round(median(differences or [0])))
    if abs(difference) > CLOCK_TOLERANCE:
        ahead = "ahead of" if difference > timedelta() else "behind"
        minutes = round(abs(difference) / timedelta(minutes=1))
        raise MailLogError(
            f"The times in the log are {count_with_noun(minutes, 'minute')} {ahead} this server's.",
            remedy="Set the log's time zone with --log-zone (for example, --log-zone UTC).",
        )


def _load_doubtful(session: Session, edition: str) -> list[UncertainHandover]:
    columns = (Delivery.id, Delivery.message_id, Delivery.handed_at, Delivery.lease_until, Delivery.transport)
    uncertain = (is_delivery_of_edition(edition), IS_UNCERTAIN, Delivery.handed_at.is_not(None))
    return [
        UncertainHandover(
            row.id,
            row.message_id,
            row.handed_at,
            row.lease_until or row.handed_at + MAX_HANDOVER_TIME,
            row.transport in _OVER_SMTP,
        )
        for row in session.execute(select(*columns).where(*uncertain))
    ]


def _load_witnesses(
    session: Session,
    edition: str,
    doubtful: Sequence[UncertainHandover],
) -> dict[str, datetime]:
    """Return a sample of deliveries that the server accepted during the same period.

    Their IDs are hashes, so the sample is random.
    """
    if not doubtful:
        return {}
    accepted: tuple[Any, ...] = (
        is_delivery_of_edition(edition),
        Delivery.state == DeliveryState.ACCEPTED,
        Delivery.transport == "smtp",
        Delivery.reply != ACCEPTED_BY_WORD,
        Delivery.handed_at.between(*_enclose_doubts(doubtful)),
    )
    query = select(Delivery.message_id, Delivery.handed_at).where(*accepted).order_by(Delivery.id)
    rows = session.execute(query.limit(WITNESS_COUNT))
    return {row.message_id: row.handed_at for row in rows if row.handed_at}
