"""Comparison of drafts with editors' grades, whether given by hand or derived from edits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from digest.app.editions.editor_changes import read_proposed_content
from digest.app.evaluation.labeled_files import EvaluationError, collect_feeds, normalize_label_url, read_labels
from digest.collect.documents.parsed_document import DateBasis
from digest.edition.calendar.edition_windows import EditionWindow, find_next_window
from digest.edition.calendar.release_calendar import ReleaseCalendar
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.drafting.candidates import load_candidates, load_previous_editions
from digest.edition.drafting.document_frequencies import load_document_frequencies
from digest.edition.edition_queries import find_edition, find_last_cut_off
from digest.edition.kinds import SECTION_KINDS
from digest.installation.opened_installation import Installation
from digest.select.proposals import propose_edition
from digest.select.selection_types import CandidateArticle, PreviousEditions
from digest.select.text_similarity import distinct_words
from digest.select.word_rarity import DocumentFrequencies
from digest.settings import Settings, SettingsFileContent
from digest.store.approval_models import Approval, ApprovalState
from digest.store.models import Article, Edition, EditionStory

# Grades of stories that must not be included, and of those that must. `MAY` is in between.
UNFIT, MUST = 0, 2
FIRST_COUNTS = (10, 14)  # how many of the first stories are scored


@dataclass(frozen=True, slots=True)
class StoryGrade:
    """The grade that an editor gave to a story.

    `matter` is a key shared by all stories about the same news.
    """

    title: str
    grade: int
    matter: str
    why: str
    is_poor_lead: bool = False  # the matching article is about the right news but makes a poor lead


@dataclass(frozen=True, slots=True)
class DraftedStory:
    """The lead of a drafted story, and its grade.

    `repeats` is the position, from 1, of an earlier story about the same news.
    """

    headline: str
    url: str
    grade: StoryGrade | None
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class DraftScore:
    """Scores for the first stories of a draft.

    `changes` is the number of stories that must not be included or that repeat earlier news.
    """

    first: int
    stories: int
    changes: int
    ungraded: int
    poor_leads: int
    musts: int  # the number of matters that must be included and are


@dataclass(frozen=True, slots=True)
class DraftEvaluation:
    """The result of comparing a draft with grades.

    `stories` are in order. `missing` are the grades of required matters that the draft lacks.
    """

    stories: tuple[DraftedStory, ...]
    scores: tuple[DraftScore, ...]
    must_count: int
    missing: tuple[StoryGrade, ...]


class EditorGrades:
    """An editor's grades, looked up by link or else by headline.

    A grade of a story's own lead takes precedence over those of its other articles, and then a
    higher grade over a lower one.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Index the rows of a file of grades.

        Raises:
            EvaluationError: a row lacks a key, or a value has the wrong type.
        """
        self._by_url: dict[str, StoryGrade] = {}
        self._by_title: dict[frozenset[str], StoryGrade] = {}
        ranked = sorted(_read_graded_articles(rows), key=lambda match: match[0])
        for _, url, title, grade in ranked:
            self._by_url.setdefault(url, grade)
            if words := distinct_words(title):
                self._by_title.setdefault(words, grade)
        self.musts = {g.matter: g for *_, g in reversed(ranked) if g.grade == MUST}

    def find_grade(self, headline: str, url: str) -> StoryGrade | None:
        """Return the grade of a lead, or None if it wasn't graded."""
        return self._by_url.get(normalize_label_url(url)) or self._by_title.get(distinct_words(headline))


def _read_graded_articles(rows: Iterable[Mapping[str, Any]]) -> list[tuple[tuple[bool, int], str, str, StoryGrade]]:
    """Return (precedence, URL, title, grade) for each lead and member of the rows.

    The lowest precedence wins.
    """
    graded_articles = []
    for number, row in enumerate(rows, 1):
        try:
            poor = set(map(normalize_label_url, row.get("poor", ())))
            members = row.get("members", ())
            titles = [*row.get("member_titles", ()), *[""] * len(members)]
            articles = [(row["url"], row["title"]), *zip(members, titles, strict=False)]
            for place, (address, title) in enumerate(articles):
                url = normalize_label_url(address)
                grade = StoryGrade(row["title"], int(row["grade"]), row["story"], row.get("why", ""), url in poor)
                graded_articles.append(((place > 0, -grade.grade), url, title, grade))
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise EvaluationError(
                f"Line {number} of the grades has the wrong format ({exc!r}). Correct it (see benchmarks/evaluation.md)."
            ) from exc
    return graded_articles


