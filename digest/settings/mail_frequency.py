"""The frequency of emails that follows from the schedule.

It's worded on pages, in emails, and in the consent text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from subscribers.subscriber_language import ENGLISH, SubscriberLanguage

_A_MONDAY = date(2026, 1, 5)
_FRIDAY = 4


@dataclass(frozen=True, slots=True)
class _FrequencyPhrases:
    """A frequency in three forms: "2 emails a week", "on Mondays and Thursdays", and "2 times a week"."""

    mails: str
    each: str
    often: str


@dataclass(frozen=True, slots=True)
class MailFrequency:
    """The weekdays of editions, worded in a language.

    Monday is 0. `days` is empty if there's no fixed day.
    """

    days: tuple[int, ...] = (_FRIDAY,)
    language: SubscriberLanguage = ENGLISH

    @property
    def is_weekly(self) -> bool:
        """True if there's one edition a week, on a fixed day."""
        return len(self.days) == 1

    @property
    def mails(self) -> str:
        """The frequency at the beginning of a sentence, such as "One email a week" or "2 emails a week"."""
        return self._phrases.mails

    @property
    def each(self) -> str:
        """The days of emails as an adverb, such as "every Friday" or "on Mondays and Thursdays"."""
        return self._phrases.each

    @property
    def promise(self) -> str:
        """The heading of the sign-up page, such as "In your inbox every Friday"."""
        return self.language.gettext("In your inbox %(each)s", each=self.each)

    @property
    def consent(self) -> str:
        """The standard consent text, in which {name} stands for the publication's name.

        It's used unless the publisher wrote one. Any change to the text creates a new version for
        new sign-ups, and earlier versions are kept.
        """
        if self.is_weekly:
            # Translators: {name} is the publication's name. Subscribers agree to this text: every word counts.
            return self.language.gettext(
                "Yes, email me {name} once a week. I can unsubscribe at any time. My email address will be used "
                "only to send me this newsletter and shared with no one else."
            )
        # Translators: {name} is the publication's name, %(often)s is "every day". Subscribers agree to this text: every word counts.
        return self.language.gettext(
            "Yes, email me {name} %(often)s. I can unsubscribe at any time. My email address will be used "
            "only to send me this newsletter and shared with no one else.",
            often=self._phrases.often,
        )

    @property
    def consent_with_breaking_news(self) -> str:
        """The standard consent text for sign-ups that include breaking news.

        It's used unless the publisher wrote one.
        """
        often = self.language.gettext("once a week") if self.is_weekly else self._phrases.often
        # Translators: {name} is the publication's name, %(often)s is "once a week". Subscribers agree to this text: every word counts.
        return self.language.gettext(
            "Yes, email me {name} %(often)s, plus %(breaking_news)s. I can turn off %(breaking_news)s or unsubscribe at any "
            "time. My email address will be used only to send me these emails and shared with no one else.",
            often=often,
            breaking_news=self.language.gettext("breaking news"),
        )

    @property
    def _phrases(self) -> _FrequencyPhrases:
        language, count = self.language, len(self.days)
        often = language.ngettext("%(num)s time a week", "%(num)s times a week", count)
        match count:
            case 0:
                mails = language.gettext("One email per edition")
                each = often = language.gettext("whenever it’s published")
            case 1:
                mails = language.gettext("One email a week")
                weekday = language.weekday(_A_MONDAY + timedelta(days=self.days[0]))
                each = language.gettext("every %(weekday)s", weekday=weekday)
            case 7:
                mails = language.gettext("One email a day")
                each = often = language.gettext("every day")
            case _:
                mails = language.ngettext("%(num)s email a week", "%(num)s emails a week", count)
                each = language.gettext("on %(days)s", days=self._named_days)
        return _FrequencyPhrases(mails, each, often)

    @property
    def _named_days(self) -> str:
        """The weekdays as a list in words, such as "Fridays" or "Mondays and Thursdays"."""
        return self.language.join_words([_name_weekdays(self.language)[day] for day in self.days])


def _name_weekdays(language: SubscriberLanguage) -> Sequence[str]:
    """Return the names of weekdays in the plural, such as "Mondays", beginning with Monday."""
    return (
        *(language.gettext("Mondays"), language.gettext("Tuesdays"), language.gettext("Wednesdays")),
        *(language.gettext("Thursdays"), language.gettext("Fridays"), language.gettext("Saturdays")),
        language.gettext("Sundays"),
    )
