"""The view of an edition that's being sent: its progress, stop rules, refusals, and actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.approval import final_check
from digest.app.approval.edition_approval import APPROVE, REVOKE_APPROVAL
from digest.app.editions.count_cache import CountCache
from digest.app.editions.edition_views import SendStartCondition, find_send_start_condition
from digest.app.sending import automatic_pause_emails, breaking_news, refusal_actions, uncertain_delivery_actions
from digest.app.sending import send_control as sending
from digest.app.sending.set_aside_domains import DECIDE, DomainAwaitingDecision, list_domains_awaiting_in_session
from digest.app.subscribers.subscriber_views import count_edition_recipients
from digest.deliver.control import installation_hold
from digest.deliver.control.installation_hold import InstallationHold
from digest.deliver.control.set_aside_domains import PARKED_FROM
from digest.deliver.plan import canary
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.plan.planning import RecipientCounts
from digest.deliver.send.claims.send_progress import SendProgress, read_progress
from digest.deliver.send.refusals.refused_deliveries import RefusalGroup, group_refusals, merge_refusals
from digest.deliver.send.refusals.stop_rules import SET_ASIDE, StopRuleLevel, count_failures, measure_stop_rule_levels
from digest.edition.edition_queries import find_edition
from digest.installation import sending_pause
from digest.installation.audited_actions import Actor, Role
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import AuditEntry, Edition

MAX_LISTED_ACTIONS = 20  # only the newest ones are listed

_EDITION_ACTIONS = (
    APPROVE,
    REVOKE_APPROVAL,
    breaking_news.SEND_NOW,
    sending.SEND,
    sending.PAUSE,
    sending.RESUME,
    sending.CANCEL,
    final_check.LOOK,
    refusal_actions.ACKNOWLEDGE,
    refusal_actions.SEND_AGAIN,
)
_SHOWN_ACTIONS = frozenset(
    {
        automatic_pause_emails.PAUSE_EMAILED,
        SET_ASIDE,
        *(action.name for action in DECIDE.values()),
        *(
            a.name
            for a in (
                *_EDITION_ACTIONS,
                uncertain_delivery_actions.RESOLVE_BY_LOG,
                *uncertain_delivery_actions.RESOLVE.values(),
            )
        ),
    }
)
_HOLD_ACTIONS = frozenset(act.name for act in (sending_pause.HOLD, sending_pause.RELEASE))


@dataclass(frozen=True, slots=True)
class CanaryCounts:
    """The recipients who get the edition first.

    `size` is their number, `by_state` has counts of their deliveries, and the other deliveries wait
    until `wait_until`.
    """

    size: int
    by_state: Mapping[DeliveryState, int]
    wait_until: datetime | None


@dataclass(frozen=True, slots=True)
class SendingView:
    """An edition that's being sent, or was sent, as of `counted_at`.

    `due_later` is the number of deliveries that are due at a later hour. `failures_count_from` is
    the time since when failures count against the edition, or None before anything was planned.
    `refusals` are grouped by domain and reason. `domain_names` maps domain tags to the names that
    the actor may see.
    """

    counted_at: datetime
    edition: Edition
    recipients: RecipientCounts
    counts: DeliveryCounts
    due_later: int
    next_due_at: datetime | None
    progress: SendProgress | None
    canary: CanaryCounts
    stop_rules: tuple[StopRuleLevel, ...]
    failures_count_from: datetime | None
    refusals: tuple[RefusalGroup, ...]
    domain_names: Mapping[str, str]
    aside: tuple[DomainAwaitingDecision, ...]
    hold: InstallationHold | None
    send_start_condition: SendStartCondition
    acts: tuple[AuditEntry, ...]


def view_sending(
    installation: Installation, name: str, actor: Actor, *, recent: CountCache | None = None, now: datetime
) -> SendingView:
    """Return the view of an edition that's being sent.

    It comes from a single snapshot, which may be a few seconds old for a large edition. Only admins
    see the names of small providers.

    Raises:
        UnknownEditionError: no edition has this name.
    """
    for_admin = actor.holds(Role.ADMIN)

    def read_view(session: Session, edition: Edition) -> SendingView:
        return _read_view(installation, session, edition, now, for_admin=for_admin)

    if recent is not None:
        counted_name = "sending, for admins" if for_admin else "sending"
        return recent.get_or_count(installation, counted_name, name, read_view, now=now)
    with installation.database.snapshot() as session:
        return read_view(session, find_edition(session, name))


def _read_view(
    installation: Installation, session: Session, edition: Edition, now: datetime, *, for_admin: bool
) -> SendingView:
    file = installation.settings.file
    purpose = make_edition_delivery_purpose(edition.name)
    counts = count_deliveries(session, purpose)
    since = edition.resumed_at or edition.planned_at
    failures = count_failures(session, purpose, since) if since else None
    due_later, next_due_at = _count_due_later(session, purpose, now)
    refusals = merge_refusals(group_refusals(session, edition.name))
    return SendingView(
        counted_at=now,
        edition=edition,
        recipients=count_edition_recipients(installation, edition, now=now),
        counts=counts,
        due_later=due_later,
        next_due_at=next_due_at,
        progress=read_progress(session, edition.name),
        canary=CanaryCounts(
            edition.canary or 0, canary.count_canary_deliveries(session, edition.name), edition.canary_until
        ),
        stop_rules=measure_stop_rule_levels(failures, counts.handed_over, file.alerts) if failures else (),
        failures_count_from=since,
        refusals=tuple(refusals),
        domain_names=refusal_actions.map_provider_names(
            installation, session, edition.name, refusals, for_admin=for_admin
        ),
        aside=list_domains_awaiting_in_session(installation, session, edition),
        hold=installation_hold.read_current_hold(session),
        send_start_condition=find_send_start_condition(session, now),
        acts=_find_actions(session, edition),
    )


def _count_due_later(session: Session, purpose: str, now: datetime) -> tuple[int, datetime | None]:
    """Return the number of deliveries that wait for their subscriber's hour or a retry.

    The second value is the earliest time at which one of them is due.
    """
    waiting = (Delivery.purpose == purpose, Delivery.state == DeliveryState.WAITING)
    later = (*waiting, Delivery.next_try_at > now, Delivery.next_try_at < PARKED_FROM)
    counted = select(func.count(), func.min(Delivery.next_try_at)).where(*later)
    row = session.execute(counted).one()
    return row[0], row[1]


def _find_actions(session: Session, edition: Edition) -> tuple[AuditEntry, ...]:
    """Return the newest actions on an edition and, while it's being sent, on the whole installation.

    The newest action comes first.
    """
    own = (AuditEntry.subject == edition.name) & AuditEntry.act.in_(_SHOWN_ACTIONS)
    began_at = edition.planned_at or edition.drafted_at
    of_all = AuditEntry.subject == sending_pause.INSTALLATION
    everything = of_all & AuditEntry.act.in_(_HOLD_ACTIONS) & (AuditEntry.at >= began_at)
    if edition.sent_at is not None:
        everything &= AuditEntry.at <= edition.sent_at
    # There are two queries, each in the order of the index by subject, because PostgreSQL would
    # scan the whole log for a combined one.
    newest_first = (AuditEntry.at.desc(), AuditEntry.id.desc())
    newest = select(AuditEntry).order_by(*newest_first).limit(MAX_LISTED_ACTIONS)
    actions = [act for condition in (own, everything) for act in session.scalars(newest.where(condition))]
    actions.sort(key=lambda act: (act.at, act.id), reverse=True)
    return tuple(actions[:MAX_LISTED_ACTIONS])
