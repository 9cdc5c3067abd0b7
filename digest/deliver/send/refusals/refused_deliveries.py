"""An edition's refused deliveries: their reasons and domains, whether to report them, and resending.

An expired delivery counts as refused, because each attempt was. A mailbox provider is identified by
its domain's or domain group's tag, never by an address.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, case, func, select, true, update
from sqlalchemy.orm import Session

from digest.deliver.control.edition_control import EditionControlError, mark_sent_edition_as_sending
from digest.deliver.events.delivery_event import EventKind, is_refusal
from digest.deliver.events.failure_causes import (
    FailureCause,
    find_failure_cause,
    find_refusal_cause,
    format_reply_codes,
    parse_reply_codes,
)
from digest.deliver.events.server_replies import quote_refusal
from digest.deliver.events.smtp_blame import find_blamed_party
from digest.deliver.plan.delivery_plan import (
    DeliveryCounts,
    count_deliveries,
    is_delivery_of_edition,
    make_edition_delivery_purpose,
)
from digest.deliver.plan.domain_groups import MAIL_OPERATORS, select_domain_group_tag
from digest.deliver.retention.delivery_seals import unseal_deliveries
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.deliver.send.claims.restored_copy import build_known_handover_condition
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, build_resolution_values
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from subscribers.address import Address
from subscribers.consent.audience import build_mailable_person_condition
from subscribers.consent.sealed_rows import BATCH_SIZE
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.lifecycle.feedback import build_current_bounce_condition
from subscribers.signup.mailbox_identity import LARGE_PROVIDERS
from subscribers.store.models import Person, PersonState
from subscribers.store.people import read_addresses_matching_commitments

# The refused subscribers that a domain must have to be named. The name of a smaller one could
# identify a person.
MIN_NAMED = 10
# The number of providers to name, for each of which an address is decrypted.
_MAX_NAMED = 50
# The number of an edition's refusals that someone has to acknowledge.
MIN_REFUSALS = 5
MIN_REFUSED_SHARE = 0.02  # of the messages that were tried
# Servers may return messages for five days after an edition is sent.
REVIEWED_FOR = timedelta(days=8)
ALL_REASONS = "all"
# RFC 7372, section 3: DKIM, SPF, or reverse DNS failed, or several of them, as for DMARC.
_AUTHENTICATION_CODES = frozenset(f"{kind}.7.{number}" for kind in "45" for number in range(20, 27))
_FULL_CODES = frozenset({"4.2.2", "5.2.2"})  # RFC 3463, section 3.3
# A queue ID, a time, or an IP address within a reply. The lookbehind prevents quadratic time for words.
_VARYING_WORD = re.compile(r"(?<!\S)[^\s\d]*\d\S*")
_SEPARATOR = "\n"  # between an event's texts, which are single lines


class RefusalReason(StrEnum):
    """The reason for a refusal: whom it blames, or what it says about the address."""

    MESSAGE = "message"
    RELAY = "relay"
    REPUTATION = "reputation"
    AUTHENTICATION = "authentication"
    DOMAIN = "domain"
    ADDRESS = "address"  # the reply contains no reason
    FULL_MAILBOX = "full mailbox"
    NO_MAILBOX = "no mailbox"
    DEPARTED = "departed"  # the provider has received a complaint or an unsubscribe from them
    CHANGED_ROW = "changed row"  # the row was tampered with, and the message was never sent

    @property
    def is_doubtful(self) -> bool:
        """True if the address isn't to blame, so that the message can be sent again."""
        return self in _DOUBTFUL

    @property
    def is_about_mailbox(self) -> bool:
        """True if the mailbox is full or missing, so that the address may be suppressed."""
        return self in _ABOUT_MAILBOX

    @property
    def is_loss(self) -> bool:
        """True if an existing person who wants the edition didn't receive it."""
        return self not in _NO_LOSS


