"""Preflight for editions: the facts that its rules check, and the message that some rules examine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.editions.sample_emails import fill_sample_placeholders
from digest.app.subscribers.subscriber_views import count_edition_recipients
from digest.collect.articles.storage import find_withdrawn_links
from digest.collect.documents.item_identity import is_front_page
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher
from digest.collect.texts.urls import is_example_site, site_name, usable_canonical_url
from digest.collect.visits.page_check import check_linked_pages
from digest.deliver.compose.variants import ComposeError, compose_sample_message
from digest.deliver.plan.delivery_plan import has_accepted_test
from digest.deliver.providers import registry
from digest.deliver.send.limits.rate_limiter import read_first_handover
from digest.deliver.send.limits.rate_limits import count_sending_days
from digest.edition.approval import approved_versions as approval
from digest.edition.content.edition_content import EditionContent, parse_sections
from digest.edition.content.edition_names import format_issue_heading
from digest.edition.content.mailable_edition import MAIL_KINDS, MailableEdition
from digest.edition.drafting.imported_editions import load_imported_editions
from digest.edition.editing.edit_log import load_edits
from digest.edition.editing.edits import Edit, find_hand_placed_urls, find_removed_urls
from digest.edition.edition_queries import COMING_STATES, find_edition, select_editions_before
from digest.edition.kinds import list_lead_sections
from digest.edition.preflight.rule_registry import (
    FindingLevel,
    ImageFacts,
    PreflightFinding,
    PreflightInput,
    PreviousEdition,
    SentStory,
    run_preflight_rules,
)
from digest.installation.opened_installation import Installation
from digest.select.selection_types import format_edition_name
from digest.store.models import Article, Edition, EditionStory, MediaFile, Source
from digest.template_markup import list_markup_mistakes
from digest.templating import find_template_mistakes

OWN_SITE_SECONDS = 20.0  # how long an approver waits; pages not checked by then are reported in a warning


def build_preflight_input(
    installation: Installation,
    session: Session,
    edition: Edition,
    *,
    mailable: MailableEdition | None = None,
    edits: Sequence[Edit] | None = None,
    now: datetime,
) -> PreflightInput:
    """Return the facts for preflight: the final bytes of a message, its images, and previous editions.

    If the caller already has them, `mailable` and `edits` are the results of
    `approved_versions.read_mailable_edition` and `load_edits`.
    """
    mailable = mailable or approval.read_mailable_edition(session, edition, installation.settings)
    content, zone = EditionContent.from_json(edition.content), installation.settings.zone
    sends_at, language = max(edition.release_at, now).astimezone(zone), installation.settings.subscriber_language
    templates = installation.settings.templates
    media = session.execute(select(MediaFile.hash, MediaFile.content_type, MediaFile.size))
    kinds = {piece.kind for piece in mailable.pieces}
    edits = load_edits(session, edition) if edits is None else edits
    sending_days, subscribers = _count_sending_days(installation, session, edition, now)
    return PreflightInput(
        message=compose_sample_message(mailable, edition, installation.settings),
        parts={kind: mailable.join(kind) for kind in MAIL_KINDS if kind in kinds},
        content=content,
        file=installation.settings.file,
        base=installation.settings.link_base,
        pictures={m.hash: ImageFacts(m.content_type, m.size) for m in media},
        sent_stories=_recently_sent_stories(session, edition, installation.settings.file.select.repeat_editions),
        previous_edition=_read_previous_edition(session, edition),
        chosen_urls=find_hand_placed_urls(edits),
        removed_headlines=_read_removed_headlines(session, edits),
        issue_heading=format_issue_heading(content.number, language),
        incomplete_reason=edition.held_because,
        template_mistakes=tuple(find_template_mistakes(templates)) if templates else (),
        markup_mistakes=tuple(list_markup_mistakes(templates)) if templates else (),
        send_day=language.weekday_date(sends_at) if edition.state in COMING_STATES else "",
        release_day=language.weekday_date(edition.release_at.astimezone(zone)),
        is_written_to_files=registry.is_outbox_in_use(installation.settings),
        withdrawn=find_withdrawn_links(session, content.linked_articles),
        sending_days=sending_days,
        subscribers=subscribers,
    )


def _count_sending_days(
    installation: Installation, session: Session, edition: Edition, now: datetime
) -> tuple[int, int]:
    """Return the number of days that sending an edition takes, and the number of its recipients.

    Return (1, 0) if no limit applies.
    """
    limits = installation.settings.file.limits
    if not (limits.warm_up or limits.send_per_hour) or edition.state not in COMING_STATES:
        return 1, 0
    subscribers = count_edition_recipients(installation, edition, now=now).recipients
    sends_at = max(edition.release_at, now)
    return count_sending_days(limits, subscribers, read_first_handover(session, now), sends_at), subscribers


def _read_removed_headlines(session: Session, edits: Sequence[Edit]) -> tuple[str, ...]:
    """Return the headlines of removed stories, as published."""
    removed = find_removed_urls(edits)
    query = select(Article.title).where(Article.url.in_(removed)).order_by(Article.id)
    return tuple(session.scalars(query)) if removed else ()


def _read_previous_edition(session: Session, edition: Edition) -> PreviousEdition | None:
    query = select_editions_before(edition.release_at).order_by(Edition.release_at.desc()).limit(1)
    before = session.scalars(query).one_or_none()
    if before is None:
        return None
    # Only these fields are read, because old content may not be valid by today's rules.
    leading = next(iter(list_lead_sections(parse_sections(before.content))), None)
    # The table of contents begins with the story after the lead.
    first = next((entry.headline for entry in (*leading.entries[1:], *leading.entries)), "") if leading else ""
    return PreviousEdition(before.number, str(before.content.get("intro", "")), first)


def _recently_sent_stories(session: Session, edition: Edition, edition_count: int) -> tuple[SentStory, ...]:
    recent = select_editions_before(edition.release_at).order_by(Edition.release_at.desc()).limit(edition_count)
    columns = recent.with_only_columns(Edition.id, Edition.name, Edition.number)
    rows = session.execute(columns).all()
    called = {row.id: format_edition_name(row.name, row.number) for row in rows}
    placed = select(EditionStory.edition_id, EditionStory.url).where(EditionStory.section.is_not(None))
    of_recent = placed.where(EditionStory.edition_id.in_(called))
    stories = session.execute(of_recent.order_by(EditionStory.id))
    order = list(called)
    sent = [
        SentStory(called[story.edition_id], story.url)
        for story in sorted(stories, key=lambda story: order.index(story.edition_id))
    ]
    past = load_imported_editions(session, edition.release_at, max(0, edition_count - len(called)))
    for before in past:
        name = format_edition_name(before.name, before.number)
        sent += [SentStory(name, story.url) for story in before.stories]
    return tuple(sent)


def check_edition(
    installation: Installation,
    name: str,
    *,
    online: bool = False,
    own_site: bool = False,
    fetcher: ContentFetcher | None = None,
    now: datetime,
) -> tuple[PreflightFinding, ...]:
    """Run preflight on the final bytes of an edition, and return its findings.

    With `own_site`, links to the publication's own site are checked, and with `online`, all links
    are. `fetcher` replaces the network.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        facts = build_preflight_input(installation, session, find_edition(session, name), now=now)
        own_links = _list_own_links(installation, session, facts) if own_site else []
    if not online and not own_links:
        return run_preflight_rules(facts)
    workers = installation.settings.file.limits.fetch_workers
    with open_fetcher(installation.settings, fetcher) as active_fetcher:
        own_pages = check_linked_pages(active_fetcher, own_links, workers=workers, seconds=OWN_SITE_SECONDS)
        facts = replace(facts, own_pages=own_pages, fetcher=active_fetcher if online else None)
        return run_preflight_rules(facts)


