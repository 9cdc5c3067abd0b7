"""Time windows and names of editions. All functions are pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

FIRST_WINDOW_LENGTH = timedelta(days=7)  # length of the window of an installation's first edition
# How long before the start of a window a late article may be dated.
LATE_ARRIVAL_LIMIT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class EditionWindow:
    """The time between two cutoffs: `opens_at` < date of an article ≤ `cut_off`.

    An earlier article that no edition has considered arrived late or was dated late. It's included
    if its date is after `late_from`.
    """

    opens_at: datetime
    cut_off: datetime
    late_from: datetime

    def includes(self, dated_at: datetime, *, seen_before: bool) -> bool:
        """Return True if an article belongs to this window.

        `seen_before` says whether an earlier edition considered it. If each window opens at the previous
        one's cutoff, every article belongs to exactly one window, whenever it was found or dated.
        """
        return self.opens_at < dated_at <= self.cut_off or (
            self.late_from < dated_at <= self.opens_at and not seen_before
        )


def find_next_window(now: datetime, last_cut_off: datetime | None) -> EditionWindow:
    """Return the window from the last cutoff until now, or a one-week window if there's no cutoff."""
    if last_cut_off is None:
        return EditionWindow(now - FIRST_WINDOW_LENGTH, now, now - FIRST_WINDOW_LENGTH)
    opens = min(last_cut_off, now)
    return EditionWindow(opens, now, opens - LATE_ARRIVAL_LIMIT)


def name_edition(release_at: datetime, zone: ZoneInfo, taken_names: Collection[str]) -> str:
    """Return an edition's name, which is the ISO 8601 week of its release day.

    Extra editions get a suffix: "-2", "-3", and so on.
    """
    year, week, _ = release_at.astimezone(zone).isocalendar()
    name = f"{year}-W{week:02d}"
    extra = 2
    while name in taken_names:
        name = f"{year}-W{week:02d}-{extra}"
        extra += 1
    return name
