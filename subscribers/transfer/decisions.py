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
    """What a row does to a person.

    `event_kind` is the consent event to write, `adopt` takes a person who is there into this import, `suppression_reason` is the
    reason under which the address is suppressed.
    """

    outcome: RowOutcome
    event_kind: ConsentKind | None = None
    adopt: bool = False
    suppression_reason: SuppressionReason | None = None


_KNOWN_DECISION = RowDecision(RowOutcome.KNOWN)
_NO_RETURN_DECISION = RowDecision(RowOutcome.LEFT_OR_SUPPRESSED)
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
    kind = _consent_kind(row, options)
    outcome = RowOutcome.UNVERIFIED if kind is ConsentKind.LISTED else RowOutcome.SUBSCRIBED
    if existing is not None and existing.state in ledger.DEPARTED_STATES:
        return _NO_RETURN_DECISION
    if existing is not None and existing.state is PersonState.SUBSCRIBED:
        return _decide_subscribed(existing, outcome, batch)
    if suppressed:
        return _NO_RETURN_DECISION
    if existing is None or outcome is RowOutcome.SUBSCRIBED:
        return RowDecision(outcome, kind, adopt=existing is not None)
    return RowDecision(outcome) if existing.batch == batch and batch is not None else _KNOWN_DECISION


def _consent_kind(row: ImportRow, options: ImportOptions) -> ConsentKind:
    """Return the ground on which a row may be mailed; `listed` is none.

    Whom their own service calls unconfirmed no admin can vouch for: they were asked and did not answer.
    """
    if row.status is RowStatus.SUBSCRIBED:
        if row.confirmed_at is not None and (row.confirmed_ip or not options.need_network):
            return ConsentKind.IMPORTED
        if options.attest_reason is not None:
            return ConsentKind.ATTESTED
    return ConsentKind.LISTED


def _decide_subscribed(existing: ExistingPerson, outcome: RowOutcome, batch: int | None) -> RowDecision:
    """Decide over somebody who is subscribed: for good, by this import's first run, or by one that was not finished."""
    if not existing.import_unfinished:
        return _KNOWN_DECISION
    if existing.batch == batch:
        return RowDecision(RowOutcome.SUBSCRIBED)
    return RowDecision(outcome, adopt=True) if outcome is RowOutcome.SUBSCRIBED else _KNOWN_DECISION


def _decide_departure(row: ImportRow, existing: ExistingPerson | None, *, suppressed: str) -> RowDecision:
    reason = _SUPPRESSION_REASONS[row.status]
    graver = is_graver(reason, suppressed)
    if existing is None:
        return RowDecision(RowOutcome.DEPARTED, suppression_reason=reason) if graver else _NO_RETURN_DECISION
    barred = row.status is not RowStatus.LEFT
    if existing.state is PersonState.ERASED:
        return _NO_RETURN_DECISION
    if existing.state is PersonState.SUPPRESSED:
        kind = ConsentKind.COMPLAINED if row.status is RowStatus.COMPLAINED else None
        return (
            RowDecision(RowOutcome.DEPARTED, kind, suppression_reason=reason)
            if barred and graver
            else _NO_RETURN_DECISION
        )
    if existing.state is PersonState.WITHDRAWN and not barred:
        return _NO_RETURN_DECISION
    if row.status is not RowStatus.COMPLAINED and _consented_here_since(existing, row.left_at):
        return _KNOWN_DECISION
    return RowDecision(
        RowOutcome.DEPARTED, _DEPARTURE_KINDS[row.status], suppression_reason=reason if barred and graver else None
    )


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
