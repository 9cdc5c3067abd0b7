"""How often the mail comes, by the timetable, in the words of every promise to readers: mail, pages, and what they agree to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from subscribers.reader_language import ENGLISH, ReaderLanguage

_A_MONDAY = date(2026, 1, 5)
_FRIDAY = 4


@dataclass(frozen=True, slots=True)
class _FrequencyPhrases:
    """One frequency in the places of a sentence: "2 mails a week", "on Mondays …", "Mondays …", "2 times a week"."""

    mails: str
    each: str
    days: str
    often: str


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
        return self._phrases.mails

    @property
    def each(self) -> str:
        """What completes "one …": "every Friday", "on Mondays and Thursdays"."""
        return self._phrases.each

    @property
    def promise(self) -> str:
        """What stands above a field to sign up: "One mail, Fridays"."""
        return self.language.gettext("One mail, %(days)s", days=self._phrases.days)

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
            often=self._phrases.often,
        )

    @property
    def _phrases(self) -> _FrequencyPhrases:
        language, count = self.language, len(self.days)
        days, often = self._named_days, language.ngettext("%(num)s time a week", "%(num)s times a week", count)
        match count:
            case 0:
                mails = language.gettext("One mail an edition")
                each = days = often = language.gettext("as it comes")
            case 1:
                mails = language.gettext("One mail a week")
                weekday = language.weekday(_A_MONDAY + timedelta(days=self.days[0]))
                each = language.gettext("every %(weekday)s", weekday=weekday)
            case 7:
                mails = language.gettext("One mail a day")
                each = days = often = language.gettext("every day")
            case _:
                mails = language.ngettext("%(num)s mail a week", "%(num)s mails a week", count)
                each = language.gettext("on %(days)s", days=days)
        return _FrequencyPhrases(mails, each, days, often)

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
