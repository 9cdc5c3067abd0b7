"""Counts of editors' changes to a draft, by story. All functions are pure.

The approved content is compared with the proposal.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from digest.collect.documents.parsed_document import SummaryBasis
from digest.edition.content.content_changes import DROPPED_KINDS, ChangeKind, ContentChange, ItemPlace, compare_contents
from digest.edition.content.edition_content import EditionContent, SectionEntry


@dataclass(frozen=True, slots=True)
class EditorChangeCounts:
    """The number of a draft's stories, by what editors did with them.

    Each proposed story was kept (neither moved nor rewritten), dropped, moved, rewritten, or both
    moved and rewritten.
    """

    proposed: int
    kept: int
    dropped: int
    moved: int
    added: int
    rewritten: int

    @property
    def kept_percent(self) -> int | None:
        """The percentage of proposed stories that were kept, rounded, or None if none were proposed."""
        return round(100 * self.kept / self.proposed) if self.proposed else None

    def as_json(self) -> dict[str, int]:
        """Return the counts as a JSON value for storage."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> "EditorChangeCounts":
        """Create the counts from a JSON value returned by `as_json`."""
        return cls(**data)


def count_editor_changes(proposed: EditionContent, approved: EditionContent) -> EditorChangeCounts:
    """Return how many stories editors kept, dropped, moved, added, and rewrote.

    A story that has a different lead counts as rewritten if both versions list one of the two
    pages. Side effects of an action on another story don't count, such as the image that a story
    gets when the lead is moved away.
    """
    changes = [change for change in compare_contents(proposed, approved).changes if change.before or change.after]
    kinds = Counter(change.kind for change in changes)
    moved_stories = {change.after for change in changes if change.kind is ChangeKind.MOVED}
    rewritten = {change.after for change in changes if _is_rewritten(change, proposed, approved)}
    dropped = sum(kinds[kind] for kind in DROPPED_KINDS)
    proposed_count = sum(len(section.entries) for section in proposed.sections)
    return EditorChangeCounts(
        proposed=proposed_count,
        kept=proposed_count - dropped - len(moved_stories | rewritten),
        dropped=dropped,
        moved=len(moved_stories),
        added=kinds[ChangeKind.ADDED],
        rewritten=len(rewritten),
    )


def _is_rewritten(change: ContentChange, proposed: EditionContent, approved: EditionContent) -> bool:
    """Return True if an editor wrote a text, or chose an image, for a kept story."""
    if change.kind is not ChangeKind.REWRITTEN or change.before is None or change.after is None:
        return False
    was, now = _find_entry(proposed, change.before), _find_entry(approved, change.after)
    match change.field:
        case "summary":
            # Sections cut summaries to different lengths.
            return now.summary_origin is not None and now.summary_origin.basis is SummaryBasis.EDITOR
        case "why":
            # A story gets a reason when it becomes the lead.
            return now.why_is_written
        case "kicker":
            return change.before.section == change.after.section
        case "picture":
            # Only some places show an image.
            return was.picture is not None and now.picture is not None
        case name:
            return name in {"headline", "note"}


def _find_entry(content: EditionContent, place: ItemPlace) -> SectionEntry:
    section = next(section for section in content.sections if section.key == place.section)
    return section.entries[place.number - 1]
