"""A message of the bounce mailbox, read. Pure: its bytes in; what it says of a message of ours out, or why not.

It counts only if it proves that it speaks of a message of ours: by the return path of that message with its MAC
(`return_path`), of a complaint also by the reader's token for leaving. See docs/decisions/0018-bounce-mailbox.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import islice

from digest.deliver import return_path
from digest.deliver.events import Said, delivery_named, hashed
from digest.deliver.inbound import mime
from digest.deliver.inbound.mime import Part
from digest.deliver.inbound.reports import Report, Verdict, old_bounce, report_in
from subscribers import tokens
from subscribers.vault import Keys

BY = "mailbox"
# Who a message was sent to, as servers record it, what is harder to forge first
_ADDRESSED = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to")
_FOR = re.compile(r"\bfor\s+<?([^<>\s;]{3,320})")
_TOKEN = re.compile(rf"/u/([A-Za-z0-9_-]{{{tokens.LENGTH}}})(?![A-Za-z0-9_-])")
_SENT_BY_A_MACHINE = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-response-suppress")


class Why(StrEnum):
    """Why a message is left alone."""

    FOREIGN = "foreign"  # it speaks of nothing of ours
    UNPROVEN = "unproven"  # a report, without a return path that we wrote
    AMBIGUOUS = "ambiguous"  # it names two messages of ours
    AUTOMATIC = "automatic"  # an answer of a machine: on holiday, please confirm that you are no robot
    LETTER = "letter"  # somebody answered to the return path
    SILENT = "silent"  # a report of ours that says nothing of the reader: a virus, no spam after all


@dataclass(frozen=True, slots=True)
class Quoted:
    """A reader, proved by the token in the message that a complaint quotes, and that message's Message-ID."""

    person: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What a message says. Where `said` names no delivery, it is one of `reader`."""

    said: Said
    reader: Quoted | None = None


def read(raw: bytes, *, keys: Keys, received_at: datetime) -> Heard | Why:
    """Say what a message says of a message of ours, or why it is left alone."""
    mail = mime.read(raw)
    report = report_in(mail)
    named = _named(keys, _places(mail, report))
    if len(named) > 1:
        return Why.AMBIGUOUS
    delivery = next(iter(named), None)
    if report is None:
        verdict = old_bounce(mail) if delivery else None
        return _heard(verdict, delivery, None, _at(mail, received_at)) if verdict else _letter(mail, delivery)
    envelope = delivery_named(report.envelope_id.lower())
    if delivery and envelope and envelope != delivery:
        return Why.AMBIGUOUS
    readers = _readers(keys, report) if report.feedback and not delivery else frozenset()
    if not delivery and len(readers) != 1:
        return Why.AMBIGUOUS if readers else Why.UNPROVEN
    if report.verdict is None:
        return Why.SILENT
    return _heard(report.verdict, delivery, next(iter(readers), None), _at(mail, received_at))


def _places(mail: Part, report: Report | None) -> Iterator[str]:
    """Give where a return path may stand: the recipients of this message, then what it quotes.

    An `Original-Envelope-Id` alone proves nothing: it has no MAC.
    """
    for name in _ADDRESSED:
        yield " ".join(mail.fields.all(name))
    yield " ".join(to for line in mail.fields.all("received")[:20] for to in _FOR.findall(line[:2000]))
    if report is not None:
        yield report.sender
        yield " ".join(report.returned.all("return-path"))


def _named(keys: Keys, places: Iterator[str]) -> frozenset[str]:
    """Name the deliveries of the first place that names any."""
    found = (return_path.find(keys, place) for place in places)
    return next(filter(None, found), frozenset())


def _readers(keys: Keys, report: Report) -> frozenset[Quoted]:
    """Name the readers whose tokens stand in the List-Unsubscribe field of the message that is quoted."""
    links = " ".join(report.returned.all("list-unsubscribe"))[:5000]
    message = report.returned.first("message-id")[:200]
    people = (tokens.read(keys, found[1], "leave") for found in islice(_TOKEN.finditer(links), 5))
    return frozenset(Quoted(person, message) for person in people if person is not None)


def _letter(mail: Part, delivery: str | None) -> Why:
    if delivery is None:
        return Why.FOREIGN
    fields = mail.fields
    submitted = fields.first("auto-submitted").partition(";")[0].strip().lower()  # RFC 3834, 5
    precedence = fields.first("precedence").lower()
    machine = submitted not in {"", "no"} or precedence in {"bulk", "junk", "list", "auto_reply"}
    return Why.AUTOMATIC if machine or any(n in fields for n in _SENT_BY_A_MACHINE) else Why.LETTER


def _heard(
    verdict: Verdict, delivery: str | None, reader: Quoted | None, at: tuple[datetime, datetime]
) -> Heard:
    about = delivery or (f"{reader.person} {reader.message_id}" if reader else "")
    detail = {"by": BY, "status": verdict.status, "reason": verdict.reason}
    said = Said(
        by=BY,
        delivery=delivery,
        kind=verdict.kind,
        cause=verdict.cause,
        at=at[0],
        received_at=at[1],
        # the same thing said of the same message is one event, in however many mails it comes
        fingerprint=hashed(BY, about, verdict.kind, verdict.cause, verdict.status),
        provider_mark=None,
        detail={key: value for key, value in detail.items() if value},
    )
    return Heard(said, reader)


def _at(mail: Part, received_at: datetime) -> tuple[datetime, datetime]:
    """Say when it came to the mailbox: by the topmost Received, which its own server wrote. Never in the future."""
    came = _moment(mail.fields.first("received").rpartition(";")[2]) or _moment(mail.fields.first("date"))
    return min(came or received_at, received_at), received_at


def _moment(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text[:200])
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
