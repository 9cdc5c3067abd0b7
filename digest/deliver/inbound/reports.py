"""What reports of mail systems say: delivery status (RFC 3464), abuse (RFC 5965), and bounces of older forms. Pure.

Only fields are read that are meant for machines. The one exception is said in `old_bounce`, and names no cause.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parseaddr

from digest.deliver.causes import MILDEST_FIRST, Cause, cause_of, codes
from digest.deliver.inbound.mime import Fields, Part
from digest.deliver.judging import Kind
from digest.deliver.replies import scrub

_STATUS = ("message/delivery-status", "message/global-delivery-status")
_FEEDBACK = ("message/feedback-report",)
_RETURNED = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")
# "relayed" and "expanded" tell nothing of the mailbox: the message went on to where no more reports come from
_ACTIONS = {
    "delivered": Kind.DELIVERED,
    "relayed": Kind.ACCEPTED,
    "expanded": Kind.ACCEPTED,
    "delayed": Kind.DEFERRED,
    "failed": Kind.BOUNCED,
}
_BEST_FIRST = (Kind.DELIVERED, Kind.ACCEPTED, Kind.DEFERRED, Kind.BOUNCED)
# qmail's form (QSBMF): a greeting, a paragraph for each recipient, and a line before the copy of the message
_QSBMF = re.compile(rb"Hi\. This is the [^\n]{1,200}\n(?:(?!---)[^\n]*\n){0,60}?<[^<>\s]{3,320}>:\r?\n")
_QSBMF_COPY = re.compile(rb"^--- Below this line is a copy of the message\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report says happened. `status` holds codes, `reason` text that is scrubbed of addresses."""

    kind: Kind
    cause: Cause = Cause.NONE
    status: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A report taken apart. `verdict` is None where it says nothing that counts, `returned` the fields it quotes.

    `sender` is the return path that it says the message had, `envelope_id` the id that we had given with it;
    `feedback` marks one in the form of RFC 5965.
    """

    verdict: Verdict | None
    returned: Fields
    sender: str = ""
    envelope_id: str = ""
    feedback: bool = False


def report_in(mail: Part) -> Report | None:
    """Take a report apart; None where a message is none."""
    if mail.kind != "multipart/report":
        return None
    form = mail.parameter("report-type").lower()
    parts = mail.parts()
    returned = next((_quoted(part) for part in parts if part.kind in _RETURNED), Fields(b""))
    if form == "delivery-status" and (part := _first(parts, _STATUS)):
        groups = part.groups()
        envelope = next((g.first("original-envelope-id") for g in groups if "original-envelope-id" in g), "")
        return Report(_delivery_status(groups, returned), returned, envelope_id=envelope)
    if form == "feedback-report" and (part := _first(parts, _FEEDBACK)):
        said = Fields(part.text())
        # Any other type is about our mail, not about a wish of the reader; an unknown one is "other" (RFC 5965, 3.5).
        verdict = Verdict(Kind.COMPLAINED) if said.first("feedback-type").lower() == "abuse" else None
        return Report(verdict, returned, sender=said.first("original-mail-from"), feedback=True)
    return None


def old_bounce(mail: Part) -> Verdict | None:
    """Read a bounce that is no report: qmail's form, or Exim's old one with its field for machines.

    Why it failed stands there in words, which are not read: it is a failure without a reason, a soft strike.
    """
    sender = mail.fields.first("return-path")
    if sender and sender != "<>":  # RFC 5321, 4.5.5: a bounce has no sender
        return None
    text = mail.text() if mail.kind == "text/plain" else b""
    qsbmf = _QSBMF.match(text.lstrip()) and _QSBMF_COPY.search(text)
    return Verdict(Kind.BOUNCED, Cause.SOFT) if qsbmf or "x-failed-recipients" in mail.fields else None


def _first(parts: Iterable[Part], kinds: tuple[str, ...]) -> Part | None:
    return next((part for part in parts if part.kind in kinds), None)


def _quoted(part: Part) -> Fields:
    """Give the fields of the message that came back; what it holds itself is not looked at."""
    text = part.text()
    ends = re.search(rb"\n\r?\n", text)
    return Fields(text[: ends.start()] if ends else text)


def _delivery_status(groups: Iterable[Fields], returned: Fields) -> Verdict | None:
    """Decide by the recipients of a report; where they fared differently, the reader is given the benefit."""
    told = [v for group in groups if (v := _recipient(group, returned))]
    return min(told, key=_gravity, default=None)


def _gravity(verdict: Verdict) -> tuple[int, int]:
    return _BEST_FIRST.index(verdict.kind), MILDEST_FIRST.index(verdict.cause)


def _recipient(group: Fields, returned: Fields) -> Verdict | None:
    kind = _ACTIONS.get(group.first("action").partition(" ")[0].lower())
    if kind is None:
        return None
    final, original = _address(group.first("final-recipient")), _address(group.first("original-recipient"))
    form, _, said = group.first("diagnostic-code").partition(";")
    reply = said if form.strip().lower() == "smtp" else ""
    status = _plain(group.first("status"))
    code, statuses = codes(status, reply)
    reason = said
    for address in (final, original, parseaddr(returned.first("to"))[1]):
        reason = scrub(reason, address)
    cause = _cause(code, statuses, forwarded=bool(original) and original != final)
    shown = " ".join(filter(None, (code, *sorted(statuses))))
    return Verdict(kind, cause if kind is Kind.BOUNCED else Cause.NONE, shown, reason)


def _cause(code: str, statuses: frozenset[str], *, forwarded: bool) -> Cause:
    """Decide by codes. Without one it is a failure for which nobody gives a reason.

    Where the reader's address leads on to another and that one is gone, theirs may be there all the same.
    """
    cause = cause_of(code, statuses)
    if cause is Cause.NO_MAILBOX and forwarded:
        return Cause.HARD
    return Cause.SOFT if cause is None else cause


def _address(value: str) -> str:
    """Give the address of `rfc822; ada@example.org` (RFC 3464, 2.3.1), case-folded."""
    return value.rpartition(";")[2].strip().strip("<>").casefold()


def _plain(status: str) -> str:
    """Give the code of a Status field; some systems write a comment after it."""
    return status.partition(" ")[0]
