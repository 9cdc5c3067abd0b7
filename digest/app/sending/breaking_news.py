"""Sending breaking news: its audience, the obstacles to sending it, and the decision to send it now."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.plan.canary import MAX_BREAKING_NEWS_WAIT, compute_canary_size
from digest.deliver.plan.delivery_plan import (
    count_breaking_news_recipients,
    count_deliveries,
    make_edition_delivery_purpose,
)
from digest.deliver.providers import registry
from digest.edition.approval.approved_versions import find_valid_approval
from digest.edition.edition_queries import (
    COMING_STATES,
    IS_REGULAR,
    PUBLIC_STATES,
    explain_missed_release,
    find_edition,
)
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.models import Edition, EditionState, EditionStory
from subscribers.consent.breaking_news import BreakingNewsAudience
from subscribers.english_text import end_sentence
from subscribers.errors import ApplicationError

SEND_NOW = Action("send now")


class SendNowError(ApplicationError):
    """Raised if breaking news can't be sent now.

    The message says why and what to do.
    """


@dataclass(frozen=True, slots=True)
class SendNowView:
    """An extra edition before it's sent, with its audience.

    `canary` is the number of emails that are sent first and monitored for `canary_minutes`, or 0 if
    all are sent at once. `checks_links` is True if the final check comes first. `obstacle` is the
    reason that the edition can't be sent and what to do, or None.
    """

    edition: Edition
    audience: BreakingNewsAudience
    canary: int
    canary_minutes: int
    checks_links: bool
    obstacle: tuple[str, str] | None


def view_send_now(installation: Installation, name: str, *, now: datetime) -> SendNowView:
    """Return the data for the page that asks whether to send an extra edition.

    Raises:
        UnknownEditionError: no edition has this name.
    """
    # Loaded late, because commands that send editions don't need it.
    from digest.app.subscribers.subscriber_views import count_edition_recipients

    settings = installation.settings
    with installation.read() as session:
        edition = find_edition(session, name)
        counts = count_edition_recipients(installation, edition, now=now)
        audience = BreakingNewsAudience(counts.recipients, not_chosen=counts.skipped, paused=counts.paused)
        obstacle = _find_obstacle(session, edition, settings, audience.recipients, now)
    planned = audience.recipients + audience.paused
    minutes = min(settings.file.alerts.canary_minutes, MAX_BREAKING_NEWS_WAIT // timedelta(minutes=1))
    is_watched = bool(minutes) and not registry.is_outbox_in_use(settings)
    canary = min(compute_canary_size(planned), audience.recipients) if is_watched else 0
    checks_links = bool(settings.file.schedule.final_check_minutes)
    return SendNowView(edition, audience, canary, minutes, checks_links, obstacle)


def request_send_now(
    installation: Installation, name: str, *, actor: Actor, now: datetime, content_hash: str | None = None
) -> None:
    """Ask the scheduler to send approved breaking news after its final check. Idempotent.

    `content_hash` is the hash of the version that the actor saw, if known.

    Raises:
        UnknownEditionError: no edition has this name.
        SendNowError: the edition isn't breaking news, isn't approved, is paused, has no recipients,
            or repeats stories already sent; all sending is paused; or another version was approved
            since.
    """
    settings = installation.settings
    with SEND_NOW.transaction(installation, actor, name, now=now) as (session, audit):
        # Lock all unsent extra editions, so that no one can decide to send another one with the
        # same stories at the same time.
        coming = select(Edition).where(~IS_REGULAR, Edition.state.in_(COMING_STATES))
        session.scalars(coming.order_by(Edition.id).with_for_update()).all()
        edition = find_edition(session, name)
        if edition.send_requested_at is not None:
            audit.changed = False
            return
        recipients = count_breaking_news_recipients(session, settings, now).recipients
        if obstacle := _find_obstacle(session, edition, settings, recipients, now):
            raise SendNowError(*obstacle)
        approval = find_valid_approval(session, edition)
        if approval and content_hash not in {None, approval.content_hash}:
            raise SendNowError(
                "Another version was approved since you opened this page.", "Check the new version before you send it."
            )
        edition.send_requested_at = now
        audit.detail = {"recipients": recipients}


def _find_obstacle(
    session: Session, edition: Edition, settings: Settings, recipients: int, now: datetime
) -> tuple[str, str] | None:
    """Return the reason that an edition can't be sent now and what to do, or None if it can."""
    return next(_find_obstacles(session, edition, settings, recipients, now), None)


def _find_obstacles(
    session: Session, edition: Edition, settings: Settings, recipients: int, now: datetime
) -> Iterator[tuple[str, str]]:
    title = edition.title
    if not edition.is_breaking_news:
        yield f"{title} is a regular edition.", "It's sent at its send time."
    if not settings.file.preferences.offers_breaking_news:
        yield "Breaking news is turned off.", "An admin can offer it under Settings → Preferences."
    if edition.state != EditionState.APPROVED:
        yield f"{title} is {edition.state.predicate}.", "It can be sent once it's approved."
    if explain_missed_release(edition, now):
        yield (
            f"{title} was approved more than a day ago.",
            "Check the news, then revoke the approval and approve it again.",
        )
    if earlier := _find_same_news(session, edition):
        yield (
            f"{earlier} had the same stories.",
            "To change what that edition said, correct it. To send this one, add what's new.",
        )
    if hold := installation_hold.read_current_hold(session):
        yield str(hold), "Resume all sending first."
    if edition.paused_at is not None:
        reason = f": {end_sentence(edition.paused_because)}" if edition.paused_because else "."
        yield f"{title} is paused{reason}", "Resume sending first."
    if not recipients:
        yield "No subscribers get breaking news.", "They can choose it in their preferences."


def _find_same_news(session: Session, edition: Edition) -> str:
    """Return the title of earlier breaking news that has all of this edition's stories.

    Breaking news counts if someone chose to send it, unless it was canceled before anyone got it.
    If there's none, return an empty string.
    """
    is_requested = (Edition.state == EditionState.APPROVED) & Edition.send_requested_at.is_not(None)
    is_sent = Edition.state.in_((*PUBLIC_STATES, EditionState.CANCELLED)) | is_requested
    query = select(EditionStory.url, Edition).join(Edition, Edition.id == EditionStory.edition_id)
    placed = query.where(~IS_REGULAR, EditionStory.section.is_not(None), is_sent | (Edition.id == edition.id))
    urls_by_edition: defaultdict[Edition, set[str]] = defaultdict(set)
    for url, other in session.execute(placed.order_by(Edition.id)):
        urls_by_edition[other].add(url)
    own = urls_by_edition.pop(edition, set())
    same = (other for other, urls in urls_by_edition.items() if own <= urls)
    return next((other.title for other in same if not _is_canceled_unsent(session, other)), "")


def _is_canceled_unsent(session: Session, edition: Edition) -> bool:
    counts = count_deliveries(session, make_edition_delivery_purpose(edition.name))
    return edition.state is EditionState.CANCELLED and not counts.handed_over
