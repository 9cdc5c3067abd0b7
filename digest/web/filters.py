"""How pages write days, hours, numbers and names: English, absolute, in the publication's zone."""

from datetime import date, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from digest.collect.texts.urls import site_name
from digest.edition.content.edition_content import LabelledBlock
from digest.web.colleagues import name_actor
from subscribers.phrases import (
    clock_hour,
    clock_time,
    end_sentence,
    full_date,
    hour_in_zone,
    join_words,
    month_day,
    sentence,
    short_month_day,
    weekday_date,
    weekday_month_day,
)


def long_day(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Friday, November 20, 2026"."""
    return weekday_date(moment.astimezone(zone))


def date_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "November 20, 2026"."""
    return full_date(moment.astimezone(zone))


def month_day_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "November 20"."""
    return month_day(moment.astimezone(zone))


def weekday_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Friday, November 20"."""
    return weekday_month_day(moment.astimezone(zone))


def month_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "November 2026"."""
    return f"{moment.astimezone(zone):%B %Y}"


def short_day(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Nov 20, 2026"."""
    local = moment.astimezone(zone)
    return f"{short_month_day(local)}, {local.year}"


def hour_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "6 a.m."."""
    return clock_hour(moment.astimezone(zone))


def clock_of(moment: datetime, zone: ZoneInfo) -> str:
    """Write "6:00 a.m."."""
    return clock_time(moment.astimezone(zone))


def hour_with_zone(moment: datetime, zone: ZoneInfo) -> str:
    """Write "6 a.m. ET"."""
    return hour_in_zone(moment.astimezone(zone))


def day_and_hour(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Friday, November 20, 6 a.m. ET"."""
    local = moment.astimezone(zone)
    return f"{local:%A}, {month_day(local)}, {hour_with_zone(moment, zone)}"


def short_moment(moment: datetime, zone: ZoneInfo, *, now: datetime | None = None) -> str:
    """Write "Nov 20, 6:00 a.m." for tables that name their zone once; "Nov 20, 2025, 6:00 a.m." where `now` is another year's."""
    local = moment.astimezone(zone)
    day = short_month_day(local) if now is None else day_seen_from(local.date(), now.astimezone(zone).date())
    return f"{day}, {clock_time(local)}"


def recent_moment(moment: datetime, zone: ZoneInfo, *, now: datetime) -> str:
    """Write "6:00 a.m." of a moment of today, else as `short_moment` does."""
    is_today = moment.astimezone(zone).date() == now.astimezone(zone).date()
    return clock_time(moment.astimezone(zone)) if is_today else short_moment(moment, zone, now=now)


def day_seen_from(day: date, today: date) -> str:
    """Write "Nov 20", or "Nov 20, 2025" where today is of another year."""
    return short_month_day(day) if day.year == today.year else f"{short_month_day(day)}, {day.year}"


def recorded_moment(text: str) -> datetime | None:
    """Read a moment as a record has it (ISO 8601); None if the record is damaged and it can't be read."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def refusal_sentence(refusal: object) -> str:
    """Write a refusal as a sentence: many are written to follow a word, as a command says them. The name of a setting stays as it is."""
    text = str(refusal)
    return sentence(text) if text.split(" ", 1)[0].isalpha() else text


def as_sentence(text: str) -> str:
    """Write words as `sentence` does; markup stays markup."""
    return type(text)(sentence(text))


def count_with_noun(count: int, singular: str, plural: str = "") -> str:
    """Write "1 reader" or "12,408 readers"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def thousands(count: int) -> str:
    """Write "12,408"."""
    return f"{count:,}"


def kilobytes(octets: int) -> str:
    """Write "54 KB", rounded up: a limit must not look kept when it is not."""
    return f"{-(-octets // 1024)} KB"


def url_without_scheme(url: str) -> str:
    """Write an address as people say it: host and path, no scheme, no slash at the end."""
    return f"{site_name(url)}{urlsplit(url).path}".rstrip("/")


def word_mark(name: str) -> Markup:
    """Set the name as a word mark: its first dot, if it has one, in the signal colour."""
    before, dot, after = name.partition(".")
    return Markup("{}<i>{}</i>{}").format(before, dot, after) if dot else escape(name)


def days_of_block(block: LabelledBlock) -> str:
    """Write from when to when a labelled block runs: "from Dec 20, 2026 to Jan 3, 2027"."""
    parts = (("from", block.first_day), ("to" if block.first_day else "until", block.last_day))
    return " ".join(f"{word} {short_month_day(day)}, {day.year}" for word, day in parts if day)


def groups_of_four(text: str) -> str:
    """Write "abcd efgh ij": for somebody who types it."""
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


MOMENT_FILTERS = (
    long_day,
    date_of,
    month_day_of,
    month_of,
    weekday_of,
    short_day,
    hour_of,
    clock_of,
    hour_with_zone,
    day_and_hour,
)
PLAIN_FILTERS = (
    as_sentence,
    count_with_noun,
    day_seen_from,
    days_of_block,
    end_sentence,
    groups_of_four,
    join_words,
    kilobytes,
    name_actor,
    recorded_moment,
    refusal_sentence,
    site_name,
    thousands,
    url_without_scheme,
    word_mark,
)
