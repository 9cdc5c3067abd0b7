"""Keys of the parts of an edition that subscribers can leave out: sections (`events`) and topics (`topics:energy`)."""

import hashlib
import re

_NOT_A_WORD = re.compile(r"\W+")
_PLAIN_KEY = re.compile(r"[a-z0-9-]{1,24}")  # longer ones would exceed the column for fragment names


def make_topic_slug(topic: str) -> str:
    """Return a topic's key in preferences and fragments: a slug, or a hash if the slug is long or isn't ASCII."""
    key = slugify_topic(topic)
    return key if _PLAIN_KEY.fullmatch(key) else hashlib.sha256(topic.casefold().encode()).hexdigest()[:16]


def slugify_topic(topic: str) -> str:
    """Return a topic as a slug for exported files and tags, such as "maritime-security", of any length."""
    return _NOT_A_WORD.sub("-", topic.casefold()).strip("-")


def join_part_key(section_key: str, topic_key: str) -> str:
    """Return the key of a topic in a section, such as "topics:energy". An empty topic key stands for any topic."""
    return f"{section_key}:{topic_key}"


def split_part_key(key: str) -> tuple[str, str]:
    """Return the keys of the section and the topic. The latter is empty if the part is a whole section."""
    section_key, _, topic_key = key.partition(":")
    return section_key, topic_key
