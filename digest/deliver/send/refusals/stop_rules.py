"""The stop rules that pause sending: complaints, dead addresses, policy refusals, and large changes in the list.

Counts are decisive for small lists, and shares for large ones: three complaints are too many from
200 subscribers, but not from 20,000. Gmail doesn't report individual complaints, so a count of zero
doesn't mean that there were none.

The same rules apply to each recipient domain. A domain that triggers a rule is set aside, and
sending to the others continues.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial, reduce
from operator import add
from typing import Any

from sqlalchemy import distinct, func, select, text
from sqlalchemy.orm import Session

from digest.deliver.control import edition_control, installation_hold, set_aside_domains
from digest.deliver.events.delivery_event import ABOUT_MESSAGE, EventKind
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import (
    HANDED_OVER_STATES,
    IS_WAITING,
    count_deliveries,
    make_edition_delivery_purpose,
)
from digest.deliver.plan.domain_groups import load_domain_group_tags, select_domain_group_tag
from digest.deliver.send.claims.send_progress import read_progress
from digest.deliver.send.refusals.failure_attribution import FailureAttribution, find_domains_at_fault
from digest.settings import AlertSettings
from digest.store.audit import record_audit
from digest.store.delivery_models import STOP_RULE_EVENTS, Delivery, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.loggers import get_logger

SET_ASIDE = "domain set aside"  # the action in its audit entry
MAX_COUNTED_DOMAINS = 10_000  # in a run

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class FailureCounts:
    """The numbers of an edition's failed deliveries, by kind of failure."""

    complaints: int = 0
    dead_addresses: int = 0  # the mailbox doesn't exist, or probably doesn't
    policy_refusals: int = 0  # because of our reputation or authentication

    def __add__(self, other: "FailureCounts") -> "FailureCounts":
        """Return the sum of these failures and another domain's."""
        return FailureCounts(
            self.complaints + other.complaints,
            self.dead_addresses + other.dead_addresses,
            self.policy_refusals + other.policy_refusals,
        )

    def __int__(self) -> int:
        """Return the number of failures."""
        return self.complaints + self.dead_addresses + self.policy_refusals


@dataclass(slots=True)
class HandedOverCounts:
    """Lower bounds on the number of an edition's sent messages, in total and by domain tag."""

    total: int = 0
    by_domain: Counter[str | None] = field(default_factory=Counter)

    def add_message(self, tag: str | None) -> None:
        """Count a message as sent."""
        self.total += 1
        if tag in self.by_domain or len(self.by_domain) < MAX_COUNTED_DOMAINS:
            self.by_domain[tag] += 1


def count_failures(session: Session, purpose: str, since: datetime) -> FailureCounts:
    """Return the numbers of failures of a purpose's deliveries reported after `since`, by kind."""
    return sum_failures(count_failures_by_domain_group(session, purpose, since).values())


def sum_failures(counts: Iterable[FailureCounts]) -> FailureCounts:
    """Return the sum of several domains' failures."""
    return reduce(add, counts, FailureCounts())


def count_failures_by_domain_group(session: Session, purpose: str, since: datetime) -> dict[str | None, FailureCounts]:
    """Return the failures of a purpose's deliveries reported after `since`, by domain tag.

    Refusals that blame the message count against its variant (`message_suspicion`).
    """
    # Not a join, for which SQLite would read all deliveries of the purpose every few seconds during sending.
    tag = (
        select(select_domain_group_tag(Delivery.domain_tag))
        .where(Delivery.id == StoredDeliveryEvent.delivery)
        .scalar_subquery()
    )
    own = select(Delivery.id).where(Delivery.id == StoredDeliveryEvent.delivery, Delivery.purpose == purpose).exists()
    is_of_domain = func.coalesce(StoredDeliveryEvent.detail["about"].as_string(), "") != ABOUT_MESSAGE
    events = select(
        StoredDeliveryEvent.kind, StoredDeliveryEvent.cause, StoredDeliveryEvent.delivery, tag.label("tag")
    ).where(text(STOP_RULE_EVENTS), StoredDeliveryEvent.received_at > since, own, is_of_domain)
    failed = events.subquery()
    columns = (failed.c.tag, failed.c.kind, failed.c.cause)
    counts: dict[str | None, FailureCounts] = {}
    for row in session.execute(
        select(*columns, func.count(distinct(failed.c.delivery)).label("many")).group_by(*columns)
    ):
        counts[row.tag] = counts.get(row.tag, FailureCounts()) + _count_kind(row)
    return counts


