"""What a row does to what is known already. Pure: values in, a named decision out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from subscribers.consent import ledger
from subscribers.consent.suppression import SuppressionReason, outweighs_reason
from subscribers.store.models import ConsentKind, PersonState
from subscribers.transfer.formats import DEPARTURE_STATUSES, ImportedSubscriberStatus
from subscribers.transfer.options import ImportOptions
from subscribers.transfer.rows import ImportRow


class RowOutcome(StrEnum):
    """What becomes of a row: each row of a file is counted under one of these."""

    SUBSCRIBED = "subscribed"
    UNVERIFIED = "unverified"
    KNOWN = "known"
    LEFT_OR_SUPPRESSED = "left or suppressed"
    DEPARTED = "departures"
    DUPLICATE = "duplicates"
    REJECTED = "rejected"
    BLANK = "blank"


class RowReason(StrEnum):
    """Why a row comes to what it comes to: as files of outcomes have it, with the outcome, and as a sentence with `{detail}`.

    The outcome is None where nobody knows any more.
    """

    outcome: RowOutcome | None
    words: str

    def __new__(cls, value: str, outcome: RowOutcome | None = None, words: str = "") -> Self:
        """Make a member of its value, its outcome and its words."""
        member = str.__new__(cls, value)
        member._value_, member.outcome, member.words = value, outcome, words
        return member

    CONFIRMED = "confirmed", RowOutcome.SUBSCRIBED, "the list shows when they confirmed"
    ATTESTED = "attested", RowOutcome.SUBSCRIBED, "an admin vouches for their consent"
    UNCONFIRMED = "unconfirmed", RowOutcome.UNVERIFIED, "the list shows that they never confirmed"
    NO_EVIDENCE = "no evidence", RowOutcome.UNVERIFIED, "the list shows no confirmation"
    NO_NETWORK = "no network", RowOutcome.UNVERIFIED, "the list shows no IP address for their confirmation"
    ON_THE_LIST = "on the list", RowOutcome.KNOWN, "this address is already subscribed"
    WAITING = "waiting", RowOutcome.KNOWN, "this address is waiting for confirmation"
    CONSENTED_SINCE = (
        "consented since",
        RowOutcome.KNOWN,
        "the list shows that they unsubscribed there, but they agreed here later",
    )
    LEFT_HERE = "left here", RowOutcome.LEFT_OR_SUPPRESSED, "they unsubscribed from this list"
    # Nobody is told why: that somebody was here and is erased would be one of the reasons.
    KEPT_AWAY = "kept away", RowOutcome.LEFT_OR_SUPPRESSED, "this address is suppressed here"
    LEFT_BY_EARLIER_ROW = (
        "left by earlier row",
        RowOutcome.LEFT_OR_SUPPRESSED,
        "row {detail} shows that they unsubscribed",
    )
    LEFT_THERE = "left there", RowOutcome.DEPARTED, "the list shows that they unsubscribed"
    BOUNCED_THERE = "bounced there", RowOutcome.DEPARTED, "the list shows that email to them bounced"
    COMPLAINED_THERE = "complained there", RowOutcome.DEPARTED, "the list shows that they complained"
    BLOCKED_THERE = "blocked there", RowOutcome.DEPARTED, "the list shows that they were blocked"
    DUPLICATE = "duplicate", RowOutcome.DUPLICATE, "the address is already in row {detail}"
    REJECTED = "rejected", RowOutcome.REJECTED, "{detail}"
    BLANK = "blank", RowOutcome.BLANK, "the row is empty"
    # A run that kept no account of its rows.
    EARLIER_RUN = "earlier run", None, "processed before the import was interrupted, without recording the result"


@dataclass(frozen=True, slots=True)
class ConsentEventSummary:
    """One link of a person's chain, as far as a decision needs it."""

    seq: int
    kind: ConsentKind
    at: datetime
    commitment: str | None


@dataclass(frozen=True, slots=True)
class ExistingPerson:
    """A person who is there already. `import_unfinished`: they came with an import that was not finished."""

    number: int
    state: PersonState
    batch: int | None
    import_unfinished: bool
    asked_at: datetime
    chain_head: str
    lookup: str
    lookup_key: str
    choices: dict[str, Any] = field(default_factory=dict)
    events: Sequence[ConsentEventSummary] = ()


class RowDecision(NamedTuple):
    """What a row does to a person, and why.

    `event_kind` is the consent event to write, `adopt` takes a person who is there into this import, `suppression_reason` is the
    reason under which the address is suppressed.
    """

    reason: RowReason
    event_kind: ConsentKind | None = None
    adopt: bool = False
    suppression_reason: SuppressionReason | None = None


_KEPT_AWAY = RowDecision(RowReason.KEPT_AWAY)
_LEFT_HERE = RowDecision(RowReason.LEFT_HERE)
_ON_THE_LIST = RowDecision(RowReason.ON_THE_LIST)
_WAITING = RowDecision(RowReason.WAITING)
_CONSENTED_SINCE = RowDecision(RowReason.CONSENTED_SINCE)


class Departure(NamedTuple):
    """What follows when a list says that somebody departed; `method` is how their chain says it."""

    reason: RowReason
    suppression_reason: SuppressionReason
    event_kind: ConsentKind
    method: str


