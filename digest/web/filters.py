"""How pages write days, hours, numbers and names: English, absolute, in the publication's zone."""

from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape


def long_day(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Friday, November 20, 2026"."""
    local = moment.astimezone(zone)
    return f"{local:%A, %B} {local.day}, {local.year}"


def date_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "November 20, 2026"."""
    local = moment.astimezone(zone)
    return f"{local:%B} {local.day}, {local.year}"


def short_day(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Nov 20, 2026"."""
    local = moment.astimezone(zone)
    return f"{local:%b} {local.day}, {local.year}"


def hour_with_zone(moment: datetime, zone: ZoneInfo) -> str:
    """Write "6:00 a.m. EST"."""
    local = moment.astimezone(zone)
    clock = f"{local:%I:%M}".lstrip("0")
    return f"{clock} {'a.m.' if local.hour < 12 else 'p.m.'} {local:%Z}"


def day_and_hour(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Friday, November 20, 6:00 a.m. EST"."""
    local = moment.astimezone(zone)
    return f"{local:%A, %B} {local.day}, {hour_with_zone(moment, zone)}"


def short_moment(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Nov 20, 6:00 a.m." for tables that name their zone once."""
    local = moment.astimezone(zone)
    return f"{local:%b} {local.day}, {hour_with_zone(moment, zone).rpartition(' ')[0]}"


def count_with_noun(count: int, singular: str, plural: str = "") -> str:
    """Write "1 reader" or "12,408 readers"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def kilobytes(octets: int) -> str:
    """Write "54 KB", rounded up: a limit must not look kept when it is not."""
    return f"{-(-octets // 1024)} KB"


def url_without_scheme(url: str) -> str:
    """Write an address as people say it: host and path, no scheme, no slash at the end."""
    parts = urlsplit(url)
    return f"{(parts.hostname or '').removeprefix('www.')}{parts.path}".rstrip("/")


def site_of_url(url: str) -> str:
    """Name the site that an address leads to."""
    return (urlsplit(url).hostname or "").removeprefix("www.")


def word_mark(name: str) -> Markup:
    """Set the name as a word mark: its first dot, if it has one, in the signal colour."""
    before, dot, after = name.partition(".")
    return Markup("{}<i>{}</i>{}").format(before, dot, after) if dot else escape(name)