def score_draft(leads: Sequence[tuple[str, str]], grades: EditorGrades) -> DraftEvaluation:
    """Score the leads of a draft, which are given in order as (headline, URL)."""
    first_place: dict[str, int] = {}
    stories = []
    for place, (headline, url) in enumerate(leads, 1):
        grade = grades.find_grade(headline, url)
        repeats = first_place.get(grade.matter) if grade else None
        stories.append(DraftedStory(headline, url, grade, repeats))
        if grade:
            first_place.setdefault(grade.matter, place)
    first_grades = [story.grade for story in stories[: max(FIRST_COUNTS)] if story.grade]
    selected_matters = {grade.matter for grade in first_grades if grade.grade > UNFIT}
    return DraftEvaluation(
        tuple(stories),
        tuple(_count_first(stories[:first], first, grades.musts.keys()) for first in FIRST_COUNTS),
        len(grades.musts),
        tuple(g for matter, g in sorted(grades.musts.items()) if matter not in selected_matters),
    )


def _count_first(stories: Sequence[DraftedStory], first: int, musts: Iterable[str]) -> DraftScore:
    graded = [(s, s.grade) for s in stories if s.grade is not None]
    return DraftScore(
        first=first,
        stories=len(stories),
        changes=sum(g.grade == UNFIT or s.repeats is not None for s, g in graded),
        ungraded=len(stories) - len(graded),
        poor_leads=sum(g.is_poor_lead and g.grade > UNFIT for _, g in graded),
        musts=len({g.matter for _, g in graded if g.grade > UNFIT}.intersection(musts)),
    )


def evaluate_stored_draft(grades_file: Path, installation: Installation, edition_name: str) -> DraftEvaluation:
    """Score the news stories of a stored edition against grades, section by section.

    Raises:
        EvaluationError: the grades can't be read or have the wrong format.
        UnknownEditionError: no edition has this name.
    """
    grades = _read_grades(grades_file)
    with installation.read() as session:
        content = EditionContent.from_json(find_edition(session, edition_name).content)
    return score_draft([(entry.headline, entry.url) for entry in list_news_entries(content)], grades)


def list_news_entries(content: EditionContent) -> list[SectionEntry]:
    """List the news entries of an edition, section by section."""
    sections = [section for section in content.sections if SECTION_KINDS[section.kind].capped]
    return [entry for section in sections for entry in section.entries]


def evaluate_redraft(grades_file: Path, installation: Installation, edition_name: str) -> DraftEvaluation:
    """Score a new proposal for a stored edition.

    The proposal is made with the current settings from the articles of the edition's window. Edits
    are ignored, no pages are downloaded, and nothing is stored.

    Raises:
        EvaluationError: the grades can't be read or have the wrong format.
        UnknownEditionError: no edition has this name.
    """
    grades, settings = _read_grades(grades_file), installation.settings
    with installation.read() as session:
        edition = find_edition(session, edition_name)
        window = find_next_window(edition.cut_off, find_last_cut_off(session, edition.release_at))
        week = load_edition_input(session, window, edition.release_at, settings)
    return score_draft(list_drafted_leads(week, settings.file), grades)


def evaluate_feeds_draft(
    grades_file: Path, feeds: Sequence[Path], settings: Settings, *, now: datetime, drafted_at: datetime | None = None
) -> DraftEvaluation:
    """Score the first edition that an installation would draft from feeds. Nothing is stored in this one.

    Raises:
        EvaluationError: the grades or a feed can't be read or have the wrong format.
    """
    grades = _read_grades(grades_file)
    week = load_feeds_input(feeds, settings, now=now, drafted_at=drafted_at)
    return score_draft(list_drafted_leads(week, settings.file), grades)


@dataclass(frozen=True, slots=True)
class EditionInput:
    """What an edition's stories are selected from.

    `release_at` is the time of the edition, in the publication's time zone.
    """

    articles: tuple[CandidateArticle, ...]
    release_at: datetime
    previous: PreviousEditions
    words: DocumentFrequencies


def load_edition_input(
    session: Session, window: EditionWindow, release_at: datetime, settings: Settings
) -> EditionInput:
    """Load what a draft of a window is made from."""
    return EditionInput(
        articles=load_candidates(session, window, release_at),
        release_at=release_at.astimezone(settings.zone),
        previous=load_previous_editions(session, window, release_at, settings.file.select.repeat_editions),
        words=load_document_frequencies(session, window),
    )


