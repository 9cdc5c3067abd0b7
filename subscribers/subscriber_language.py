"""The language that readers are written to: its messages (gettext), and how it writes dates, hours, numbers and lists.

One object is handed down to whatever writes to readers; nothing of it is global, so that two publications in one process
each keep their own. The desk and the command line speak English and use `subscribers.phrases`.

The forms of dates and hours are messages too, in the pattern letters of the CLDR (UTS #35, part 4): English stands in the
code, every other language in its catalogue.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from gettext import NullTranslations
from typing import TYPE_CHECKING, Literal

from subscribers.phrases import COMMON_ZONE_NAMES, zone_label, zone_name_at

if TYPE_CHECKING:
    from babel import Locale

SOURCE_LANGUAGE = "en"  # what the code and the templates are written in
RIGHT_TO_LEFT_LANGUAGES = frozenset({"ar", "dv", "fa", "he", "ks", "ku", "ps", "sd", "ug", "ur", "yi"})
_LONE_DAY = re.compile(r"(?<![A-Za-z'])d(?![A-Za-z'])")


def mark_message(message: str) -> str:
    """Mark a text as a message that is translated elsewhere, by `translate_text`; return it as it is."""
    return message


def base_language(code: str) -> str:
    """Return "fr" of "fr-CA"."""
    return code.partition("-")[0].lower()


def writing_direction(code: str) -> Literal["ltr", "rtl"]:
    """Return the direction in which a language is written."""
    return "rtl" if base_language(code) in RIGHT_TO_LEFT_LANGUAGES else "ltr"


@dataclass(frozen=True, eq=False)
class SubscriberLanguage:
    """A language by its tag (BCP 47), with the translations of our messages; English needs none."""

    code: str = SOURCE_LANGUAGE
    translations: NullTranslations = field(default_factory=NullTranslations)

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """The writing direction, for `dir`."""
        return writing_direction(self.code)

    def gettext(self, message: str, **values: object) -> str:
        """Return the translation of a message with its values put in: %(name)s; a percent sign is written twice."""
        return self.translations.gettext(message) % values

    def ngettext(self, singular: str, plural: str, count: int, **values: object) -> str:
        """Return the form of a message that fits a count, which is the value `num`."""
        return self.translations.ngettext(singular, plural, count) % ({"num": self.write_number(count)} | values)

    def pgettext(self, context: str, message: str, **values: object) -> str:
        """Return the translation of a message that means something else elsewhere."""
        return self.translations.pgettext(context, message) % values

    def translate_text(self, text: str) -> str:
        """Return the translation of a text that may be one of our messages (`mark_message`), else the text itself."""
        return self.translations.gettext(text) if text else ""

    def write_number(self, number: int) -> str:
        """Write a whole number with its thousands apart: "12,000"."""
        from babel.numbers import format_decimal  # when a reader is written to: commands start without it

        return format_decimal(number, locale=self._locale)

    def weekday_date(self, day: date) -> str:
        """Write "Friday, November 20, 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "EEEE, MMMM d, y"))

    def full_date(self, day: date) -> str:
        """Write "November 20, 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMMM d, y"))

    def weekday_month_day(self, day: date) -> str:
        """Write "Friday, November 20"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "EEEE, MMMM d"))

    def month_day(self, day: date) -> str:
        """Write "November 20"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMMM d"))

    def short_month_day(self, day: date) -> str:
        """Write "Nov 20"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMM d"))

    def short_date(self, day: date) -> str:
        """Write "Nov 20, 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMM d, y"))

    def month_year(self, day: date) -> str:
        """Write "November 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMMM y"))

    def short_month(self, day: date) -> str:
        """Write "Nov"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMM"))

    def without_weekday(self, written: str, day: date) -> str:
        """Return "November 20, 2026" of a written date "Friday, November 20, 2026"; `day` is the one that is written."""
        return written.removeprefix(self.weekday(day)).lstrip(", ")

    def weekday(self, day: date) -> str:
        """Write "Friday"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "EEEE"))

    def clock_hour(self, clock: time | datetime) -> str:
        """Write "5 p.m.", "5:30 p.m.", "noon"."""
        return self._format(clock, self._hour_pattern(clock))

    def hour_in_zone(self, moment: datetime) -> str:
        """Write the clock time of a moment with its zone: "6 a.m. ET", "5:30 p.m. CET"."""
        hour, zone, key = self.clock_hour(moment), zone_name_at(moment), getattr(moment.tzinfo, "key", "")
        if key in COMMON_ZONE_NAMES:
            zone = self._common_zone_name(zone)
        elif "/" in key and base_language(self.code) != SOURCE_LANGUAGE:
            # The short names of zones are English; a place has a name in every language.
            place = self.zone_label(key)
            return self.pgettext(
                "an hour and the place by whose clock it is", "%(hour)s %(place)s", hour=hour, place=place
            )
        return self.pgettext("an hour and the name of its zone", "%(hour)s %(zone)s", hour=hour, zone=zone)

    def moment(self, moment: datetime) -> str:
        """Write "November 20, 2026, 6 a.m. ET"."""
        return self.pgettext(
            "a date and an hour", "%(date)s, %(hour)s", date=self.full_date(moment), hour=self.hour_in_zone(moment)
        )

    def zone_label(self, name: str) -> str:
        """Write a time zone as a place: "New York", "Knox (Indiana)"."""
        if base_language(self.code) == SOURCE_LANGUAGE:
            return zone_label(name)
        from babel.dates import get_timezone_location

        return get_timezone_location(name, locale=self._locale, return_city=True)

    def join_words(self, words: Sequence[str], more: int = 0) -> str:
        """Join words: "a", "a and b", "a, b, and c"; with `more` that aren't listed, "a, b, and 4 more"."""
        parts = list(words)
        if more:
            parts.append(self.ngettext("%(num)s more", "%(num)s more", more))
        if len(parts) < 2:
            return "".join(parts)
        first = self.pgettext("between the words of a list", ", ").join(parts[:-1])
        if len(parts) > 2:
            return self.pgettext("the end of a long list", "%(words)s, and %(last)s", words=first, last=parts[-1])
        return self.pgettext("the end of a list", "%(words)s and %(last)s", words=first, last=parts[-1])

    @cached_property
    def _locale(self) -> "Locale":
        from babel import Locale

        return Locale.parse(self.code, sep="-")

    def _format(self, value: date | time, pattern: str) -> str:
        from babel.dates import parse_pattern

        if isinstance(value, date) and value.day == 1:
            first = self.pgettext("the first day of a month, as it stands in a date", "1")
            pattern = _LONE_DAY.sub(f"'{first}'", pattern)
        return parse_pattern(pattern).apply(value, self._locale)

    def _hour_pattern(self, clock: time | datetime) -> str:
        if (clock.hour, clock.minute) == (12, 0):
            return self.pgettext("CLDR pattern of an hour", "'noon'")
        if clock.hour < 12:
            if clock.minute:
                return self.pgettext("CLDR pattern of an hour", "h:mm 'a.m.'")
            return self.pgettext("CLDR pattern of an hour", "h 'a.m.'")
        if clock.minute:
            return self.pgettext("CLDR pattern of an hour", "h:mm 'p.m.'")
        return self.pgettext("CLDR pattern of an hour", "h 'p.m.'")

    def _common_zone_name(self, name: str) -> str:
        """Name one of the zones that readers call by two letters, all year round."""
        names = {
            "ET": self.pgettext("time zone", "ET"),
            "CT": self.pgettext("time zone", "CT"),
            "MT": self.pgettext("time zone", "MT"),
            "PT": self.pgettext("time zone", "PT"),
            "AKT": self.pgettext("time zone", "AKT"),
        }
        return names[name]


ENGLISH = SubscriberLanguage()
