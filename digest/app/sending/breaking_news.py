"""Breaking news on its way out: who gets an extra edition, what's in its way, and someone's word to send it now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.plan.canary import MAX_BREAKING_NEWS_WAIT, compute_canary_size
from digest.deliver.providers import registry
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings.affected_areas import AffectedArea
from digest.store.models import Edition, EditionState
from subscribers.consent.breaking_news import BreakingNewsAudience, count_breaking_news_audience
from subscribers.errors import RefusalError
from subscribers.phrases import end_sentence

SEND_NOW = Action("send now", Role.EDITOR, AffectedArea.NONE)
MAX_APPROVAL_AGE = timedelta(days=1)  # after which approved news isn't breaking


class SendNowError(RefusalError):
    """Breaking news can't be sent now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SendNowView:
    """An extra edition before it's sent, with its audience and what's in its way: why, and what to do. Without either, it can be sent.

    `canary` is how many emails are sent first and watched for `canary_minutes`; 0 if all are sent at once.
    """

    edition: Edition
    audience: BreakingNewsAudience
    canary: int
    canary_minutes: int
    obstacle: tuple[str, str] | None


def view_send_now(installation: Installation, name: str, *, now: datetime) -> SendNowView:
    """Read an extra edition as the page shows it that asks whether to send it.

    Raises:
        UnknownEditionError: there is none of that name.
    """
    settings = installation.settings
    today = now.astimezone(settings.file.publication.zone).date()
    with installation.read() as session:
        edition = find_edition(session, name)
        audience = count_breaking_news_audience(session, today)
        obstacle = _find_obstacle(session, edition, audience.recipients, now)
    planned = audience.recipients + audience.not_chosen + audience.paused
    minutes = min(settings.file.alerts.canary_minutes, MAX_BREAKING_NEWS_WAIT // timedelta(minutes=1))
    is_watched = bool(minutes) and not registry.writes_files(settings)
    canary = min(compute_canary_size(planned), audience.recipients) if is_watched else 0
    return SendNowView(edition, audience, canary, minutes, obstacle)


def send_now(installation: Installation, name: str, *, actor: Actor, now: datetime) -> None:
    """Let the scheduler send approved breaking news now, once its last check is done; a second time changes nothing.

    Raises:
        UnknownEditionError: there is none of that name.
        SendNowError: it isn't breaking news, isn't approved, or is paused; all sending is; or it's for no one.
    """
    today = now.astimezone(installation.settings.file.publication.zone).date()
    with SEND_NOW.transaction(installation, actor, name, now=now) as (session, audit):
        edition = find_edition(session, name, lock=True)
        if edition.state == EditionState.SENDING or edition.send_requested_at is not None:
            audit.changed = False
            return
        recipients = count_breaking_news_audience(session, today).recipients
        if obstacle := _find_obstacle(session, edition, recipients, now):
            raise SendNowError(*obstacle)
        edition.send_requested_at = now
        audit.detail = {"recipients": recipients}


def _find_obstacle(session: Session, edition: Edition, recipients: int, now: datetime) -> tuple[str, str] | None:
    """Find why an edition can't be sent now, and what to do; None if it can."""
    return next(_find_obstacles(session, edition, recipients, now), None)


def _find_obstacles(session: Session, edition: Edition, recipients: int, now: datetime) -> Iterator[tuple[str, str]]:
    title = edition.title
    if not edition.is_breaking_news:
        yield f"{title} is a regular edition.", "It's sent at its send time."
    if edition.state != EditionState.APPROVED:
        yield f"{title} is {edition.state.predicate}.", "It can be sent once it's approved."
    if edition.approved_at is None or now - edition.approved_at > MAX_APPROVAL_AGE:
        yield (
            f"{title} was approved more than a day ago.",
            "Check the news, then revoke the approval and approve it again.",
        )
    if hold := installation_hold.read_current_hold(session):
        yield str(hold), "Resume all sending first."
    if edition.paused_at is not None:
        reason = f": {end_sentence(edition.paused_because)}" if edition.paused_because else "."
        yield f"{title} is paused{reason}", "Resume sending first."
    if not recipients:
        yield "No subscribers get breaking news.", "They can choose it in their preferences."
