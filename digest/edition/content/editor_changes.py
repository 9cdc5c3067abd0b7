"""What editors changed of a draft, counted in stories: the proposal alone beside what was approved. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from digest.collect.documents.parsed_document import SummaryBasis
from digest.edition.content.content_changes import ChangeKind, ContentChange, ItemPlace, compare_contents
from digest.edition.content.edition_content import EditionContent, SectionEntry


@dataclass(frozen=True, slots=True)
class EditorChangeCounts:
    """The stories of a draft by what editors did to them.

    Each that was proposed is kept (neither moved nor rewritten), dropped, moved, rewritten, or both of the last two.
    """

    proposed: int
    kept: int
    dropped: int
    moved: int
    added: int
    rewritten: int

    @property
    def kept_percent(self) -> int | None:
        """How many percent of what was proposed were kept, rounded; None where nothing was proposed."""
        return round(100 * self.kept / self.proposed) if self.proposed else None

    def as_json(self) -> dict[str, int]:
        """Return the plain form that is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, int]) -> "EditorChangeCounts":
        """Read the plain form back."""
        return cls(**data)


def count_editor_changes(proposed: EditionContent, approved: EditionContent) -> EditorChangeCounts:
    """Count what editors changed, story by story.

    A story is named by the address of its lead: one that another article was made to lead counts as dropped and as added. What
    follows from an act on another story is no change: an editor who moves the lead away gives the next one its picture.
    """
    changes = [change for change in compare_contents(proposed, approved).changes if change.before or change.after]
    kinds = Counter(change.kind for change in changes)
    moved_stories = {change.after for change in changes if change.kind is ChangeKind.MOVED}
    rewritten = {change.after for change in changes if _is_rewritten(change, proposed, approved)}
    dropped = kinds[ChangeKind.DROPPED] + kinds[ChangeKind.REPLACED]
    proposed_count = sum(len(section.entries) for section in proposed.sections)
    return EditorChangeCounts(
        proposed=proposed_count,
        kept=proposed_count - dropped - len(moved_stories | rewritten),
        dropped=dropped,
        moved=len(moved_stories),
        added=kinds[ChangeKind.ADDED] + kinds[ChangeKind.REPLACED],
        rewritten=len(rewritten),
    )


def _is_rewritten(change: ContentChange, proposed: EditionContent, approved: EditionContent) -> bool:
    """Return whether an editor wrote a text, or chose a picture, of a story that stays."""
    if change.kind is not ChangeKind.REWRITTEN or change.before is None or change.after is None:
        return False
    was, now = _find_entry(proposed, change.before), _find_entry(approved, change.after)
    match change.field:
        case "summary":
            # Sections cut a summary to different lengths.
            return now.summary_origin is not None and now.summary_origin.basis is SummaryBasis.EDITOR
        case "why":
            # A story that comes to lead says why.
            return now.why_is_written
        case "kicker":
            return change.before.section == change.after.section
        case "picture":
            # Only some places have a picture.
            return was.picture is not None and now.picture is not None
        case name:
            return name in {"headline", "note"}


def _find_entry(content: EditionContent, place: ItemPlace) -> SectionEntry:
    section = next(section for section in content.sections if section.key == place.section)
    return section.entries[place.number - 1]
