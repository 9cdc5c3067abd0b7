"""The subscribers' language: its messages (gettext), and its formats for dates, times, numbers, and lists.

Everything that writes to subscribers is passed an object. There's no global state, so two
publications in one process can be different. The desk and the command line are in English and use
`subscribers.english_text`.

The formats of dates and times are messages, too, in the CLDR's pattern letters (UTS #35, part 4).
English ones are in the code, and those of other languages are in their catalogs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property, lru_cache
from gettext import NullTranslations
from typing import TYPE_CHECKING, Literal

from subscribers.english_text import COMMON_ZONE_NAMES, zone_label, zone_name_at

if TYPE_CHECKING:
    from babel import Locale

SOURCE_LANGUAGE = "en"  # the language of the code and templates
RIGHT_TO_LEFT_LANGUAGES = frozenset({"ar", "dv", "fa", "he", "ks", "ku", "ps", "sd", "ug", "ur", "yi"})
_LONE_DAY = re.compile(r"(?<![A-Za-z'])d(?![A-Za-z'])")


def mark_message(message: str) -> str:
    """Mark a text as a message for `translate_text` to translate later, and return it unchanged."""
    return message


def get_base_language(code: str) -> str:
    """Return the base language of a language tag, such as "fr" for "fr-CA"."""
    return code.partition("-")[0].lower()


def find_writing_direction(code: str) -> Literal["ltr", "rtl"]:
    """Return the writing direction of a language."""
    return "rtl" if get_base_language(code) in RIGHT_TO_LEFT_LANGUAGES else "ltr"


@lru_cache(maxsize=1024)
def _list_older_names(zone: str) -> tuple[str, ...]:
    """Return the older names of a time zone, such as Europe/Kiev for Europe/Kyiv.

    Babel has some places only under their older names.
    """
    from babel.core import get_global

    return tuple(old for old, new in get_global("zone_aliases").items() if new == zone)


@dataclass(frozen=True, eq=False)
class SubscriberLanguage:
    """A language, given by its tag (BCP 47), and the translations of our messages into it.

    English doesn't need any.
    """

    code: str = SOURCE_LANGUAGE
    translations: NullTranslations = field(default_factory=NullTranslations)

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """The writing direction, for the `dir` attribute."""
        return find_writing_direction(self.code)

    def gettext(self, message: str, **values: object) -> str:
        """Return the translation of a message with its values, which are written as %(name)s, filled in.

        Percent signs are doubled.
        """
        return self.translations.gettext(message) % values

    def ngettext(self, singular: str, plural: str, count: int, **values: object) -> str:
        """Return the translation of the message for a count, which is available in the message as the value `num`."""
        return self.translations.ngettext(singular, plural, count) % ({"num": self.format_number(count)} | values)

    def pgettext(self, context: str, message: str, **values: object) -> str:
        """Return the translation of a message that has different meanings in different contexts."""
        return self.translations.pgettext(context, message) % values

    def translate_text(self, text: str) -> str:
        """Return the translation of one of our messages (see `mark_message`), or any other text unchanged."""
        return self.translations.gettext(text) if text else ""

    def format_number(self, number: int) -> str:
        """Return a whole number with grouping, such as "12,000"."""
        from babel.numbers import format_decimal  # imported here so that commands start faster

        return format_decimal(number, locale=self._locale)

    def weekday_date(self, day: date) -> str:
        """Return a date in a form such as "Friday, November 20, 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "EEEE, MMMM d, y"))

    def full_date(self, day: date) -> str:
        """Return a date in a form such as "November 20, 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMMM d, y"))

    def weekday_month_day(self, day: date) -> str:
        """Return a date in a form such as "Friday, November 20"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "EEEE, MMMM d"))

    def month_day(self, day: date) -> str:
        """Return a date in a form such as "November 20"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMMM d"))

    def short_month_day(self, day: date) -> str:
        """Return a date in a form such as "Nov 20"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMM d"))

    def short_date(self, day: date) -> str:
        """Return a date in a form such as "Nov 20, 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMM d, y"))

    def month_year(self, day: date) -> str:
        """Return the month of a date in a form such as "November 2026"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMMM y"))

    def short_month(self, day: date) -> str:
        """Return the month of a date in a form such as "Nov"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "MMM"))

    def without_weekday(self, written: str, day: date) -> str:
        """Return a written date with its weekday removed.

        For example, return "November 20, 2026" for the `written` date "Friday, November 20, 2026".
        `day` is the same date.
        """
        return written.removeprefix(self.weekday(day)).lstrip(", ")

    @cached_property
    def month_names(self) -> tuple[str, ...]:
        """The names of the months and the abbreviations used in dates."""
        forms = self._locale.months["format"]
        return tuple(forms[width][month] for width in ("wide", "abbreviated") for month in range(1, 13))

    def weekday(self, day: date) -> str:
        """Return the weekday of a date in a form such as "Friday"."""
        return self._format(day, self.pgettext("CLDR pattern of a date", "EEEE"))

    def clock_hour(self, clock: time | datetime) -> str:
        """Return a time in a form such as "5 p.m.", "5:30 p.m.", or "noon"."""
        return self._format(clock, self._hour_pattern(clock))

    def daily_hour(self, hour: int) -> str:
        """Return an hour of the day as `clock_hour` does, but with "midnight", which would be ambiguous in a date."""
        return self.clock_hour(time(hour)) if hour else self.gettext("midnight")

    def hour_in_zone(self, moment: datetime) -> str:
        """Return a time with its zone, such as "6 a.m. ET" or "5:30 p.m. CET"."""
        hour, zone, key = self.clock_hour(moment), zone_name_at(moment), getattr(moment.tzinfo, "key", "")
        if key in COMMON_ZONE_NAMES:
            zone = self._common_zone_name(zone)
        elif "/" in key and get_base_language(self.code) != SOURCE_LANGUAGE:
            # Short names of zones are English, but places have names in every language.
            place = self.zone_label(key)
            return self.pgettext(
                "an hour and the place by whose clock it is", "%(hour)s %(place)s", hour=hour, place=place
            )
        return self.pgettext("an hour and the name of its zone", "%(hour)s %(zone)s", hour=hour, zone=zone)

    def moment(self, moment: datetime) -> str:
        """Return a moment in a form such as "November 20, 2026, 6 a.m. ET"."""
        return self.pgettext(
            "a date and an hour", "%(date)s, %(hour)s", date=self.full_date(moment), hour=self.hour_in_zone(moment)
        )

    def zone_label(self, name: str) -> str:
        """Return the place that a time zone is named after, such as "New York" or "Knox (Indiana)"."""
        from babel import Locale
        from babel.core import get_global

        places = (self._locale.time_zones.get(each, {}).get("city") for each in (name, *_list_older_names(name)))
        if place := next(filter(None, places), None):
            return str(place).replace("[", "(").replace("]", ")")
        territory = get_global("zone_territories").get(name, "")
        english, translated = (each.territories.get(territory, "") for each in (Locale("en"), self._locale))
        return zone_label(name).replace(f"({english})", f"({translated})")

    def join_words(self, words: Sequence[str], more: int = 0) -> str:
        """Join words as a list, such as "a", "a and b", or "a, b, and c".

        `more` is the number of unlisted words, as in "a, b, and 4 more".
        """
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
        """Return the short name of a common zone, such as "ET", that people use all year."""
        names = {
            "ET": self.pgettext("time zone", "ET"),
            "CT": self.pgettext("time zone", "CT"),
            "MT": self.pgettext("time zone", "MT"),
            "PT": self.pgettext("time zone", "PT"),
            "AKT": self.pgettext("time zone", "AKT"),
        }
        return names[name]


ENGLISH = SubscriberLanguage()
