"""What was refused of an edition: why, by which domains, whether someone has to be told, and sending it again.

A delivery that expired counts as refused: each try was. A domain is known by its tag, never by an address.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Subquery, and_, case, func, select, true, update
from sqlalchemy.orm import Session

from digest.deliver.control.edition_control import EditionControlError, mark_sent_edition_as_sending
from digest.deliver.events.delivery_event import EventKind, is_refusal
from digest.deliver.events.failure_causes import FailureCause, find_refusal_cause
from digest.deliver.events.smtp_blame import blame_refusal
from digest.deliver.plan.delivery_plan import (
    DeliveryCounts,
    count_deliveries,
    is_delivery_of_edition,
    make_edition_delivery_purpose,
)
from digest.deliver.plan.domain_groups import MAIL_OPERATORS
from digest.deliver.retention.delivery_seals import reopen_sealed
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.deliver.send.claims.restored_copy import read_restore_gap
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, build_resolution_values
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.address import Address
from subscribers.consent.audience import build_mailable_person_condition
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.signup.mailbox_identity import LARGE_PROVIDERS
from subscribers.store.models import Person

MIN_REFUSALS = 5  # of an edition, before someone has to acknowledge them
MIN_REFUSED_SHARE = 0.02  # of the messages that were tried
REVIEWED_FOR = timedelta(days=8)  # after an edition was sent: mail servers return what they can't deliver within five
ALL_REASONS = "all"


class RefusalReason(StrEnum):
    """Why a message was refused, for people: whom the refusal blames, or what it says about the address."""

    MESSAGE = "message"
    RELAY = "relay"
    REPUTATION = "reputation"
    DOMAIN = "domain"
    ADDRESS = "address"  # the mailbox is full, or the reply gives no reason
    NO_MAILBOX = "no mailbox"
    DEPARTED = "departed"  # the provider has a complaint or an unsubscribe of theirs
    CHANGED_ROW = "changed row"  # changed outside the application, and never offered to the mail server

    @property
    def is_doubtful(self) -> bool:
        """Whether the address isn't to blame, so that the message may be sent again."""
        return self in _DOUBTFUL

    @property
    def is_loss(self) -> bool:
        """Whether someone who exists, and wants the edition, didn't get it."""
        return self not in _NO_LOSS


_DOUBTFUL = frozenset({RefusalReason.MESSAGE, RefusalReason.RELAY, RefusalReason.REPUTATION, RefusalReason.DOMAIN})
_NO_LOSS = frozenset({RefusalReason.NO_MAILBOX, RefusalReason.DEPARTED})
_REASON_BY_CAUSE = {
    FailureCause.NO_MAILBOX: RefusalReason.NO_MAILBOX,
    FailureCause.HARD: RefusalReason.NO_MAILBOX,
    FailureCause.COMPLAINED: RefusalReason.DEPARTED,
    FailureCause.LEFT: RefusalReason.DEPARTED,
}
_WAS_REFUSED = Delivery.state.in_((DeliveryState.REFUSED, DeliveryState.EXPIRED))


def find_refusal_reason(cause: FailureCause, reply: str) -> RefusalReason:
    """Return why a message was refused, by the cause and the reply that are stored."""
    if reply == CHANGED_ROW:
        return RefusalReason.CHANGED_ROW
    return _REASON_BY_CAUSE.get(cause) or RefusalReason[blame_refusal(cause, reply).name]


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """How many messages of one domain were refused alike. `recipients` of them may be sent again, to people who may be emailed now.

    `cause` is that of the last event that names one, else that of the reply. `tag` is empty for erased people.
    """

    tag: str
    cause: FailureCause
    reply: str
    count: int
    recipients: int

    @property
    def reason(self) -> RefusalReason:
        """Why they were refused."""
        return find_refusal_reason(self.cause, self.reply)

    @property
    def key(self) -> str:
        """What people call this and all other groups of the same reason and domain: `reputation-1a2b3c4d5e6f`."""
        return f"{self.reason}-{self.tag[:12]}"

    def is_resendable(self, chosen: Collection[str]) -> bool:
        """Return whether they may be sent again, and are chosen by `ALL_REASONS`, their reason, or their key."""
        names = {ALL_REASONS, str(self.reason), self.key}
        return self.reason.is_doubtful and not names.isdisjoint(chosen)


def group_refusals(session: Session, edition: str) -> list[RefusalGroup]:
    """Group what was refused of an edition, each message once, in one pass over them."""
    refused = _select_refused(session, edition)
    columns = (refused.c.domain_tag, refused.c.cause, refused.c.reply)
    counted = (func.count().label("many"), func.sum(refused.c.may_mail).label("recipients"))
    rows = session.execute(select(*columns, *counted).group_by(*columns))
    return [_read_group(row, row.many, row.recipients) for row in rows]


def _read_group(row: Any, count: int, recipients: int) -> RefusalGroup:
    cause = find_refusal_cause(row.reply, [row.cause])
    return RefusalGroup(row.domain_tag or "", cause, row.reply, count, recipients)


def _select_refused(session: Session, edition: str) -> Subquery:
    """Select what was refused of an edition, with the cause of its last event that has one, empty if there's none.

    After a restore, what was refused before the backup goes to no one: it may have been sent again since.
    """
    gap = read_restore_gap(session)
    is_known = true() if gap is None else Delivery.handed_at > gap.made_at
    gives_cause = and_(StoredDeliveryEvent.delivery == Delivery.id, StoredDeliveryEvent.cause != FailureCause.NONE)
    causes = select(StoredDeliveryEvent.cause).where(gives_cause).order_by(StoredDeliveryEvent.id.desc())
    columns = (Delivery.id, Delivery.domain_tag, Delivery.reply, Delivery.sealed_in)
    cause = func.coalesce(causes.limit(1).scalar_subquery(), "").label("cause")
    may_mail = case((and_(build_mailable_person_condition(), is_known), 1), else_=0).label("may_mail")
    refused = select(*columns, cause, may_mail).outerjoin(Person, Person.number == Delivery.person)
    return refused.where(is_delivery_of_edition(edition), _WAS_REFUSED).subquery()


