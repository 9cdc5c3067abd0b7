"""Parsing a message in the bounce mailbox into the event that it reports. All functions are pure.

The result may also be the reason why the message is ignored. A message counts only if it proves
that it concerns one of ours, with that message's return path and its MAC (`return_path`) or, for a
complaint, with the subscriber's unsubscribe token. A message to the address in List-Unsubscribe
(`unsubscribe_address`) unsubscribes the owner of its token, whoever sent it. See
docs/decisions/0018-bounce-mailbox.md.

Mail systems send delivery status reports (RFC 3464, section 2), abuse reports (RFC 5965, section
2), and bounces in older forms. Only machine-readable fields are parsed. The one exception is
`parse_legacy_bounce`, which doesn't look for a cause.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import islice

from digest.deliver.compose import return_path, unsubscribe_address
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind, hash_event_parts, validate_delivery_id
from digest.deliver.events.failure_causes import (
    MILDEST_FIRST,
    FailureCause,
    find_failure_cause,
    format_reply_codes,
    parse_reply_codes,
)
from digest.deliver.events.mailbox import mime
from digest.deliver.events.mailbox.mime import HeaderFields, MimePart, parse_header_address
from digest.deliver.events.mailbox.unsubscribe_requests import (
    UnsubscribeRequest,
    is_automatic_message,
    read_unsubscribe_request,
)
from digest.deliver.events.server_replies import scrub_addresses
from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing

_DELIVERY_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_FEEDBACK_TYPES = ("message/feedback-report",)
_RETURNED_MESSAGE_TYPES = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
# "relayed" and "expanded" say nothing about the mailbox. The systems that these messages went to
# send no more reports.
_KIND_OF_ACTION = {
    "delivered": EventKind.DELIVERED,
    "relayed": EventKind.ACCEPTED,
    "expanded": EventKind.ACCEPTED,
    "delayed": EventKind.DEFERRED,
    "failed": EventKind.BOUNCED,
}
_BEST_FIRST = (EventKind.DELIVERED, EventKind.ACCEPTED, EventKind.DEFERRED, EventKind.BOUNCED)
# qmail's format (QSBMF) has a greeting, a paragraph for each recipient, and a line before the copy
# of the message.
_QSBMF = re.compile(rb"Hi\. This is the [^\n]{1,200}\n(?:(?!---)[^\n]*\n){0,60}?<[^<>\s]{3,320}>:\r?\n")
_QSBMF_COPY = re.compile(rb"^--- Below this line is a copy of the message\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MailReportResult:
    """The result stated in a report.

    `status` contains codes, and `reason` text without addresses.
    """

    kind: EventKind
    cause: FailureCause = FailureCause.NONE
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MailSystemReport:
    """A parsed report.

    `verdict` is None if the report says nothing relevant. `returned_fields` are the header fields
    that it quotes. `original_sender` is the message's return path according to the report, and
    `envelope_id` is the ID that we sent with the message. `is_feedback` is true for an abuse report
    (RFC 5965, section 2).
    """

    verdict: MailReportResult | None
    returned_fields: HeaderFields
    original_sender: str = ""
    envelope_id: str = ""
    is_feedback: bool = False


def parse_report(mail: MimePart) -> MailSystemReport | None:
    """Parse a delivery status or abuse report, or return None if the message doesn't contain one."""
    if mail.media_type != "multipart/report":
        return None
    form = mail.parameter("report-type").lower()
    parts = mail.parts()
    returned = next(
        (_returned_fields(part) for part in parts if part.media_type in _RETURNED_MESSAGE_TYPES), HeaderFields(b"")
    )
    if form == "delivery-status" and (part := _first_part(parts, _DELIVERY_STATUS_TYPES)):
        return _parse_delivery_status(part, returned)
    if form == "feedback-report" and (part := _first_part(parts, _FEEDBACK_TYPES)):
        return _parse_feedback(part, returned)
    return None


