"""The ids in the web copy and the web edition to which links lead."""

import hashlib

from digest.edition.content.edition_content import SectionEntry


def sources_anchor(entry: SectionEntry) -> str:
    """Return the id of a story's list of sources in the web copy: the same for the same link, whatever its place."""
    return f"sources-{_short_hash(entry)}"


def story_anchor(entry: SectionEntry) -> str:
    """Return the id of a story in the web edition, by its link as `sources_anchor` does."""
    return f"story-{_short_hash(entry)}"


def _short_hash(entry: SectionEntry) -> str:
    name = entry.url or entry.headline
    return hashlib.sha256(name.encode()).hexdigest()[:8]
