"""Dates, hours and lists as English sentences write them; a moment is given in the zone in which it is meant."""

from collections.abc import Sequence
from datetime import date, datetime


def weekday_date(day: date) -> str:
    """Write "Friday, November 20, 2026"."""
    return f"{day:%A}, {full_date(day)}"


def full_date(day: date) -> str:
    """Write "November 20, 2026"."""
    return f"{day:%B} {day.day}, {day.year}"


def month_day(day: date) -> str:
    """Write "November 20"."""
    return f"{day:%B} {day.day}"


def short_month_day(day: date) -> str:
    """Write "Nov 20"."""
    return f"{day:%b} {day.day}"


def clock_time(moment: datetime) -> str:
    """Write "6:00 a.m."."""
    return f"{moment:%I:%M}".lstrip("0") + (" a.m." if moment.hour < 12 else " p.m.")


def join_words(words: Sequence[str], more: int = 0) -> str:
    """Write "a", "a and b" or "a, b and c"; with `more` left unnamed, "a, b and 4 more"."""
    parts = [*words, f"{more} more"] if more else list(words)
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def sentence(text: str) -> str:
    """Write a message as a sentence: with a capital letter, and one full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