def _count_kind(row: Any) -> FailureCounts:
    if row.kind == EventKind.COMPLAINED:
        return FailureCounts(complaints=row.many)
    return (
        FailureCounts(policy_refusals=row.many)
        if row.cause == FailureCause.POLICY
        else FailureCounts(dead_addresses=row.many)
    )


def find_stop(
    session: Session, edition: Edition, alerts: AlertSettings, handed_over: HandedOverCounts
) -> FailureAttribution:
    """Return which domains to set aside, and the reason to pause an edition, if any.

    The decision is based on the failures since it was last resumed. `handed_over` is the minimum
    sent so far. It's replaced by an exact count only if that could change the decision.
    """
    since = edition.resumed_at or edition.planned_at
    if since is None:
        return FailureAttribution()
    purpose = make_edition_delivery_purpose(edition.name)
    domains = set_aside_domains.read_set_aside_domains(edition.set_aside)
    if domains:  # their groups may have been looked up in the meantime
        groups = load_domain_group_tags(session, domains)
        domains = {groups[tag]: domain for tag, domain in domains.items()}
    # Exclude the domains that someone has decided about, or saw when they resumed the edition.
    at_fault = {tag: domain.reason for tag, domain in domains.items() if domain.at > since and not domain.decision}
    failures = {
        tag: counts
        for tag, counts in count_failures_by_domain_group(session, purpose, since).items()
        if tag not in domains or tag in at_fault
    }
    explain = partial(choose_pause_reason, alerts=alerts)

    def decide() -> FailureAttribution:
        return find_domains_at_fault(failures, handed_over.by_domain, handed_over.total, explain, at_fault)

    # The minimum overstates the share of failures, so if nothing is triggered here, exact counts
    # aren't needed.
    if decide() == FailureAttribution(at_fault):
        return FailureAttribution()
    _count_exactly(session, purpose, failures, handed_over)
    attribution = decide()
    new = {tag: why for tag, why in attribution.domains.items() if tag not in domains}
    if new and not attribution.pause_reason and not _others_get_it(session, purpose, attribution.domains, handed_over):
        return FailureAttribution(pause_reason=next(iter(new.values())))
    return FailureAttribution(new, attribution.pause_reason)


def _count_exactly(
    session: Session,
    purpose: str,
    tags: Iterable[str | None],
    handed_over: HandedOverCounts,
) -> None:
    """Raise the counts, both in total and for these domains, to the number of messages handed over by all processes."""
    tag = select_domain_group_tag(Delivery.domain_tag)
    handed_over_deliveries = (Delivery.purpose == purpose, Delivery.state.in_(HANDED_OVER_STATES))
    counted = select(tag.label("tag"), func.count().label("many")).group_by("tag")
    counted = counted.where(*handed_over_deliveries, tag.in_([tag for tag in tags if tag]))
    handed_over.by_domain |= Counter({row.tag: row.many for row in session.execute(counted)})
    handed_over.total = max(handed_over.total, count_deliveries(session, purpose).handed_over)


def _others_get_it(
    session: Session,
    purpose: str,
    tags: Mapping[str, str],
    handed_over: HandedOverCounts,
) -> bool:
    """Return True if the edition also goes to other domains.

    If it doesn't, setting these domains aside would end it.
    """
    if handed_over.total > sum(handed_over.by_domain[tag] for tag in tags):
        return True
    tag = func.coalesce(select_domain_group_tag(Delivery.domain_tag), "")
    waiting = (Delivery.purpose == purpose, IS_WAITING, tag.not_in(tags))
    return session.scalar(select(Delivery.id).where(*waiting).limit(1)) is not None


def pause_and_log(database: Database, edition: str, reason: str, *, now: datetime) -> None:
    """Pause an edition, adding log and audit entries, unless it's already paused or finished."""
    with suppress(edition_control.EditionControlError), database.write() as session:
        if edition_control.pause_automatically(session, edition, reason, now=now):
            log.error("sending paused", edition=edition, why=reason)


def apply_stop(database: Database, edition: str, stop: FailureAttribution, *, now: datetime) -> None:
    """Set domains aside, and pause the edition if several are at fault, adding log and audit entries."""
    if stop.domains:
        with database.write() as session:
            for tag in set_aside_domains.set_domains_aside(session, edition, stop.domains, now=now):
                detail = {"domain": tag, "because": stop.domains[tag]}
                record_audit(session, SET_ASIDE, edition, detail, actor=edition_control.AUTOMATIC_ACTOR, now=now)
                log.error("domain set aside", edition=edition, domain=tag, why=stop.domains[tag])
    if stop.pause_reason:
        pause_and_log(database, edition, stop.pause_reason, now=now)


