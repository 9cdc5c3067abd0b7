"""A story written out, with summary, picture and who else reported it: for Featured and the operator's own sections."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from digest.collect.texts.urls import strip_tracking
from digest.edition.content.edition_content import EditionLink, PictureCuts, SectionEntry
from digest.edition.kinds.continued_story import write_earlier_appearance
from digest.edition.kinds.section_kind import (
    displayed_credit,
    displayed_date,
    displayed_topic,
    plain_entry,
    with_summary,
)
from digest.scoring_terms import FEATURED_NOTE, MOST_READ_NOTE, PINNED_NOTE
from digest.select.values import CandidateArticle, PlacedStory, ScoredStory
from subscribers.reader_language import ReaderLanguage, mark_message

_NUMBER_WORDS = (
    mark_message("one"),
    mark_message("two"),
    mark_message("three"),
    mark_message("four"),
    mark_message("five"),
    mark_message("six"),
    mark_message("seven"),
    mark_message("eight"),
    mark_message("nine"),
    mark_message("ten"),
    mark_message("eleven"),
    mark_message("twelve"),
)


def spell_number(number: int, language: ReaderLanguage) -> str:
    """Write a number out to twelve, in figures above."""
    if 1 <= number <= len(_NUMBER_WORDS):
        return language.translate_text(_NUMBER_WORDS[number - 1])
    return language.write_number(number)


def explain_lead(scored: ScoredStory, language: ReaderLanguage) -> str:
    """Return one sentence, without capital and full stop, on what put a story where it is.

    It names only what the score's terms hold: an editor's word, who reported it, how it was read, what it is about.
    """
    notes = {term.note for term in scored.terms if term.points > 0}
    clauses = (
        _editorial_clause(notes, language),
        _coverage_clause(scored, language),
        _readership_clause(notes, language),
    )
    parts = [clause for clause in clauses if clause]
    if len(parts) > 1 or len(scored.story.publishers) > 1:
        return _join_clauses(parts, language)
    return _join_clauses([*parts, *_topic_clause(scored, language)], language)


def _join_clauses(parts: list[str], language: ReaderLanguage) -> str:
    head, last = parts[:-1], parts[-1]
    if not head:
        return last
    clauses = language.pgettext("between the words of a list", ", ").join(head)
    return language.pgettext("the end of a list of clauses", "%(clauses)s, and %(last)s", clauses=clauses, last=last)


def _editorial_clause(notes: Collection[str], language: ReaderLanguage) -> str:
    if PINNED_NOTE in notes:
        return language.gettext("our editors chose it")
    return language.gettext("our editors featured it") if FEATURED_NOTE in notes else ""


def _coverage_clause(scored: ScoredStory, language: ReaderLanguage) -> str:
    story = scored.story
    publisher, others = story.lead.publisher, len(story.publishers) - 1
    official = any(a.primary for a in story.members)
    if not others and official:
        return language.gettext("it comes from an official source, %(publisher)s", publisher=publisher)
    if not others:
        return language.gettext("%(publisher)s reported it", publisher=publisher)
    if official:
        return language.ngettext(
            "an official source and %(others)s other reported it",
            "an official source and %(others)s others reported it",
            others,
            others=spell_number(others, language),
        )
    return language.gettext("%(number)s publishers carried it", number=spell_number(others + 1, language))


def _readership_clause(notes: Collection[str], language: ReaderLanguage) -> str:
    return language.gettext("readers opened it more than any other") if MOST_READ_NOTE in notes else ""


def _topic_clause(scored: ScoredStory, language: ReaderLanguage) -> list[str]:
    topic = displayed_topic(scored.topic, language)
    return [language.gettext("it is about %(topic)s", topic=f"{topic[0].lower()}{topic[1:]}")] if topic else []


LEAD_WORDS, ROW_WORDS = 40, 30  # of the summary


def write_row(
    placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage, pictures: Mapping[str, PictureCuts]
) -> SectionEntry:
    """Write a story as a row with a small picture."""
    article, also = placed.scored.story.lead, placed.scored.story.also_reported
    cuts = pictures.get(article.image or "")
    return replace(
        with_summary(plain_entry(article), placed.scored.story, ROW_WORDS),
        kicker=displayed_topic(placed.scored.topic, language),
        credit=displayed_credit(article),
        date=displayed_date(article, zone, language),
        since=write_earlier_appearance(placed, zone, language),
        also=tuple(_link_report(a, zone, language) for a in also),
        picture=cuts.thumb if cuts else None,
    )


def _link_report(article: CandidateArticle, zone: ZoneInfo, language: ReaderLanguage) -> EditionLink:
    return EditionLink(
        article.publisher,
        strip_tracking(article.link),
        displayed_date(article, zone, language),
        article.title,
        article.primary,
    )


def write_lead(
    placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage, pictures: Mapping[str, PictureCuts]
) -> SectionEntry:
    """Write the story that leads the edition: a large picture, why it leads, and earlier articles on its matter."""
    article = placed.scored.story.lead
    cuts = pictures.get(article.image or "")
    return replace(
        with_summary(write_row(placed, zone, language, pictures), placed.scored.story, LEAD_WORDS),
        why=language.pgettext("a clause as a sentence", "%(clause)s.", clause=explain_lead(placed.scored, language)),
        related=tuple(
            EditionLink(a.title, strip_tracking(a.link), displayed_date(a, zone, language)) for a in placed.related
        ),
        picture=cuts.lead if cuts else None,
    )
