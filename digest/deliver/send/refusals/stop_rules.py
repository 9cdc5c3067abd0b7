"""What pauses a send until somebody has looked: complaints, dead addresses, policy refusals, a list that changed much.

Counts decide on small lists, shares on large ones: three complaints out of 200 readers are too many, and out of
20,000 they are not. Gmail reports no single complaints, so none counted does not mean none made.

The same rules hold for each receiving domain. One that triggers a rule is set aside, and the others go on.
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
from digest.deliver.send.claims.progress import read_progress
from digest.deliver.send.refusals.failure_attribution import FailureAttribution, find_domains_at_fault
from digest.settings import AlertSettings
from digest.store.audit import record_audit
from digest.store.delivery_models import STOP_RULE_EVENTS, Delivery, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.loggers import get_logger

SET_ASIDE = "domain set aside"  # what its audit row is called
MAX_COUNTED_DOMAINS = 10_000  # of a run; the large ones come first

log = get_logger("sending")


@dataclass(frozen=True, slots=True)
class FailureCounts:
    """How many deliveries of an edition failed, by kind of failure."""

    complaints: int = 0
    dead_addresses: int = 0  # there is no such mailbox, or probably not
    policy_refusals: int = 0  # for our reputation or our authentication

    def __add__(self, other: "FailureCounts") -> "FailureCounts":
        """Add the failures of another domain."""
        return FailureCounts(
            self.complaints + other.complaints,
            self.dead_addresses + other.dead_addresses,
            self.policy_refusals + other.policy_refusals,
        )

    def __int__(self) -> int:
        """Return how many they are."""
        return self.complaints + self.dead_addresses + self.policy_refusals


@dataclass(slots=True)
class HandedOverCounts:
    """How many messages of an edition left, at least: in all, and by the tag of the domain."""

    total: int = 0
    by_domain: Counter[str | None] = field(default_factory=Counter)

    def add_message(self, tag: str | None) -> None:
        """Count a message that left."""
        self.total += 1
        if tag in self.by_domain or len(self.by_domain) < MAX_COUNTED_DOMAINS:
            self.by_domain[tag] += 1


def count_failures(session: Session, purpose: str, since: datetime) -> FailureCounts:
    """Count the failures of a purpose's deliveries that were reported since a moment."""
    return sum_failures(count_failures_by_domain(session, purpose, since).values())


def sum_failures(counts: Iterable[FailureCounts]) -> FailureCounts:
    """Add up the failures of domains."""
    return reduce(add, counts, FailureCounts())


def count_failures_by_domain(session: Session, purpose: str, since: datetime) -> dict[str | None, FailureCounts]:
    """Count the failures of a purpose's deliveries that were reported since a moment, by the tag of the domain.

    Refusals that blame the message count against its variant (`message_suspicion`).
    """
    # Not a join: SQLite would begin it at all deliveries of the purpose, every few seconds of a send.
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
    """Return which domains to set aside, and why to pause an edition, for what failed since it was last resumed.

    `handed_over` is what left so far, at least. It's counted exactly, and corrected, only if that can matter.
    """
    since = edition.resumed_at or edition.planned_at
    if since is None:
        return FailureAttribution()
    purpose = make_edition_delivery_purpose(edition.name)
    domains = set_aside_domains.read_set_aside_domains(edition.set_aside)
    if domains:  # their groups may have been looked up since
        groups = load_domain_group_tags(session, domains)
        domains = {groups[tag]: domain for tag, domain in domains.items()}
    # What someone decided on, or saw when they resumed, counts no longer.
    at_fault = {tag: one.reason for tag, one in domains.items() if one.at > since and not one.decision}
    failures = {
        tag: counts
        for tag, counts in count_failures_by_domain(session, purpose, since).items()
        if tag not in domains or tag in at_fault
    }
    explain = partial(choose_pause_reason, alerts=alerts)

    def decide() -> FailureAttribution:
        return find_domains_at_fault(failures, handed_over.by_domain, handed_over.total, explain, at_fault)

    # Of fewer messages, failures are a larger share.
    if decide() == FailureAttribution(at_fault):
        return FailureAttribution()
    _count_exactly(session, purpose, failures, handed_over)
    found = decide()
    new = {tag: why for tag, why in found.domains.items() if tag not in domains}
    if new and not found.pause_reason and not _others_get_it(session, purpose, found.domains, handed_over):
        return FailureAttribution(pause_reason=next(iter(new.values())))
    return FailureAttribution(new, found.pause_reason)


def _count_exactly(session: Session, purpose: str, tags: Iterable[str | None], handed_over: HandedOverCounts) -> None:
    """Raise the counts to what all processes handed over, of these domains and in all."""
    tag = select_domain_group_tag(Delivery.domain_tag)
    left = (Delivery.purpose == purpose, Delivery.state.in_(HANDED_OVER_STATES))
    counted = select(tag.label("tag"), func.count().label("many")).group_by("tag")
    counted = counted.where(*left, tag.in_([tag for tag in tags if tag]))
    handed_over.by_domain |= Counter({row.tag: row.many for row in session.execute(counted)})
    handed_over.total = max(handed_over.total, count_deliveries(session, purpose).handed_over)