def apply_stop_rules(database: Database, alerts: AlertSettings, *, now: datetime) -> None:
    """Apply the stop rules to all editions being sent, even those without a run, such as after the canary."""
    sending = select(Edition).where(Edition.state == EditionState.SENDING, Edition.paused_at.is_(None))
    with database.read() as session:
        editions = list(session.scalars(sending))
    for edition in editions:
        with database.read() as session:
            counted_before = _read_counts(session, edition.name)
            handed_over = replace(counted_before, by_domain=counted_before.by_domain.copy())
            stop = find_stop(session, edition, alerts, handed_over)
        if handed_over != counted_before:
            _keep_counts(database, edition.name, handed_over, now)
        apply_stop(database, edition.name, stop, now=now)


def _read_counts(session: Session, edition: str) -> HandedOverCounts:
    """Return the counts from the previous check, so that a large list isn't recounted after every failure."""
    stored = installation_hold.read_installation_value(session, _counts_key(edition)) or {}
    progress = read_progress(session, edition)
    total = max(stored.get("total", 0), progress.attempted if progress else 0)
    return HandedOverCounts(total, Counter(stored.get("by_domain", {})))


def _keep_counts(database: Database, edition: str, counts: HandedOverCounts, now: datetime) -> None:
    by_domain = {tag: many for tag, many in counts.by_domain.items() if tag}
    stored = {"total": counts.total, "by_domain": by_domain}
    with database.write() as session:
        installation_hold.write_installation_value(session, _counts_key(edition), stored, now=now)


def _counts_key(edition: str) -> str:
    return f"handed over {edition}"


@dataclass(frozen=True, slots=True)
class StopRuleLevel:
    """The level of a stop rule, which is triggered once `count` reaches both a number and a share of messages."""

    name: str  # policy refusals | complaints | dead addresses
    count: int
    handed_over: int
    triggered_at: int
    triggered_at_share: float

    @property
    def is_triggered(self) -> bool:
        """True if the rule is triggered."""
        return self.count >= self.triggered_at and self.count >= self.triggered_at_share * self.handed_over


def measure_stop_rule_levels(
    failures: FailureCounts, handed_over: int, alerts: AlertSettings
) -> tuple[StopRuleLevel, ...]:
    """Return the level of each stop rule, most informative first."""
    return (
        StopRuleLevel(
            "policy refusals",
            failures.policy_refusals,
            handed_over,
            alerts.policy_refusals,
            alerts.policy_refusals_share,
        ),
        StopRuleLevel("complaints", failures.complaints, handed_over, alerts.complaints, alerts.complaints_share),
        StopRuleLevel(
            "dead addresses", failures.dead_addresses, handed_over, alerts.hard_bounces, alerts.hard_bounces_share
        ),
    )


def choose_pause_reason(failures: FailureCounts, handed_over: int, alerts: AlertSettings) -> str:
    """Return a sentence explaining why failures should pause sending, or "" if they shouldn't."""
    triggered = next(
        (reading for reading in measure_stop_rule_levels(failures, handed_over, alerts) if reading.is_triggered), None
    )
    if triggered is None:
        return ""
    many = f"{triggered.count:,} of {handed_over:,}"
    return {
        "policy refusals": f"mailbox providers refused {many} emails by policy (DKIM, SPF, DMARC, reputation). "
        "Run 'digest doctor' and check the providers' replies.",
        "complaints": f"{many} subscribers reported the email as spam. There may be more, because Gmail doesn't report complaints.",
        "dead addresses": f"{many} addresses don't exist. Check where the list comes from.",
    }[triggered.name]


def describe_list_change(planned_before: int | None, planned: int, alerts: AlertSettings) -> str:
    """Return a sentence saying that the list changed too much since the previous edition, or "" if it didn't."""
    if planned_before is None or not alerts.list_drift:
        return ""
    change = abs(planned - planned_before)
    if change < alerts.list_drift_people or change <= alerts.list_drift * planned_before:
        return ""
    word = "grew" if planned > planned_before else "shrank"
    return (
        f"the list {word} from {planned_before:,} to {planned:,} subscribers since the previous edition. Is that right?"
    )
