"""Actions that collect articles and draft editions, and functions that read and render editions.

collect → draft → check → approve (`digest.app.approval.edition_approval`) → send
(`digest.app.sending.send_control`).

Each step can safely be repeated.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import select

from digest.app.editions.sample_emails import fill_sample_placeholders
from digest.collect.articles.storage import find_withdrawn_links
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher
from digest.collect.sources.readership import ReadershipImportResult, import_readership
from digest.collect.visits import collection_run
from digest.deliver.compose.variant_limit import (
    VariantKey,
    choose_variants_within_limit,
    count_merged_subscribers,
    find_nearest_variant,
)
from digest.deliver.compose.variants import compose_sample_message, count_variant_subscribers, create_variants
from digest.edition.approval import approved_versions as approval
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.fragment_names import are_omitted
from digest.edition.content.mailable_edition import FragmentKind
from digest.edition.drafting import drafts as drafting
from digest.edition.editing.edit_log import load_edits
from digest.edition.edition_queries import DRAFT_ACT, UNAPPROVED_STATES, find_edition
from digest.edition.rendering import mail_layout
from digest.edition.rendering.template_filters import intro_opening
from digest.installation.audited_actions import Action, ActionEntryPoint, Actor
from digest.installation.opened_installation import Installation
from digest.select.selection_types import ScoredStory, Story
from digest.select.summary_choice import choose_summary
from digest.store.models import Edition
from subscribers.part_keys import split_part_key

COLLECT = Action("collected")
DRAFT = Action(DRAFT_ACT)


@dataclass(frozen=True, slots=True)
class EmailVariantCounts:
    """The number of current subscribers for each email variant, the most common variant first.

    `fuller` is the number of subscribers who get a fuller variant than they chose, because the
    number of variants is limited.
    """

    subscribers: tuple[tuple[VariantKey, int], ...]
    fuller: int


def count_subscribers_by_email_variant(installation: Installation, name: str) -> EmailVariantCounts:
    """Count the current subscribers by the variant of an edition that they'd get.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        mailable = approval.read_mailable_edition(session, edition, installation.settings)
        variants = create_variants(mailable, installation.settings)
        subscribers_by_variant = count_variant_subscribers(session, variants)
    chosen_variants = choose_variants_within_limit(subscribers_by_variant)
    subscribers: Counter[VariantKey] = Counter()
    for key, count in subscribers_by_variant.items():
        subscribers[find_nearest_variant(key, chosen_variants, variants.words)] += count
    fuller = count_merged_subscribers(subscribers_by_variant, chosen_variants)
    return EmailVariantCounts(tuple(subscribers.most_common()), fuller)


def list_edition_part_titles(content: EditionContent) -> dict[str, str]:
    """Return the titles of an edition's sections and topics, by key.

    See `subscribers.part_keys` for the keys.
    """
    return mail_layout.list_edition_part_titles(content)


def are_all_parts_omitted(parts: Collection[str], omitted: Collection[str]) -> bool:
    """Return True if an edition has no parts left when these keys are omitted."""
    sections_with_topics = {section for section, topic in map(split_part_key, parts) if topic}
    return are_omitted(set(parts) - sections_with_topics, omitted, parts)


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """The reports of a collection, one for each source and each readership file."""

    sources: tuple[collection_run.SourceReport, ...]
    readership: tuple[ReadershipImportResult, ...]


def collect_articles(
    installation: Installation,
    *,
    actor: Actor,
    now: datetime,
    fetcher: ContentFetcher | None = None,
    only: Sequence[str] | None = None,
    files: Sequence[Path] = (),
    force: bool = False,
    since: datetime | None = None,
    stopping: threading.Event | None = None,
    progress: Callable[[int, int, collection_run.SourceReport | None], None] = lambda *_: None,
) -> CollectionResult:
    """Visit the sources that are due, or those named in `only`, then import readership.

    Readership isn't imported if only some sources are visited. Scheduled collections leave no audit
    row, because they run every few minutes and their slots record the outcome.

    Args:
        installation: the installation whose sources are visited.
        actor: the person or job that collects.
        now: the current time.
        fetcher: a replacement for the network.
        only: names or URLs of the sources to visit; None means all, or none if `files` are given.
        files: files and folders to read in addition.
        force: also visit sources that aren't due or are gone, and fetch everything again.
        since: sources visited since this time aren't due.
        stopping: once this is set, no more visits begin.
        progress: called with the number of sources done, their total, and the last source's report.

    Raises:
        UnknownSourceError: an entry of `only` matches no source's name or URL.
    """
    database, settings = installation.database, installation.settings
    with (
        COLLECT.steps(installation, actor, "sources", now=now) as audit,
        open_fetcher(settings, fetcher) as active_fetcher,
    ):
        reports = collection_run.collect_sources(
            database,
            active_fetcher,
            settings,
            now=now,
            only=only,
            files=files,
            force=force,
            since=since,
            stopping=stopping,
            progress=progress,
        )
        is_full_run = only is None and not files and not (stopping and stopping.is_set())
        imports = import_readership(database, active_fetcher, settings, now=now) if is_full_run else []
        audit.changed = actor.face is not ActionEntryPoint.TIMETABLE
        audit.detail = {"sources": len(reports), "new": sum(report.new for report in reports)}
    return CollectionResult(tuple(reports), tuple(imports))


