"""What a row does to what is known already. Pure: values in, a named decision out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from subscribers.consent import ledger
from subscribers.consent.suppression import SuppressionReason, is_graver
from subscribers.store.models import ConsentKind, PersonState
from subscribers.transfer.formats import DEPARTURE_STATUSES, RowStatus
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
    """Why a row comes to what it comes to. Each reason leads to one outcome; these words stand in files of outcomes."""

    CONFIRMED = "confirmed"
    ATTESTED = "attested"
    UNCONFIRMED = "unconfirmed"  # the service itself says that they never confirmed
    NO_EVIDENCE = "no evidence"
    NO_NETWORK = "no network"
    ON_THE_LIST = "on the list"
    WAITING = "waiting"
    CONSENTED_SINCE = "consented since"
    LEFT_HERE = "left here"
    KEPT_AWAY = "kept away"
    LEFT_BY_EARLIER_ROW = "left by earlier row"
    LEFT_THERE = "left there"
    BOUNCED_THERE = "bounced there"
    COMPLAINED_THERE = "complained there"
    BLOCKED_THERE = "blocked there"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    BLANK = "blank"
    EARLIER_RUN = "earlier run"  # a run that kept no account of its rows

    @property
    def outcome(self) -> RowOutcome | None:
        """What a row comes to for this reason; None where nobody knows any more."""
        return _OUTCOMES_BY_REASON.get(self)


_OUTCOMES_BY_REASON = {
    RowReason.CONFIRMED: RowOutcome.SUBSCRIBED,
    RowReason.ATTESTED: RowOutcome.SUBSCRIBED,
    RowReason.UNCONFIRMED: RowOutcome.UNVERIFIED,
    RowReason.NO_EVIDENCE: RowOutcome.UNVERIFIED,
    RowReason.NO_NETWORK: RowOutcome.UNVERIFIED,
    RowReason.ON_THE_LIST: RowOutcome.KNOWN,
    RowReason.WAITING: RowOutcome.KNOWN,
    RowReason.CONSENTED_SINCE: RowOutcome.KNOWN,
    RowReason.LEFT_HERE: RowOutcome.LEFT_OR_SUPPRESSED,
    RowReason.KEPT_AWAY: RowOutcome.LEFT_OR_SUPPRESSED,
    RowReason.LEFT_BY_EARLIER_ROW: RowOutcome.LEFT_OR_SUPPRESSED,
    RowReason.LEFT_THERE: RowOutcome.DEPARTED,
    RowReason.BOUNCED_THERE: RowOutcome.DEPARTED,
    RowReason.COMPLAINED_THERE: RowOutcome.DEPARTED,
    RowReason.BLOCKED_THERE: RowOutcome.DEPARTED,
    RowReason.DUPLICATE: RowOutcome.DUPLICATE,
    RowReason.REJECTED: RowOutcome.REJECTED,
    RowReason.BLANK: RowOutcome.BLANK,
}


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
_SUPPRESSION_REASONS: dict[RowStatus, SuppressionReason] = {
    RowStatus.LEFT: "left elsewhere",
    RowStatus.BOUNCED: "bounced",
    RowStatus.COMPLAINED: "complained",
    RowStatus.BLOCKED: "by an admin",
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
    if existing is not None and existing.state in ledger.DEPARTED_STATES:
        return _LEFT_HERE if existing.state is PersonState.WITHDRAWN else _KEPT_AWAY
    if existing is not None and existing.state is PersonState.SUBSCRIBED:
        return _decide_subscribed(existing, reason, batch)
    if suppressed:
        return _KEPT_AWAY
    if existing is None or kind is not ConsentKind.LISTED:
        return RowDecision(reason, kind, adopt=existing is not None)
    return RowDecision(reason) if existing.batch == batch and batch is not None else _WAITING


def _consent_reason(row: ImportRow, options: ImportOptions) -> RowReason:
    """Return on which ground a row may be mailed, or what it lacks.

    Whom their own service calls unconfirmed no admin can vouch for: they were asked and did not answer.
    """
    if row.status is not RowStatus.SUBSCRIBED:
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
    reason, why = _SUPPRESSION_REASONS[row.status], _DEPARTURE_REASONS[row.status]
    graver = is_graver(reason, suppressed)
    if existing is None:
        return RowDecision(why, suppression_reason=reason) if graver else _KEPT_AWAY
    barred = row.status is not RowStatus.LEFT
    if existing.state is PersonState.ERASED:
        return _KEPT_AWAY
    if existing.state is PersonState.SUPPRESSED:
        kind = ConsentKind.COMPLAINED if row.status is RowStatus.COMPLAINED else None
        return RowDecision(why, kind, suppression_reason=reason) if barred and graver else _KEPT_AWAY
    if existing.state is PersonState.WITHDRAWN and not barred:
        return _LEFT_HERE
    if row.status is not RowStatus.COMPLAINED and _consented_here_since(existing, row.left_at):
        return _CONSENTED_SINCE
    return RowDecision(why, _DEPARTURE_KINDS[row.status], suppression_reason=reason if barred and graver else None)


_DEPARTURE_REASONS = {
    RowStatus.LEFT: RowReason.LEFT_THERE,
    RowStatus.BOUNCED: RowReason.BOUNCED_THERE,
    RowStatus.COMPLAINED: RowReason.COMPLAINED_THERE,
    RowStatus.BLOCKED: RowReason.BLOCKED_THERE,
}
_DEPARTURE_KINDS = {
    RowStatus.LEFT: ConsentKind.WITHDRAWN,
    RowStatus.BOUNCED: ConsentKind.SUPPRESSED,
    RowStatus.COMPLAINED: ConsentKind.COMPLAINED,
    RowStatus.BLOCKED: ConsentKind.SUPPRESSED,
}


def _consented_here_since(existing: ExistingPerson, left_at: datetime | None) -> bool:
    """Return whether the person asked here, or confirmed here, after they had left elsewhere.

    A departure without a time counts against whoever has confirmed nothing here themselves, and against them too
    when it may have come later: it is the safe side. A request that waits for its confirmation is left alone.
    """
    if existing.state is PersonState.REQUESTED:
        return left_at is None or existing.asked_at > left_at
    own = [link for link in existing.events if link.kind in ledger.GRANT_KINDS]
    confirmed = bool(own) and own[-1].kind in ledger.OWN_CONSENT_KINDS
    return confirmed and left_at is not None and own[-1].at > left_at