def merge_refusals(groups: Iterable[RefusalGroup]) -> list[RefusalGroup]:
    """Merge groups of the same domain and reason, the largest first; the reply is that of most."""
    merged: dict[str, RefusalGroup] = {}
    for group in sorted(groups, key=lambda g: (-g.count, g.reply)):
        first = merged.setdefault(group.key, group)
        if first is not group:
            count, recipients = first.count + group.count, first.recipients + group.recipients
            merged[group.key] = replace(first, count=count, recipients=recipients)
    return sorted(merged.values(), key=lambda g: (-g.count, g.key))


def is_notable(refusals: int, tried: int) -> bool:
    """Return whether someone has to be told of so many refusals. Pure."""
    return refusals >= MIN_REFUSALS and refusals >= MIN_REFUSED_SHARE * tried


def store_notable_refusal_count(session: Session, edition: Edition, counts: DeliveryCounts) -> None:
    """Note how many refusals of a sent edition someone has to acknowledge; the caller has locked its row."""
    edition.refusals = count_notable_refusals(session, edition, counts)


def count_notable_refusals(session: Session, edition: Edition, counts: DeliveryCounts) -> int:
    """Count the refusals of an edition that someone has to acknowledge; 0 if the ones not acknowledged yet are few."""
    expired, acknowledged = counts[DeliveryState.EXPIRED], edition.acknowledged_refusals
    tried = counts.handed_over + expired
    # Most editions end here, without a look at any delivery.
    if not is_notable(counts[DeliveryState.REFUSED] + expired - acknowledged, tried):
        return 0
    refusals = sum(group.count for group in group_refusals(session, edition.name) if group.reason.is_loss)
    return refusals if is_notable(refusals - acknowledged, tried) else 0


def recount_refusals_of_sent_editions(database: Database, *, now: datetime) -> None:
    """Review the editions sent lately: bounces come after their end."""
    lately = (Edition.state == EditionState.SENT, Edition.sent_at > now - REVIEWED_FOR)
    with database.read() as session:
        changed = [
            edition.name
            for edition in session.scalars(select(Edition).where(*lately))
            if edition.refusals != count_notable_refusals(session, edition, _count(session, edition))
        ]
    for name in changed:
        with database.write() as session:
            edition = find_edition(session, name, lock=True)
            store_notable_refusal_count(session, edition, _count(session, edition))


def _count(session: Session, edition: Edition) -> DeliveryCounts:
    return count_deliveries(session, make_edition_delivery_purpose(edition.name))


def list_resendable(session: Session, edition: str, chosen: Collection[str]) -> list[str]:
    """List the refused deliveries of the `chosen` groups (see `RefusalGroup.is_resendable`) to people who may be emailed now.

    They're in the order of the batches that they were sealed in: a page changes few of those.
    """
    refused = _select_refused(session, edition)
    mailable = select(refused).where(refused.c.may_mail == 1)
    rows = session.execute(mailable.order_by(refused.c.sealed_in, refused.c.id))
    return [row.id for row in rows if _read_group(row, 1, 1).is_resendable(chosen)]


def send_again(session: Session, keys: KeyRing, name: str, delivery_ids: Sequence[str], *, now: datetime) -> list[str]:
    """Let refused deliveries of an edition (at most 500) wait again, due now; return the ids of those that were refused still.

    Consent is asked as with every message. What was reported of the first try counts no more, and an acknowledgment of
    refusals covers only those that it was made for.

    Raises:
        UnknownEditionError: there's no such edition.
        EditionControlError: it's canceled.
    """
    edition = find_edition(session, name, lock=True)
    if edition.state is EditionState.CANCELLED:
        raise EditionControlError(
            f"{name} is canceled, so its messages can't be sent again.", "Send the stories in another edition instead."
        )
    refused = (is_delivery_of_edition(name), _WAS_REFUSED, Delivery.person.is_not(None))
    chosen = select(Delivery.id, Delivery.due_at).where(Delivery.id.in_(delivery_ids), *refused)
    locked = chosen.order_by(Delivery.id).with_for_update(skip_locked=True)
    due_times = dict(session.execute(locked).all())
    ids = reopen_sealed(session, keys, list(due_times), now=now)
    if ids:
        kinds = [*filter(is_refusal, EventKind)]
        refusals = update(StoredDeliveryEvent).where(
            StoredDeliveryEvent.delivery.in_(ids), StoredDeliveryEvent.kind.in_(kinds)
        )
        session.execute(refusals.values(kind=EventKind.SUPERSEDED, cause=FailureCause.NONE))
        again = UncertainResolution.SEND_AGAIN
        changes = [{"id": id_} | build_resolution_values(again, due_times[id_], now) for id_ in ids]
        session.execute(update(Delivery), changes)
        mark_sent_edition_as_sending(edition)
        edition.refusals = edition.acknowledged_refusals = 0
    return ids


def map_tags_to_domain_names(keys: KeyRing, further_domains: Iterable[str]) -> dict[str, str]:
    """Name, by their tags, the domains that are known without any reader's address: the large providers, and others."""
    domains = (*LARGE_PROVIDERS, *MAIL_OPERATORS.split(), *further_domains)
    return {make_domain_tag(keys, Address("x", domain)): domain for domain in domains}
