"""Deadlines: until when something may be handed in, as precisely as the source said it, and no more precisely."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_OFFSET_ZONE = re.compile(r"UTC([+-])(\d{2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a call or an obligation. What the source stated is kept as stated; all else is derived.

    `day` and `clock` are those of `zone`. A source that names an hour and no zone leaves `zone` empty, and then only
    the day decides.
    """

    day: date
    clock: time | None = None  # to the minute; None where the source names a day alone
    zone: str = ""  # an IANA name or "UTC+02:00"; empty where the source names none
    label: str = ""  # what is due, as a plural noun in lower case: "applications"; empty where nothing says

    @property
    def moment(self) -> datetime | None:
        """Return the end in UTC; None where the day, or the hour's zone, is all that is known."""
        zone = load_deadline_zone(self.zone)
        if self.clock is None or zone is None:
            return None
        return datetime.combine(self.day, self.clock, zone).astimezone(UTC)

    def is_past(self, now: datetime) -> bool:
        """Return whether the end has come at `now`, whose zone's calendar decides where no moment is known."""
        if (moment := self.moment) is not None:
            return moment <= now
        return self.day < now.astimezone(load_deadline_zone(self.zone) or now.tzinfo).date()

    @property
    def order(self) -> tuple[date, time]:
        """Return the key by which deadlines stand: by the day and hour that readers see, a bare day at its end."""
        return (self.day, self.clock or time.max)


def load_deadline_zone(name: str) -> tzinfo | None:
    """Return a zone by the name that deadlines carry; None for an empty or unknown one."""
    if match := _OFFSET_ZONE.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset >= timedelta(days=1):
            return None
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None
