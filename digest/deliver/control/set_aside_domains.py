"""Receiving domains and variants of an edition that a stop rule set aside: their deliveries wait until someone sends or drops them.

The edition's row lists them, so that a send's gate reads them with it. A delivery of such a domain waits at a moment of that
domain (`SetAsideDomain.parked_at`), centuries ahead, where no claim looks. A run parks what it meets, and brings it back page by
page once a person has decided.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import IS_WAITING, is_delivery_of_edition
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery
from digest.store.models import Edition, EditionState
from subscribers.errors import ApplicationError
from subscribers.store.database import MAX_TRANSACTION_ROWS

PARKED_FROM = datetime(9000, 1, 1, tzinfo=UTC)
_VARIANT_PREFIX = "variant:"


def make_variant_tag(variant_text: str) -> str:
    """Return the tag of a variant (`VariantKey.as_text`), by which it's set aside like a domain."""
    return _VARIANT_PREFIX + variant_text


class DomainNotSetAsideError(ApplicationError):
    """The domain isn't set aside, or someone has already decided."""


class SetAsideDecision(StrEnum):
    """What a person decided about a domain that was set aside."""

    NONE = ""
    SEND = "send"  # regardless of the domain's stop rules
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class SetAsideDomain:
    """A domain or variant that was set aside, by its tag. `returning` means that parked deliveries are yet to be brought back."""

    tag: str
    place: int  # among the edition's
    at: datetime
    reason: str
    decision: SetAsideDecision = SetAsideDecision.NONE
    returning: bool = False

    @property
    def variant_text(self) -> str | None:
        """The variant, as deliveries store it; None if it's a domain."""
        return self.tag.removeprefix(_VARIANT_PREFIX) if self.tag.startswith(_VARIANT_PREFIX) else None

    @property
    def parked_at(self) -> datetime:
        """The moment at which its deliveries wait."""
        return PARKED_FROM + timedelta(seconds=self.place)


def read_set_aside_domains(stored: Mapping[str, Any] | None) -> dict[str, SetAsideDomain]:
    """Return the domains that were set aside, by tag, as the edition's row stores them."""
    return {tag: _read_domain(tag, values) for tag, values in (stored or {}).items()}


def _read_domain(tag: str, values: Mapping[str, Any]) -> SetAsideDomain:
    at, decision = datetime.fromisoformat(values["at"]), SetAsideDecision(values["decision"])
    return SetAsideDomain(tag, values["place"], at, values["reason"], decision, values["returning"])


def find_holding(set_aside: Mapping[str, SetAsideDomain], tags: Iterable[str]) -> SetAsideDomain | None:
    """Return the domain or variant with one of these tags whose deliveries wait or are dropped; None if there's none."""
    held = (set_aside[tag] for tag in tags if tag in set_aside)
    return next((domain for domain in held if domain.decision is not SetAsideDecision.SEND), None)


def list_undecided_domains(edition: Edition) -> list[SetAsideDomain]:
    """List the domains of an edition that wait for a decision; none of an edition that's over."""
    if edition.state is not EditionState.SENDING:
        return []
    return [domain for domain in read_set_aside_domains(edition.set_aside).values() if not domain.decision]


def describe_set_aside_domains(domains: Collection[SetAsideDomain]) -> str:
    """Return that so many domains are set aside, as the beginning of a sentence; empty: none is."""
    if not domains:
        return ""
    variants = sum(domain.variant_text is not None for domain in domains)
    counts = (("to", len(domains) - variants, "receiving domain"), ("in", variants, "variant"))
    many = [f"{word} {f'a {noun}' if n == 1 else f'{n:,} {noun}s'}" for word, n, noun in counts if n]
    return f"emails {' and '.join(many)} are set aside"


def set_domains_aside(session: Session, name: str, reasons: Mapping[str, str], *, now: datetime) -> list[str]:
    """Set domains aside, given as tag and reason; return the tags of those that weren't before.

    Raises:
        UnknownEditionError: there is no such edition.
    """
    edition = find_edition(session, name, lock=True)
    domains = read_set_aside_domains(edition.set_aside)
    added = [tag for tag in reasons if tag not in domains] if edition.state is EditionState.SENDING else []
    for place, tag in enumerate(added, len(domains)):
        domains[tag] = SetAsideDomain(tag, place, now, reasons[tag])
    _store(edition, domains)
    return added


def decide_domains(
    session: Session, name: str, tags: Collection[str], decision: SetAsideDecision, *, now: datetime
) -> list[SetAsideDomain]:
    """Decide what becomes of domains that were set aside; return them. The next claims of a run do it.

    Raises:
        UnknownEditionError: there is no such edition.
        DomainNotSetAsideError: one of them doesn't wait for a decision.
    """
    edition = find_edition(session, name, lock=True)
    undecided = {domain.tag for domain in list_undecided_domains(edition)}
    if not tags or not undecided.issuperset(tags):
        raise DomainNotSetAsideError(
            "These emails aren't set aside anymore.", "Reload the page, or run 'digest set-aside' again."
        )
    domains = read_set_aside_domains(edition.set_aside)
    domains |= {tag: replace(domains[tag], decision=decision, returning=True) for tag in tags}
    _store(edition, domains)
    # So that a run begins: something is due.
    _return_parked(session, name, [domains[tag] for tag in tags], now)
    return [domains[tag] for tag in tags]


def requeue_decided_deliveries(session: Session, name: str, *, now: datetime) -> None:
    """Make up to 1,000 parked deliveries due whose domains were decided on. Call it in the transaction of a claim."""
    edition = find_edition(session, name, lock=True)
    domains = read_set_aside_domains(edition.set_aside)
    returning = [domain for domain in domains.values() if domain.returning]
    if _return_parked(session, name, returning, now) < MAX_TRANSACTION_ROWS:
        domains |= {domain.tag: replace(domain, returning=False) for domain in returning}
        _store(edition, domains)


def _return_parked(session: Session, name: str, domains: Collection[SetAsideDomain], now: datetime) -> int:
    parked = (
        is_delivery_of_edition(name),
        IS_WAITING,
        Delivery.next_try_at.in_([domain.parked_at for domain in domains]),
    )
    page = select(Delivery.id).where(*parked).limit(MAX_TRANSACTION_ROWS).with_for_update(skip_locked=True)
    ids = list(session.scalars(page))
    if ids:  # due from now on: counted from when it was first due, a deferral days later would end it at once
        session.execute(update(Delivery), [{"id": id_, "due_at": now, "next_try_at": now} for id_ in ids])
    return len(ids)


def _store(edition: Edition, domains: Mapping[str, SetAsideDomain]) -> None:
    edition.set_aside = {
        domain.tag: {key: value for key, value in asdict(domain).items() if key != "tag"}
        | {"at": domain.at.isoformat()}
        for domain in domains.values()
    }
