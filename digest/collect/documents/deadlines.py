"""Submission deadlines, exactly as precise as the source states them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_OFFSET_ZONE = re.compile(r"UTC([+-])(\d{2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a call or an obligation, as stated by the source.

    `day` and `clock` are in `zone`. If a source gives a time without a zone, `zone` is empty and
    only the day counts.
    """

    day: date
    clock: time | None = None  # to the minute, or None if the source only gives a day
    zone: str = ""  # an IANA name or "UTC+02:00", or "" if the source gives none
    label: str = ""  # what's due, as a lowercase plural noun ("applications"), or "" if unknown

    @property
    def moment(self) -> datetime | None:
        """The deadline in UTC, or None if the time or its zone is unknown."""
        zone = load_deadline_zone(self.zone)
        if self.clock is None or zone is None:
            return None
        return datetime.combine(self.day, self.clock, zone).astimezone(UTC)

    def is_past(self, now: datetime) -> bool:
        """Return True if the deadline has passed.

        If the exact time is unknown, days are those of the time zone of `now`.
        """
        if (moment := self.moment) is not None:
            return moment <= now
        return self.day < now.astimezone(load_deadline_zone(self.zone) or now.tzinfo).date()

    @property
    def order(self) -> tuple[date, time]:
        """A sort key: the day and time shown to readers. A day without a time sorts as its end."""
        return (self.day, self.clock or time.max)


def load_deadline_zone(name: str) -> tzinfo | None:
    """Return the time zone named by `Deadline.zone`, or None if the name is empty or unknown."""
    if match := _OFFSET_ZONE.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset >= timedelta(days=1):
            return None
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None
