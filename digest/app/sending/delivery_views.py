"""What left and what came of it, for admins: editions and notices with their counts, refusals, doubts, tests, the hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select, text
from sqlalchemy.orm import Session

from digest.app.editions.count_cache import CountCache, count_edition_deliveries
from digest.app.editions.edition_views import SENT_STATES
from digest.app.sending.uncertain_delivery_actions import explain_resend_risk, list_uncertain
from digest.deliver.control import installation_hold
from digest.deliver.control.installation_hold import InstallationHold
from digest.deliver.control.set_aside_domains import describe_set_aside_domains, list_undecided_domains
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import (
    TEST_PURPOSE_PREFIX,
    DeliveryCounts,
    count_deliveries,
    make_edition_delivery_purpose,
)
from digest.deliver.retention.delivery_disclosures import NOTICE_KINDS
from digest.deliver.retention.stored_delivery_counts import load_stored_delivery_counts
from digest.deliver.send.refusals.refused_deliveries import RefusalGroup, group_refusals, map_tags_to_domain_names
from digest.deliver.send.uncertain.uncertain_deliveries import (
    NOTICES,
    UncertainDelivery,
    read_oldest_uncertain_deliveries,
)
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import Action, Actor, Role
from digest.installation.opened_installation import Installation
from digest.settings.affected_areas import AffectedArea
from digest.store.delivery_models import STOP_RULE_EVENTS, Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import Edition

SHOW_DELIVERIES = Action("deliveries shown", Role.ADMIN, AffectedArea.NONE)
PAGE_SIZE = 12  # editions
MAX_DOUBTS = 200  # uncertain deliveries on one page, the earliest
MAX_NOTICES = 5000  # of one kind: the newest are counted
COMPLAINT_SPAN = timedelta(days=30)  # after an edition went out
MAX_DOMAINS = 12
MAX_TESTS = 10


@dataclass(frozen=True, slots=True)
class EditionDeliveries:
    """One edition with its delivery counts; `is_kept` that they were counted last night."""

    edition: Edition
    counts: DeliveryCounts
    is_kept: bool


@dataclass(frozen=True, slots=True)
class RefusingDomain:
    """A receiving domain by its tag, its name where it is known without any address, and how many messages it refused."""

    tag: str
    domain: str
    count: int


@dataclass(frozen=True, slots=True)
class EditionDeliveryProblems:
    """What is shown of one edition: refusals by cause and by receiving domain, complaints, and what is in doubt.

    `other_domains` are how many more domains refused something, and `other_refusals` how much. `set_aside` says which emails wait for a decision.
    """

    edition: Edition
    counts: DeliveryCounts
    refusals_by_cause: dict[FailureCause, int]
    refusals_by_domain: tuple[RefusingDomain, ...]
    other_domains: int
    other_refusals: int
    complaints: int
    doubts: tuple[UncertainDelivery, ...]
    resend_risk: str
    set_aside: str


@dataclass(frozen=True, slots=True)
class TransactionalEmailCounts:
    """The newest mails of one kind, by what came of them. `is_cut` says that there are more."""

    kind: str
    by_state: dict[DeliveryState, int]
    is_cut: bool

    @property
    def total(self) -> int:
        """How many they are."""
        return sum(self.by_state.values())


@dataclass(frozen=True, slots=True)
class EditionTestEmailCounts:
    """One test of an edition: when it went, and what came of its mails."""

    edition: str
    at: datetime
    by_state: dict[DeliveryState, int]


@dataclass(frozen=True, slots=True)
class DeliveriesView:
    """A page of editions, newest first, and all that stands under them. `older_than` is where to go on; None at the end.

    `notice_doubts` are the earliest uncertain mails that are of no edition.
    """

    editions: tuple[EditionDeliveries, ...]
    older_than: int | None
    chosen: EditionDeliveryProblems | None
    notices: tuple[TransactionalEmailCounts, ...]
    notice_doubts: tuple[UncertainDelivery, ...]
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
    """Read what left: a page of editions, and one of them by its name, else the newest.

    A large edition is shown as it was a few seconds ago, where it was looked at then.

    Raises:
        NotPermittedError: the actor is no admin.
        UnknownEditionError: there is none of that name.
    """
    SHOW_DELIVERIES.check_role(installation.database, actor, "deliveries", now=now)
    with installation.read() as session:
        rows = _list_sent(session, below)
        stored_counts = load_stored_delivery_counts(session)
        selected_edition = find_edition(session, name) if name else rows[0] if rows else None
        chosen = (
            None
            if selected_edition is None
            else _view_chosen(installation, selected_edition.name, stored_counts, recent, now)
        )
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
            notice_doubts=tuple(read_oldest_uncertain_deliveries(session, NOTICES, limit=MAX_DOUBTS, now=now)),
            tests=_list_tests(session),
            hold=installation_hold.read_current_hold(session),
        )


def _list_sent(session: Session, below: int | None) -> Sequence[Edition]:
    """List a page of the editions that have gone out, newest first, and the one after it; `below` is the ID of the edition before it in the list."""
    gone_out = select(Edition).where(Edition.state.in_(SENT_STATES))
    sent = gone_out.order_by(Edition.release_at.desc())
    if below is not None:
        newer = select(Edition.release_at).where(Edition.id == below)
        sent = sent.where(Edition.release_at < newer.scalar_subquery())
    return session.scalars(sent.limit(PAGE_SIZE + 1)).all()


def list_uncertain_ids_without_report(
    installation: Installation, actor: Actor, name: str, *, now: datetime
) -> list[str]:
    """List the uncertain deliveries of an edition of which nothing was heard for a day, though others beside them were reported.

    Raises:
        NotPermittedError: the actor is no admin.
        UnknownEditionError: there is none of that name.
    """
    SHOW_DELIVERIES.check_role(installation.database, actor, "deliveries", now=now)
    doubts = list_uncertain(installation, name, now=now)
    return [doubt.delivery_id for doubt in doubts if doubt.is_silent]


def _view_chosen(
    installation: Installation,
    name: str,
    stored_counts: Mapping[str, DeliveryCounts],
    recent: CountCache | None,
    now: datetime,
) -> EditionDeliveryProblems:
    def read_chosen(session: Session, edition: Edition) -> EditionDeliveryProblems:
        return _read_chosen(installation, session, edition, stored_counts.get(edition.name), now)

    if recent is not None:
        return recent.count_or_recall(installation, "results", name, read_chosen, now=now)
    with installation.database.snapshot() as session:
        return read_chosen(session, find_edition(session, name))


def _read_chosen(
    installation: Installation, session: Session, edition: Edition, known_counts: DeliveryCounts | None, now: datetime
) -> EditionDeliveryProblems:
    names = map_tags_to_domain_names(installation.keys, installation.settings.file.limits.domains_per_hour)
    groups = group_refusals(session, edition.name)
    by_domain = _count_by_domain(groups, names)
    return EditionDeliveryProblems(
        edition=edition,
        counts=known_counts or count_deliveries(session, make_edition_delivery_purpose(edition.name)),
        refusals_by_cause=_count_by_cause(groups),
        refusals_by_domain=tuple(by_domain[:MAX_DOMAINS]),
        other_domains=len(by_domain[MAX_DOMAINS:]),
        other_refusals=sum(row.count for row in by_domain[MAX_DOMAINS:]),
        complaints=_count_complaints(session, edition),
        doubts=tuple(read_oldest_uncertain_deliveries(session, edition.name, limit=MAX_DOUBTS, now=now)),
        resend_risk=explain_resend_risk(installation),
        set_aside=describe_set_aside_domains(list_undecided_domains(edition)),
    )


def _count_by_cause(groups: Sequence[RefusalGroup]) -> dict[FailureCause, int]:
    """Count refusals by their cause, the most first."""
    counts: Counter[FailureCause] = Counter()
    for group in groups:
        counts[group.cause] += group.count
    return dict(counts.most_common())


def _count_by_domain(groups: Sequence[RefusalGroup], names: Mapping[str, str]) -> list[RefusingDomain]:
    """Count refusals by receiving domain, the most first."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.tag] += group.count
    return [RefusingDomain(tag, names.get(tag, ""), count) for tag, count in counts.most_common()]


