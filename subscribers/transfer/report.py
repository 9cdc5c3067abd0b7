"""What an import did, or would do: counts, marks and the first problems."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from subscribers.transfer.deciding import Outcome
from subscribers.transfer.marks import disposable, role
from subscribers.transfer.reading import Survey
from subscribers.transfer.rows import Row

FIRST_PROBLEMS = 10
MARKS = ("role addresses", "disposable addresses", "confirmed without a network address")

Reject = Callable[[int, str, Sequence[str]], None]
Progress = Callable[[int], None]

_TAKEN = frozenset({Outcome.SUBSCRIBED, Outcome.UNVERIFIED})


@dataclass(slots=True)
class Report:
    """What became of each row. `counts` has every outcome, and how many of the people taken carry a mark.

    `problems` are the first rejected rows: number and reason. `batch` is None in a dry run. `repeated` tells
    that this very file was brought in before, and nothing was done. `longest` is the longest write transaction
    in seconds.
    """

    survey: Survey
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)
    batch: int | None = None
    started_at: datetime | None = None
    repeated: bool = False
    longest: float = 0.0

    def as_json(self) -> dict[str, int]:
        """Give every count, zeros too, in a fixed order."""
        return {name: self.counts[name] for name in (*map(str, Outcome), *MARKS)}

    def reject(self, number: int, reason: str, *, counted: bool) -> None:
        """Count a rejected row, and remember the first."""
        self.counts[Outcome.REJECTED] += counted
        if len(self.problems) < FIRST_PROBLEMS:
            self.problems.append((number, reason))


def count(counts: Counter[str], row: Row, outcome: Outcome, *, by: int = 1) -> None:
    """Count a row under its outcome (-1 takes it back); those of people who are taken in also under their marks."""
    counts[outcome] += by
    if outcome not in _TAKEN:
        return
    if role(row.address):
        counts[MARKS[0]] += by
    if disposable(row.address):
        counts[MARKS[1]] += by
    if row.confirmed_at is not None and not row.confirmed_ip:
        counts[MARKS[2]] += by