def _parse_delivery_status(part: MimePart, returned: HeaderFields) -> MailSystemReport:
    groups = part.field_groups()
    envelope = next((g.first("original-envelope-id") for g in groups if "original-envelope-id" in g), "")
    return MailSystemReport(_delivery_verdict(groups, returned), returned, envelope_id=envelope)


def _parse_feedback(part: MimePart, returned: HeaderFields) -> MailSystemReport:
    fields = HeaderFields(part.decoded_body())
    # Other types don't express the subscriber's wish, and unknown types are ignored (RFC 5965, section 6).
    verdict = MailReportResult(EventKind.COMPLAINED) if fields.first("feedback-type").lower() == "abuse" else None
    return MailSystemReport(verdict, returned, original_sender=fields.first("original-mail-from"), is_feedback=True)


def parse_legacy_bounce(mail: MimePart) -> MailReportResult | None:
    """Parse a bounce that isn't a report.

    It may be in qmail's format, or in Exim's old one with its machine-readable field. The reason is
    free text, which isn't parsed, so it counts as a soft bounce.
    """
    sender = mail.fields.first("return-path")
    if sender and sender != "<>":  # a bounce has no sender (RFC 5321, section 4.5.5)
        return None
    text = mail.decoded_body() if mail.media_type == "text/plain" else b""
    qsbmf = _QSBMF.match(text.lstrip()) and _QSBMF_COPY.search(text)
    return (
        MailReportResult(EventKind.BOUNCED, FailureCause.SOFT)
        if qsbmf or "x-failed-recipients" in mail.fields
        else None
    )


def _first_part(parts: Iterable[MimePart], media_types: tuple[str, ...]) -> MimePart | None:
    return next((part for part in parts if part.media_type in media_types), None)


def _returned_fields(part: MimePart) -> HeaderFields:
    """Return the header fields of the returned message, without reading its body."""
    text = part.decoded_body()
    end = re.search(rb"\n\r?\n", text)
    return HeaderFields(text[: end.start()] if end else text)


def _delivery_verdict(groups: Iterable[HeaderFields], returned_fields: HeaderFields) -> MailReportResult | None:
    """Return the mildest of the verdicts on a report's recipients."""
    verdicts = [v for group in groups if (v := _recipient_verdict(group, returned_fields))]
    return min(verdicts, key=_harshness, default=None)


def _harshness(verdict: MailReportResult) -> tuple[int, int]:
    return _BEST_FIRST.index(verdict.kind), MILDEST_FIRST.index(verdict.cause)


def _recipient_verdict(group: HeaderFields, returned_fields: HeaderFields) -> MailReportResult | None:
    kind = _KIND_OF_ACTION.get(group.first("action").partition(" ")[0].lower())
    if kind is None:
        return None
    final = _recipient_address(group.first("final-recipient"))
    original = _recipient_address(group.first("original-recipient"))
    form, _, reason = group.first("diagnostic-code").partition(";")
    status = group.first("status").partition(" ")[0]  # some systems append a comment
    code, statuses = parse_reply_codes(status, reason if form.strip().lower() == "smtp" else "")
    for address in (final, original, parse_header_address(returned_fields.first("to"))):
        reason = scrub_addresses(reason, address)
    cause = _failure_cause(code, statuses, forwarded=bool(original) and original != final)
    cause = cause if kind is EventKind.BOUNCED else FailureCause.NONE
    return MailReportResult(kind, cause, format_reply_codes(code, statuses), reason)


def _failure_cause(code: str, statuses: frozenset[str], *, forwarded: bool) -> FailureCause:
    """Return the cause that the codes indicate, or else a soft bounce.

    If the subscriber's address forwards to one that's gone, the subscriber's own may still exist.
    """
    cause = find_failure_cause(code, statuses)
    if cause is FailureCause.NO_MAILBOX and forwarded:
        return FailureCause.HARD
    return FailureCause.SOFT if cause is None else cause


