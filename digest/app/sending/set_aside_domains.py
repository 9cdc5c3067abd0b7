"""Receiving domains and variants that stop rules set aside, and decisions to send or drop their emails."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from digest.app.editions.edition_status import resolve_edition_name
from digest.deliver.compose.variant_limit import VariantKey
from digest.deliver.control import set_aside_domains
from digest.deliver.control.set_aside_domains import DomainNotSetAsideError, SetAsideDecision, SetAsideDomain
from digest.deliver.plan.delivery_plan import IS_WAITING, is_delivery_of_edition
from digest.deliver.plan.domain_groups import select_domain_group_tag
from digest.deliver.send.refusals.refused_deliveries import map_tags_to_domain_names
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery
from digest.store.models import Edition

DECIDE = {
    SetAsideDecision.SEND: Action("domain sent"),
    SetAsideDecision.DROP: Action("domain dropped"),
}
ALL = "all"


@dataclass(frozen=True, slots=True)
class DomainAwaitingDecision:
    """A domain or variant that's waiting for a decision.

    The name of a domain is empty unless it's known without subscribers' addresses.
    """

    tag: str
    name: str
    waiting: int
    reason: str
    at: datetime

    @property
    def label(self) -> str:
        """The name, or else the first eight characters of the tag."""
        return self.name or self.tag[:8]


def list_domains_awaiting_in_session(
    installation: Installation, session: Session, edition: Edition
) -> tuple[DomainAwaitingDecision, ...]:
    """Return an edition's domains and variants that are waiting for a decision.

    They're in the order in which they were set aside.
    """
    undecided = set_aside_domains.list_undecided_domains(edition)
    if not undecided:
        return ()
    names = map_tags_to_domain_names(installation.keys, installation.settings.file.limits.domains_per_hour)
    counts: Counter[str] = Counter()
    columns = (select_domain_group_tag(Delivery.domain_tag).label("group"), Delivery.domain_tag.label("own"))
    waiting = select(*columns, func.count().label("many")).where(is_delivery_of_edition(edition.name), IS_WAITING)
    for row in session.execute(waiting.group_by("group", "own")):
        # The group of a domain may have been looked up in the meantime.
        counts.update({row.group: row.many} | {row.own: row.many})

    def describe(one: SetAsideDomain) -> DomainAwaitingDecision:
        if one.variant_text is None:
            name, waiting = names.get(one.tag, ""), counts[one.tag]
        else:
            name, waiting = VariantKey.from_text(one.variant_text).name, _count_waiting(session, edition.name, one)
        return DomainAwaitingDecision(one.tag, name, waiting, one.reason, one.at)

    return tuple(map(describe, undecided))


def _count_waiting(session: Session, name: str, variant: SetAsideDomain) -> int:
    """Return the number of a variant's waiting deliveries.

    Deliveries that a run parked before they had a variant are included.
    """
    is_variant = or_(Delivery.variant == variant.variant_text, Delivery.next_try_at == variant.parked_at)
    return session.scalar(select(func.count()).where(is_delivery_of_edition(name), IS_WAITING, is_variant)) or 0


def list_domains_awaiting_decision(installation: Installation, name: str) -> tuple[DomainAwaitingDecision, ...]:
    """Return an edition's domains and variants that are waiting for a decision.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    with installation.database.snapshot() as session:
        return list_domains_awaiting_in_session(installation, session, find_edition(session, name))


def find_domains_awaiting_decision(
    listed: Sequence[DomainAwaitingDecision], labels: Collection[str]
) -> list[DomainAwaitingDecision]:
    """Return the domains and variants that have these labels; `all` selects all of them.

    Raises:
        DomainNotSetAsideError: a label matches no domain or variant.
    """
    if ALL in labels and listed:
        return list(listed)
    by_label = {domain.label: domain for domain in listed}
    if not by_label.keys() >= set(labels):
        raise DomainNotSetAsideError(
            f"{next(iter(set(labels) - by_label.keys()))} isn't set aside.",
            "To list the domains that are, run the command without options.",
        )
    return [by_label[label] for label in dict.fromkeys(labels)]


def decide_set_aside_domains(
    installation: Installation,
    name: str,
    tags: Collection[str],
    decision: SetAsideDecision,
    *,
    actor: Actor,
    now: datetime,
) -> None:
    """Decide whether emails set aside for domains are sent despite the stop rules or dropped.

    The send loop carries out the decision.

    Raises:
        UnknownEditionError: there's no such edition.
        DomainNotSetAsideError: one of `tags` isn't waiting for a decision.
    """
    name = resolve_edition_name(installation, name)
    with DECIDE[decision].transaction(installation, actor, name, now=now) as (session, audit):
        decided = set_aside_domains.store_domain_decision(session, name, tags, decision, now=now)
        audit.detail = {"domains": [domain.tag for domain in decided]}
