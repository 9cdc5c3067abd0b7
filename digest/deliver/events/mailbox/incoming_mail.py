"""Read a message of the bounce mailbox. Pure: its bytes in; the event that it reports out, or why it is ignored.

It counts only if it proves that it is about a message of ours: by that message's return path with its MAC
(`return_path`), a complaint also by the reader's token for leaving. See docs/decisions/0018-bounce-mailbox.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import islice

from digest.deliver.compose import return_path
from digest.deliver.events.delivery_event import DeliveryEvent, hash_parts, parse_delivery_id
from digest.deliver.events.mailbox import mime
from digest.deliver.events.mailbox.leave_requests import LeaveRequest, is_automatic, read_leave_request
from digest.deliver.events.mailbox.reports import MailSystemReport, ReportVerdict, parse_legacy_bounce, parse_report
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

REPORTED_BY = "mailbox"
# The recipient of a message, as servers record it, what is harder to forge first
_RECIPIENT_FIELDS = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to")
_RECEIVED_FOR = re.compile(r"\bfor\s+<?([^<>\s;]{3,320})")
# Of a mailbox that is read for the first time, an older request is nobody's wish any more.
MAX_REQUEST_AGE = timedelta(days=7)
_LEAVE_LINK = re.compile(rf"/u/([A-Za-z0-9_-]{{{link_tokens.TOKEN_LENGTH}}})(?![A-Za-z0-9_-])")


class IgnoreReason(StrEnum):
    """Why a message is ignored."""

    FOREIGN = "foreign"  # it is about nothing of ours
    UNPROVEN = "unproven"  # a report without a return path of ours
    AMBIGUOUS = "ambiguous"  # it names two messages of ours
    AUTOMATIC = "automatic"  # an automatic reply: on holiday, please confirm that you are no robot
    PERSONAL_REPLY = "letter"  # somebody replied to the return path
    NO_VERDICT = "silent"  # a report that says nothing about the reader: a virus, no spam after all


@dataclass(frozen=True, slots=True)
class QuotedReader:
    """A reader, proved by the token in the message that a complaint quotes, with that message's Message-ID."""

    person: int
    message_id: str


@dataclass(frozen=True, slots=True)
class MailboxEvent:
    """The event that a message reports. Where it names no delivery, it is about one of `reader`'s."""

    event: DeliveryEvent
    reader: QuotedReader | None = None


def read_incoming_mail(
    raw: bytes, *, keys: KeyRing, received_at: datetime
) -> MailboxEvent | LeaveRequest | IgnoreReason:
    """Return what a message reports about a message of ours, or that its sender wants to leave, or why it is ignored."""
    mail = mime.parse_mime(raw)
    report = parse_report(mail)
    named = _first_named_deliveries(keys, _return_path_candidates(mail, report))
    if len(named) > 1:
        return IgnoreReason.AMBIGUOUS
    delivery = next(iter(named), None)
    if report is None:
        verdict = parse_legacy_bounce(mail) if delivery else None
        times = _event_times(mail, received_at)
        return _mailbox_event(verdict, delivery, None, times) if verdict else _read_letter(mail, delivery, times)
    envelope = parse_delivery_id(report.envelope_id.lower())
    if delivery and envelope and envelope != delivery:
        return IgnoreReason.AMBIGUOUS
    readers = _quoted_readers(keys, report) if report.is_feedback and not delivery else frozenset()
    if not delivery and len(readers) != 1:
        return IgnoreReason.AMBIGUOUS if readers else IgnoreReason.UNPROVEN
    if report.verdict is None:
        return IgnoreReason.NO_VERDICT
    return _mailbox_event(report.verdict, delivery, next(iter(readers), None), _event_times(mail, received_at))


def _return_path_candidates(mail: mime.MimePart, report: MailSystemReport | None) -> Iterator[str]:
    """Yield the texts that may hold a return path: the recipients of this message, then what it quotes.

    An `Original-Envelope-Id` alone proves nothing: it has no MAC.
    """
    yield from (" ".join(mail.fields.all(name)) for name in _RECIPIENT_FIELDS)
    yield " ".join(to for line in mail.fields.all("received")[:20] for to in _RECEIVED_FOR.findall(line[:2000]))
    if report is not None:
        yield report.original_sender
        yield " ".join(report.returned_fields.all("return-path"))


def _first_named_deliveries(keys: KeyRing, candidates: Iterator[str]) -> frozenset[str]:
    """Return the deliveries of the first text that names any."""
    deliveries = (return_path.find_return_paths(keys, text) for text in candidates)
    return next(filter(None, deliveries), frozenset())


def _quoted_readers(keys: KeyRing, report: MailSystemReport) -> frozenset[QuotedReader]:
    """Return the readers whose tokens are in the List-Unsubscribe field of the quoted message."""
    links = " ".join(report.returned_fields.all("list-unsubscribe"))[:5000]
    message = report.returned_fields.first("message-id")[:200]
    owners = (link_tokens.read_link_token(keys, match[1], "leave") for match in islice(_LEAVE_LINK.finditer(links), 5))
    return frozenset(QuotedReader(owner.number, message) for owner in owners if owner is not None)


def _read_letter(
    mail: mime.MimePart, delivery: str | None, times: tuple[datetime, datetime]
) -> LeaveRequest | IgnoreReason:
    """Read what is no report: only a recent letter by a person counts, and only if it asks to leave."""
    if is_automatic(mail.fields):
        return IgnoreReason.AUTOMATIC if delivery else IgnoreReason.FOREIGN
    request = read_leave_request(mail) if times[1] - times[0] < MAX_REQUEST_AGE else None
    return request or (IgnoreReason.PERSONAL_REPLY if delivery else IgnoreReason.FOREIGN)


def _mailbox_event(
    verdict: ReportVerdict, delivery: str | None, reader: QuotedReader | None, times: tuple[datetime, datetime]
) -> MailboxEvent:
    subject = delivery or (f"{reader.person} {reader.message_id}" if reader else "")
    detail = {"by": REPORTED_BY, "status": verdict.status, "reason": verdict.reason}
    event = DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=delivery,
        kind=verdict.kind,
        cause=verdict.cause,
        occurred_at=times[0],
        received_at=times[1],
        # the same report about the same message is one event, in however many mails it comes
        fingerprint=hash_parts(REPORTED_BY, subject, verdict.kind, verdict.cause, verdict.status),
        provider_mark=None,
        detail={key: value for key, value in detail.items() if value},
    )
    return MailboxEvent(event, reader)


def _event_times(mail: mime.MimePart, received_at: datetime) -> tuple[datetime, datetime]:
    """Return when it came to the mailbox, never in the future, and `received_at`.

    The topmost Received was written by the mailbox's own server.
    """
    arrival = mail.fields.first("received").rpartition(";")[2]
    occurred_at = _parse_mail_date(arrival) or _parse_mail_date(mail.fields.first("date")) or received_at
    return min(occurred_at, received_at), received_at


def _parse_mail_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text[:200])
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
