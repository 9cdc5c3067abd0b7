"""The effect of an imported row on what's already known. All functions are pure."""

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
    """The outcome of a row.

    Each row of a file is counted under one outcome.
    """

    SUBSCRIBED = "subscribed"
    UNVERIFIED = "unverified"
    KNOWN = "known"
    LEFT_OR_SUPPRESSED = "left or suppressed"
    DEPARTED = "departures"
    DUPLICATE = "duplicates"
    REJECTED = "rejected"
    BLANK = "blank"


class RowReason(StrEnum):
    """The reason for a row's outcome, as recorded in outcome files, and a sentence that may contain `{detail}`.

    `outcome` is None if it wasn't recorded.
    """

    outcome: RowOutcome | None
    words: str

    def __new__(
        cls,
        value: str,
        outcome: RowOutcome | None = None,
        words: str = "",
    ) -> Self:
        """Create a member from its value, outcome, and text."""
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
    # The sentence doesn't say why, because that might reveal that someone was on this list and was erased.
    SUPPRESSED_HERE = "kept away", RowOutcome.LEFT_OR_SUPPRESSED, "this address is suppressed here"
    LEFT_BY_ANOTHER_ROW = (
        "left by another row",
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
    # The row was processed by a run that didn't record outcomes.
    EARLIER_RUN = "earlier run", None, "processed before the import was interrupted, without recording the result"


@dataclass(frozen=True, slots=True)
class ConsentEventSummary:
    """An event in a person's chain, reduced to what decisions require."""

    seq: int
    kind: ConsentKind
    at: datetime
    commitment: str


@dataclass(frozen=True, slots=True)
class ExistingPerson:
    """A person who was already known before the import.

    `import_unfinished` means that they were added by an unfinished import.
    """

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
    """The effect of a row on a person, and the reason.

    `event_kind` is the consent event to append. `adopt` moves an existing person to this import.
    `suppression_reason` is the reason for suppressing the address.
    """

    reason: RowReason
    event_kind: ConsentKind | None = None
    adopt: bool = False
    suppression_reason: SuppressionReason | None = None


class EarlierRow(NamedTuple):
    """An earlier row with the same address.

    It has a number, says something about the address (`claim`), and may have a confirmation without
    an IP address.
    """

    number: int
    claim: RowReason
    lacks_network: bool

    @property
    def departed(self) -> bool:
        """True if the row says that the person left."""
        return self.claim.outcome is RowOutcome.DEPARTED


_SUPPRESSED_HERE = RowDecision(RowReason.SUPPRESSED_HERE)
_LEFT_HERE = RowDecision(RowReason.LEFT_HERE)
_ON_THE_LIST = RowDecision(RowReason.ON_THE_LIST)
_WAITING = RowDecision(RowReason.WAITING)
_CONSENTED_SINCE = RowDecision(RowReason.CONSENTED_SINCE)


class Departure(NamedTuple):
    """The effect of a departure recorded in a list.

    `method` is its description in the person's chain.
    """

    reason: RowReason
    suppression_reason: SuppressionReason
    event_kind: ConsentKind
    method: str


DEPARTURES = {
    ImportedSubscriberStatus.LEFT: Departure(
        RowReason.LEFT_THERE, "left elsewhere", ConsentKind.WITHDRAWN, "unsubscribed"
    ),
    ImportedSubscriberStatus.BOUNCED: Departure(RowReason.BOUNCED_THERE, "bounced", ConsentKind.SUPPRESSED, "bounced"),
    ImportedSubscriberStatus.COMPLAINED: Departure(
        RowReason.COMPLAINED_THERE, "complained", ConsentKind.COMPLAINED, "complained"
    ),
    ImportedSubscriberStatus.BLOCKED: Departure(
        RowReason.BLOCKED_THERE, "by an admin", ConsentKind.SUPPRESSED, "blocked"
    ),
}


def decide_row(
    row: ImportRow, existing: ExistingPerson | None, *, suppressed: str, batch: int | None, options: ImportOptions
) -> RowDecision:
    """Decide what a row changes and why.

    Args:
        row: the row.
        existing: the person with its address, if there is one.
        suppressed: the gravest reason for which the address is suppressed, or "".
        batch: this import, or None in a dry run.
        options: the import options.
    """
    if row.status in DEPARTURE_STATUSES:
        return _decide_departure(row, existing, suppressed=suppressed)
    return _decide_stay(_consent_reason(row, options), existing, suppressed=suppressed, batch=batch)


def decide_stated_reason(row: ImportRow, options: ImportOptions) -> RowReason:
    """Return the reason that a row itself states, regardless of what's known about its address."""
    return DEPARTURES[row.status].reason if row.status in DEPARTURE_STATUSES else _consent_reason(row, options)


def find_overridden_reason(
    decision: RowDecision,
    earlier: EarlierRow | None,
    existing: ExistingPerson | None,
    *,
    suppressed: str,
    batch: int | None,
) -> RowReason | None:
    """Return the reason under which an earlier row was counted if a decision about the same address overrides it.

    In an import, the effects of the earlier row are in `existing`. The result is the same without them.
    """
    if earlier is None or earlier.departed or decision.reason.outcome is not RowOutcome.DEPARTED:
        return None
    reason = _decide_stay(earlier.claim, existing, suppressed=suppressed, batch=batch).reason
    return None if reason.outcome is RowOutcome.LEFT_OR_SUPPRESSED else reason


def _decide_stay(
    reason: RowReason, existing: ExistingPerson | None, *, suppressed: str, batch: int | None
) -> RowDecision:
    kind = _CONSENT_KINDS.get(reason, ConsentKind.LISTED)
    if existing is None:
        return _SUPPRESSED_HERE if suppressed else RowDecision(reason, kind)
    if existing.state in ledger.DEPARTED_STATES:
        return _LEFT_HERE if existing.state is PersonState.WITHDRAWN else _SUPPRESSED_HERE
    if existing.state is PersonState.SUBSCRIBED:
        return _decide_subscribed(existing, reason, batch)
    return _SUPPRESSED_HERE if suppressed else _decide_undecided(existing, reason, kind, batch)


def _decide_undecided(existing: ExistingPerson, reason: RowReason, kind: ConsentKind, batch: int | None) -> RowDecision:
    """Decide about someone who hasn't confirmed yet, and who comes from an earlier list or a sign-up here."""
    if kind is ConsentKind.LISTED:
        return RowDecision(reason) if batch is not None and existing.batch == batch else _WAITING
    return RowDecision(reason, kind, adopt=True)


def _consent_reason(row: ImportRow, options: ImportOptions) -> RowReason:
    """Return the grounds on which a row's person may be emailed, or what's missing.

    An admin can't vouch for people who are unconfirmed according to their own service, because they
    were asked and didn't answer.
    """
    if row.status is not ImportedSubscriberStatus.SUBSCRIBED:
        return RowReason.UNCONFIRMED
    if row.confirmed_at is not None and (row.confirmed_ip or not options.need_network):
        return RowReason.CONFIRMED
    if options.attest_reason is not None:
        return RowReason.ATTESTED
    return RowReason.NO_EVIDENCE if row.confirmed_at is None else RowReason.NO_NETWORK


# The consent events for these reasons. For other reasons, a person is only listed.
_CONSENT_KINDS = {RowReason.CONFIRMED: ConsentKind.IMPORTED, RowReason.ATTESTED: ConsentKind.ATTESTED}


def _decide_subscribed(existing: ExistingPerson, reason: RowReason, batch: int | None) -> RowDecision:
    """Decide about someone who's subscribed, either permanently or only by an unfinished import, possibly this one."""
    if not existing.import_unfinished or reason not in _CONSENT_KINDS:
        return _ON_THE_LIST
    return RowDecision(reason, adopt=existing.batch != batch)


def _decide_departure(row: ImportRow, existing: ExistingPerson | None, *, suppressed: str) -> RowDecision:
    departure = DEPARTURES[row.status]
    reason = departure.suppression_reason if outweighs_reason(departure.suppression_reason, suppressed) else None
    if existing is None:
        return RowDecision(departure.reason, suppression_reason=reason) if reason else _SUPPRESSED_HERE
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
    """Decide about someone who's already off the list.

    A graver reason counts, unless they're erased.
    """
    if existing.state is PersonState.ERASED or status is ImportedSubscriberStatus.LEFT or reason is None:
        return _SUPPRESSED_HERE
    kind = ConsentKind.COMPLAINED if status is ImportedSubscriberStatus.COMPLAINED else None
    return RowDecision(departure.reason, kind, suppression_reason=reason)


def has_consented_here_since(existing: ExistingPerson, left_at: datetime | None) -> bool:
    """Return True if a person signed up or confirmed here after leaving elsewhere.

    A departure without a time counts against anyone who hasn't confirmed here themselves. It also
    counts against people who have, because it may be later, and not emailing them is safer. It
    doesn't affect a request that's waiting for confirmation.
    """
    if existing.state is PersonState.REQUESTED:
        return left_at is None or existing.asked_at > left_at
    # If an admin restored a subscription, that's the earlier consent.
    own = [link for link in existing.events if link.kind in ledger.GRANT_KINDS - {ConsentKind.RESTORED}]
    confirmed = bool(own) and own[-1].kind in ledger.OWN_CONSENT_KINDS
    return confirmed and left_at is not None and own[-1].at > left_at
