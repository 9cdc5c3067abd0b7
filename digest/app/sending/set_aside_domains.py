"""Receiving domains that a stop rule set aside: how many emails wait, and an admin's or editor's decision to send or drop them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.editions.edition_status import edition_name
from digest.deliver.control import set_aside
from digest.deliver.control.set_aside import AsideDecision, UnknownAsideDomainError
from digest.deliver.plan.delivery_plan import IS_WAITING, is_of_edition
from digest.deliver.plan.domain_groups import group_tag_of
from digest.deliver.send.refusals.refused_deliveries import name_known_domains
from digest.edition.queries import find_edition
from digest.installation.acts import Action, Actor, Role
from digest.installation.opened import Installation
from digest.settings.concerns import Concern
from digest.store.delivery_models import Delivery
from digest.store.models import Edition

DECIDE = {
    AsideDecision.SEND: Action("domain sent", Role.EDITOR, Concern.NONE),
    AsideDecision.DROP: Action("domain dropped", Role.ADMIN, Concern.NONE),
}
ALL = "all"


@dataclass(frozen=True, slots=True)
class DomainAside:
    """A domain that waits for a decision. `domain` is empty unless the name is known without any subscriber's address."""

    tag: str
    domain: str
    waiting: int
    reason: str
    at: datetime

    @property
    def label(self) -> str:
        """The name, or the beginning of the tag."""
        return self.domain or self.tag[:8]


def read_domains_aside(installation: Installation, session: Session, edition: Edition) -> tuple[DomainAside, ...]:
    """Read the domains of an edition that wait for a decision, the first to be set aside first."""
    undecided = set_aside.list_undecided(edition)
    if not undecided:
        return ()
    names = name_known_domains(installation.keys, installation.settings.file.limits.domains_per_hour)
    counts: Counter[str] = Counter()
    columns = (group_tag_of(Delivery.domain_tag).label("group"), Delivery.domain_tag.label("own"))
    waiting = select(*columns, func.count().label("many")).where(is_of_edition(edition.name), IS_WAITING)
    for row in session.execute(waiting.group_by("group", "own")):
        counts.update({row.group: row.many} | {row.own: row.many})  # its group may have been looked up since
    named = ((one, names.get(one.tag, "")) for one in undecided)
    return tuple(DomainAside(one.tag, name, counts[one.tag], one.reason, one.at) for one, name in named)


def list_domains_aside(installation: Installation, name: str) -> tuple[DomainAside, ...]:
    """List the domains of an edition that wait for a decision.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    with installation.database.snapshot() as session:
        return read_domains_aside(installation, session, find_edition(session, name))


def find_domains_aside(listed: Sequence[DomainAside], labels: Collection[str]) -> list[DomainAside]:
    """Find domains by their labels, names or beginnings of tags; `all` is every one.

    Raises:
        UnknownAsideDomainError: one of the labels is none of them.
    """
    if ALL in labels and listed:
        return list(listed)
    by_label = {domain.label: domain for domain in listed}
    if not by_label.keys() >= set(labels):
        raise UnknownAsideDomainError(
            f"{next(iter(set(labels) - by_label.keys()))} isn't set aside.",
            "Run the command without an option to list those that are.",
        )
    return [by_label[label] for label in dict.fromkeys(labels)]


def decide_domains(
    installation: Installation,
    name: str,
    tags: Collection[str],
    decision: AsideDecision,
    *,
    actor: Actor,
    now: datetime,
) -> None:
    """Send the emails to domains that were set aside regardless of their stop rules, or drop them; the send loop does it.

    Raises:
        UnknownEditionError: there's no such edition.
        UnknownAsideDomainError: one of them doesn't wait for a decision.
    """
    name = edition_name(installation, name)
    with DECIDE[decision].transaction(installation, actor, name, now=now) as (session, audit):
        decided = set_aside.decide_domains(session, name, tags, decision, now=now)
        audit.detail = {"domains": [domain.tag for domain in decided]}
