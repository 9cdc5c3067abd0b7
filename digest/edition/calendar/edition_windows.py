"""Which time an edition covers and what it is called: pure decisions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

FIRST_WINDOW_LENGTH = timedelta(days=7)  # what the first edition of an installation looks back on
LATE_ARRIVAL_LIMIT = timedelta(days=7)  # how old a late arrival may be when the window opens


@dataclass(frozen=True, slots=True)
class EditionWindow:
    """The time between two cut-offs: `opens_at` < an article's date ≤ `cut_off`.

    An article dated before `opens_at` that no edition looked at came too late for its own, or got its date
    later: it may come now, if it is dated after `late_from`.
    """

    opens_at: datetime
    cut_off: datetime
    late_from: datetime

    def includes(self, dated_at: datetime, *, seen_before: bool) -> bool:
        """Return whether an article belongs to this window; `seen_before`: an earlier edition had it before it.

        In a chain in which each window opens at the last one's cut-off, every article belongs to one window,
        whenever it was found and whenever its date was learnt.
        """
        return self.opens_at < dated_at <= self.cut_off or (
            self.late_from < dated_at <= self.opens_at and not seen_before
        )


def find_next_window(now: datetime, last_cut_off: datetime | None) -> EditionWindow:
    """Open where the last edition that goes out closed; the first edition looks back a week, and no further."""
    if last_cut_off is None:
        return EditionWindow(now - FIRST_WINDOW_LENGTH, now, now - FIRST_WINDOW_LENGTH)
    opens = min(last_cut_off, now)
    return EditionWindow(opens, now, opens - LATE_ARRIVAL_LIMIT)


def name_edition(release_at: datetime, zone: ZoneInfo, taken_names: Collection[str]) -> str:
    """Name an edition by the ISO 8601 week of its release day; an extra one in the week gets `-2` and so on."""
    year, week, _ = release_at.astimezone(zone).isocalendar()
    name = f"{year}-W{week:02d}"
    extra = 2
    while name in taken_names:
        name = f"{year}-W{week:02d}-{extra}"
        extra += 1
    return name
