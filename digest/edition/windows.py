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

    `seen_through` is the highest article id that the edition before looked at (None for a first edition):
    an article with a higher id that is dated before `opens` came too late for it and gets its chance now.
    """

    opens: datetime
    cut_off: datetime
    seen_through: int | None = None

    @property
    def late_from(self) -> datetime:
        """The earliest date that a late arrival may have."""
        return self.opens - LATE if self.seen_through is not None else self.opens

    def holds(self, dated_at: datetime, article_id: int) -> bool:
        """Say whether an article belongs to this window.

        Every article belongs to exactly one window of a chain in which each opens at the last one's cut-off.
        """
        if dated_at > self.cut_off:
            return False
        late = self.seen_through is not None and article_id > self.seen_through and dated_at > self.late_from
        return dated_at > self.opens or late


def window(now: datetime, last_cut_off: datetime | None, seen_through: int | None) -> Window:
    """Open where the last edition that goes out closed; the first edition looks back a week."""
    if last_cut_off is None:
        return Window(now - FIRST_WINDOW, now)
    return Window(min(last_cut_off, now), now, seen_through)


def edition_name(release_at: datetime, zone: ZoneInfo, taken: Collection[str]) -> str:
    """Name an edition by the ISO 8601 week of its release day; an extra one in the week gets `-2` and so on."""
    year, week, _ = release_at.astimezone(zone).isocalendar()
    name = f"{year}-W{week:02d}"
    extra = 2
    while name in taken:
        name = f"{year}-W{week:02d}-{extra}"
        extra += 1
    return name