def _others_get_it(session: Session, purpose: str, tags: Mapping[str, str], handed_over: HandedOverCounts) -> bool:
    """Return whether the edition goes to other domains too: else there's nothing to go on with."""
    if handed_over.total > sum(handed_over.by_domain[tag] for tag in tags):
        return True
    tag = func.coalesce(select_domain_group_tag(Delivery.domain_tag), "")
    waiting = (Delivery.purpose == purpose, IS_WAITING, tag.not_in(tags))
    return session.scalar(select(Delivery.id).where(*waiting).limit(1)) is not None


def pause_and_log(database: Database, edition: str, reason: str, *, now: datetime) -> None:
    """Pause an edition and say so in the log and the audit log, unless it is paused already, or over."""
    with suppress(edition_control.EditionControlError), database.write() as session:
        if edition_control.pause_automatically(session, edition, reason, now=now):
            log.error("sending paused", edition=edition, why=reason)


def apply_stop(database: Database, edition: str, stop: FailureAttribution, *, now: datetime) -> None:
    """Set domains aside, and pause the edition if several are at fault; the log and the audit log say so."""
    if stop.domains:
        with database.write() as session:
            for tag in set_aside_domains.set_domains_aside(session, edition, stop.domains, now=now):
                detail = {"domain": tag, "because": stop.domains[tag]}
                record_audit(session, SET_ASIDE, edition, detail, actor=edition_control.AUTOMATIC_ACTOR, now=now)
                log.error("domain set aside", edition=edition, domain=tag, why=stop.domains[tag])
    if stop.pause_reason:
        pause_and_log(database, edition, stop.pause_reason, now=now)


def apply_stop_rules(database: Database, alerts: AlertSettings, *, now: datetime) -> None:
    """Stop whatever is being sent and failed too often, also while no run is at it: the rest waits for the canary."""
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
    """Return what had left when it was last counted: a large list isn't counted again for every failure."""
    stored = installation_hold.read_installation_state(session, _counts_key(edition)) or {}
    progress = read_progress(session, edition)
    total = max(stored.get("total", 0), progress.attempted if progress else 0)
    return HandedOverCounts(total, Counter(stored.get("by_domain", {})))


def _keep_counts(database: Database, edition: str, counts: HandedOverCounts, now: datetime) -> None:
    by_domain = {tag: many for tag, many in counts.by_domain.items() if tag}
    stored = {"total": counts.total, "by_domain": by_domain}
    with database.write() as session:
        installation_hold.write_installation_state(session, _counts_key(edition), stored, now=now)


def _counts_key(edition: str) -> str:
    return f"handed over {edition}"


@dataclass(frozen=True, slots=True)
class StopRuleLevel:
    """The level of one stop rule: it triggers once `count` reaches both its number and its share of what was handed over."""

    name: str  # policy refusals | complaints | dead addresses
    count: int
    handed_over: int
    triggered_at: int
    triggered_at_share: float

    @property
    def is_triggered(self) -> bool:
        """Whether it triggers."""
        return self.count >= self.triggered_at and self.count >= self.triggered_at_share * self.handed_over


def measure_stop_rule_levels(
    failures: FailureCounts, handed_over: int, alerts: AlertSettings
) -> tuple[StopRuleLevel, ...]:
    """Return the level of each stop rule, the one first that says most about what is wrong."""
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
    """Return in a sentence why a send should stop for so many failures; empty where it need not."""
    triggered = next(
        (reading for reading in measure_stop_rule_levels(failures, handed_over, alerts) if reading.is_triggered), None
    )
    if triggered is None:
        return ""
    many = f"{triggered.count:,} of {handed_over:,}"
    return {
        "policy refusals": f"mailbox providers refused {many} emails by policy (DKIM, SPF, DMARC, reputation). "
        "Run 'digest doctor' and check their replies.",
        "complaints": f"{many} subscribers reported the email as spam. There may be more, because Gmail doesn't report complaints.",
        "dead addresses": f"{many} addresses don't exist. Check where the list comes from.",
    }[triggered.name]


def describe_list_change(planned_before: int | None, planned: int, alerts: AlertSettings) -> str:
    """Return a sentence if the list changed too much since the edition before; empty where it did not."""
    if planned_before is None or not alerts.list_drift:
        return ""
    change = abs(planned - planned_before)
    if change < alerts.list_drift_people or change <= alerts.list_drift * planned_before:
        return ""
    word = "grew" if planned > planned_before else "shrank"
    return (
        f"the list {word} from {planned_before:,} to {planned:,} subscribers since the previous edition. Is that right?"
    )
