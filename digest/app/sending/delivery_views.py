"""Delivery results for admins: counts of editions and transactional emails, refusals, tests, and pauses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, exists, func, select, text
from sqlalchemy.orm import Session

from digest.app.editions.count_cache import CountCache, count_edition_deliveries
from digest.app.editions.edition_views import SENT_OR_CANCELED_STATES
from digest.app.sending.refusal_actions import map_provider_names
from digest.app.sending.uncertain_delivery_actions import explain_resend_risk, list_uncertain
from digest.deliver.control import installation_hold
from digest.deliver.control.installation_hold import InstallationHold
from digest.deliver.control.set_aside_domains import describe_set_aside_domains, list_undecided_domains
from digest.deliver.events.server_replies import quote_refusal
from digest.deliver.plan.delivery_plan import (
    TEST_PURPOSE_PREFIX,
    DeliveryCounts,
    count_deliveries,
    make_edition_delivery_purpose,
)
from digest.deliver.retention.cached_delivery_counts import load_cached_delivery_counts
from digest.deliver.retention.delivery_disclosures import NOTICE_KINDS
from digest.deliver.send.refusals.refused_deliveries import (
    RefusalGroup,
    find_refused_page,
    group_refusals,
    merge_refusals,
)
from digest.deliver.send.uncertain.uncertain_deliveries import (
    NOTICES,
    UncertainDelivery,
    read_oldest_uncertain_deliveries,
)
from digest.edition.edition_queries import WITHOUT_TEXTS, find_edition
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import OPEN_STATES, STOP_RULE_EVENTS, Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import Edition
from subscribers.consent.subscriber_list import ListedSubscriber, load_subscribers
from subscribers.lifecycle.address_change import find_correctable_people
from subscribers.store.models import Person

SHOW_DELIVERIES = Action("deliveries shown")
PAGE_SIZE = 12  # editions
MAX_DOUBTS = 150  # uncertain deliveries per page, oldest first; the page stays below 150 KB
MAX_NOTICES = 5000  # per kind; only the newest are counted
COMPLAINT_SPAN = timedelta(days=30)  # since an edition was sent
MAX_TESTS = 10
MAX_RECIPIENTS = 50  # per page
# Deliveries. If a state has more, the page walks through the deliveries of the edition instead.
MAX_SORTED = 20_000
_OTHER_STATES = (DeliveryState.SKIPPED, DeliveryState.CANCELLED, DeliveryState.EXPIRED)
# The delivery states included in each count, by the name of the count in URLs.
RESULT_STATES: Mapping[str, tuple[DeliveryState, ...]] = {
    **{state.value: (state,) for state in DeliveryState},
    "planned": tuple(DeliveryState),
    "unsent": OPEN_STATES,
    "other": _OTHER_STATES,
    "complained": (),  # regardless of the state
}


@dataclass(frozen=True, slots=True)
class EditionDeliveries:
    """An edition and its delivery counts, as shown in the list of deliveries.

    `is_kept` is True if the counts were stored by a nightly run.
    """

    edition: Edition
    counts: DeliveryCounts
    is_kept: bool


@dataclass(frozen=True, slots=True)
class EditionDeliveryProblems:
    """The refusals, uncertain deliveries, and set-aside emails of an edition.

    `refusals` are grouped by mailbox provider and reason, and `doubts` are the uncertain
    deliveries. `domain_names` maps domain tags to names, if known. `set_aside` says which emails
    are waiting for a decision.
    """

    edition: Edition
    counts: DeliveryCounts
    refusals: tuple[RefusalGroup, ...]
    domain_names: Mapping[str, str]
    complaints: int
    doubts: tuple[UncertainDelivery, ...]
    resend_risk: str
    set_aside: str


@dataclass(frozen=True, slots=True)
class TransactionalEmailCounts:
    """Counts by state of the newest transactional emails of one kind.

    `is_truncated` is True if there are more of them.
    """

    kind: str
    by_state: dict[DeliveryState, int]
    is_truncated: bool

    @property
    def total(self) -> int:
        """The total number of emails in all states."""
        return sum(self.by_state.values())


@dataclass(frozen=True, slots=True)
class EditionTestEmailCounts:
    """When a test of an edition was sent, and counts of its emails by state."""

    edition: str
    at: datetime
    by_state: dict[DeliveryState, int]


@dataclass(frozen=True, slots=True)
class DeliveriesView:
    """A page of editions, newest first, and the sections below it.

    `older_than` is where the next page begins, if there is one. `uncertain_notices` are the oldest
    uncertain deliveries of transactional emails.
    """

    editions: tuple[EditionDeliveries, ...]
    older_than: int | None
    chosen: EditionDeliveryProblems | None
    notices: tuple[TransactionalEmailCounts, ...]
    uncertain_notices: tuple[UncertainDelivery, ...]
    tests: tuple[EditionTestEmailCounts, ...]
    hold: InstallationHold | None


def view_deliveries(
    installation: Installation,
    actor: Actor,
    name: str,
    *,
    below: int | None = None,
    recent: CountCache | None = None,
    now: datetime,
) -> DeliveriesView:
    """Return a page of editions that are being sent, were sent, or were canceled.

    It has the details of the named edition, or else of the newest one. The counts of a large
    edition may be a few seconds old, and those of an edition sent long ago are from last night.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownEditionError: no edition has this name.
    """
    SHOW_DELIVERIES.check_role(installation, actor, "deliveries", now=now)
    with installation.read() as session:
        rows = _list_sent(session, below)
        stored_counts = load_cached_delivery_counts(session)
        selected_edition = find_edition(session, name) if name else rows[0] if rows else None
        chosen = None if selected_edition is None else _view_chosen(installation, selected_edition.name, recent, now)
        known_counts = stored_counts if chosen is None else {chosen.edition.name: chosen.counts} | stored_counts
        counts = [
            known_counts.get(row.name) or count_edition_deliveries(installation, row.name, recent, now=now)
            for row in rows
        ]
        editions = (
            EditionDeliveries(edition, counted, is_kept=edition.name in stored_counts)
            for edition, counted in zip(rows[:PAGE_SIZE], counts, strict=False)
        )
        return DeliveriesView(
            editions=tuple(editions),
            older_than=rows[PAGE_SIZE - 1].id if len(rows) > PAGE_SIZE else None,
            chosen=chosen,
            notices=tuple(filter(None, (_count_notices(session, kind) for kind in NOTICE_KINDS))),
            uncertain_notices=tuple(read_oldest_uncertain_deliveries(session, NOTICES, limit=MAX_DOUBTS, now=now)),
            tests=_list_tests(session),
            hold=installation_hold.read_current_hold(session),
        )


def _list_sent(session: Session, below: int | None) -> Sequence[Edition]:
    """Return a page of editions, newest first, plus one more.

    `below` is the ID of the edition before the page.
    """
    gone_out = select(Edition).where(Edition.state.in_(SENT_OR_CANCELED_STATES))
    sent = gone_out.order_by(Edition.release_at.desc()).options(*WITHOUT_TEXTS)
    if below is not None:
        newer = select(Edition.release_at).where(Edition.id == below)
        sent = sent.where(Edition.release_at < newer.scalar_subquery())
    return session.scalars(sent.limit(PAGE_SIZE + 1)).all()


def list_uncertain_ids_without_report(
    installation: Installation, actor: Actor, name: str, *, now: datetime
) -> list[str]:
    """Return the IDs of an edition's uncertain deliveries that still have no report after a day.

    They're returned only if other deliveries had reports.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownEditionError: no edition has this name.
    """
    SHOW_DELIVERIES.check_role(installation, actor, "deliveries", now=now)
    doubts = list_uncertain(installation, name, now=now)
    return [doubt.delivery_id for doubt in doubts if doubt.is_silent]


def _view_chosen(
    installation: Installation, name: str, recent: CountCache | None, now: datetime
) -> EditionDeliveryProblems:
    def read_chosen(session: Session, edition: Edition) -> EditionDeliveryProblems:
        return _read_chosen(installation, session, edition, now)

    if recent is not None:
        return recent.get_or_count(installation, "results", name, read_chosen, now=now)
    with installation.database.snapshot() as session:
        return read_chosen(session, find_edition(session, name))


def _read_chosen(
    installation: Installation, session: Session, edition: Edition, now: datetime
) -> EditionDeliveryProblems:
    known_counts = load_cached_delivery_counts(session).get(edition.name)
    refusals = merge_refusals(group_refusals(session, edition.name))
    return EditionDeliveryProblems(
        edition=edition,
        counts=known_counts or count_deliveries(session, make_edition_delivery_purpose(edition.name)),
        refusals=tuple(refusals),
        domain_names=map_provider_names(installation, session, edition.name, refusals, for_admin=True),
        complaints=_count_complaints(session, edition),
        doubts=tuple(read_oldest_uncertain_deliveries(session, edition.name, limit=MAX_DOUBTS, now=now)),
        resend_risk=explain_resend_risk(installation),
        set_aside=describe_set_aside_domains(list_undecided_domains(edition)),
    )


def _count_complaints(session: Session, edition: Edition) -> int:
    query = select(func.count()).select_from(_select_complaints(edition).subquery())
    return session.scalar(query) or 0


def _select_complaints(edition: Edition) -> Select[str | None]:
    """Return a query for an edition's deliveries that were reported as spam within a month.

    It uses the index of such events by time.
    """
    since = edition.planned_at or edition.release_at
    # This isn't a join, because SQLite would begin it with a million deliveries.
    of_edition = (Delivery.id == StoredDeliveryEvent.delivery) & (
        Delivery.purpose == make_edition_delivery_purpose(edition.name)
    )
    return (
        select(StoredDeliveryEvent.delivery)
        .distinct()
        .where(
            text(STOP_RULE_EVENTS),
            StoredDeliveryEvent.received_at.between(since, since + COMPLAINT_SPAN),
            StoredDeliveryEvent.kind == "complained",
            exists().where(of_edition),
        )
    )


def _find_complainants(session: Session, edition: Edition) -> list[int]:
    reported = Delivery.id.in_(_select_complaints(edition))
    people = session.scalars(select(Delivery.person).where(reported))
    return [person for person in people if person is not None]


def _count_notices(session: Session, kind: str) -> TransactionalEmailCounts | None:
    """Count the newest emails of a kind by state, or return None if there are none."""
    prefix = f"{kind}:"
    of_kind = (Delivery.purpose >= prefix, Delivery.purpose < f"{kind};")  # a semicolon follows the colon in ASCII
    newest_first = select(Delivery.state).where(*of_kind).order_by(Delivery.purpose.desc())
    newest = newest_first.limit(MAX_NOTICES).subquery()
    counted = select(newest.c.state, func.count()).group_by(newest.c.state)
    by_state = {DeliveryState(row[0]): row[1] for row in session.execute(counted)}
    if not by_state:
        return None
    return TransactionalEmailCounts(kind, by_state, is_truncated=sum(by_state.values()) == MAX_NOTICES)


def _list_tests(session: Session) -> tuple[EditionTestEmailCounts, ...]:
    of_tests = (Delivery.purpose >= TEST_PURPOSE_PREFIX, Delivery.purpose < "test;")
    moment = func.max(func.coalesce(Delivery.handed_at, Delivery.due_at))
    tests = select(Delivery.purpose, moment.label("at")).where(*of_tests)
    newest = tests.group_by(Delivery.purpose)
    newest_first = newest.order_by(moment.desc())
    rows = session.execute(newest_first.limit(MAX_TESTS)).all()
    counted = select(Delivery.purpose, Delivery.state, func.count()).where(
        Delivery.purpose.in_([row.purpose for row in rows])
    )
    by_purpose: dict[str, dict[DeliveryState, int]] = {}
    for purpose, state, count in session.execute(counted.group_by(Delivery.purpose, Delivery.state)):
        by_purpose.setdefault(purpose, {})[state] = count
    test_rows = [(row.purpose.split(":")[1], row.at, by_purpose[row.purpose]) for row in rows]
    return tuple(EditionTestEmailCounts(*test) for test in test_rows)


@dataclass(frozen=True, slots=True)
class DeliveryRecipient:
    """The recipient of a delivery, with its state and the server's reply.

    `may_correct_address` says that they were subscribed until their mailbox bounced.
    """

    subscriber: ListedSubscriber
    state: DeliveryState
    handed_at: datetime | None
    reply: str
    may_correct_address: bool


@dataclass(frozen=True, slots=True)
class DeliveryRecipients:
    """A page of an edition's recipients with the same result, in descending order of number.

    `count` includes deliveries to people who have been erased. `next_below` is None on the last
    page. `refusals` is the requested group of refusals.
    """

    edition: Edition
    count: int
    recipients: tuple[DeliveryRecipient, ...]
    next_below: int | None
    refusals: tuple[RefusalGroup, ...]
    domain_names: Mapping[str, str]


def view_delivery_recipients(
    installation: Installation,
    actor: Actor,
    name: str,
    *,
    result: str,
    group: str,
    below: int | None,
    recent: CountCache | None = None,
    now: datetime,
) -> DeliveryRecipients:
    """Return an edition's recipients with one result (see `RESULT_STATES`) or in one group of refusals.

    `group` is the key of the group, or empty. The counts and groups of a large edition may be a few
    seconds old, and those of an edition sent long ago are from last night.

    Raises:
        NotPermittedError: the actor isn't an admin.
        UnknownEditionError: there's no such edition.
    """
    SHOW_DELIVERIES.check_role(installation, actor, "deliveries", now=now)
    view = _view_chosen(installation, name, recent, now) if group else None
    with installation.database.snapshot() as session:
        edition = find_edition(session, name)
        words: dict[int, str] = {}
        groups: Sequence[RefusalGroup] = ()
        if view is not None:
            groups = [each for each in view.refusals if each.is_chosen([group])]
            count = sum(each.count for each in groups)
            refused = find_refused_page(session, name, group, below=below, limit=MAX_RECIPIENTS + 1)
            words = {delivery.person: delivery.group.reply for delivery in refused if delivery.person is not None}
            numbers = list(words)
        elif states := RESULT_STATES[result]:
            counts = load_cached_delivery_counts(session).get(name)
            counts = counts or count_edition_deliveries(installation, name, recent, now=now)
            count = sum(counts[state] for state in states)
            numbers = _find_recipient_numbers(session, name, states, below)
        else:
            count = _count_complaints(session, edition)
            numbers = _sort_from_highest(_find_complainants(session, edition), below)
        return DeliveryRecipients(
            edition=edition,
            count=count,
            recipients=_load_recipients(session, name, numbers[:MAX_RECIPIENTS], words),
            next_below=numbers[MAX_RECIPIENTS - 1] if len(numbers) > MAX_RECIPIENTS else None,
            refusals=tuple(groups),
            domain_names=view.domain_names
            if view is not None and all(each.tag in view.domain_names for each in groups)
            else map_provider_names(installation, session, name, groups, for_admin=True),
        )


def _sort_from_highest(numbers: Iterable[int], below: int | None) -> list[int]:
    return sorted((number for number in numbers if below is None or number < below), reverse=True)


def _find_recipient_numbers(
    session: Session, name: str, states: Sequence[DeliveryState], below: int | None
) -> list[int]:
    """Return a page of recipients' numbers below the number `below`, plus one more.

    The faster of two indexes is used. SQLite doesn't know how many deliveries have a state, so an
    expression keeps it from using the wrong index.
    """
    of_edition = Delivery.purpose == make_edition_delivery_purpose(name)
    in_state: ColumnElement[bool] = Delivery.state.in_(states)
    some = select(Delivery.id).where(of_edition, in_state).limit(MAX_SORTED + 1)
    counted = select(func.count()).select_from(some.subquery())
    is_sorted = (session.scalar(counted) or 0) <= MAX_SORTED
    number: ColumnElement[int | None] = Delivery.person + 0 if is_sorted else Delivery.person.expression
    if not is_sorted:
        in_state = func.lower(Delivery.state).in_([state.value for state in states])
    people = select(Delivery.person).where(of_edition, in_state, number.is_not(None))
    if below is not None:
        people = people.where(number < below)
    rows = session.scalars(people.order_by(number.desc()).limit(MAX_RECIPIENTS + 1))
    return [person for person in rows if person is not None]


def _load_recipients(
    session: Session, name: str, numbers: Sequence[int], words: Mapping[int, str]
) -> tuple[DeliveryRecipient, ...]:
    purpose = make_edition_delivery_purpose(name)
    theirs = select(Delivery).where(Delivery.purpose == purpose, Delivery.person.in_(numbers))
    deliveries = {row.person: row for row in session.scalars(theirs)}
    subscribers = load_subscribers(session, numbers)
    bounced_numbers = [subscriber.number for subscriber in subscribers if subscriber.is_bounce]
    bounced_people = session.scalars(select(Person).where(Person.number.in_(bounced_numbers))).all()
    correctable = find_correctable_people(session, bounced_people)
    recipients = []
    for subscriber in subscribers:
        row = deliveries[subscriber.number]
        reply = words.get(subscriber.number) or quote_refusal(row.reply)
        may_correct = subscriber.number in correctable
        recipients.append(DeliveryRecipient(subscriber, row.state, row.handed_at, reply, may_correct))
    return tuple(recipients)
