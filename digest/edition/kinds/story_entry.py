"""A story written out, with summary, picture and who else reported it: for Featured and the operator's own sections."""

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from digest.collect.urls import strip_tracking
from digest.edition.content import EditionLink, PictureCuts, SectionEntry
from digest.edition.kinds.continued_story import write_earlier_appearance
from digest.edition.kinds.section_kind import displayed_credit, displayed_date, plain_entry, with_summary
from digest.select.ranking import MOST_READ_NOTE
from digest.select.values import CandidateArticle, PlacedStory, ScoredStory, TermName

_NUMBER_WORDS = "no one two three four five six seven eight nine ten eleven twelve"


def spell_number(number: int) -> str:
    """Write a number out to twelve, in figures above."""
    return _NUMBER_WORDS.split()[number] if 0 <= number <= 12 else f"{number:,}"


def explain_lead(scored: ScoredStory) -> str:
    """Return one sentence, without capital and full stop, on what put a story where it is.

    It names only what the score's terms hold: an editor's word, who reported it, how it was read, what it is about.
    """
    parts = [p for p in (_editorial_clause(scored), _coverage_clause(scored), _readership_clause(scored)) if p]
    if len(parts) > 1 or len(scored.story.publishers) > 1:
        return _join_clauses(parts)
    return _join_clauses([*parts, *_topic_clause(scored)])


def _join_clauses(parts: list[str]) -> str:
    head, last = parts[:-1], parts[-1]
    return f"{', '.join(head)}, and {last}" if head else last


def _term_note(scored: ScoredStory, name: TermName) -> str:
    return next((t.note for t in scored.terms if t.name is name and t.points > 0), "")


def _editorial_clause(scored: ScoredStory) -> str:
    note = _term_note(scored, TermName.EDITORIAL)
    if note.startswith("pinned"):
        return "our editors chose it"
    return "our editors featured it" if note.startswith("featured") else ""


def _coverage_clause(scored: ScoredStory) -> str:
    story = scored.story
    others = len(story.publishers) - 1
    official = any(a.primary for a in story.members)
    if not others and official:
        return f"it comes from an official source, {story.lead.publisher}"
    if not others:
        return f"{story.lead.publisher} reported it"
    if official:
        return f"an official source and {spell_number(others)} other{'s' if others > 1 else ''} reported it"
    return f"{spell_number(others + 1)} publishers carried it"


def _readership_clause(scored: ScoredStory) -> str:
    return "readers opened it more than any other" if _term_note(scored, TermName.READERSHIP) == MOST_READ_NOTE else ""


def _topic_clause(scored: ScoredStory) -> list[str]:
    return [f"it is about {scored.topic[0].lower()}{scored.topic[1:]}"] if scored.topic else []


LEAD_WORDS, ROW_WORDS = 40, 30  # of the summary


def write_row(placed: PlacedStory, zone: ZoneInfo, pictures: Mapping[str, PictureCuts]) -> SectionEntry:
    """Write a story as a row with a small picture."""
    article, also = placed.scored.story.lead, placed.scored.story.also_reported
    cuts = pictures.get(article.image or "")
    return replace(
        with_summary(plain_entry(article), placed.scored.story, ROW_WORDS),
        kicker=placed.scored.topic or "",
        credit=displayed_credit(article),
        date=displayed_date(article, zone),
        since=write_earlier_appearance(placed, zone),
        also=tuple(_link_report(a, zone) for a in also),
        picture=cuts.thumb if cuts else None,
    )


def _link_report(article: CandidateArticle, zone: ZoneInfo) -> EditionLink:
    return EditionLink(
        article.publisher, strip_tracking(article.link), displayed_date(article, zone), article.title, article.primary
    )


def write_lead(placed: PlacedStory, zone: ZoneInfo, pictures: Mapping[str, PictureCuts]) -> SectionEntry:
    """Write the story that leads the edition: a large picture, why it leads, and earlier articles on its matter."""
    article = placed.scored.story.lead
    cuts = pictures.get(article.image or "")
    return replace(
        with_summary(write_row(placed, zone, pictures), placed.scored.story, LEAD_WORDS),
        why=f"{explain_lead(placed.scored)}.",
        related=tuple(EditionLink(a.title, strip_tracking(a.link), displayed_date(a, zone)) for a in placed.related),
        picture=cuts.lead if cuts else None,
    )
