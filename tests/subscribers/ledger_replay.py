"""The audience computed again from the ledger alone, as a fold over each person's chain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy.orm import Session

from subscribers.consent import chain_verification, ledger
from subscribers.store.models import ConsentKind, PersonState


@dataclass(frozen=True, slots=True)
class LedgerDifference:
    """A person whose row says something else than their chain gives. "" stands for no row, or no link."""

    number: int
    by_chain: str
    by_row: str


def fold_state(kinds: Iterable[ConsentKind]) -> PersonState:
    """Return where a person stands after all that happened to them, in its order."""
    state = PersonState.REQUESTED
    for kind in kinds:
        state = ledger.find_next_person_state(state, kind)
    return state


def replay_ledger(session: Session) -> Iterator[tuple[int, PersonState]]:
    """Yield everybody who has a chain, by number, with where they stand by it; no person's row is looked at."""
    for chunk in chain_verification.iterate_chains(session):
        yield from _fold_chunk(chunk)


def find_ledger_differences(session: Session) -> Iterator[LedgerDifference]:
    """Yield the people whose row and chain differ: the audience reads rows, so where none differs it is the fold.

    That the people of an unfinished import do not count yet is no matter of consent, and stands in no chain.
    """
    for chunk in chain_verification.iterate_chains(session):
        by_chain = {number: str(state) for number, state in _fold_chunk(chunk)}
        by_row = {owner.number: owner.state for owner in chunk.owners}
        for number in sorted(by_chain.keys() | by_row.keys()):
            chain_state, row_state = by_chain.get(number, ""), by_row.get(number, "")
            if chain_state != row_state:
                yield LedgerDifference(number, chain_state, row_state)


def _fold_chunk(chunk: chain_verification.EventChainBatch) -> Iterator[tuple[int, PersonState]]:
    for number, links in groupby(chunk.links, key=lambda link: link.person):
        yield number, fold_state(ConsentKind(link.kind) for link in links)
