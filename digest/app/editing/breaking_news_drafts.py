"""Drafts of breaking news: extra editions with the stories that an editor chose, in the chosen order.

Each story is added by an edit. That makes the editor an author of the edition, so someone else has
to approve it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from digest.app.editing.editing_state import EditRefusedError
from digest.app.editing.story_fetch import fetch_article, parse_story_url
from digest.collect.fetch.result import ContentFetcher
from digest.collect.texts.urls import canonical_url
from digest.edition.calendar.edition_windows import name_edition
from digest.edition.drafting.candidates import build_candidate
from digest.edition.drafting.composition import (
    ComposedEdition,
    compose_edition,
    replace_story_rows,
    save_edition_content,
)
from digest.edition.drafting.content_builder import BREAKING_NEWS_SPAN, EditionIdentity
from digest.edition.drafting.drafts import replace_fragments
from digest.edition.editing.edit_log import append_edit, store_proposal
from digest.edition.editing.edit_values import describe_added_article
from digest.edition.editing.edits import Edit, EditKind
from digest.edition.editing.stored_proposal import ProposalWithLateStories, pack_proposal
from digest.edition.edition_queries import COMING_STATES, IS_REGULAR
from digest.edition.kinds import SECTION_KINDS
from digest.installation.audited_actions import Action, Actor, PendingAuditEntry
from digest.installation.opened_installation import Installation
from digest.select.selection_types import CandidateArticle, Proposal
from digest.settings import NEWS_SECTION, SectionSettings, Settings
from digest.store.models import BREAKING_NEWS_NUMBER, Article, Edition, EditionStory, Source

DRAFT_BREAKING_NEWS = Action("breaking news drafted")
MAX_STORIES = 10
MAX_SUGGESTIONS = 20
PRESSING_FOR = timedelta(days=1)  # since it was drafted
_PROPOSAL = ProposalWithLateStories(Proposal(), is_breaking_news=True)


def list_suggested_articles(installation: Installation, *, now: datetime) -> Sequence[CandidateArticle]:
    """Return up to 20 articles of the last day from sources in the news section, newest first.

    Withdrawn and superseded articles are left out.
    """
    readable = (Article.withdrawn_at.is_(None), Article.superseded == "", Source.section == NEWS_SECTION)
    recent = (
        select(Article, Source).join(Source).where(Article.dated_at > now - BREAKING_NEWS_SPAN, Article.dated_at <= now)
    )
    newest = recent.where(*readable).order_by(Article.dated_at.desc(), Article.id).limit(MAX_SUGGESTIONS)
    with installation.read() as session:
        candidates = [build_candidate(*row) for row in session.execute(newest)]
    return list({candidate.url: candidate for candidate in candidates}.values())


def list_coming_breaking_news(installation: Installation) -> Sequence[Edition]:
    """Return the extra editions that are drafted or approved but not sent, newest first."""
    coming = select(Edition).where(~IS_REGULAR, Edition.state.in_(COMING_STATES))
    with installation.read() as session:
        return session.scalars(coming.order_by(Edition.release_at.desc())).all()


def list_pressing_breaking_news(installation: Installation, *, now: datetime) -> Sequence[Edition]:
    """Return the extra editions drafted within the last day that no one has chosen to send yet."""
    coming = list_coming_breaking_news(installation)
    return [each for each in coming if each.send_requested_at is None and now - each.drafted_at < PRESSING_FOR]


def draft_breaking_news(
    installation: Installation,
    story_urls: Sequence[str],
    *,
    actor: Actor,
    now: datetime,
    fetcher: ContentFetcher | None = None,
) -> str:
    """Draft an extra edition with the stories at these URLs, and return its name.

    If an unsent extra edition has exactly these stories, return its name instead, because a form
    may be submitted twice and two editors may have the same idea. Articles that weren't collected
    are fetched. `fetcher` replaces the network.

    Raises:
        EditRefusedError: there are no stories or too many, or one can't be read.
    """
    with DRAFT_BREAKING_NEWS.steps(installation, actor, "breaking news", now=now) as audit:
        urls = list(dict.fromkeys(map(parse_story_url, story_urls)))
        if not 1 <= len(urls) <= MAX_STORIES:
            raise EditRefusedError(
                f"Breaking news has 1 to {MAX_STORIES} stories, not {len(urls)}.", "Choose the stories that can't wait."
            )
        # Different URLs may lead to the same article.
        described = (_describe_article(installation, url, now, fetcher) for url in urls)
        articles = {article["url"]: article for article in described}
        edits = _add_articles(articles.values(), installation.settings, actor, now)
        try:
            return _store_once(installation, edits, audit, now)
        except IntegrityError:  # on PostgreSQL, someone else took the name at the same time
            return _store_once(installation, edits, audit, now)


def _store_once(installation: Installation, edits: Sequence[Edit], audit: PendingAuditEntry, now: datetime) -> str:
    with installation.write() as session:
        if name := _find_same_draft(session, {edit.target for edit in edits}):
            audit.subject, audit.changed = name, False
            return name
        edition = _store_edition(session, installation.settings, edits, now)
        audit.subject, audit.detail = edition.name, {"stories": len(edits)}
        audit.record(session)
        return edition.name


def _find_same_draft(session: Session, urls: set[str]) -> str:
    """Return the name of unsent breaking news that has exactly these stories, or an empty string."""
    placed = select(EditionStory.url).where(EditionStory.section.is_not(None))
    coming = select(Edition.id, Edition.name).where(~IS_REGULAR, Edition.state.in_(COMING_STATES))
    for edition_id, name in session.execute(coming.order_by(Edition.id)).all():
        if set(session.scalars(placed.where(EditionStory.edition_id == edition_id))) == urls:
            return name
    return ""


def _describe_article(
    installation: Installation, url: str, now: datetime, fetcher: ContentFetcher | None
) -> dict[str, object]:
    canonical = canonical_url(url)
    query = select(Article, Source).join(Source).where(Article.url == canonical)
    best_first = query.order_by(Source.own.desc(), Source.primary.desc(), Source.weight.desc(), Article.id)
    with installation.read() as session:
        row = session.execute(best_first.limit(1)).first()
        candidate = build_candidate(*row) if row else None
    if candidate is None:
        return fetch_article(installation, url, now=now, fetcher=fetcher)
    if candidate.withdrawn:
        raise EditRefusedError(f"Visitors can't read this page: {url}.", "Choose a public page.")
    return {"url": canonical, **describe_added_article(candidate)}


def _add_articles(
    articles: Iterable[dict[str, object]], settings: Settings, actor: Actor, now: datetime
) -> tuple[Edit, ...]:
    section = _choose_section(settings)
    edits: list[Edit] = []
    for article in articles:
        url, described = str(article["url"]), {name: article[name] for name in article if name != "url"}
        value = {"article": described, "section": section, "topic": ""}
        edits.append(Edit(len(edits) + 1, now, actor.name, EditKind.ADD, url, value))
    return tuple(edits)


def _choose_section(settings: Settings) -> str:
    """Return the key of the section that leads an edition.

    If no section leads, return the first one that stories can be placed in by hand.
    """

    def order_key(section: SectionSettings) -> tuple[bool, bool]:
        kind = SECTION_KINDS[section.kind]
        return not kind.leads_edition, not kind.is_placed_by_hand

    return min(settings.file.sections, key=order_key).key


def _store_edition(session: Session, settings: Settings, edits: Sequence[Edit], now: datetime) -> Edition:
    release_at = now.replace(microsecond=0)
    zone = settings.zone
    names = {*session.scalars(select(Edition.name)), name_edition(release_at, zone, ())}
    identity = EditionIdentity(name_edition(release_at, zone, names), BREAKING_NEWS_NUMBER, release_at)
    composed = compose_edition(_PROPOSAL, edits, identity, settings)
    edition = _make_edition(identity, composed, now)
    session.add(edition)
    session.flush()
    store_proposal(session, edition, pack_proposal(_PROPOSAL))
    for edit in edits:
        append_edit(session, edition, edit)
    replace_story_rows(session, edition, composed.arrangement)
    replace_fragments(session, edition, composed.fragments)
    return edition


def _make_edition(identity: EditionIdentity, composed: ComposedEdition, now: datetime) -> Edition:
    """Return a new row for an extra edition.

    It covers no period and has no slot in the calendar.
    """
    edition = Edition(name=identity.name, number=identity.number, slot=f"extra {identity.name}")
    edition.release_at = edition.opens_at = edition.cut_off = identity.release_at
    edition.drafted_at = now
    save_edition_content(edition, composed)
    return edition
