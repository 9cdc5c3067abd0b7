"""An import under way: rows are settled some at a time, each time in one short transaction."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from subscribers.db import ConsentKind, ImportBatch
from subscribers.journal import Departed, Journal, Kind
from subscribers.suppression import KINDS
from subscribers.transfer import books as accounts
from subscribers.transfer.books import Books, Step
from subscribers.transfer.deciding import Known, Options, Outcome, decide
from subscribers.transfer.reading import FileError
from subscribers.transfer.report import Report, count
from subscribers.transfer.rows import Row
from subscribers.transfer.sealing import Batch, Hashes, Sealer, Settled
from subscribers.vault import Keys

AT_ONCE = 1000  # rows a step: the most that one transaction may hold
_LEAST = 100
_SECONDS = (
    0.05  # what a step's transaction may take, as it stops SQLite's other writers; then steps get smaller
)
_SERVED = 0.08  # PostgreSQL's go on
_NUMBERS = 20_000  # people's numbers taken at a time
_CHECKPOINT = 8  # steps: of SQLite's log some 40 MB
_TRIES = 40
_PASSING = frozenset({"55P03", "40P01", "40001"})  # PostgreSQL: lock not available, deadlock, serialization

Hashed = tuple[Row, Hashes]


@dataclass(frozen=True, slots=True)
class Desk:
    """What an import stands on. `actor` is who does it, and stands in every person's chain."""

    books: Books
    keys: Keys
    journal: Journal
    actor: str


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step that is being written: what it settles, the counts that go with it, the row that is then reached."""

    future: Future[list[Settled]]
    settled: list[Settled]
    counts: Counter[str]
    through: int | None


class Run:
    """One import under way, to be used in one thread as a context.

    While a step is written, the next one is read, judged and sealed. What a step in flight changes is seen when the
    next one is written: `books.write` then gives back what no longer holds. For the same reason nobody is looked
    up beforehand while a list brings strangers only. `size` is the pace that the database bears, in rows.
    """

    def __init__(self, desk: Desk, report: Report, batch: Batch) -> None:
        self.size = AT_ONCE
        self._desk = desk
        self._report = report
        self._batch = batch
        self._sealer = Sealer(desk.keys, batch)
        self._numbers: Iterator[int] = iter(())
        self._left = 0
        self._steps = 0
        self._look = True
        with desk.books.read() as session:
            self._served = session.get_bind().dialect.name == "postgresql"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="import")
        self._flight: _Flight | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown()

    def settle(self, rows: Sequence[Hashed], through: int) -> None:
        """Settle a chunk of rows, and remember that the file is settled through row `through`.

        Two rows of one address never share a step: the second is judged by what the first has done.
        """
        first, later = _one_each(rows)
        settled = self._judged(first)
        step = self._sealed(settled)
        self.land()
        _count_all(self._report.counts, settled)
        self._start(settled, step, Counter(self._report.counts), None if later else through)
        if later:
            self.land()
            self.settle(later, through)

    def land(self) -> None:
        """Wait for the step in flight. What others have overtaken is judged again until it is written."""
        for tried in range(_TRIES):
            if self._flight is None:
                return
            flight, self._flight = self._flight, None
            again = _again(flight)
            if not again:
                continue
            time.sleep(0.01 * tried)
            self._look = True
            anew = self._judged([(one.row, one.hashes) for one in again])
            for counts in (self._report.counts, flight.counts):
                _count_all(counts, again, by=-1)
                _count_all(counts, anew)
            self._start(anew, self._sealed(anew), flight.counts, flight.through)
        raise FileError("others keep changing the same people: run the command again in a while.")

    def _judged(self, rows: Sequence[Hashed]) -> list[Settled]:
        settled = settle(self._desk, rows, self._batch.options, batch=self._batch.id, look=self._look)
        if self._look:
            self._look = any(one.known is not None or one.decision.outcome is Outcome.GONE for one in settled)
        return settled

    def _start(self, settled: list[Settled], step: Step, counts: Counter[str], through: int | None) -> None:
        self._flight = _Flight(self._begun(step, dict(counts), through), settled, counts, through)

    def _begun(self, *step: Any) -> Future[list[Settled]]:
        """Begin to write a step.

        PostgreSQL's server works aside. SQLite works in our process, where a second thread would wait for Python's
        lock at each row, its transaction open; only its commit, which waits for the disk, is left to one.
        """
        if self._served:
            return self._writer.submit(lambda: self._committed(*self._filled(*step)))
        try:
            return self._writer.submit(self._committed, *self._filled(*step))
        except (IntegrityError, OperationalError) as exc:
            failed: Future[list[Settled]] = Future()
            failed.set_exception(exc)
            return failed

    def _filled(
        self, step: Step, counts: dict[str, int], through: int | None
    ) -> tuple[ExitStack, float, list[Settled]]:
        """Write one step with its counts into a transaction that stays open; give back what is to be judged again."""
        self._journal(step)
        with ExitStack() as stack:
            session = stack.enter_context(self._desk.books.write())
            began = time.monotonic()
            if not accounts.still_open(session, self._batch.id):
                raise FileError("this import was dropped meanwhile: nobody of it is mailed.")
            again = accounts.write(session, step, now=self._batch.now)
            if not again and through is not None:
                mine = update(ImportBatch).where(ImportBatch.id == self._batch.id)
                session.execute(mine.values(counts=counts, reached=through))
            return stack.pop_all(), began, again

    def _committed(self, transaction: ExitStack, began: float, again: list[Settled]) -> list[Settled]:
        transaction.close()
        self._pace(time.monotonic() - began)
        self._steps += 1
        if self._steps % _CHECKPOINT == 0:
            accounts.checkpoint(self._desk.books)
        return again

    def _sealed(self, settled: list[Settled]) -> Step:
        new = [one for one in settled if one.known is None and one.decision.kind is not None]
        changing = [
            one for one in settled if one.known is not None and (one.decision.kind or one.decision.adopt)
        ]
        barring = [one for one in settled if one.decision.suppress is not None]
        self._reserve(len(new))
        people, events = self._sealer.people(new, self._numbers)
        return Step(new, people, events, changing, [self._sealer.change(one) for one in changing], barring)

    def _reserve(self, several: int) -> None:
        """See to it that so many numbers are at hand; a few that are left over are given up."""
        if several > self._left:
            take = max(several, min(_NUMBERS, self._report.survey.rows))
            with self._desk.books.write() as session:
                self._numbers = iter(accounts.reserve(session, take))
            self._left = take
        self._left -= several

    def _journal(self, step: Step) -> None:
        """Write departures down before they are committed (see `leaving`): our own people's, and every complaint.

        A list of those who left somewhere else may be long, and can be brought in again after a restore.
        """
        departed = {}
        for one in (*step.changing, *step.barring):
            kind = _journalled(one)
            if kind is not None:
                known, hashes = one.known, one.hashes
                named = (known.lookup, known.lookup_key) if known else (hashes.lookup, hashes.lookup_key)
                departed[hashes.lookup] = Departed(*named, kind)
        self._desk.journal.append_all(list(departed.values()), at=self._batch.now)

    def _pace(self, seconds: float) -> None:
        self._report.longest = max(self._report.longest, seconds)
        bearable = _SERVED if self._served else _SECONDS
        if seconds > bearable:
            self.size = max(_LEAST, self.size // 2)
        elif seconds < bearable / 2:
            self.size = min(AT_ONCE, self.size + 50)


def _journalled(one: Settled) -> Kind | None:
    """Say how the journal calls what a row does; None where it does not belong there."""
    decision = one.decision
    if decision.kind is ConsentKind.WITHDRAWN:
        return "left"
    if decision.kind is ConsentKind.COMPLAINED or decision.suppress == "complained":
        return "complained"
    return KINDS[decision.suppress] if one.known and decision.suppress else None


def settle(
    desk: Desk, rows: Sequence[Hashed], options: Options, *, batch: int | None, look: bool = True
) -> list[Settled]:
    """Decide what each row does, by what is known of its address. `batch` is None in a dry run.

    Without a `look` nothing is taken for known: the transaction that writes finds out.
    """
    known: dict[str, Known] = {}
    barred: dict[str, str] = {}
    if rows and look:
        hashes = [one for _, one in rows]
        with desk.books.read() as session:
            accounts.plan_anew(session)
            known = accounts.find(session, hashes)
            barred = accounts.barred(session, hashes)
            chains = accounts.links(session, [person.number for person in known.values()])
        known = {lookup: replace(person, links=chains[person.number]) for lookup, person in known.items()}
    return [
        Settled(
            row,
            one,
            person := known.get(one.lookup),
            decide(row, person, suppressed=barred.get(one.lookup, ""), batch=batch, options=options),
        )
        for row, one in rows
    ]


def _count_all(counts: Counter[str], settled: Sequence[Settled], *, by: int = 1) -> None:
    for one in settled:
        count(counts, one.row, one.decision.outcome, by=by)


def _again(flight: _Flight) -> list[Settled]:
    """Give what a step did not write: some of it, or all where somebody held what it needed."""
    try:
        return flight.future.result()
    except (IntegrityError, OperationalError) as exc:
        if not _passing(exc):
            raise
        return flight.settled


def _one_each(rows: Sequence[Hashed]) -> tuple[list[Hashed], list[Hashed]]:
    """Part the first row of each address from those that follow it."""
    first: dict[str, Hashed] = {}
    later = [one for one in rows if first.setdefault(one[1].lookup, one) is not one]
    return list(first.values()), later


def _passing(exc: DBAPIError) -> bool:
    """Say whether trying again helps: somebody else was there first, or holds what we need."""
    if isinstance(exc, IntegrityError):
        return True
    return getattr(exc.orig, "sqlstate", None) in _PASSING or "locked" in str(exc.orig)
