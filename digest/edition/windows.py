"""Which time an edition covers and what it is called: pure decisions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

FIRST_WINDOW = timedelta(days=7)  # what the first edition of an installation looks back on
LATE = timedelta(days=7)  # how old a late arrival may be when the window opens


@dataclass(frozen=True, slots=True)
class Window:
    """The time between two cut-offs: `opens` < an article's date ≤ `cut_off`.

    An article dated before `opens` that no edition looked at came too late for its own, or got its date
    later: it has its chance now, if it is dated after `late_from`.
    """

    opens: datetime
    cut_off: datetime
    late_from: datetime

    def holds(self, dated_at: datetime, *, looked_at: bool) -> bool:
        """Say whether an article belongs to this window; `looked_at`: an earlier edition had it before it.

        In a chain in which each window opens at the last one's cut-off, every article belongs to one window,
        whenever it was found and whenever its date was learnt.
        """
        return self.opens < dated_at <= self.cut_off or (
            self.late_from < dated_at <= self.opens and not looked_at
        )


def window(now: datetime, last_cut_off: datetime | None) -> Window:
    """Open where the last edition that goes out closed; the first edition looks back a week, and no further."""
    if last_cut_off is None:
        return Window(now - FIRST_WINDOW, now, now - FIRST_WINDOW)
    opens = min(last_cut_off, now)
    return Window(opens, now, opens - LATE)


def edition_name(release_at: datetime, zone: ZoneInfo, taken: Collection[str]) -> str:
    """Name an edition by the ISO 8601 week of its release day; an extra one in the week gets `-2` and so on."""
    year, week, _ = release_at.astimezone(zone).isocalendar()
    name = f"{year}-W{week:02d}"
    extra = 2
    while name in taken:
        name = f"{year}-W{week:02d}-{extra}"
        extra += 1
    return name
