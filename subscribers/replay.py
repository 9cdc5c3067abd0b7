"""The roll once more, from nothing but the ledger: where everybody stands is a fold over their chain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy.orm import Session

from subscribers import chains, ledger
from subscribers.db import ConsentKind, PersonState


@dataclass(frozen=True, slots=True)
class Difference:
    """A person whose row says something else than their chain gives. "" stands for no row, or no link."""

    number: int
    by_chain: str
    by_row: str


def fold(kinds: Iterable[ConsentKind]) -> PersonState:
    """Say where a person stands after all that happened to them, in its order."""
    state = PersonState.REQUESTED
    for kind in kinds:
        state = ledger.standing(state, kind)
    return state


def replay(session: Session) -> Iterator[tuple[int, PersonState]]:
    """Give everybody who has a chain, by number, with where they stand by it; no person's row is looked at.

    Raises:
        ValueError: a link is of no kind that we know.
    """
    for thousand in chains.thousands(session):
        yield from _standings(thousand)


def differences(session: Session) -> Iterator[Difference]:
    """Give the people whose row and chain differ. The roll reads rows, so where there is none, it is the ledger's fold.

    That the people of an unfinished import do not count yet is no matter of consent, and stands in no chain.
    """
    for thousand in chains.thousands(session):
        by_chain = {number: str(state) for number, state in _standings(thousand)}
        by_row = {holder.number: holder.state for holder in thousand.people}
        for number in sorted(by_chain.keys() | by_row.keys()):
            said, stands = by_chain.get(number, ""), by_row.get(number, "")
            if said != stands:
                yield Difference(number, said, stands)


def _standings(thousand: chains.Thousand) -> Iterator[tuple[int, PersonState]]:
    for number, links in groupby(thousand.links, key=lambda link: link.person):
        yield number, fold(ConsentKind(link.kind) for link in links)