_DOUBTFUL = frozenset(
    {
        RefusalReason.MESSAGE,
        RefusalReason.RELAY,
        RefusalReason.REPUTATION,
        RefusalReason.AUTHENTICATION,
        RefusalReason.DOMAIN,
    }
)
_ABOUT_MAILBOX = frozenset({RefusalReason.FULL_MAILBOX, RefusalReason.NO_MAILBOX})
_NO_LOSS = frozenset({RefusalReason.NO_MAILBOX, RefusalReason.DEPARTED})
_REASON_BY_CAUSE = {
    FailureCause.NO_MAILBOX: RefusalReason.NO_MAILBOX,
    FailureCause.HARD: RefusalReason.NO_MAILBOX,
    FailureCause.COMPLAINED: RefusalReason.DEPARTED,
    FailureCause.LEFT: RefusalReason.DEPARTED,
}
_REFUSED_STATES = (DeliveryState.REFUSED, DeliveryState.EXPIRED)
_WAS_REFUSED = Delivery.state.in_(_REFUSED_STATES)
_unindexed_person = Delivery.person + 0  # keeps SQLite from searching all deliveries by number


def find_refusal_reason(cause: FailureCause, reply: str) -> RefusalReason:
    """Return why a message was refused, given the stored cause and reply."""
    if reply == CHANGED_ROW:
        return RefusalReason.CHANGED_ROW
    return _find_reason_by_codes(cause, format_reply_codes(*parse_reply_codes("", reply)))


@lru_cache(maxsize=1024)
def _find_reason_by_codes(cause: FailureCause, codes: str) -> RefusalReason:
    """Return why a message was refused, given the cause and the codes at the start of the reply."""
    reason = _REASON_BY_CAUSE.get(cause) or RefusalReason[find_blamed_party(cause, codes).name]
    enhanced_codes = parse_reply_codes("", codes)[1]
    if reason is RefusalReason.ADDRESS and not _FULL_CODES.isdisjoint(enhanced_codes):
        return RefusalReason.FULL_MAILBOX
    is_unauthenticated = not _AUTHENTICATION_CODES.isdisjoint(enhanced_codes)
    may_be_authentication = reason in (RefusalReason.REPUTATION, RefusalReason.DOMAIN)
    return RefusalReason.AUTHENTICATION if may_be_authentication and is_unauthenticated else reason


@dataclass(frozen=True)
class RefusalGroup:
    """The number of similar refusals by one mailbox provider.

    `recipients` counts the refusals of people who may be emailed now. If the mailbox is to blame,
    people who have since confirmed again or changed their address aren't counted. `suppressed` counts
    the refusals of people who have been suppressed since. `cause` and `reply` are from the last event
    with a cause, or else from the delivery. `tag` is empty for erased people.
    """

    tag: str
    cause: FailureCause
    reply: str
    count: int
    recipients: int
    suppressed: int = 0

    @cached_property
    def reason(self) -> RefusalReason:
        """The reason that the provider refused these messages, from `cause` and the codes in `reply`."""
        return find_refusal_reason(self.cause, self.reply)

    @property
    def key(self) -> str:
        """The displayed name, such as `reputation-1a2b3c4d5e6f`, of all groups with this reason and provider."""
        return f"{self.reason}-{self.tag[:12]}"

    @property
    def is_reply_of_cause(self) -> bool:
        """True if the reply's codes are consistent with the cause."""
        code, enhanced_codes = parse_reply_codes("", self.reply)
        own_cause = find_failure_cause(code if enhanced_codes else "", enhanced_codes)
        return own_cause in {None, FailureCause.NONE, self.cause}

    def is_chosen(self, chosen: Collection[str]) -> bool:
        """Return True if `chosen` contains `ALL_REASONS`, the group's reason, or its key."""
        return not {ALL_REASONS, str(self.reason), self.key}.isdisjoint(chosen)

    def is_resendable(self, chosen: Collection[str]) -> bool:
        """Return True if the group is chosen and its messages can be sent again."""
        return self.reason.is_doubtful and self.is_chosen(chosen)

    def is_suppressible(self, chosen: Collection[str]) -> bool:
        """Return True if the group is chosen and its mailboxes are full or missing."""
        return self.reason.is_about_mailbox and self.is_chosen(chosen)


_Groups = Sequence[RefusalGroup]