def _recipient_address(value: str) -> str:
    """Return the case-folded address from a value such as `rfc822; ada@example.org` (RFC 3464, section 2.3.1)."""
    return value.rpartition(";")[2].strip().strip("<>").casefold()


REPORTED_BY = "mailbox"
# The recipient of a message as recorded by servers, least forgeable first.
_RECIPIENT_FIELDS = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to")
_RECEIVED_FOR = re.compile(r"\bfor\s+<?([^<>\s;]{3,320})")
# Older requests, found when a mailbox is first read, are outdated.
MAX_REQUEST_AGE = timedelta(days=7)
_LEAVE_LINK = re.compile(rf"/u/([A-Za-z0-9_-]{{{link_tokens.TOKEN_LENGTH}}})(?![A-Za-z0-9_-])")


class IgnoreReason(StrEnum):
    """The reason to ignore a message."""

    FOREIGN = "foreign"  # it isn't about a message of ours
    UNPROVEN = "unproven"  # a report without one of our return paths
    AMBIGUOUS = "ambiguous"  # it names two of our messages
    AUTOMATIC = "automatic"  # an automatic reply, such as a vacation notice
    PERSONAL_REPLY = "letter"  # a person's reply to the return path
    NO_VERDICT = "silent"  # a report that says nothing about the subscriber, such as "virus" or "not spam"


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """A subscriber identified by an unsubscribe token.

    `message_id` is the Message-ID of the message quoted in a complaint, or empty for a request to
    unsubscribe.
    """

    person: int
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class MailboxEvent:
    """The event that a message reports.

    If it doesn't identify a delivery, it's about `subscriber`.
    """

    event: DeliveryEvent
    subscriber: TokenOwner | None = None


def read_incoming_mail(
    raw: bytes, *, keys: KeyRing, received_at: datetime
) -> MailboxEvent | UnsubscribeRequest | IgnoreReason:
    """Return the event that a message reports, or its sender's unsubscribe request, or the reason to ignore it."""
    mail = mime.parse_mime(raw)
    report = parse_report(mail)
    if report is None and (people := _find_unsubscribing_people(keys, mail)):
        return _request_event(people, _event_times(mail, received_at))
    named_deliveries = _first_named_deliveries(keys, _return_path_candidates(mail, report))
    if len(named_deliveries) > 1:
        return IgnoreReason.AMBIGUOUS
    delivery, times = next(iter(named_deliveries), None), _event_times(mail, received_at)
    if report is not None:
        return _judge_report(report, delivery, keys, times)
    verdict = parse_legacy_bounce(mail) if delivery else None
    return _mailbox_event(verdict, delivery, None, times) if verdict else _read_letter(mail, delivery, times)


def _judge_report(
    report: MailSystemReport, delivery: str | None, keys: KeyRing, times: tuple[datetime, datetime]
) -> MailboxEvent | IgnoreReason:
    envelope = validate_delivery_id(report.envelope_id.lower())
    if delivery and envelope and envelope != delivery:
        return IgnoreReason.AMBIGUOUS
    subscribers = _find_complaining_subscribers(keys, report) if report.is_feedback and not delivery else frozenset()
    if not delivery and len(subscribers) != 1:
        return IgnoreReason.AMBIGUOUS if subscribers else IgnoreReason.UNPROVEN
    if report.verdict is None:
        return IgnoreReason.NO_VERDICT
    return _mailbox_event(report.verdict, delivery, next(iter(subscribers), None), times)


def _return_path_candidates(mail: mime.MimePart, report: MailSystemReport | None) -> Iterator[str]:
    """Yield the texts that may contain a return path: the message's recipients, then the text that it quotes.

    `Original-Envelope-Id` isn't sufficient on its own, because it has no MAC.
    """
    yield from _recipient_texts(mail)
    if report is not None:
        yield report.original_sender
        yield " ".join(report.returned_fields.all("return-path"))