def visit_remaining_sources(
    installation: Installation, *, now: datetime, since: datetime, stopping: threading.Event
) -> list[collection_run.SourceReport]:
    """Join a scheduled collection that another process began at `since`.

    Visit the sources that it hasn't reached yet, and return their reports.
    """
    database, settings = installation.database, installation.settings
    if not collection_run.has_unclaimed_visits(database, settings, now=now, since=since):
        return []
    with open_fetcher(settings) as fetcher:
        return collection_run.join_collection_run(database, fetcher, settings, now=now, since=since, stopping=stopping)


def draft_next_edition(
    installation: Installation, *, actor: Actor, now: datetime, fetcher: ContentFetcher | None = None
) -> drafting.DraftResult:
    """Draft the edition of the next release.

    An unedited draft is replaced. A draft with edits is kept, and new stories are added to its
    tray. `fetcher` replaces the network.

    Raises:
        DraftError: the edition is approved, being sent, or sent.
    """
    database, settings = installation.database, installation.settings
    with (
        DRAFT.steps(installation, actor, "next edition", now=now) as audit,
        open_fetcher(settings, fetcher) as active_fetcher,
    ):
        draft = drafting.prepare_draft(database, active_fetcher, settings, now=now)
        while True:
            try:
                with database.write() as session:
                    result = drafting.store_draft(session, draft, now=now)
                    audit.subject, audit.detail = result.name, {"articles": result.article_count}
                    audit.record(session)
            except drafting.DraftEditedMeanwhileError:  # an editor's changes take precedence
                draft = drafting.renew_draft(database, draft, settings, now=now)
            else:
                return result


def redraft_without_withdrawn_articles(
    installation: Installation, *, actor: Actor, now: datetime, fetcher: ContentFetcher | None = None
) -> str:
    """Draft the upcoming edition again if it has no edits but links to articles that visitors can't read.

    Return the edition's name, or an empty string if it wasn't drafted again. `fetcher` replaces the
    network.

    Raises:
        DraftError: the edition was approved in the meantime.
    """
    with installation.read() as session:
        coming = select(Edition).where(Edition.state.in_(UNAPPROVED_STATES), Edition.release_at > now)
        edition = session.scalars(coming.order_by(Edition.release_at).limit(1)).one_or_none()
        if edition is None or load_edits(session, edition):
            return ""
        if not find_withdrawn_links(session, EditionContent.from_json(edition.content).linked_articles):
            return ""
    return draft_next_edition(installation, actor=actor, now=now, fetcher=fetcher).name


def describe_story_origin(scored: ScoredStory) -> Iterator[str]:
    """Yield lines that list a story's publishers and the places that it's about."""
    lead_publisher, publishers = scored.lead.publisher, scored.story.publishers
    others = sorted(publishers - {lead_publisher})
    yield lead_publisher + (f"; also {', '.join(others)}" if others else "")
    if places := [*scored.places.states, *scored.places.countries]:
        yield f"about {', '.join(places)}"


def explain_summary_source(story: Story) -> str:
    """Return a description of where a story's default summary comes from."""
    origin = choose_summary(story).origin
    return origin.words if origin else "none of the story's articles has a summary"


def find_shortened_intro(content: EditionContent) -> str:
    """Return the part of an intro that the email shows, or an empty string if it shows the whole intro."""
    opening = intro_opening(content.intro)
    return "" if opening == content.intro.strip() else opening


EditionFormat = Literal["html", "text", "eml", "json", "web"]


def read_preheader(installation: Installation, name: str, omit: Iterable[str]) -> str:
    """Return the preheader that an edition's email has when some of its parts are omitted.

    `omit` has the keys of the sections and topics to leave out.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        return approval.read_mailable_edition(session, edition, installation.settings).find_preheader(frozenset(omit))


def render_edition_bytes(
    installation: Installation,
    edition: Edition,
    output_format: EditionFormat,
    *,
    omit: Iterable[str] = (),
    short: bool = False,
) -> bytes:
    """Return an edition as an email (html, text, eml), as the archive's page (web), or as data (json).

    `omit` has the keys of sections that a subscriber left out. The html and text are then the same
    bytes as in that subscriber's email, except for placeholders. With `short`, they're those of the
    short edition, if there is one.
    """
    with installation.read() as session:
        mailable = approval.read_mailable_edition(session, edition, installation.settings)
        if output_format == "eml":
            return compose_sample_message(mailable, edition, installation.settings)
        if output_format == "json":
            return (json.dumps(edition.content, indent=2, ensure_ascii=False) + "\n").encode()
        kind: FragmentKind = output_format
        if short and any(p.kind == "short" for p in mailable.pieces):
            kind = "short" if output_format == "html" else "short-text" if output_format == "text" else kind
        return fill_sample_placeholders(mailable.join(kind, frozenset(omit)), installation.settings).encode()
