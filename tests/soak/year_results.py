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
| publication | database | seed | editions | messages | restarts | of these kills | jumps | restores | sent again by word | latest, running | latest, after an outage | repeats | losses | seconds |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""

YEAR_SECTION = """\
A year of the product under a clock that the simulation moves. Two schedulers follow the timetable on one
database; editors approve, some of them late; readers in 40 zones have chosen an hour, join and leave. Processes start anew between any
two steps, are told to stop or killed (SIGKILL) in the middle of a send. The machine sleeps for hours, its clock is set back by
minutes right after something happened. Three times a backup is restored: one of before a release, one of the middle of its day, one of before its draft. Releases
lie in hours that the clock leaves out or shows twice where the zone has such, and others in the day in which the readers' clocks change.
When something is due is reckoned anew by looking at clocks every quarter of an hour (`tests/soak/year_clock.py`).

Every edition was drafted, approved and sent once; each reader who was on the list at its release got it exactly once, none before its
time, and none later than minutes after it, unless something in the list above held it up; while the installation was held after a restore nothing left. One row again:
`python -m tests.soak.simulated_year --zone Europe/London --database sqlite --seed N`. A seed gives the same year again where the number of
weeks is the same; `--first-week 8 --weeks 4` lives through 2026-W08 to W11 alone. A message that is late ends the year, which then
shows its row, its edition, open slots and limits, and the last lines of the log.

{table}

"Sent again by word" are messages that a kill or a restore left in doubt, and of which the mail server knew nothing: an admin said so,
and they went out once more. "Latest" is the longest time from when a message was due to when the mail server had it, by the simulated
clock: while all was running, and after what held it up.
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
