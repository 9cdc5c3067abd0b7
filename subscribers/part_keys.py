"""The keys of an edition's parts, which subscribers can leave out: sections (`events`), and topics in them (`topics:energy`)."""

import hashlib
import re

_NOT_A_WORD = re.compile(r"\W+")
_PLAIN_KEY = re.compile(r"[a-z0-9-]{1,24}")  # longer ones would make the names of fragments too long for their column


def make_topic_key(topic: str) -> str:
    """Return the key of a topic in preferences and in fragments: "maritime-security", or a hash if it's long or not in ASCII."""
    key = _NOT_A_WORD.sub("-", topic.casefold()).strip("-")
    return key if _PLAIN_KEY.fullmatch(key) else hashlib.sha256(topic.casefold().encode()).hexdigest()[:16]


def join_part_key(section_key: str, topic_key: str) -> str:
    """Return the key of a topic in a section; with an empty topic, that of any topic of the section."""
    return f"{section_key}:{topic_key}"


def split_part_key(key: str) -> tuple[str, str]:
    """Return the keys of a part's section and topic; the latter is empty if the part is a whole section."""
    section_key, _, topic_key = key.partition(":")
    return section_key, topic_key
