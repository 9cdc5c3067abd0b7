"""Actions on the refusals of an edition.

They list and acknowledge refusals, resend emails, and suppress addresses.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.editions.edition_status import resolve_edition_name
from digest.deliver.retention import cached_delivery_counts
from digest.deliver.send.refusals import refused_deliveries
from digest.deliver.send.refusals.refused_deliveries import RefusalGroup, RefusedDelivery, map_tags_to_domain_names
from digest.edition.edition_queries import find_edition
from digest.installation.action_reasons import read_optional_reason
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.store.models import Edition
from subscribers.callback_types import Clock
from subscribers.consent import suppression
from subscribers.consent.ledger import ADMIN_METHOD
from subscribers.consent.sealed_rows import BATCH_SIZE
from subscribers.errors import RefusalError
from subscribers.store.models import Person

ACKNOWLEDGE = Action("refusals acknowledged")
SEND_AGAIN = Action("refused sent again")
SUPPRESS = Action("refused suppressed")


class ChangedRefusalsError(RefusalError):
    """Raised if the number of refusals has changed since it was shown for confirmation."""


@dataclass(frozen=True, slots=True)
class RefusalOverview:
    """The refusals of an edition by provider and reason, the largest group first.

    `domain_names` maps domain tags to names.
    """

    edition: Edition
    groups: tuple[RefusalGroup, ...]
    domain_names: Mapping[str, str]

    def choose_resendable(self, chosen: Collection[str]) -> list[RefusalGroup]:
        """Return the groups with one of these reasons or keys that can be sent again."""
        return [group for group in self.groups if group.is_resendable(chosen)]


def find_provider_contact(domain: str) -> str:
    """Return a mailbox provider's contact for senders.

    It's the URL of a form, or else of the postmaster (RFC 5321, section 4.5.1), such as
    `mailto:postmaster@example.com`. If `domain` is empty, return an empty string.
    """
    return _load_provider_contacts().get(domain) or (f"mailto:postmaster@{domain}" if domain else "")


@cache
def _load_provider_contacts() -> Mapping[str, str]:
    text = resources.files("digest.app.sending").joinpath("provider_contacts.toml").read_text("utf-8")
    domains_by_url = tomllib.loads(text)
    return {domain: url for url, domains in domains_by_url.items() for domain in domains.split()}


def map_provider_names(
    installation: Installation, session: Session, edition: str, groups: Sequence[RefusalGroup], *, for_admin: bool
) -> dict[str, str]:
    """Return the names of mailbox providers, by domain tag, for a list of refusals.

    Names that are known only from subscribers' addresses are included only if `for_admin` is true.
    Small providers don't have any other names.
    """
    names = map_tags_to_domain_names(installation.keys, installation.settings.file.limits.domains_per_hour)
    if not for_admin:
        return names
    return names | refused_deliveries.find_small_provider_names(session, installation.keys, edition, groups, names)


def read_refusals(installation: Installation, name: str, actor: Actor) -> RefusalOverview:
    """Read the refusals of an edition, with the names of providers that `actor` may see.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        groups = refused_deliveries.merge_refusals(refused_deliveries.group_refusals(session, edition.name))
        for_admin = actor.holds(Role.ADMIN)
        names = map_provider_names(installation, session, edition.name, groups, for_admin=for_admin)
    return RefusalOverview(edition, tuple(groups), names)


