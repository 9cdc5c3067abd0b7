"""What the subscribers of a simulated year should get, what arrived, and whether it was on time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.soak.year_plan import YearSubscriber
from tests.soak.year_results import YearTally
from tests.soak.year_world import ArrivedEdition, YearlongMailbox


@dataclass
class OwedEdition:
    """An edition that a reader is to get, and when."""

    subscriber: YearSubscriber
    due_at: datetime


class ArrivalAccount:
    """The account of one year. What is against the rules is an `AssertionError` that names edition and reader."""

    def __init__(self, mailbox: YearlongMailbox, tally: YearTally) -> None:
        self.owed: dict[str, dict[str, OwedEdition]] = {}  # by edition and address; what arrived is taken out
        self.got: Counter[tuple[str, str]] = Counter()  # by edition and address
        self.outages: list[tuple[datetime, datetime]] = []  # when nothing could go out, or was held up
        self._mailbox, self._tally = mailbox, tally
        self._read_count = 0
        self._unjudged: list[ArrivedEdition] = []

    def take_arrivals(self) -> None:
        """Take in what the mail server has, and count what anybody got twice."""
        fresh = self._mailbox.arrived[self._read_count :]
        self._read_count += len(fresh)
        for arrived in fresh:
            self.got[arrived.edition, arrived.address] += 1
            self._tally.messages += 1
            if self.got[arrived.edition, arrived.address] > 1:
                self._tally.repeats += 1
        self._unjudged += fresh

    def judge_arrivals(self) -> None:
        """Compare what arrived with what was owed."""
        waiting: list[ArrivedEdition] = []
        for arrived in self._unjudged:
            owed = self.owed.get(arrived.edition)
            if owed is None:
                waiting.append(arrived)
                continue
            entry = owed.pop(arrived.address, None)
            assert entry is not None, f"{arrived.edition} reached somebody whom it was not owed, or twice"
            self._judge_time(arrived, entry)
        self._unjudged = waiting

    def _judge_time(self, arrived: ArrivedEdition, entry: OwedEdition) -> None:
        """Hold the time of an arrival against when it was due."""
        lateness = arrived.at - entry.due_at
        assert lateness >= timedelta(), self._describe(arrived.edition, entry.subscriber, arrived.at)
        if self.is_disturbed(entry.due_at, arrived.at):
            self._tally.longest_lateness = max(self._tally.longest_lateness, lateness)
        else:
            self._tally.running_lateness = max(self._tally.running_lateness, lateness)

    def is_disturbed(self, start: datetime, end: datetime) -> bool:
        """Whether something held mail up between two moments."""
        return any(begin <= end and start <= over for begin, over in self.outages)

    def find_late(self, at: datetime) -> list[tuple[str, list[OwedEdition]]]:
        """Find what was due at a moment and has not arrived, by edition; nothing where something holds it up."""
        if self.is_disturbed(at, at):
            return []
        waiting = {name: [entry for entry in owed.values() if entry.due_at <= at] for name, owed in self.owed.items()}
        return [(name, entries) for name, entries in waiting.items() if entries]

    def waits_for_hours(self, edition: str, now: datetime) -> bool:
        """Whether an edition is due later to some of its readers."""
        return any(entry.due_at > now for entry in self.owed.get(edition, {}).values())

    def describe_waiting(self, edition: str, entries: Sequence[OwedEdition], at: datetime) -> str:
        """Say how many wait for an edition, and whom the first of them is; no address is in it."""
        return f"{len(entries)} wait: {self._describe(edition, entries[0].subscriber, at)}"

    def _describe(self, edition: str, subscriber: YearSubscriber, at: datetime) -> str:
        owed = self.owed.get(edition, {}).get(subscriber.address)
        chosen = subscriber.preferences
        return (
            f"{edition}, reader {subscriber.name} ({chosen.hour} h, {chosen.zone or 'no zone'}): at {at:%a %d %b %H:%M:%S} UTC, "
            f"due {f'{owed.due_at:%a %d %b %H:%M:%S}' if owed else 'never'}; seed {self._tally.seed}"
        )
