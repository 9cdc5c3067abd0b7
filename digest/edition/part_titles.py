"""The titles of the sections and topics that subscribers can choose."""

from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import translate_topic
from digest.settings import Settings
from subscribers.part_keys import join_part_key, make_topic_slug
from subscribers.subscriber_language import SubscriberLanguage


def list_part_titles(settings: Settings, language: SubscriberLanguage) -> tuple[tuple[str, str], ...]:
    """Return the key and title of each section and its topics.

    Topics are included only if subscribers can choose them. The keys are those of
    `subscribers.part_keys`.
    """
    file = settings.file
    names = () if "omit_topics" in file.preferences.hidden else file.select.topic_names
    topics = {make_topic_slug(title): title for title in (translate_topic(name, language) for name in names)}
    parts: dict[str, str] = {}
    for section in file.sections:
        parts[section.key] = section.title_in(language)
        if SECTION_KINDS[section.kind].is_grouped_by_topic:
            parts |= {join_part_key(section.key, key): title for key, title in topics.items()}
    return tuple(parts.items())