def _count_complaints(session: Session, edition: Edition) -> int:
    """Count the readers who complained within a month: an index holds such events by when they came."""
    since = edition.planned_at or edition.release_at
    # Not a join: SQLite would begin it at the million deliveries.
    of_edition = (Delivery.id == StoredDeliveryEvent.delivery) & (
        Delivery.purpose == make_edition_delivery_purpose(edition.name)
    )
    query = select(func.count(StoredDeliveryEvent.delivery.distinct())).where(
        text(STOP_RULE_EVENTS),
        StoredDeliveryEvent.received_at.between(since, since + COMPLAINT_SPAN),
        StoredDeliveryEvent.kind == "complained",
        exists().where(of_edition),
    )
    return session.scalar(query) or 0


def _count_notices(session: Session, kind: str) -> TransactionalEmailCounts | None:
    """Count the newest mails of a kind by their state; None where there is none."""
    prefix = f"{kind}:"
    of_kind = (Delivery.purpose >= prefix, Delivery.purpose < f"{kind};")  # the sign after the colon
    newest_first = select(Delivery.state).where(*of_kind).order_by(Delivery.purpose.desc())
    newest = newest_first.limit(MAX_NOTICES).subquery()
    counted = select(newest.c.state, func.count()).group_by(newest.c.state)
    by_state = {DeliveryState(row[0]): row[1] for row in session.execute(counted)}
    if not by_state:
        return None
    return TransactionalEmailCounts(kind, by_state, is_cut=sum(by_state.values()) == MAX_NOTICES)


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
