"""What readers are promised about how often the mail comes: by the timetable, in both languages, in every place."""

import pytest

from digest.app.subscribers.consent_wordings import current_wording
from digest.catalogues import load_language
from digest.settings import PublicationSettings, ScheduleSettings, Settings, SettingsFile
from digest.settings.mail_frequency import MailFrequency
from subscribers.reader_language import ENGLISH


@pytest.mark.parametrize(
    ("days", "english", "french"),
    [
        ((4,), "One mail a week", "Un courriel par semaine"),
        ((0, 3), "2 mails a week", "2 courriels par semaine"),
        (tuple(range(7)), "One mail a day", "Un courriel par jour"),
        ((), "One mail an edition", "Un courriel par parution"),
    ],
)
def test_a_promise_counts_the_mails_by_the_days_of_release(days: tuple[int, ...], english: str, french: str) -> None:
    assert MailFrequency(days, ENGLISH).mails == english
    assert MailFrequency(days, load_language("fr")).mails == french


@pytest.mark.parametrize(
    ("release", "language", "often"),
    [
        ("mon,thu 06:00", "en", "by mail, 2 times a week. I can leave"),
        ("daily 06:00", "en", "by mail, every day. I can leave"),
        ("every 12h", "en", "by mail, as it comes. I can leave"),
        ("mon,thu 06:00", "fr", "par courriel, 2 fois par semaine. Je peux"),
        ("daily 06:00", "fr", "par courriel, chaque jour. Je peux"),
        ("tue 09:00", "en", "by mail, once a week. I can leave"),
    ],
)
def test_readers_agree_to_as_many_mails_as_the_timetable_brings(release: str, language: str, often: str) -> None:
    file = SettingsFile(publication=PublicationSettings(language=language), schedule=ScheduleSettings(release=release))
    wording = current_wording(Settings(file=file))
    assert often in wording.text
    assert "HLS.Today" in wording.text
