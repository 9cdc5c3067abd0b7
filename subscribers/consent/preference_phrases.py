"""A reader's choices in words, for the page that saves them and the mail that names them."""

from collections.abc import Sequence
from datetime import timedelta

from subscribers.consent.preferences import Preferences
from subscribers.phrases import full_date, join_words, sentence, spoken_hour, zone_label


def describe_preferences(preferences: Preferences, sections: Sequence[tuple[str, str]]) -> str:
    """Describe choices, so that a slip shows at once; `sections` are the publication's, as key and title."""
    kept = [title for key, title in sections if key not in preferences.omit]
    what = "every section" if len(kept) == len(sections) else join_words(kept)
    if preferences.text_only:
        what += ", as text only"
    if preferences.pause_until:
        what = f"nothing until {full_date(preferences.pause_until)}, from then on {what}"
    return " ".join([sentence(what), *_describe_schedule(preferences)])


def _describe_schedule(preferences: Preferences) -> list[str]:
    sentences = []
    if preferences.start:
        monday = preferences.start - timedelta(days=preferences.start.weekday())
        sentences.append(f"Every second week, counted from the week of {full_date(monday)}.")
    if preferences.frequency == "monthly":
        sentences.append("Once a month: the first edition of the month.")
    if preferences.hour is not None:
        sentences.append(f"Sent at {spoken_hour(preferences.hour)} in {zone_label(preferences.zone)}, or soon after.")
    return sentences
