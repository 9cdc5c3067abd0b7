"""Choosing a story's summary: the lead's, or another article's."""

from dataclasses import dataclass

from digest.collect.documents.parsed_document import SummaryBasis
from digest.select.penalties import find_penalties
from digest.select.selection_types import CandidateArticle, Story, SummaryOrigin


@dataclass(frozen=True, slots=True)
class StorySummary:
    """A story's full summary and its origin. Both are empty if no article has a summary."""

    text: str = ""
    origin: SummaryOrigin | None = None


def choose_summary(story: Story) -> StorySummary:
    """Return a story's summary, from the lead, or else an official source, or else the first other article."""
    lead = story.lead
    if lead.summary:
        return StorySummary(lead.summary, SummaryOrigin(lead.summary_basis, _name_publisher(lead)))
    candidates = [a for a in story.members if a.summary and not find_penalties(a)]
    if not candidates:
        return StorySummary()
    chosen = min(candidates, key=lambda a: not a.primary)
    return StorySummary(chosen.summary, SummaryOrigin(chosen.summary_basis, _name_publisher(chosen), lead.publisher))


def _name_publisher(article: CandidateArticle) -> str:
    return "" if article.summary_basis is SummaryBasis.EDITOR else article.publisher