def _list_own_links(installation: Installation, session: Session, facts: PreflightInput) -> list[str]:
    """Return the links to pages of the publication's own site and sources.

    Links to front pages and to our own pages are left out.
    """
    file = installation.settings.file
    own_urls = [source.url for source in file.sources if source.own]
    sites = set(map(site_name, [file.publication.site, *own_urls]))
    urls = {link: usable_canonical_url(link) for link in filter(_is_web_link, facts.links)}
    # The publication's site may be on the same host as our own pages.
    linked = select(Article.url).where(Article.url.in_(urls.values()))
    own = set(session.scalars(linked.join(Source).where(Source.own)))
    pages = {link for link in urls if _is_page(link, sites, facts.base)}
    return [link for link in urls if urls[link] in own or link in pages]


def _is_web_link(link: str) -> bool:
    return link.startswith(("https://", "http://")) and not is_example_site(link)


def _is_page(link: str, sites: set[str], base: str) -> bool:
    return site_name(link) in sites and not is_front_page(link) and not link.startswith(f"{base}/")


@dataclass(frozen=True, slots=True)
class CheckedEditionEmail:
    """An edition's preflight findings, and its message's HTML as a made-up subscriber would get it."""

    findings: tuple[PreflightFinding, ...]
    html: str


@dataclass(frozen=True, slots=True)
class ReviewedEditionEmail(CheckedEditionEmail):
    """A checked email of an edition, with the content hash and plain text that approvers see.

    `is_tested` is True if a test email of this version was sent.
    """

    content_hash: str
    text: str
    is_tested: bool


def check_edition_email(
    installation: Installation, edition: Edition, *, edits: Sequence[Edit] | None = None, now: datetime
) -> CheckedEditionEmail:
    """Render an edition's message and run preflight on it.

    If the caller has already loaded them, `edits` are the edition's edits.
    """
    with installation.read() as session:
        mailable = approval.read_mailable_edition(session, edition, installation.settings)
        return CheckedEditionEmail(
            _find_faults(installation, session, edition, mailable, edits, now),
            fill_sample_placeholders(mailable.join("html"), installation.settings),
        )


def render_and_check_edition_email(installation: Installation, name: str, *, now: datetime) -> ReviewedEditionEmail:
    """Render an edition's message for review and run preflight on it.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    settings = installation.settings
    with installation.read() as session:
        edition = find_edition(session, name)
        mailable, content_hash = approval.read_edition_with_hash(session, edition, settings)
        return ReviewedEditionEmail(
            findings=_find_faults(installation, session, edition, mailable, None, now),
            html=fill_sample_placeholders(mailable.join("html"), settings),
            content_hash=content_hash,
            text=fill_sample_placeholders(mailable.join("text"), settings),
            is_tested=has_accepted_test(session, edition.name, content_hash),
        )


def _find_faults(
    installation: Installation,
    session: Session,
    edition: Edition,
    mailable: MailableEdition,
    edits: Sequence[Edit] | None,
    now: datetime,
) -> tuple[PreflightFinding, ...]:
    try:
        return run_preflight_rules(
            build_preflight_input(installation, session, edition, mailable=mailable, edits=edits, now=now)
        )
    except ComposeError as exc:  # there's too little content for a message, so no rule could run
        return (PreflightFinding("message", FindingLevel.ERROR, exc.message, exc.remedy),)