def group_refusals(session: Session, edition: str, chosen: str = ALL_REASONS) -> list[RefusalGroup]:
    """Group an edition's refusals by provider, cause, and reply.

    Replies that differ only in an ID are considered equal. If `chosen` is the key of a group, only
    refusals by that group's provider are read.
    """
    refused = _select_refused(session, edition)
    # They aren't grouped by SQL, because most replies contain an ID, and SQLite would read each twice.
    columns = [
        refused.c[name] for name in ("provider_tag", "decision", "reply", "may_mail", "may_suppress", "is_suppressed")
    ]
    query = select(*columns).where(_is_of_provider(refused.c.provider_tag, chosen))
    alike: dict[tuple[Any, ...], _AlikeRefusals] = {}
    for tag, decision, reply, *counted in session.execute(query).yield_per(BATCH_SIZE):
        cause, words, likeness = _read_refusal(decision, reply)
        key = (tag, cause, likeness)
        refusals = alike.get(key)
        if refusals is None:
            refusals = alike[key] = _AlikeRefusals(tag or "", cause, words)
        refusals.add(words, *counted)
    return [refusals.as_group() for refusals in alike.values()]


@dataclass(slots=True)
class _AlikeRefusals:
    tag: str
    cause: FailureCause
    reply: str
    count: int = 0
    may_mail: int = 0
    may_suppress: int = 0
    suppressed: int = 0

    def add(self, reply: str, may_mail: int, may_suppress: int, suppressed: int) -> None:
        self.reply = min(self.reply, reply)  # the result doesn't depend on the order of the rows
        self.count += 1
        self.may_mail += may_mail
        self.may_suppress += may_suppress
        self.suppressed += suppressed

    def as_group(self) -> RefusalGroup:
        group = RefusalGroup(self.tag, self.cause, self.reply, self.count, self.may_mail, self.suppressed)
        has_fewer = self.may_suppress != self.may_mail and group.reason.is_about_mailbox
        return replace(group, recipients=self.may_suppress) if has_fewer else group


@lru_cache(maxsize=16_384)  # enough for a large list with many refusals, where most replies contain an ID
def _read_refusal(decision: str, reply: str) -> tuple[FailureCause, str, tuple[Any, ...]]:
    """Return a refusal's cause, its reply, and a key that's the same for all similar replies.

    The key consists of the reply's codes and the words that don't vary.
    """
    event_cause, _, texts = decision.partition(_SEPARATOR)
    status, _, reason = texts.partition(_SEPARATOR)
    words = quote_refusal(reply, status, reason)
    likeness = (*parse_reply_codes("", words), _drop_varying_words(words))
    return find_refusal_cause(words, [event_cause]), words, likeness


def _drop_varying_words(reply: str) -> str:
    return _VARYING_WORD.sub("#", reply)


def _is_of_provider(provider_tag: ColumnElement[Any], chosen: str) -> ColumnElement[bool]:
    """Return the condition that refusals are by the provider identified in a group's key.

    For other choices, the condition is true.
    """
    _, dash, tag = chosen.rpartition("-")
    return provider_tag.startswith(tag, autoescape=True) if dash and tag else true()


def _select_refused(session: Session, edition: str, people: Collection[int] | None = None) -> Subquery:
    """Return a query for an edition's refusals, each with the details of its last event that has a cause.

    These are the event's cause, status, and reason, and are empty without such an event. After a
    restore, the refusals from before it have no recipients, because the messages may have been sent
    again after the backup was made.
    """
    gives_cause = and_(StoredDeliveryEvent.delivery == Delivery.id, StoredDeliveryEvent.cause != FailureCause.NONE)
    decisions = select(_join_event_texts()).where(gives_cause).order_by(StoredDeliveryEvent.id.desc())
    decision = func.coalesce(decisions.limit(1).scalar_subquery(), "").label("decision")
    is_mailable = and_(build_mailable_person_condition(), build_known_handover_condition(session))
    handed_at = func.coalesce(Delivery.handed_at, Delivery.due_at)
    counts_still = build_current_bounce_condition(Delivery.person, handed_at)
    may_mail = case((is_mailable, 1), else_=0).label("may_mail")
    may_suppress = case((and_(is_mailable, counts_still), 1), else_=0).label("may_suppress")
    is_suppressed = case((Person.state == PersonState.SUPPRESSED, 1), else_=0).label("is_suppressed")
    provider_tag = select_domain_group_tag(Delivery.domain_tag).label("provider_tag")
    row = (Delivery.id, Delivery.person, Delivery.reply, Delivery.sealed_in)
    columns = (*row, provider_tag, decision, may_mail, may_suppress, is_suppressed)
    refused = select(*columns).outerjoin(Person, Person.number == Delivery.person)
    was_refused: ColumnElement[bool] = _WAS_REFUSED
    if people is not None:  # the expression keeps SQLite from reading all refusals to find these people's
        was_refused = Delivery.person.in_(people) & func.lower(Delivery.state).in_([*map(str, _REFUSED_STATES)])
    return refused.where(is_delivery_of_edition(edition), was_refused).subquery()


