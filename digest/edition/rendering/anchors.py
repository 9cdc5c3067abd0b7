"""IDs of the elements that the web copy and the web edition link to."""

import hashlib

from digest.edition.content.edition_content import SectionEntry


def sources_anchor(entry: SectionEntry) -> str:
    """Return the ID of a story's list of sources in the web copy.

    It's based on the story's URL, or else on its headline.
    """
    return f"sources-{_short_hash(entry)}"


def story_anchor(entry: SectionEntry) -> str:
    """Return the ID of a story in the web edition, based on the same text as `sources_anchor`."""
    return f"story-{_short_hash(entry)}"


def _short_hash(entry: SectionEntry) -> str:
    name = entry.url or entry.headline
    return hashlib.sha256(name.encode()).hexdigest()[:8]