def load_feeds_input(
    feeds: Sequence[Path], settings: Settings, *, now: datetime, drafted_at: datetime | None = None
) -> EditionInput:
    """Load what an installation's first draft from feeds would be made from.

    Args:
        feeds: files and folders with articles; those outside the edition's window are ignored.
        settings: the send times and limits.
        now: the time at which articles without a date count as found.
        drafted_at: the time of the draft; by default, the newest article's date.

    Raises:
        EvaluationError: a feed can't be read.
    """
    calendar = ReleaseCalendar(settings.file.schedule.send_rule, settings.file.publication.zone)
    with collect_feeds(feeds, settings, now=now) as session:
        cut_off = drafted_at or _find_newest_date(session) or now
        release_at = calendar.next_release(cut_off).release_at
        return load_edition_input(session, find_next_window(cut_off, None), release_at, settings)


def _find_newest_date(session: Session) -> datetime | None:
    """Return the latest date that a feed gives."""
    dates = session.execute(select(Article.dated_at, Article.date_basis))
    return max((dated_at for dated_at, basis in dates if not DateBasis(basis).is_first_seen), default=None)


def list_drafted_leads(week: EditionInput, file: SettingsFileContent) -> list[tuple[str, str]]:
    """Select an edition's stories, and return the news stories' leads as (headline, URL), section by section."""
    proposal = propose_edition(
        week.articles,
        select=file.select,
        sections=file.sections,
        kinds=SECTION_KINDS,
        now=week.release_at,
        previous=week.previous,
        words=week.words,
    )
    capped = [section.key for section in file.sections if SECTION_KINDS[section.kind].capped]
    placed = chain.from_iterable(proposal.sections.get(key, ()) for key in capped)
    return [(story.scored.lead.title, story.scored.lead.link) for story in placed]


def _read_grades(grades_file: Path) -> EditorGrades:
    rows = read_labels(grades_file)
    return EditorGrades(rows if isinstance(rows, list) else [rows])


# --- what editors picked ---------------------------------------------------------------------------------------

MAY = 1  # the grade between the two above


def derive_grades_from_edits(installation: Installation, edition_name: str) -> list[dict[str, Any]]:
    """Return the grades implied by an edition's edits, one row per story, as read by `evaluate draft`.

    The first 14 news stories that were approved must be included, later ones may be, and stories
    that were proposed and dropped must not be. If the edition isn't approved, its current content
    counts.

    Raises:
        UnknownEditionError: no edition has this name.
        EvaluationError: the edition's draft was changed outside the program.
    """
    with installation.read() as session:
        edition = find_edition(session, edition_name)
        proposed = read_proposed_content(session, edition, installation.settings)
        if proposed is None:
            raise EvaluationError(f"{edition.name} was changed outside the program. Choose another edition.")
        rows = session.scalars(select(EditionStory).where(EditionStory.edition_id == edition.id)).all()
        approved = _read_approved_content(session, edition)
    members = {row.url: list(row.members) for row in rows}
    placed = {url for row in rows if row.section is not None for url in row.members}
    return list(_grade_stories(proposed, approved, members, placed))


def _read_approved_content(session: Session, edition: Edition) -> EditionContent:
    query = select(Approval).where(Approval.edition_id == edition.id, Approval.state == ApprovalState.VALID)
    approval = session.scalar(query.options(undefer(Approval.content)))
    return EditionContent.from_json(approval.content if approval else edition.content)


def _grade_stories(
    proposed: EditionContent, approved: EditionContent, members: dict[str, list[str]], placed: set[str]
) -> Iterator[dict[str, Any]]:
    """Yield a row with a grade for each proposed or added story.

    `members` maps the URL of each story's lead to the story's articles. `placed` has the URLs of
    all articles in the edition.
    """
    was_proposed = {normalize_label_url(entry.url) for entry in _list_linked(list_news_entries(proposed))}
    for number, entry in enumerate(_list_linked(list_news_entries(approved)), 1):
        url = normalize_label_url(entry.url)
        placed = placed | {url}
        why = "an editor kept it" if url in was_proposed else "an editor added it"
        yield _pick(entry, MUST if number <= max(FIRST_COUNTS) else MAY, why, members)
    for entry in _list_linked(list_news_entries(proposed)):
        if normalize_label_url(entry.url) not in placed:
            yield _pick(entry, UNFIT, "an editor dropped it", members)


def _list_linked(entries: Sequence[SectionEntry]) -> list[SectionEntry]:
    """Return the entries that have a URL.

    Stories that editors wrote themselves have none, so no draft can find them.
    """
    return [entry for entry in entries if entry.url]


def _pick(entry: SectionEntry, grade: int, why: str, members: dict[str, list[str]]) -> dict[str, Any]:
    url = normalize_label_url(entry.url)
    other_urls = [member for member in members.get(url, []) if member != url]
    return {"url": url, "title": entry.headline, "grade": grade, "story": url, "why": why, "members": other_urls}