def _join_event_texts() -> ColumnElement[str]:
    """Return an SQL expression that joins an event's cause, status, and reason."""
    joined: ColumnElement[str] = StoredDeliveryEvent.cause.expression
    for name in ("status", "reason"):
        text = func.coalesce(StoredDeliveryEvent.detail[name].as_string(), "")
        joined = joined + _SEPARATOR + text
    return joined


def merge_refusals(groups: Iterable[RefusalGroup]) -> list[RefusalGroup]:
    """Merge groups that share a provider and reason, and return them, largest first.

    Each gets the most common cause, and the most common reply with that cause.
    """
    merged: dict[str, list[RefusalGroup]] = {}
    for group in groups:
        merged.setdefault(group.key, []).append(group)
    groups = map(_merge_alike, merged.values())
    return sorted(groups, key=lambda g: (-g.count, g.key))


def _merge_alike(groups: Sequence[RefusalGroup]) -> RefusalGroup:
    counts = {name: sum(getattr(g, name) for g in groups) for name in ("count", "recipients", "suppressed")}
    of_cause = _keep_most_common(groups, lambda g: g.cause)
    of_cause = [g for g in of_cause if g.is_reply_of_cause] or of_cause
    alike = _keep_most_common(of_cause, lambda g: _drop_varying_words(g.reply))
    example = min(alike, key=lambda g: (-g.count, g.reply))
    return replace(example, **counts)


def _keep_most_common(groups: _Groups, key: Callable[[RefusalGroup], str]) -> _Groups:
    """Return the groups whose key is the one that most messages have."""
    counts: Counter[str] = Counter()
    keys = [key(group) for group in groups]
    for group, name in zip(groups, keys, strict=True):
        counts[name] += group.count
    most_common = max(counts, key=lambda name: (counts[name], name))
    return [group for group, name in zip(groups, keys, strict=True) if name == most_common]


def is_notable(refusals: int, tried: int) -> bool:
    """Return True if a number of refusals is high enough to report. Pure."""
    return refusals >= MIN_REFUSALS and refusals >= MIN_REFUSED_SHARE * tried


def store_notable_refusal_count(session: Session, edition: Edition, counts: DeliveryCounts) -> None:
    """Store how many of a sent edition's refusals have to be acknowledged.

    The caller must have locked the edition's row.
    """
    edition.refusals = count_notable_refusals(session, edition, counts)


def count_notable_refusals(session: Session, edition: Edition, counts: DeliveryCounts) -> int:
    """Return the number of an edition's refusals that have to be acknowledged, or 0 if only a few haven't been."""
    expired, acknowledged = counts[DeliveryState.EXPIRED], edition.acknowledged_refusals
    tried = counts.handed_over + expired
    # Most editions end here, without any deliveries being read.
    if not is_notable(counts[DeliveryState.REFUSED] + expired - acknowledged, tried):
        return 0
    refusals = sum(group.count for group in group_refusals(session, edition.name) if group.reason.is_loss)
    return refusals if is_notable(refusals - acknowledged, tried) else 0


def recount_refusals_of_sent_editions(database: Database, *, now: datetime) -> None:
    """Recount the refusals of recently sent editions, because some bounces arrive later."""
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


@dataclass(frozen=True, slots=True)
class RefusedDelivery:
    """A refused delivery.

    `person` is None if they were erased. `group` contains only this delivery, and has a recipient
    if the person may be emailed now.
    """

    id: str
    person: int | None
    group: RefusalGroup


