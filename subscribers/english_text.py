"""Dates, times, lists, and punctuation in English.

Moments are shown in their own time zone.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, datetime, time

_AP_MONTHS = ("Jan.", "Feb.", "March", "April", "May", "June", "July", "Aug.", "Sept.", "Oct.", "Nov.", "Dec.")


def weekday_date(day: date) -> str:
    """Return a date in a form such as "Friday, November 20, 2026"."""
    return f"{day:%A}, {full_date(day)}"


def full_date(day: date) -> str:
    """Return a date in a form such as "November 20, 2026"."""
    return f"{day:%B} {day.day}, {day.year}"


def month_day(day: date) -> str:
    """Return a date in a form such as "November 20"."""
    return f"{day:%B} {day.day}"


def weekday_month_day(day: date) -> str:
    """Return a date in a form such as "Friday, November 20"."""
    return f"{day:%A}, {month_day(day)}"


def short_month_day(day: date) -> str:
    """Return a date in a form such as "Nov. 20" or "June 20", as in the AP Stylebook."""
    return f"{_AP_MONTHS[day.month - 1]} {day.day}"


def clock_time(moment: time | datetime) -> str:
    """Return a time in a form such as "6:00 a.m."."""
    return f"{moment:%I:%M}".lstrip("0") + (" a.m." if moment.hour < 12 else " p.m.")


def clock_hour(clock: time | datetime) -> str:
    """Return a time in a form such as "5 p.m.", "5:30 p.m.", or "noon".

    Midnight is "12 a.m." of the day that begins.
    """
    if (clock.hour, clock.minute) == (12, 0):
        return "noon"
    minutes = f":{clock:%M}" if clock.minute else ""
    return f"{clock.hour % 12 or 12}{minutes} {'a.m.' if clock.hour < 12 else 'p.m.'}"


# The names that people use for these zones all year.
COMMON_ZONE_NAMES = {
    "America/New_York": "ET",
    "America/Chicago": "CT",
    "America/Denver": "MT",
    "America/Los_Angeles": "PT",
    "America/Anchorage": "AKT",
}


def zone_name_at(moment: datetime) -> str:
    """Return the abbreviation of a moment's time zone, such as "ET" or "CET", or "UTC+02:00" if it has none."""
    if common := COMMON_ZONE_NAMES.get(getattr(moment.tzinfo, "key", "")):
        return common
    name = moment.tzname() or ""
    return name if name[:1] not in {"+", "-"} else f"UTC{moment.isoformat()[-6:]}"


def hour_in_zone(moment: datetime) -> str:
    """Return a time with its zone, such as "6 a.m. ET" or "5:30 p.m. CET"."""
    return f"{clock_hour(moment)} {zone_name_at(moment)}"


def short_day_and_hour(moment: datetime) -> str:
    """Return a moment in a form such as "Nov. 20, 5:30 p.m. ET"."""
    return f"{short_month_day(moment)}, {hour_in_zone(moment)}"


def zone_label(name: str) -> str:
    """Return the place that a time zone is named after, such as "New York" or "Knox (Indiana)"."""
    parts = [part.replace("_", " ") for part in name.split("/")[1:] or [name]]
    return f"{parts[-1]} ({', '.join(parts[:-1])})" if parts[1:] else parts[0]


def make_collation_key(text: str) -> str:
    """Return a key that sorts words as in a dictionary, without regard to accents.

    For example, "Éducation" is between "Eau" and "Emploi".
    """
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()


def name_language(code: str) -> str:
    """Return the English name of a language, such as "French", by its tag (BCP 47), or the tag if there's no name."""
    # This is imported here because it would make commands start more slowly.
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code, sep="-").get_display_name("en") or code
    except (ValueError, UnknownLocaleError):
        return code


def join_words(words: Sequence[str], more: int = 0, conjunction: str = "and") -> str:
    """Join words as a list, such as "a", "a and b", or "a, b, and c".

    `more` is the number of unlisted words, as in "a, b, and 4 more".
    """
    parts = [*words, f"{more} more"] if more else list(words)
    return f" {conjunction} ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])}, {conjunction} {parts[-1]}"


def count_with_noun(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun, such as "1 subscriber" or "12,408 subscribers"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def sentence(text: str) -> str:
    """Return a message as a sentence, with a capital letter and final punctuation."""
    text = text.strip()
    return end_sentence(capitalize_first(text)) if text else ""


def capitalize_first(text: str) -> str:
    """Return a text with its first letter capitalized."""
    return f"{text[:1].upper()}{text[1:]}"


def end_sentence(text: str) -> str:
    """Return a text with one period at its end, unless it ends with a question mark or exclamation point."""
    return text if text.endswith(("?", "!")) else f"{text.rstrip('.')}."


def add_comma(text: str) -> str:
    """Return a text with a comma at its end, or inside a closing quotation mark."""
    return f"{text[:-1]},”" if text.endswith("”") else f"{text},"


# Text to be typed or looked up by readers of our texts is in backticks or single quotation marks.
QUOTED_CODE = re.compile(r"`(?P<ticked>[^`]+)`|(?<![^\s(\[])'(?P<quoted>\S(?:[^'\n]*\S)?)'(?!\w)")
# Values in the settings file, and texts that are quoted from others.
_UNCHANGED = re.compile(
    rf"{QUOTED_CODE.pattern}|“[^”]*”|\"[^\"]*=[^\"]*\"|[\w.]+ ?= ?(?:\"[^\"]*\"|\[[^\]]*\]|\{{[^}}]*\}})"
)
_APOSTROPHE = re.compile(r"(?<=[^\s(\[])'|^'(?=s\b)|'(?=\d\ds?\b)")
_QUOTATION = re.compile(r'"([^"]+)"')


def curl_quotes(text: str) -> str:
    """Return one of our English texts with curly quotation marks and apostrophes, except in code.

    Our messages have straight ones, for terminals and logs. Pages and emails call this function for
    such texts, but never for the texts of subscribers, editors, or feeds.
    """
    start, parts = 0, []
    for code in _UNCHANGED.finditer(text):
        parts += [_curl(text[start : code.start()]), code[0]]
        start = code.end()
    return "".join([*parts, _curl(text[start:])])


def _curl(text: str) -> str:
    return _QUOTATION.sub(r"“\1”", _APOSTROPHE.sub("’", text))
