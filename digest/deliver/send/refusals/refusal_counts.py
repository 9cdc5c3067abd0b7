"""Which receivers refused an edition, and why: by the tag of the receiving domain, never by address."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import IS_REFUSED, is_of_edition
from digest.deliver.plan.domain_groups import MAIL_OPERATORS
from digest.store.delivery_models import Delivery, Event
from subscribers.address import Address
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import domain_tag
from subscribers.signup.mailboxes import LARGE_PROVIDERS

_SAID_WHY = and_(Event.delivery == Delivery.id, Event.cause != FailureCause.NONE)


@dataclass(frozen=True, slots=True)
class DomainRefusals:
    """How many messages one receiving domain refused, and what it mostly said: the cause, and one of its replies.

    `domain` is empty where the tag is none of a domain that we know without any reader's address.
    """

    tag: str
    domain: str
    count: int
    cause: FailureCause
    reply: str


def count_refusals_by_domain(
    session: Session, edition: str, domain_names: Mapping[str, str]
) -> tuple[DomainRefusals, ...]:
    """Count what was refused of an edition by receiving domain, the most first. `domain_names` are names by tag."""
    refused = (is_of_edition(edition), IS_REFUSED)
    totals = (
        select(Delivery.domain_tag, func.count().label("many"), func.min(Delivery.reply).label("reply"))
        .where(*refused)
        .group_by(Delivery.domain_tag)
    )
    causes = (
        select(Delivery.domain_tag, Event.cause, func.count(Delivery.id.distinct()).label("many"))
        .join(Event, _SAID_WHY)
        .where(*refused)
        .group_by(Delivery.domain_tag, Event.cause)
    )
    by_frequency = sorted(session.execute(causes), key=lambda row: (row.many, row.cause))
    mostly = {row.domain_tag: row.cause for row in by_frequency}
    rows = sorted(session.execute(totals), key=lambda row: (-row.many, row.domain_tag or ""))
    return tuple(
        DomainRefusals(
            tag=row.domain_tag or "",
            domain=domain_names.get(row.domain_tag or "", ""),
            count=row.many,
            cause=FailureCause(mostly.get(row.domain_tag, "")),
            reply=row.reply,
        )
        for row in rows
    )


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """How many messages of one receiving domain were refused for one cause, as the last event says it, or with one answer."""

    tag: str
    cause: FailureCause
    reply: str
    count: int


def group_refusals(session: Session, edition: str) -> list[RefusalGroup]:
    """Group what was refused of an edition, each message once, in one pass over them."""
    causes = select(Event.cause).where(_SAID_WHY).order_by(Event.id.desc())
    last_cause = func.coalesce(causes.limit(1).scalar_subquery(), "")
    refused = (
        select(Delivery.domain_tag, Delivery.reply, last_cause.label("cause"))
        .where(is_of_edition(edition), IS_REFUSED)
        .subquery()
    )
    columns = (refused.c.domain_tag, refused.c.cause, refused.c.reply)
    rows = session.execute(select(*columns, func.count().label("many")).group_by(*columns))
    return [RefusalGroup(row.domain_tag or "", FailureCause(row.cause), row.reply, row.many) for row in rows]


def name_known_domains(keys: KeyRing, further_domains: Iterable[str]) -> dict[str, str]:
    """Name, by their tags, the domains that are known without any reader's address: the large providers, and others."""
    domains = (*LARGE_PROVIDERS, *MAIL_OPERATORS.split(), *further_domains)
    return {domain_tag(keys, Address("x", domain)): domain for domain in domains}
