"""How often the mail comes, by the timetable, in the words of every promise to readers: mail, pages, and what they agree to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from subscribers.reader_language import ENGLISH, ReaderLanguage

_A_MONDAY = date(2026, 1, 5)
_FRIDAY = 4


@dataclass(frozen=True, slots=True)
class MailFrequency:
    """On which weekdays an edition is released (Monday is 0; none: by no weekday), in a language's words."""

    days: tuple[int, ...] = (_FRIDAY,)
    language: ReaderLanguage = ENGLISH

    @property
    def is_weekly(self) -> bool:
        """Whether it comes on one day of the week."""
        return len(self.days) == 1

    @property
    def mails(self) -> str:
        """What readers are promised, as a sentence begins: "One mail a week", "2 mails a week"."""
        if not self.days:
            return self.language.gettext("One mail an edition")
        if self.is_weekly:
            return self.language.gettext("One mail a week")
        if self._is_daily:
            return self.language.gettext("One mail a day")
        return self.language.ngettext("%(num)s mail a week", "%(num)s mails a week", len(self.days))

    @property
    def each(self) -> str:
        """What completes "one …": "every Friday", "on Mondays and Thursdays"."""
        if not self.days:
            return self.language.gettext("as it comes")
        if self.is_weekly:
            weekday = self.language.weekday(_A_MONDAY + timedelta(days=self.days[0]))
            return self.language.gettext("every %(weekday)s", weekday=weekday)
        if self._is_daily:
            return self.language.gettext("every day")
        return self.language.gettext("on %(days)s", days=self._named_days)

    @property
    def promise(self) -> str:
        """What stands above a field to sign up: "One mail, Fridays"."""
        days = self.each if not self.days or self._is_daily else self._named_days
        return self.language.gettext("One mail, %(days)s", days=days)

    @property
    def consent(self) -> str:
        """The sentence that readers agree to where the publisher wrote none; {name} stands for the publication's name.

        Of a weekly publication not a letter may change: each change is another wording, with another hash.
        """
        if self.is_weekly:
            # Translators: {name} stands for the publication's name. Readers agree to this sentence: every word counts.
            return self.language.gettext(
                "Yes, send me {name} by mail, once a week. I can leave at any time, with one click in every mail. "
                "My address is used for this mail alone and is shared with nobody."
            )
        # Translators: {name} stands for the publication's name, %(often)s for "every day". Readers agree to this sentence: every word counts.
        return self.language.gettext(
            "Yes, send me {name} by mail, %(often)s. I can leave at any time, with one click in every mail. "
            "My address is used for this mail alone and is shared with nobody.",
            often=self._often,
        )

    @property
    def _often(self) -> str:
        if not self.days:
            return self.language.gettext("as it comes")
        if self._is_daily:
            return self.language.gettext("every day")
        return self.language.ngettext("%(num)s time a week", "%(num)s times a week", len(self.days))

    @property
    def _is_daily(self) -> bool:
        return len(self.days) == 7

    @property
    def _named_days(self) -> str:
        """The weekdays as a list: "Fridays", "Mondays and Thursdays"."""
        return self.language.join_words([_name_weekdays(self.language)[day] for day in self.days])


def _name_weekdays(language: ReaderLanguage) -> Sequence[str]:
    """Name what comes on one weekday, from Monday: "Mondays"."""
    return (
        *(language.gettext("Mondays"), language.gettext("Tuesdays"), language.gettext("Wednesdays")),
        *(language.gettext("Thursdays"), language.gettext("Fridays"), language.gettext("Saturdays")),
        language.gettext("Sundays"),
    )
