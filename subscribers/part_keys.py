"""Keys of the parts of an edition that subscribers can leave out: sections (`events`) and topics (`topics:energy`)."""

import hashlib
import re

_NOT_A_WORD = re.compile(r"\W+")
_PLAIN_KEY = re.compile(r"[a-z0-9-]{1,24}")  # longer ones would exceed the column for fragment names


def make_topic_key(topic: str) -> str:
    """Return a topic's key in preferences and fragments: "maritime-security", or a hash if it's long or not ASCII."""
    key = make_topic_name(topic)
    return key if _PLAIN_KEY.fullmatch(key) else hashlib.sha256(topic.casefold().encode()).hexdigest()[:16]


def make_topic_name(topic: str) -> str:
    """Return a topic's name in exported files, which may be longer than its key: "maritime-security"."""
    return _NOT_A_WORD.sub("-", topic.casefold()).strip("-")


def join_part_key(section_key: str, topic_key: str) -> str:
    """Return the key of a topic in a section. An empty topic means any topic."""
    return f"{section_key}:{topic_key}"


def split_part_key(key: str) -> tuple[str, str]:
    """Return the section's and topic's keys. The topic's is empty if the part is a whole section."""
    section_key, _, topic_key = key.partition(":")
    return section_key, topic_key
