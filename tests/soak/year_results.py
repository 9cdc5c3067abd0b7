"""The results of simulated years: their table in benchmarks/soak.md, and their delays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tests.soak.result_page import write_section


@dataclass
class YearTally:
    """What came of a year: one row of the table. `running_lateness` is that of what no outage held up."""

    zone: str
    database: str
    seed: int
    editions: int = 0
    messages: int = 0
    restarts: int = 0
    kills: int = 0
    jumps: int = 0
    restores: int = 0
    by_word: int = 0  # messages that went out again because an admin said so
    running_lateness: timedelta = timedelta()
    longest_lateness: timedelta = timedelta()
    repeats: int = 0
    losses: int = 0
    withdrawn: int = 0  # messages that were due to somebody who unsubscribed before their hour
    seconds: float = 0.0
    waits: list[str] = field(default_factory=list)  # what was due, had not arrived, and was waited for

    @property
    def table_row(self) -> str:
        """A line of the table."""
        cells = (
            *(self.zone, self.database, str(self.seed), str(self.editions), f"{self.messages:,}"),
            *(str(self.restarts), str(self.kills), str(self.jumps), str(self.restores), str(self.by_word)),
            *(f"{self.running_lateness.total_seconds():.0f} s", _write_hours(self.longest_lateness)),
            *(str(self.repeats), str(self.losses), f"{self.seconds:.0f}"),
        )
        return f"| {' | '.join(cells)} |"


def _write_hours(length: timedelta) -> str:
    minutes = round(length.total_seconds() / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"


TABLE_HEAD = """\
| publication | database | seed | editions | messages | restarts | of these, kills | jumps | restores | sent again by an admin | latest, running | latest, after an outage | repeats | losses | seconds |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""

YEAR_SECTION = """\
A year of the product under a clock that the simulation moves. Two schedulers follow the schedule on one
database. Editors approve, some of them late. Subscribers in 40 time zones have chosen an hour, sign up, and unsubscribe. Processes restart between any
two steps, and are stopped or killed (SIGKILL) in the middle of a send. The machine sleeps for hours, and its clock is set back by
minutes right after an event. Three times, a backup is restored: one from before a send time, one from the middle of its day, and one from before its draft. Some send times
are in hours that the clock skips or repeats, if the zone has any, and others are on the day when the subscribers' clocks change.
Due times are computed independently by looking at clocks every quarter of an hour (`tests/soak/year_clock.py`).

Every edition was drafted, approved, and sent once. Each subscriber who was on the list at its send time got it exactly once, never before that
time, and at most minutes after it, unless something in the list above held it up. While the installation was paused after a restore, nothing was sent. To repeat one row, run
`python -m tests.soak.simulated_year --zone Europe/London --database sqlite --seed N`. A seed gives the same year if the number of
weeks is the same. `--first-week 8 --weeks 4` simulates only 2026-W08 to W11. A late message ends the year, which then
shows its row, its edition, open slots and limits, and the last lines of the log.

{table}

"Sent again by an admin" are messages that a kill or a restore left uncertain, and that weren't in the mail server's record, so an
admin had them sent again. "Latest" is the longest time between a message's due time and its arrival at the mail server, by the simulated
clock: while everything was running, and after an outage.
"""


def write_year_section(tallies: Sequence[YearTally]) -> str:
    """Write the section of benchmarks/soak.md: a row a year, and below them what was waited for."""
    waits = [f"- {wait}" for tally in tallies for wait in tally.waits]
    section = YEAR_SECTION.format(table="\n".join([TABLE_HEAD, *(tally.table_row for tally in tallies)]))
    heading = "Looked at when it was due, these had not arrived; they did within three minutes more:"
    return "\n".join([section, heading, "", *waits, ""]) if waits else f"{section}\nNothing was waited for.\n"


def record_years(tallies: Iterable[YearTally], origin: str) -> None:
    """Write the section of benchmarks/soak.md, anew after each year."""
    ended: list[YearTally] = []
    for tally in tallies:
        ended.append(tally)
        write_section("A year", write_year_section(ended), origin)
