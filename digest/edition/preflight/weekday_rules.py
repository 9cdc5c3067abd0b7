"""A rule for weekdays in stories' texts, which readers take for the latest ones before the send date."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from digest.collect.texts.text_cleanup import split_sentences
from digest.collect.texts.written_times import MONTH_NAMES
from digest.edition.preflight.rule_registry import PreflightFinding, PreflightInput, preflight_rule, warning_finding
from subscribers.english_text import join_words, month_day

WEEK = timedelta(days=7)  # a weekday that's this far back is taken for a later one
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKDAY = re.compile(
    rf"\b(?P<before>[\w.'’-]+ )?(?P<weekday>{'|'.join(_WEEKDAYS)})\b(?!,? \(?(?:{MONTH_NAMES}\b|\d))", re.IGNORECASE
)
# Days of other weeks: coming ones, regular ones, and names. So are pairs such as "Malware Monday."
_OTHER_DAYS = {"next", "this", "coming", "by", "until", "through", "before", "each", "every"} | {
    *("black", "good", "cyber", "giving", "ash", "super", "fat", "holy", "easter", "palm")
}
_FUTURE = re.compile(r"\b(?:will|due|deadlines?|scheduled|upcoming|expires?|set to|begins?|starts?)\b", re.IGNORECASE)


@preflight_rule("weekdays")
def check_weekdays(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """A weekday in a headline or summary is within a week of the send date. In English only."""
    if not examined.drafted_language.startswith("en"):
        return
    places = []
    released_on = examined.content.released_on
    for entry in (entry for section in examined.content.sections for entry in section.entries):
        day = _parse_day(entry.date, released_on)
        texts = (entry.headline, entry.summary)
        for weekday, meant in _list_past_weekdays(texts, day) if day else ():
            if released_on - meant >= WEEK:
                places.append(f"“{weekday}” ({month_day(meant)}) in “{entry.headline}”")
    if places:
        yield warning_finding(
            f"Readers will take these weekdays for later ones: {join_words(list(dict.fromkeys(places)))}.",
            "Write the date, or leave the weekday out.",
        )


def _parse_day(written: str, released_on: date) -> date | None:
    """Return the day that an entry's date means, such as "Nov 18" or "Nov 18, 2025", or None if it has none."""
    for year in (released_on.year, released_on.year - 1):
        dated = written if "," in written else f"{written}, {year}"
        try:
            day = datetime.strptime(dated, "%b %d, %Y").date()  # noqa: DTZ007  a day in the publication's time zone
        except ValueError:
            continue
        if day <= released_on:
            return day
    return None


def _list_past_weekdays(texts: tuple[str, ...], day: date) -> Iterator[tuple[str, date]]:
    """Yield the weekdays in texts that were past on the given day, each with its latest date."""
    for sentence in (sentence for text in texts for sentence in split_sentences(text)):
        for found in _WEEKDAY.finditer(sentence):
            weekday, before = found["weekday"].capitalize(), (found["before"] or "").strip()
            is_name = before.casefold() in _OTHER_DAYS or (before[:1].isupper() and before[0] == found["weekday"][0])
            if not is_name and not _FUTURE.search(sentence, 0, found.start()):
                yield weekday, day - timedelta(days=(day.weekday() - _WEEKDAYS.index(weekday)) % 7)