def iterate_refused(
    session: Session,
    edition: str,
    people: Collection[int] | None = None,
) -> Iterator[RefusedDelivery]:
    """Yield an edition's refused deliveries for up to 500 people, or for all if `people` is None.

    They're in the order of their sealed batches, so a page requires only a few batches.
    """
    refused = _select_refused(session, edition, people)
    in_order = select(refused).order_by(refused.c.sealed_in, refused.c.id)
    for row in session.execute(in_order):
        cause, words, _ = _read_refusal(row.decision, row.reply)
        refusals = _AlikeRefusals(row.provider_tag or "", cause, words, 1, row.may_mail, row.may_suppress)
        yield RefusedDelivery(row.id, row.person, refusals.as_group())


def find_refused_page(
    session: Session, edition: str, chosen: str, *, below: int | None, limit: int
) -> list[RefusedDelivery]:
    """Return refused deliveries whose group is among `chosen` (see `is_chosen`), by descending subscriber number.

    Only as many as needed are classified, after they're filtered by the provider in the key.
    """
    people = select(Delivery.person).where(
        is_delivery_of_edition(edition),
        _WAS_REFUSED,
        _unindexed_person.is_not(None),
        _is_of_provider(select_domain_group_tag(Delivery.domain_tag), chosen),
    )
    if below is not None:
        people = people.where(_unindexed_person < below)
    numbers = iter(session.scalars(people.order_by(_unindexed_person.desc())).all())
    page: list[RefusedDelivery] = []
    batch_size = limit
    while len(page) < limit and (batch := [*filter(None, islice(numbers, batch_size))]):
        batch_size = min(2 * batch_size, BATCH_SIZE)
        refused = [
            delivery for delivery in iterate_refused(session, edition, batch) if delivery.group.is_chosen([chosen])
        ]
        page += sorted(refused, key=lambda delivery: -(delivery.person or 0))
    return page[:limit]


def requeue_refused_deliveries(
    session: Session,
    keys: KeyRing,
    name: str,
    delivery_ids: Sequence[str],
    *,
    now: datetime,
) -> list[str]:
    """Make up to 500 of an edition's refused deliveries due again, and return the IDs of those that were changed.

    Consent is checked as for all messages. Events about the first attempt no longer count, and an
    acknowledgment only applies to the refusals it was given for.

    Raises:
        UnknownEditionError: the edition doesn't exist.
        EditionControlError: the edition is canceled.
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
    ids = unseal_deliveries(session, keys, list(due_times), now=now)
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


def find_small_provider_names(
    session: Session, keys: KeyRing, edition: str, groups: Iterable[RefusalGroup], known_tags: Collection[str]
) -> dict[str, str]:
    """Return names, for admins to see, of the providers of `groups` that aren't in `known_tags`, by tag.

    A provider is named by its domain with the most refused subscribers, if there are at least ten of
    them. Only keyed tags are stored, so the name is taken from the address of one of those subscribers.
    """
    unknown = [group.tag for group in groups if group.tag and group.tag not in known_tags][:_MAX_NAMED]
    if not unknown:
        return {}
    provider, own, many = select_domain_group_tag(Delivery.domain_tag), Delivery.domain_tag, func.count()
    refused = select(provider, own, func.max(Delivery.person)).where(is_delivery_of_edition(edition), _WAS_REFUSED)
    of_provider = refused.where(_unindexed_person.is_not(None), provider.in_(unknown)).group_by(provider, own)
    # The largest domain comes last, so its name is used.
    domains = of_provider.having(many >= MIN_NAMED).order_by(many, own)
    largest = {tag: (own_tag, number) for tag, own_tag, number in session.execute(domains)}
    numbers = [number for _, number in largest.values()]
    people = session.scalars(select(Person).where(Person.number.in_(numbers))).all()
    addresses = read_addresses_matching_commitments(session, keys, people)
    names: dict[str, str] = {}
    for tag, (own_tag, number) in largest.items():
        address = addresses.get(number or 0)
        # They may have changed their address since then.
        if tag and address is not None and make_domain_tag(keys, address) == own_tag:
            names[tag] = address.domain
    return names


def map_tags_to_domain_names(keys: KeyRing, further_domains: Iterable[str]) -> dict[str, str]:
    """Return the names, by tag, of domains that are known independently of subscribers' addresses."""
    domains = (*LARGE_PROVIDERS, *MAIL_OPERATORS.split(), *further_domains)
    return {make_domain_tag(keys, Address("x", domain)): domain for domain in domains}
