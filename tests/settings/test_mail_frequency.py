"""The promised frequency of emails follows the schedule, in both languages, everywhere."""

import pytest

from digest.app.subscribers.consent_texts import build_consent_text
from digest.catalogs import load_language
from digest.settings import PublicationSettings, ScheduleSettings, Settings, SettingsFileContent
from digest.settings.mail_frequency import MailFrequency
from subscribers.subscriber_language import ENGLISH


@pytest.mark.parametrize(
    ("days", "english", "french"),
    [
        ((4,), "One email a week", "Un e-mail par semaine"),
        ((0, 3), "2 emails a week", "2 e-mails par semaine"),
        (tuple(range(7)), "One email a day", "Un e-mail par jour"),
        ((), "One email per edition", "Un e-mail par parution"),
    ],
)
def test_a_promise_counts_the_mails_by_the_days_of_release(days: tuple[int, ...], english: str, french: str) -> None:
    assert MailFrequency(days, ENGLISH).mails == english
    assert MailFrequency(days, load_language("fr")).mails == french


@pytest.mark.parametrize(
    ("release", "language", "often"),
    [
        ("mon,thu 06:00", "en", "email me HLS.Today 2 times a week. I can unsubscribe"),
        ("daily 06:00", "en", "email me HLS.Today every day. I can unsubscribe"),
        ("every 12h", "en", "email me HLS.Today whenever it’s published. I can unsubscribe"),
        ("mon,thu 06:00", "fr", "par e-mail, 2 fois par semaine. Je peux"),
        ("daily 06:00", "fr", "par e-mail, chaque jour. Je peux"),
        ("tue 09:00", "en", "email me HLS.Today once a week. I can unsubscribe"),
    ],
)
def test_subscribers_agree_to_as_many_mails_as_the_timetable_brings(release: str, language: str, often: str) -> None:
    file = SettingsFileContent(
        publication=PublicationSettings(language=language), schedule=ScheduleSettings(send=release)
    )
    wording = build_consent_text(Settings(file=file))
    assert often in wording.text
    assert "HLS.Today" in wording.text