def _recipient_texts(mail: mime.MimePart) -> Iterator[str]:
    yield from (" ".join(mail.fields.all(name)) for name in _RECIPIENT_FIELDS)
    yield " ".join(to for line in mail.fields.all("received")[:20] for to in _RECEIVED_FOR.findall(line[:2000]))


def _find_unsubscribing_people(keys: KeyRing, mail: mime.MimePart) -> frozenset[int]:
    """Return the people whose unsubscribe addresses are in the first field that contains any such address."""
    people = (unsubscribe_address.find_unsubscribing_people(keys, text) for text in _recipient_texts(mail))
    return next(filter(None, people), frozenset())


def _request_event(people: frozenset[int], times: tuple[datetime, datetime]) -> MailboxEvent | IgnoreReason:
    """Return the event for a message to an unsubscribe address.

    The fingerprint includes its time, which distinguishes it from later requests, so reading the
    message again has no effect.
    """
    if len(people) > 1:
        return IgnoreReason.AMBIGUOUS
    (person,) = people
    event = _mailbox_event(MailReportResult(EventKind.UNSUBSCRIBED), None, TokenOwner(person), times)
    fingerprint = hash_event_parts(REPORTED_BY, "unsubscribe", str(person), times[0].isoformat())
    return replace(event, event=replace(event.event, fingerprint=fingerprint))


def _first_named_deliveries(keys: KeyRing, candidates: Iterator[str]) -> frozenset[str]:
    """Return the deliveries named in the first text that contains a valid return path."""
    deliveries = (return_path.extract_delivery_ids(keys, text) for text in candidates)
    return next(filter(None, deliveries), frozenset())


def _find_complaining_subscribers(keys: KeyRing, report: MailSystemReport) -> frozenset[TokenOwner]:
    """Return the subscribers whose tokens are in the List-Unsubscribe field of the quoted message."""
    links = " ".join(report.returned_fields.all("list-unsubscribe"))[:5000]
    message = report.returned_fields.first("message-id")[:200]
    tokens = [match[1] for match in islice(_LEAVE_LINK.finditer(links), 5)]
    owners = filter(None, (link_tokens.read_link_token(keys, token, "leave") for token in tokens))
    return frozenset(TokenOwner(owner.number, message) for owner in owners)


def _read_letter(
    mail: mime.MimePart, delivery: str | None, times: tuple[datetime, datetime]
) -> UnsubscribeRequest | IgnoreReason:
    """Parse a message that isn't a report.

    It counts only if it's a person's recent request to unsubscribe.
    """
    if is_automatic_message(mail.fields):
        return IgnoreReason.AUTOMATIC if delivery else IgnoreReason.FOREIGN
    request = read_unsubscribe_request(mail) if times[1] - times[0] < MAX_REQUEST_AGE else None
    return request or (IgnoreReason.PERSONAL_REPLY if delivery else IgnoreReason.FOREIGN)


def _mailbox_event(
    verdict: MailReportResult,
    delivery: str | None,
    subscriber: TokenOwner | None,
    times: tuple[datetime, datetime],
) -> MailboxEvent:
    subject = delivery or (f"{subscriber.person} {subscriber.message_id}" if subscriber else "")
    detail = {"by": REPORTED_BY, "status": verdict.status, "reason": verdict.reason}
    event = DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=delivery,
        kind=verdict.kind,
        cause=verdict.cause,
        occurred_at=times[0],
        received_at=times[1],
        # repeated reports about a message are a single event
        fingerprint=hash_event_parts(REPORTED_BY, subject, verdict.kind, verdict.cause, verdict.status),
        provider_mark=None,
        detail={key: value for key, value in detail.items() if value},
    )
    return MailboxEvent(event, subscriber)


def _event_times(mail: mime.MimePart, received_at: datetime) -> tuple[datetime, datetime]:
    """Return the time when the message reached the mailbox, which is never in the future, and `received_at`.

    The topmost Received field was written by the mailbox's server.
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
