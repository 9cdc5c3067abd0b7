"""What a row does to what is known already. Pure: values in, a named decision out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from subscribers import ledger
from subscribers.db import ConsentKind, PersonState
from subscribers.suppression import Reason, gravity
from subscribers.transfer.formats import DEPARTURES, Claim
from subscribers.transfer.rows import Row


class Outcome(StrEnum):
    """What becomes of a row: each row of a file is counted under one of these."""

    SUBSCRIBED = "subscribed"
    UNVERIFIED = "unverified"
    KNOWN = "known"
    GONE = "left or suppressed"
    DEPARTED = "departures"
    DUPLICATE = "duplicates"
    REJECTED = "rejected"
    BLANK = "blank"


@dataclass(frozen=True, slots=True)
class Options:
    """How the operator wants a file to be read.

    `attest` is the reason for which an admin vouches for rows without evidence (None: nobody does), `whole`
    what every row is said to be, `need_network` asks that a confirmation names the network address it came from.
    """

    attest: str | None = None
    whole: Claim | None = None
    need_network: bool = False

    def as_json(self) -> dict[str, str | bool]:
        """Give what the batch keeps: a second run goes on only with the same options."""
        said: dict[str, str | bool] = {}
        if self.attest is not None:
            said["attest"] = self.attest
        if self.whole is not None:
            said["whole"] = str(self.whole)
        if self.need_network:
            said["need_network"] = True
        return said


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a person's chain, as far as a decision needs it."""

    seq: int
    kind: ConsentKind
    at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A person who is there already. `pending`: they came with an import that was not finished."""

    number: int
    state: PersonState
    batch: int | None
    pending: bool
    asked_at: datetime
    chain_head: str
    lookup: str
    lookup_key: str
    links: Sequence[Link] = ()


class Decision(NamedTuple):
    """What a row does to a person.

    `kind` is the consent event to write, `adopt` takes a person who is there into this import, `suppress` is the
    reason under which the address is barred.
    """

    outcome: Outcome
    kind: ConsentKind | None = None
    adopt: bool = False
    suppress: Reason | None = None


_KNOWN = Decision(Outcome.KNOWN)
_GONE = Decision(Outcome.GONE)
_REASONS: dict[Claim, Reason] = {
    Claim.LEFT: "left elsewhere",
    Claim.BOUNCED: "bounced",
    Claim.COMPLAINED: "complained",
    Claim.BLOCKED: "by an admin",
}
_OVER = frozenset({PersonState.WITHDRAWN, PersonState.SUPPRESSED, PersonState.ERASED})


def decide(
    row: Row, known: Known | None, *, suppressed: str, batch: int | None, options: Options
) -> Decision:
    """Say what a row does.

    Args:
        row: the row.
        known: the person behind its address, if there is one.
        suppressed: the gravest reason for which the address is barred; empty where it is not.
        batch: this import; None in a dry run.
        options: how the operator wants the file to be read.
    """
    if row.claim in DEPARTURES:
        return _depart(row, known, suppressed=suppressed)
    kind = _grant(row, options)
    outcome = Outcome.UNVERIFIED if kind is ConsentKind.LISTED else Outcome.SUBSCRIBED
    if known is not None and known.state in _OVER:
        return _GONE
    if known is not None and known.state is PersonState.SUBSCRIBED:
        return _again(known, outcome, batch)
    if suppressed:
        return _GONE
    if known is None or outcome is Outcome.SUBSCRIBED:
        return Decision(outcome, kind, adopt=known is not None)
    return Decision(outcome) if known.batch == batch and batch is not None else _KNOWN


def _grant(row: Row, options: Options) -> ConsentKind:
    """Say on which ground a row may be mailed; `listed` is none.

    Whom their own service calls unconfirmed no admin can vouch for: they were asked and did not answer.
    """
    if row.claim is Claim.PERSON:
        if row.confirmed_at is not None and (row.confirmed_ip or not options.need_network):
            return ConsentKind.IMPORTED
        if options.attest is not None:
            return ConsentKind.ATTESTED
    return ConsentKind.LISTED


def _again(known: Known, outcome: Outcome, batch: int | None) -> Decision:
    """Settle somebody who is subscribed: for good, by this import's first run, or by one that was not finished."""
    if not known.pending:
        return _KNOWN
    if known.batch == batch:
        return Decision(Outcome.SUBSCRIBED)
    return Decision(outcome, adopt=True) if outcome is Outcome.SUBSCRIBED else _KNOWN


def _depart(row: Row, known: Known | None, *, suppressed: str) -> Decision:
    reason = _REASONS[row.claim]
    graver = not suppressed or gravity(reason) < gravity(suppressed)
    if known is None:
        return Decision(Outcome.DEPARTED, suppress=reason) if graver else _GONE
    barred = row.claim is not Claim.LEFT
    if known.state is PersonState.ERASED:
        return _GONE
    if known.state is PersonState.SUPPRESSED:
        kind = ConsentKind.COMPLAINED if row.claim is Claim.COMPLAINED else None
        return Decision(Outcome.DEPARTED, kind, suppress=reason) if barred and graver else _GONE
    if known.state is PersonState.WITHDRAWN and not barred:
        return _GONE
    if row.claim is not Claim.COMPLAINED and _own_word_since(known, row.left_at):
        return _KNOWN
    return Decision(Outcome.DEPARTED, _DEPARTING[row.claim], suppress=reason if barred and graver else None)


_DEPARTING = {
    Claim.LEFT: ConsentKind.WITHDRAWN,
    Claim.BOUNCED: ConsentKind.SUPPRESSED,
    Claim.COMPLAINED: ConsentKind.COMPLAINED,
    Claim.BLOCKED: ConsentKind.SUPPRESSED,
}


def _own_word_since(known: Known, left_at: datetime | None) -> bool:
    """Say whether the person asked here, or confirmed here, after they had left elsewhere.

    A departure without a time counts against whoever has confirmed nothing here themselves, and against them too
    when it may have come later: it is the safe side. A request that waits for its confirmation is left alone.
    """
    if known.state is PersonState.REQUESTED:
        return left_at is None or known.asked_at > left_at
    own = [link for link in known.links if link.kind in ledger.GRANTS]
    confirmed = bool(own) and own[-1].kind in {ConsentKind.CONFIRMED, ConsentKind.UNDONE}
    return confirmed and left_at is not None and own[-1].at > left_at
