"""The keys of the parts of an edition that subscribers can omit.

These are sections (`events`) and topics (`topics:energy`).
"""

import hashlib
import re
from functools import lru_cache

_NOT_A_WORD = re.compile(r"\W+")
# Longer keys would exceed the column for fragment names.
_PLAIN_KEY = re.compile(r"[a-z0-9-]{1,24}")


@lru_cache(maxsize=1024)  # each edit groups an edition's stories by topic
def make_topic_slug(topic: str) -> str:
    """Return a topic's key in preferences and fragments.

    It's a slug, or a hash if the slug is long or isn't ASCII.
    """
    key = slugify_topic(topic)
    return key if _PLAIN_KEY.fullmatch(key) else hashlib.sha256(topic.casefold().encode()).hexdigest()[:16]


def slugify_topic(topic: str) -> str:
    """Return a slug of any length for a topic, such as "maritime-security", for use in exported files and tags."""
    return _NOT_A_WORD.sub("-", topic.casefold()).strip("-")


def join_part_key(section_key: str, topic_key: str) -> str:
    """Return the key of a topic in a section, such as "topics:energy".

    An empty topic key represents any topic.
    """
    return f"{section_key}:{topic_key}"


def split_part_key(key: str) -> tuple[str, str]:
    """Return the section's key and the topic's key.

    The topic's key is empty if the part is a whole section.
    """
    section_key, _, topic_key = key.partition(":")
    return section_key, topic_key