def read_chosen_refusals(
    installation: Installation, name: str, chosen: str, *, suppresses: bool, shown: int, actor: Actor
) -> RefusalOverview:
    """Read only those refusals of an edition that would be suppressed or resent if `chosen` is.

    Only the providers of the `shown` largest groups are named.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    can_act = RefusalGroup.is_suppressible if suppresses else RefusalGroup.is_resendable
    with installation.read() as session:
        edition = find_edition(session, name)
        groups = refused_deliveries.merge_refusals(refused_deliveries.group_refusals(session, edition.name, chosen))
        groups = [group for group in groups if can_act(group, [chosen])]
        for_admin = actor.holds(Role.ADMIN)
        names = map_provider_names(installation, session, edition.name, groups[:shown], for_admin=for_admin)
    return RefusalOverview(edition, tuple(groups), names)


def acknowledge_refusals(
    installation: Installation, name: str, *, confirmed: int, reason: str, actor: Actor, now: datetime
) -> int:
    """Acknowledge the refusals of a sent edition, and return how many were acknowledged.

    `confirmed` is the number that the person was shown.

    Raises:
        UnknownEditionError: there's no such edition.
        ChangedRefusalsError: the number has changed since.
        ReasonError: the reason is too long or may contain an address.
    """
    name = resolve_edition_name(installation, name)
    with ACKNOWLEDGE.transaction(installation, actor, name, now=now) as (session, audit):
        reason = read_optional_reason(reason)
        edition = find_edition(session, name, lock=True)
        refusals, audit.changed = edition.refusals, edition.has_refusals
        if audit.changed and refusals != confirmed:
            raise ChangedRefusalsError(
                f"The number of refusals changed from {confirmed:,} to {refusals:,}.",
                "Check the refusals, then try again.",
            )
        audit.detail = {"refused": refusals} | ({"because": reason} if reason else {})
        if audit.changed:
            edition.refusals, edition.acknowledged_refusals = 0, refusals
        return refusals if audit.changed else 0


def send_refused_again(
    installation: Installation,
    name: str,
    chosen: Collection[str],
    *,
    confirmed: int,
    reason: str,
    actor: Actor,
    clock: Clock,
) -> int:
    """Resend messages of an edition that were refused for reasons that may no longer apply.

    Return the number of messages. Each transaction takes up to 500 and has an audit row. Messages
    that aren't refused anymore are left alone.

    Args:
        installation: the installation.
        name: the edition's name, or `current`.
        chosen: names of reasons, keys of groups, or `all`.
        confirmed: the number of messages that the person agreed to resend.
        reason: the reason for the audit log.
        actor: the person who resends them.
        clock: returns the time in UTC.

    Raises:
        UnknownEditionError: there's no such edition.
        EditionControlError: the edition is canceled.
        ChangedRefusalsError: the number of messages isn't `confirmed`.
    """
    name, sent = resolve_edition_name(installation, name), 0
    with SEND_AGAIN.steps(installation, actor, name, now=clock()) as audit:
        audit.changed = False
        with installation.read() as session:
            ids = [
                delivery.id for delivery in _iterate_to_mailable(session, name) if delivery.group.is_resendable(chosen)
            ]
        _check_number(len(ids), confirmed, "No emails were sent again.")
        remaining = iter(ids)
        while page := list(islice(remaining, BATCH_SIZE)):
            with installation.write() as session:
                again = refused_deliveries.requeue_refused_deliveries(
                    session, installation.keys, name, page, now=clock()
                )
                audit.detail = {"because": reason, "deliveries": again}
                if again:
                    audit.record(session)
                    cached_delivery_counts.refresh_cached_delivery_counts(session, name, now=clock())
            sent += len(again)
    return sent


def suppress_refused(
    installation: Installation,
    name: str,
    chosen: Collection[str],
    *,
    confirmed: int,
    reason: str,
    actor: Actor,
    clock: Clock,
) -> int:
    """Suppress the addresses of people whose mailboxes were full or missing.

    Return the number of addresses. The arguments are those of `send_refused_again`. Each
    transaction takes up to 500 and has an audit row. People who may not be emailed anymore, have
    confirmed again, or have changed their address in the meantime are left alone.

    Raises:
        UnknownEditionError: there's no such edition.
        ChangedRefusalsError: the number of messages isn't `confirmed`.
        OSError: the unsubscribe log couldn't be written.
    """
    name, suppressed = resolve_edition_name(installation, name), 0
    with SUPPRESS.steps(installation, actor, name, now=clock()) as audit:
        audit.changed = False
        with installation.read() as session:
            numbers = sorted(_iterate_suppressible(session, name, chosen))
        _check_number(len(numbers), confirmed, "No addresses were suppressed.")
        remaining = iter(numbers)
        while page := list(islice(remaining, BATCH_SIZE)):
            with installation.write() as session:
                locked = _lock_people(session, page)
                suppressible = set(_iterate_suppressible(session, name, chosen, page))
                still = [person for person in locked if person.number in suppressible]
                people = _suppress_people(installation, session, still, reason, actor, clock())
                audit.detail = {"because": reason, "people": people, "addresses": len(people)}
                if people:
                    audit.record(session)
            suppressed += len(people)
    return suppressed


def _iterate_to_mailable(
    session: Session, name: str, people: Collection[int] | None = None
) -> Iterator[RefusedDelivery]:
    """Yield an edition's refused deliveries that their group counts as recipients.

    With `people`, only deliveries to these people are considered.
    """
    return (
        delivery for delivery in refused_deliveries.iterate_refused(session, name, people) if delivery.group.recipients
    )


def _iterate_suppressible(
    session: Session, name: str, chosen: Collection[str], people: Collection[int] | None = None
) -> Iterator[int]:
    """Yield the people whose mailboxes were full or missing and whose refusal still counts.

    With `people`, only these people are considered.
    """
    for delivery in _iterate_to_mailable(session, name, people):
        if delivery.person is not None and delivery.group.is_suppressible(chosen):
            yield delivery.person


def _lock_people(session: Session, numbers: Collection[int]) -> Sequence[Person]:
    people = select(Person).where(Person.number.in_(numbers)).order_by(Person.number)
    return session.scalars(people.with_for_update()).all()


def _suppress_people(
    installation: Installation,
    session: Session,
    people: Collection[Person],
    reason: str,
    actor: Actor,
    now: datetime,
) -> list[int]:
    """Suppress people whose rows are locked, and return their numbers.

    The unsubscribe log is synced before the caller commits.
    """
    departures = {}
    for person in people:
        departure = suppression.suppress_person(
            session,
            installation.keys,
            person,
            reason="by an admin",
            actor=actor.name,
            now=now,
            method=f"{ADMIN_METHOD}{reason}",
        )
        if departure is not None:
            departures[person.number] = departure
    installation.unsubscribe_log.append_all(list(departures.values()), at=now)
    return list(departures)


def _check_number(refused: int, confirmed: int, consequence: str) -> None:
    """Raise `ChangedRefusalsError` if the number of refused messages isn't the confirmed one."""
    if refused != confirmed:
        raise ChangedRefusalsError(
            f"The number of refused messages changed from {confirmed:,} to {refused:,}. {consequence}",
            "Check the refusals, then try again.",
        )