DEPARTURES = {
    ImportedSubscriberStatus.LEFT: Departure(
        RowReason.LEFT_THERE, "left elsewhere", ConsentKind.WITHDRAWN, "unsubscribed at"
    ),
    ImportedSubscriberStatus.BOUNCED: Departure(
        RowReason.BOUNCED_THERE, "bounced", ConsentKind.SUPPRESSED, "bounced at"
    ),
    ImportedSubscriberStatus.COMPLAINED: Departure(
        RowReason.COMPLAINED_THERE, "complained", ConsentKind.COMPLAINED, "complained at"
    ),
    ImportedSubscriberStatus.BLOCKED: Departure(
        RowReason.BLOCKED_THERE, "by an admin", ConsentKind.SUPPRESSED, "blocked at"
    ),
}


def decide_row(
    row: ImportRow, existing: ExistingPerson | None, *, suppressed: str, batch: int | None, options: ImportOptions
) -> RowDecision:
    """Decide what a row does.

    Args:
        row: the row.
        existing: the person behind its address, if there is one.
        suppressed: the gravest reason for which the address is suppressed; empty where it is not.
        batch: this import; None in a dry run.
        options: how the operator wants the file to be read.
    """
    if row.status in DEPARTURE_STATUSES:
        return _decide_departure(row, existing, suppressed=suppressed)
    reason = _consent_reason(row, options)
    kind = _CONSENT_KINDS.get(reason, ConsentKind.LISTED)
    if existing is None:
        return _KEPT_AWAY if suppressed else RowDecision(reason, kind)
    if existing.state in ledger.DEPARTED_STATES:
        return _LEFT_HERE if existing.state is PersonState.WITHDRAWN else _KEPT_AWAY
    if existing.state is PersonState.SUBSCRIBED:
        return _decide_subscribed(existing, reason, batch)
    return _KEPT_AWAY if suppressed else _decide_undecided(existing, reason, kind, batch)


def _decide_undecided(existing: ExistingPerson, reason: RowReason, kind: ConsentKind, batch: int | None) -> RowDecision:
    """Decide over somebody who has not confirmed, and whom an earlier list named or who asked here."""
    if kind is ConsentKind.LISTED:
        return RowDecision(reason) if batch is not None and existing.batch == batch else _WAITING
    return RowDecision(reason, kind, adopt=True)


def _consent_reason(row: ImportRow, options: ImportOptions) -> RowReason:
    """Return on which ground a row may be mailed, or what it lacks.

    Whom their own service calls unconfirmed no admin can vouch for: they were asked and did not answer.
    """
    if row.status is not ImportedSubscriberStatus.SUBSCRIBED:
        return RowReason.UNCONFIRMED
    if row.confirmed_at is not None and (row.confirmed_ip or not options.need_network):
        return RowReason.CONFIRMED
    if options.attest_reason is not None:
        return RowReason.ATTESTED
    return RowReason.NO_EVIDENCE if row.confirmed_at is None else RowReason.NO_NETWORK


# The consent of a row for these reasons; for any other a list only names somebody.
_CONSENT_KINDS = {RowReason.CONFIRMED: ConsentKind.IMPORTED, RowReason.ATTESTED: ConsentKind.ATTESTED}


def _decide_subscribed(existing: ExistingPerson, reason: RowReason, batch: int | None) -> RowDecision:
    """Decide over somebody who is subscribed: for good, by this import's first run, or by one that was not finished."""
    if not existing.import_unfinished or reason not in _CONSENT_KINDS:
        return _ON_THE_LIST
    return RowDecision(reason, adopt=existing.batch != batch)


def _decide_departure(row: ImportRow, existing: ExistingPerson | None, *, suppressed: str) -> RowDecision:
    departure = DEPARTURES[row.status]
    reason = departure.suppression_reason if outweighs_reason(departure.suppression_reason, suppressed) else None
    if existing is None:
        return RowDecision(departure.reason, suppression_reason=reason) if reason else _KEPT_AWAY
    if existing.state in {PersonState.ERASED, PersonState.SUPPRESSED}:
        return _decide_graver_departure(row.status, departure, existing, reason)
    has_only_left = row.status is ImportedSubscriberStatus.LEFT
    if has_only_left and existing.state is PersonState.WITHDRAWN:
        return _LEFT_HERE
    if row.status is not ImportedSubscriberStatus.COMPLAINED and has_consented_here_since(existing, row.left_at):
        return _CONSENTED_SINCE
    return RowDecision(departure.reason, departure.event_kind, suppression_reason=None if has_only_left else reason)


def _decide_graver_departure(
    status: ImportedSubscriberStatus, departure: Departure, existing: ExistingPerson, reason: SuppressionReason | None
) -> RowDecision:
    """Decide over somebody who is kept away already: a graver reason than theirs counts, unless they are erased."""
    if existing.state is PersonState.ERASED or status is ImportedSubscriberStatus.LEFT or reason is None:
        return _KEPT_AWAY
    kind = ConsentKind.COMPLAINED if status is ImportedSubscriberStatus.COMPLAINED else None
    return RowDecision(departure.reason, kind, suppression_reason=reason)


def has_consented_here_since(existing: ExistingPerson, left_at: datetime | None) -> bool:
    """Return whether the person asked here, or confirmed here, after they had left elsewhere.

    A departure without a time counts against whoever has confirmed nothing here themselves, and against them too
    when it may have come later: it is the safe side. A request that waits for its confirmation is left alone.
    """
    if existing.state is PersonState.REQUESTED:
        return left_at is None or existing.asked_at > left_at
    # What an admin restored is the consent before it.
    own = [link for link in existing.events if link.kind in ledger.GRANT_KINDS - {ConsentKind.RESTORED}]
    confirmed = bool(own) and own[-1].kind in ledger.OWN_CONSENT_KINDS
    return confirmed and left_at is not None and own[-1].at > left_at
