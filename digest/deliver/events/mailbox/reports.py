"""Read reports of mail systems: delivery status (RFC 3464), abuse (RFC 5965), and bounces of older forms. Pure.

Only fields are read that are meant for machines. The one exception is `parse_legacy_bounce`, which reads no cause.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from digest.deliver.events.delivery_event import EventKind
from digest.deliver.events.failure_causes import (
    MILDEST_FIRST,
    FailureCause,
    failure_cause,
    format_reply_codes,
    parse_reply_codes,
)
from digest.deliver.events.mailbox.mime import HeaderFields, MimePart, read_mailbox
from digest.deliver.events.replies import scrub_addresses

_DELIVERY_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_FEEDBACK_TYPES = ("message/feedback-report",)
_RETURNED_MESSAGE_TYPES = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
# "relayed" and "expanded" say nothing about the mailbox: the message went on to where no more reports come from
_KIND_OF_ACTION = {
    "delivered": EventKind.DELIVERED,
    "relayed": EventKind.ACCEPTED,
    "expanded": EventKind.ACCEPTED,
    "delayed": EventKind.DEFERRED,
    "failed": EventKind.BOUNCED,
}
_BEST_FIRST = (EventKind.DELIVERED, EventKind.ACCEPTED, EventKind.DEFERRED, EventKind.BOUNCED)
# qmail's form (QSBMF): a greeting, a paragraph for each recipient, and a line before the copy of the message
_QSBMF = re.compile(rb"Hi\. This is the [^\n]{1,200}\n(?:(?!---)[^\n]*\n){0,60}?<[^<>\s]{3,320}>:\r?\n")
_QSBMF_COPY = re.compile(rb"^--- Below this line is a copy of the message\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ReportVerdict:
    """What a report says. `status` holds codes, `reason` text that is scrubbed of addresses."""

    kind: EventKind
    cause: FailureCause = FailureCause.NONE
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MailSystemReport:
    """A parsed report. `verdict` is None where it says nothing that counts; `returned_fields` are the fields it quotes.

    `original_sender` is the return path that it says the message had, `envelope_id` the id that we had given with it;
    `is_feedback` marks one in the form of RFC 5965.
    """

    verdict: ReportVerdict | None
    returned_fields: HeaderFields
    original_sender: str = ""
    envelope_id: str = ""
    is_feedback: bool = False


def parse_report(mail: MimePart) -> MailSystemReport | None:
    """Parse a report; return None where a message is none."""
    if mail.media_type != "multipart/report":
        return None
    form = mail.parameter("report-type").lower()
    parts = mail.parts()
    returned = next(
        (_returned_fields(part) for part in parts if part.media_type in _RETURNED_MESSAGE_TYPES), HeaderFields(b"")
    )
    if form == "delivery-status" and (part := _first_part(parts, _DELIVERY_STATUS_TYPES)):
        groups = part.field_groups()
        envelope = next((g.first("original-envelope-id") for g in groups if "original-envelope-id" in g), "")
        return MailSystemReport(_delivery_verdict(groups, returned), returned, envelope_id=envelope)
    if form == "feedback-report" and (part := _first_part(parts, _FEEDBACK_TYPES)):
        fields = HeaderFields(part.decoded_body())
        # Any other type is about our mail, not about a wish of the reader; an unknown one is "other" (RFC 5965, 3.5).
        verdict = ReportVerdict(EventKind.COMPLAINED) if fields.first("feedback-type").lower() == "abuse" else None
        return MailSystemReport(verdict, returned, original_sender=fields.first("original-mail-from"), is_feedback=True)
    return None


def parse_legacy_bounce(mail: MimePart) -> ReportVerdict | None:
    """Read a bounce that is no report: qmail's form, or Exim's old one with its field for machines.

    The reason is in free text, which is not read: it counts as a soft bounce.
    """
    sender = mail.fields.first("return-path")
    if sender and sender != "<>":  # RFC 5321, 4.5.5: a bounce has no sender
        return None
    text = mail.decoded_body() if mail.media_type == "text/plain" else b""
    qsbmf = _QSBMF.match(text.lstrip()) and _QSBMF_COPY.search(text)
    return (
        ReportVerdict(EventKind.BOUNCED, FailureCause.SOFT) if qsbmf or "x-failed-recipients" in mail.fields else None
    )


def _first_part(parts: Iterable[MimePart], media_types: tuple[str, ...]) -> MimePart | None:
    return next((part for part in parts if part.media_type in media_types), None)


def _returned_fields(part: MimePart) -> HeaderFields:
    """Return the fields of the returned message; its body is not read."""
    text = part.decoded_body()
    end = re.search(rb"\n\r?\n", text)
    return HeaderFields(text[: end.start()] if end else text)


def _delivery_verdict(groups: Iterable[HeaderFields], returned_fields: HeaderFields) -> ReportVerdict | None:
    """Return the mildest verdict on the recipients of a report."""
    verdicts = [v for group in groups if (v := _recipient_verdict(group, returned_fields))]
    return min(verdicts, key=lambda v: (_BEST_FIRST.index(v.kind), MILDEST_FIRST.index(v.cause)), default=None)


def _recipient_verdict(group: HeaderFields, returned_fields: HeaderFields) -> ReportVerdict | None:
    kind = _KIND_OF_ACTION.get(group.first("action").partition(" ")[0].lower())
    if kind is None:
        return None
    final = _recipient_address(group.first("final-recipient"))
    original = _recipient_address(group.first("original-recipient"))
    form, _, reason = group.first("diagnostic-code").partition(";")
    status = group.first("status").partition(" ")[0]  # some systems write a comment after it
    code, statuses = parse_reply_codes(status, reason if form.strip().lower() == "smtp" else "")
    for address in (final, original, read_mailbox(returned_fields.first("to"))):
        reason = scrub_addresses(reason, address)
    cause = _failure_cause(code, statuses, forwarded=bool(original) and original != final)
    cause = cause if kind is EventKind.BOUNCED else FailureCause.NONE
    return ReportVerdict(kind, cause, format_reply_codes(code, statuses), reason)


def _failure_cause(code: str, statuses: frozenset[str], *, forwarded: bool) -> FailureCause:
    """Decide by codes; without one it is a soft bounce.

    Where the reader's address forwards to another and that one is gone, theirs may still exist.
    """
    cause = failure_cause(code, statuses)
    if cause is FailureCause.NO_MAILBOX and forwarded:
        return FailureCause.HARD
    return FailureCause.SOFT if cause is None else cause


def _recipient_address(value: str) -> str:
    """Return the address of `rfc822; ada@example.org` (RFC 3464, 2.3.1), case-folded."""
    return value.rpartition(";")[2].strip().strip("<>").casefold()
