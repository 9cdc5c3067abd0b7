"""Recipient domains and variants that a stop rule has set aside until someone sends or drops their deliveries.

The edition's row lists them, so the send gate reads both together. A delivery that's set aside is
parked at its domain's moment, centuries ahead (`SetAsideDomain.parked_at`), where claims don't find
it. The send loop parks the deliveries that it encounters, and makes them due again in pages once a
person has decided.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from digest.deliver.plan.delivery_plan import IS_WAITING, is_delivery_of_edition
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery
from digest.store.models import Edition, EditionState
from digest.type_adapters import type_adapter
from subscribers.errors import ApplicationError
from subscribers.store.database import MAX_TRANSACTION_ROWS

PARKED_FROM = datetime(9000, 1, 1, tzinfo=UTC)
_VARIANT_PREFIX = "variant:"


def make_variant_tag(variant_text: str) -> str:
    """Return the tag with which a variant can be set aside like a domain.

    `variant_text` is the result of `VariantKey.as_text`.
    """
    return _VARIANT_PREFIX + variant_text


class DomainNotSetAsideError(ApplicationError):
    """Raised when a domain isn't set aside, or when someone has already decided what to do with it."""


class SetAsideDecision(StrEnum):
    """A person's decision on a domain that's been set aside."""

    NONE = ""
    SEND = "send"  # send regardless of the domain's stop rules
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class SetAsideDomain:
    """A domain or variant that's been set aside, identified by its tag.

    `returning` is true while parked deliveries wait to be made due again.
    """

    tag: str
    place: int  # its index among the edition's set-aside domains
    at: datetime
    reason: str
    decision: SetAsideDecision = SetAsideDecision.NONE
    returning: bool = False

    @property
    def variant_text(self) -> str | None:
        """The variant as stored with deliveries, or None for a domain."""
        return self.tag.removeprefix(_VARIANT_PREFIX) if self.tag.startswith(_VARIANT_PREFIX) else None

    @property
    def parked_at(self) -> datetime:
        """The `next_try_at` of its parked deliveries, centuries ahead, where no claim finds them."""
        return PARKED_FROM + timedelta(seconds=self.place)


def read_set_aside_domains(stored: Mapping[str, Any] | None) -> dict[str, SetAsideDomain]:
    """Return the set-aside domains stored in an edition's row, keyed by tag."""
    adapter = type_adapter(SetAsideDomain)
    return {tag: adapter.validate_python({"tag": tag, **values}) for tag, values in (stored or {}).items()}


def find_blocking_domain(set_aside: Mapping[str, SetAsideDomain], tags: Iterable[str]) -> SetAsideDomain | None:
    """Return the first domain or variant that blocks a delivery, or None.

    It has one of `tags`, and its deliveries are on hold or dropped.
    """
    held = (set_aside[tag] for tag in tags if tag in set_aside)
    return next((domain for domain in held if domain.decision is not SetAsideDecision.SEND), None)


def list_undecided_domains(edition: Edition) -> list[SetAsideDomain]:
    """Return the domains that are waiting for a decision.

    There are none unless the edition is being sent.
    """
    if edition.state is not EditionState.SENDING:
        return []
    return [domain for domain in read_set_aside_domains(edition.set_aside).values() if not domain.decision]


def describe_set_aside_domains(domains: Collection[SetAsideDomain]) -> str:
    """Return the start of a sentence that gives the number of set-aside domains, or "" if there are none."""
    if not domains:
        return ""
    variants = sum(domain.variant_text is not None for domain in domains)
    counts = (("to", len(domains) - variants, "receiving domain"), ("in", variants, "variant"))
    many = [f"{word} {f'a {noun}' if n == 1 else f'{n:,} {noun}s'}" for word, n, noun in counts if n]
    return f"emails {' and '.join(many)} are set aside"


def set_domains_aside(
    session: Session,
    name: str,
    reasons: Mapping[str, str],
    *,
    now: datetime,
) -> list[str]:
    """Set domains aside, and return the tags of those that weren't set aside yet.

    `reasons` maps tags to reasons. Unless the edition is being sent, nothing changes.

    Raises:
        UnknownEditionError: the edition doesn't exist.
    """
    edition = find_edition(session, name, lock=True)
    domains = read_set_aside_domains(edition.set_aside)
    added = [tag for tag in reasons if tag not in domains] if edition.state is EditionState.SENDING else []
    for place, tag in enumerate(added, len(domains)):
        domains[tag] = SetAsideDomain(tag, place, now, reasons[tag])
    _store(edition, domains)
    return added


def store_domain_decision(
    session: Session, name: str, tags: Collection[str], decision: SetAsideDecision, *, now: datetime
) -> list[SetAsideDomain]:
    """Store a decision on the given set-aside domains, and return those domains.

    The next claims of a run apply it.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        DomainNotSetAsideError: one of the domains doesn't wait for a decision.
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
    # Make some deliveries due, so that a run starts.
    _return_parked(session, name, [domains[tag] for tag in tags], now)
    return [domains[tag] for tag in tags]


def requeue_decided_deliveries(session: Session, name: str, *, now: datetime) -> None:
    """Make up to 1,000 parked deliveries of decided domains due, in the transaction of a claim."""
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
    if ids:  # otherwise, the next deferral, which counts from the due time, would end the delivery
        session.execute(update(Delivery), [{"id": id_, "due_at": now, "next_try_at": now} for id_ in ids])
    return len(ids)


def _store(edition: Edition, domains: Mapping[str, SetAsideDomain]) -> None:
    adapter = type_adapter(SetAsideDomain)
    edition.set_aside = {tag: adapter.dump_python(each, mode="json", exclude={"tag"}) for tag, each in domains.items()}
