"""Statistics about sources for the pages: articles by week, and stories in editions."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.sources.source_visit_counts import SourceWeek, read_source_weeks
from digest.edition.edition_queries import COMING_STATES, IS_REGULAR
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SourceSettings
from digest.settings.environment_overrides import find_overriding_variable
from digest.settings.table_values import fingerprint_values
from digest.store.models import Article, Edition, EditionState, EditionStory, Source
from subscribers.errors import RefusalError

LOOK = Action("sources looked at")
LISTED_EDITIONS = 12
_URLS_A_QUERY = 500


class UnknownSourceNumberError(RefusalError):
    """Raised if no source has the given number."""


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """A source's weekly article counts, and how many of its stories were used.

    `used` is the number of its stories in the newest edition.
    """

    weeks: tuple[SourceWeek, ...] = ()
    used: int = 0

    @property
    def found(self) -> int:
        """The number of new articles in the last seven days."""
        return self.weeks[-1].found if self.weeks else 0


@dataclass(frozen=True, slots=True)
class SourceStatisticsTable:
    """The statistics for all sources, by ID.

    `edition_number` is the number of the edition that `used` refers to, or None.
    """

    edition_number: int | None
    figures: Mapping[int, SourceStatistics]

    def get_statistics(self, source: Source) -> SourceStatistics:
        """Return the statistics for the source with this ID.

        They're all zero if the source was never visited.
        """
        return self.figures.get(source.id, SourceStatistics())


@dataclass(frozen=True, slots=True)
class EditionSourceShare:
    """A source's stories in an edition.

    `led` is the number of stories that it leads, and `also` the number of those that it's listed
    under.
    """

    name: str
    number: int
    release_at: datetime
    led: int
    also: int


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source as shown on its page.

    `configured` is None if the source is no longer in the settings. `draft_stories` are the stories
    in upcoming editions that use it, as (edition, headline). `lock` says why pages can't
    change it; it's empty if they can.
    """

    row: Source
    configured: SourceSettings | None
    fingerprint: str
    weeks: tuple[SourceWeek, ...]
    shares: tuple[EditionSourceShare, ...]
    topics: tuple[str, ...]
    lock: str
    draft_stories: tuple[tuple[str, str], ...] = field(default=())


def read_source_statistics(installation: Installation, *, now: datetime) -> SourceStatisticsTable:
    """Return each source's weekly article counts, and its number of stories in the newest edition.

    The newest edition may be a draft.
    """
    today = now.astimezone(installation.settings.zone).date()
    drafted = select(Edition).where(IS_REGULAR, Edition.state != EditionState.CANCELLED)
    newest = drafted.order_by(Edition.release_at.desc()).limit(1)
    with installation.read() as session:
        weeks = read_source_weeks(session, today)
        edition = session.scalar(newest)
        used = _count_shares(session, [edition]) if edition else {}
    ids = {*weeks, *(source_id for source_id, _ in used)}
    figures = {
        source_id: SourceStatistics(weeks.get(source_id, ()), sum(used.get((source_id, edition.id), (0, 0))))
        if edition
        else SourceStatistics(weeks.get(source_id, ()))
        for source_id in ids
    }
    return SourceStatisticsTable(edition.number if edition else None, figures)


def explain_source_lock(settings: Settings) -> str:
    """Say why pages can't change sources; empty if they can."""
    if settings.origin is None:
        return "You can't change sources here because the server is running without a settings file."
    if variable := find_overriding_variable(settings, ("sources",)):
        return f"The sources are set in the environment with {variable}. Change them there and restart."
    return ""


def view_source(installation: Installation, actor: Actor, number: int, *, now: datetime) -> SourceView:
    """Return a source, given the number of its row.

    Raises:
        NotPermittedError: the actor isn't a staff member.
        UnknownSourceNumberError: there's no such source.
    """
    LOOK.check_role(installation, actor, "sources", now=now)
    settings = installation.settings
    today = now.astimezone(settings.zone).date()
    gone_out = (EditionState.SENT, EditionState.SENDING, EditionState.APPROVED)
    recent = select(Edition).where(IS_REGULAR, Edition.state.in_(gone_out)).order_by(Edition.release_at.desc())
    with installation.read() as session:
        row = session.get(Source, number)
        if row is None:
            raise UnknownSourceNumberError("No source has this number.", "Choose a source from the list.")
        editions = list(session.scalars(recent.limit(LISTED_EDITIONS)))
        counted = _count_shares(session, editions)
        configured = next((source for source in settings.file.sources if source.url == row.url), None)
        return SourceView(
            row=row,
            configured=configured,
            fingerprint=fingerprint_values(configured) if configured else "",
            weeks=read_source_weeks(session, today, only=[row.id]).get(row.id, ()),
            shares=tuple(
                EditionSourceShare(e.name, e.number, e.release_at, *counted.get((row.id, e.id), (0, 0)))
                for e in editions
            ),
            topics=settings.file.select.topic_names,
            lock=explain_source_lock(settings),
            draft_stories=tuple(_list_draft_stories(session, row)),
        )


def _count_shares(session: Session, editions: Iterable[Edition]) -> dict[tuple[int, int], tuple[int, int]]:
    """Count the placed stories that each source leads, and those that it's listed under.

    The keys of the result are (source, edition).
    """
    ids = [edition.id for edition in editions]
    query = select(EditionStory.edition_id, EditionStory.members).where(
        EditionStory.edition_id.in_(ids), EditionStory.section.is_not(None)
    )
    stories = session.execute(query).all()
    sources = _find_sources(session, {url for _, members in stories for url in members})
    led, also = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for edition_id, members in stories:
        leading = sources.get(members[0], set()) if members else set()
        source_ids = leading.union(*(sources.get(url, ()) for url in members))
        led.update((source_id, edition_id) for source_id in leading)
        also.update((source_id, edition_id) for source_id in source_ids - leading)
    return {key: (led[key], also[key]) for key in led.keys() | also.keys()}


def _find_sources(session: Session, urls: set[str]) -> dict[str, set[int]]:
    """Return the IDs of the sources that published each article, by URL."""
    sources_by_url: dict[str, set[int]] = {}
    listed = sorted(urls)
    for begin in range(0, len(listed), _URLS_A_QUERY):
        part = listed[begin : begin + _URLS_A_QUERY]
        for url, source_id in session.execute(select(Article.url, Article.source_id).where(Article.url.in_(part))):
            sources_by_url.setdefault(url, set()).add(source_id)
    return sources_by_url


def _list_draft_stories(session: Session, source: Source) -> list[tuple[str, str]]:
    """Return the stories in upcoming editions that a source leads or is listed under."""
    query = (
        select(Edition.name, EditionStory.title, EditionStory.members)
        .join(Edition, Edition.id == EditionStory.edition_id)
        .where(Edition.state.in_(COMING_STATES), EditionStory.section.is_not(None))
        .order_by(Edition.release_at, EditionStory.section, EditionStory.position)
    )
    stories = [(name, title, members) for name, title, members in session.execute(query)]
    sources = _find_sources(session, {url for _, _, members in stories for url in members})
    return [
        (name, title) for name, title, members in stories if any(source.id in sources.get(url, ()) for url in members)
    ]
