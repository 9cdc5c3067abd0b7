"""Events about messages are read, counted once, and applied with the same result in any order."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update

from digest.deliver.events.delivery_event import (
    DeliveryAttempt,
    EventKind,
    find_state_after_events,
    has_failed_too_often,
)
from digest.deliver.events.failure_causes import FailureCause, find_failure_cause, parse_reply_codes
from digest.deliver.inbound import payloads
from digest.deliver.inbound.payloads import apply_stored_payloads
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.sendgrid import events as sendgrid
from digest.deliver.retention import repeated_bounces
from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.store.delivery_models import Delivery, DeliveryState, ReceivedEventPayload, StoredDeliveryEvent
from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import ledger, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.erasure import erase_person
from subscribers.store.models import Base, ConsentEvent, ConsentKind, Person, PersonState, Suppression
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.moments import RELEASE

ADA = "ada.lovelace@analytical.example"
LATER = RELEASE + timedelta(hours=1)
LOOKED_BACK = timedelta(days=400)


@dataclass
class Post:
    """Makes SendGrid's events about one reader's message."""

    world: DeliverySetup
    address: str = ADA
    person: int = 0
    delivery: str = ""
    made: list[int] = field(default_factory=lambda: [0])

    def event(self, name: str, *, at: datetime = LATER, **more: Any) -> dict[str, Any]:
        self.made[0] += 1
        values = {
            "email": self.address,
            "event": name,
            "timestamp": int(at.timestamp()),
            "sg_event_id": f"id-{self.made[0]}",
            "sg_message_id": "msg.recvd-1",
            "delivery_id": self.delivery,
        }
        return values | more

    def arrives(self, *events: dict[str, Any], at: datetime = LATER) -> dict[str, int]:
        """Post and apply."""
        payloads.store_payload(
            self.world.database, self.world.keys, json.dumps(events).encode(), origin="sendgrid", now=at
        )
        unsubscribe_log = self.unsubscribe_log
        return dict(apply_stored_payloads(self.world.database, self.world.keys, unsubscribe_log, clock=lambda: at))

    @property
    def unsubscribe_log(self) -> UnsubscribeLog:
        return UnsubscribeLog(self.world.settings.left_log, self.world.keys)

    @property
    def state(self) -> PersonState:
        with self.world.database.read() as session:
            return session.scalars(select(Person.state).where(Person.number == self.person)).one()

    @property
    def delivered(self) -> DeliveryState:
        with self.world.database.read() as session:
            return session.scalars(select(Delivery.state).where(Delivery.id == self.delivery)).one()

    @property
    def suppressed(self) -> str | None:
        with self.world.database.read() as session:
            entry = suppression.find_suppression(session, self.world.keys, read_address(self.address))
            return entry.reason if entry else None

    def chain(self) -> list[ConsentKind]:
        with self.world.database.read() as session:
            mine = select(ConsentEvent.kind).where(ConsentEvent.person == self.person)
            return list(session.scalars(mine.order_by(ConsentEvent.seq)))

    def stands(self, state: DeliveryState) -> None:
        with self.world.database.write() as session:
            values = {"state": state, "transport": "sendgrid", "handed_at": RELEASE}
            session.execute(update(Delivery).where(Delivery.id == self.delivery).values(**values))

    def earlier(self, weeks: int) -> "Post":
        """Make another delivery to the same reader, some weeks before."""
        named = f"{'a' * 25}{'abcdefgh'[weeks]}"
        at = RELEASE - timedelta(weeks=weeks)
        row = Delivery(
            id=named,
            purpose=f"edition:earlier-{weeks}",
            person=self.person,
            state=DeliveryState.ACCEPTED,
            due_at=at,
            next_try_at=at,
            handed_at=at,
            transport="sendgrid",
        )
        with self.world.database.write() as session:
            session.add(row)
        return Post(self.world, self.address, self.person, named, self.made)


def _post(world: DeliverySetup, state: DeliveryState = DeliveryState.ACCEPTED) -> Post:
    (number,) = world.add_subscribers(ADA)
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.read() as session:
        delivery = session.scalars(select(Delivery.id)).one()
    post = Post(world, person=number, delivery=delivery)
    post.stands(state)
    return post


@pytest.fixture
def post(world: DeliverySetup) -> Post:
    """Give Ada's message, accepted by SendGrid, on each database."""
    return _post(world)


@pytest.fixture
def quick(one_world: DeliverySetup) -> Post:
    """Give the same on SQLite alone."""
    return _post(one_world)


def _count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


GONE: dict[str, Any] = {"type": "bounce", "status": "5.1.1", "reason": f"550 5.1.1 <{ADA}>: no ada.lovelace here"}


@pytest.mark.takes_turns
def test_a_mailbox_that_is_not_there_is_never_mailed_again(post: Post) -> None:
    assert post.arrives(post.event("bounce", **GONE)) == {"bounced": 1, "person bounced": 1}
    assert (post.state, post.delivered, post.suppressed) == ("suppressed", "refused", "bounced")
    assert post.chain()[-2:] == [ConsentKind.BOUNCED, ConsentKind.SUPPRESSED]
    assert len(list(post.unsubscribe_log.read())) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "blocked", "status": "5.1.1", "reason": "550 5.1.1 unknown"},
        {"type": "bounce", "status": "5.7.1", "reason": "550 5.7.1 spam"},
        {"type": "bounce", "status": "5.1.1", "reason": "550-5.7.515 unauthenticated"},
        {"type": "bounce", "status": "5.7.26", "bounce_classification": "Invalid Address"},
        {"type": "bounce", "status": "", "bounce_classification": "Reputation", "reason": "550 no"},
        {"type": "bounce", "status": "5.6.7", "bounce_classification": "Invalid Address"},
        {"type": "bounce", "status": "5.2.2", "reason": "552 5.2.2 full"},
        {"type": "bounce", "reason": "no such user, says free text with 5.1.1 in it"},
        {"type": "bounce", "status": 7, "reason": ["5.1.1"]},
    ],
    ids=str,
)
def test_what_is_not_the_subscribers_fault_suppresses_nobody(quick: Post, fields: dict[str, Any]) -> None:
    quick.arrives(quick.event("bounce", **fields))
    assert (quick.state, quick.delivered, quick.suppressed) == ("subscribed", "refused", None)
    assert not list(quick.unsubscribe_log.read())


@pytest.mark.takes_turns
def test_a_complaint_suppresses_for_good_and_outweighs_a_bounce(post: Post) -> None:
    post.arrives(post.event("bounce", **GONE))
    assert post.arrives(post.event("spamreport"))["person complained"] == 1
    assert (post.state, post.suppressed) == ("suppressed", "complained")
    assert [d.kind for d in post.unsubscribe_log.read()] == ["bounced", "complained"]
    assert post.arrives(post.event("spamreport", at=LATER + timedelta(hours=1))) == {"complained": 1}


@pytest.mark.parametrize("name", ["unsubscribe", "group_unsubscribe"])
def test_who_leaves_at_the_provider_has_left_here(quick: Post, name: str) -> None:
    quick.arrives(quick.event(name))
    assert (quick.state, quick.suppressed, quick.delivered) == ("withdrawn", None, "accepted")
    assert [d.kind for d in quick.unsubscribe_log.read()] == ["left"]


@pytest.mark.parametrize(
    ("reason", "state", "why"),
    [
        ("Bounced Address", "suppressed", "bounced"),
        ("Invalid", "suppressed", "bounced"),
        ("Spam Reporting Address", "suppressed", "complained"),
        ("Unsubscribed Address", "withdrawn", None),
        ("Spam Content", "subscribed", None),
        ("Invalid SMTPAPI header", "subscribed", None),
        ("Recipient List over Package Quota", "subscribed", None),
    ],
)
def test_what_stands_on_the_providers_lists_is_mirrored(quick: Post, reason: str, state: str, why: str | None) -> None:
    quick.arrives(quick.event("dropped", reason=reason))
    assert (quick.state, quick.suppressed, quick.delivered) == (state, why, "refused")


@pytest.mark.takes_turns
@pytest.mark.parametrize(
    ("name", "settled"),
    [
        ("processed", "accepted"),
        ("delivered", "accepted"),
        ("deferred", "accepted"),
        ("dropped", "refused"),
        ("bounce", "refused"),
        ("a word of next year", "uncertain"),
    ],
)
def test_a_doubt_is_settled_by_what_the_provider_says(post: Post, name: str, settled: str) -> None:
    post.stands(DeliveryState.UNCERTAIN)
    post.arrives(post.event(name))
    with post.world.database.read() as session:
        counts = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert post.delivered == settled
    assert counts.is_balanced
    assert counts.planned == 1


def test_events_that_outrun_the_record_are_settled_once_it_is_written(post: Post) -> None:
    post.stands(DeliveryState.HANDING_OVER)
    post.arrives(post.event("processed"), post.event("bounce", type="blocked"))
    assert post.delivered == "handing over"
    post.stands(DeliveryState.UNCERTAIN)  # its process died
    post.arrives()
    assert post.delivered == "refused"
    post.stands(DeliveryState.UNCERTAIN)
    post.arrives()
    assert post.delivered == "uncertain", "what is settled is looked at once"


def test_a_message_that_waits_to_be_repeated_and_had_arrived_is_not_repeated(quick: Post) -> None:
    quick.stands(DeliveryState.WAITING)
    quick.arrives(quick.event("delivered"))
    assert quick.delivered == DeliveryState.ACCEPTED


@pytest.mark.parametrize("final", ["refused", "withdrawn", "skipped", "cancelled", "expired"])
def test_no_late_event_moves_what_is_final(quick: Post, final: str) -> None:
    quick.stands(DeliveryState(final))
    quick.arrives(quick.event("processed"), quick.event("delivered"), quick.event("bounce", type="blocked"))
    assert quick.delivered == final


@pytest.mark.takes_turns
def test_46_posts_of_the_same_events_count_once_whatever_their_ids(post: Post) -> None:
    events = [post.event("processed"), post.event("delivered"), post.event("deferred", response="451 wait")]
    for n in range(46):
        again = [dict(e) for e in events]
        random.Random(n).shuffle(again)
        for e in again:
            if n % 2:
                e["sg_event_id"] += f"-{n}"  # as SendGrid does on some retries
            elif n:
                e["reason"] = f"changed {n}"  # and where the words change, its id stays
        post.arrives(*again, *again)
    assert _count(post.world.database, StoredDeliveryEvent) == 3


@pytest.mark.takes_turns
def test_the_same_body_is_kept_once(post: Post) -> None:
    body = json.dumps([post.event("processed")]).encode()
    stored = [
        payloads.store_payload(post.world.database, post.world.keys, body, origin="sendgrid", now=LATER)
        for _ in range(46)
    ]
    assert stored == [True] + [False] * 45
    assert _count(post.world.database, ReceivedEventPayload) == 1


def test_opens_and_clicks_are_not_stored_and_unknown_words_are(quick: Post) -> None:
    counts = quick.arrives(
        quick.event("open"),
        quick.event("click", url="https://hls.today"),
        quick.event("teleported"),
        quick.event("account_suspended", delivery_id=None),
        quick.event("delivered", delivery_id="somebody-elses"),
        quick.event("bounce", **GONE) | {"delivery_id": "a" * 26},
    )
    assert counts == {"unknown": 2, "foreign": 2}
    assert quick.state == PersonState.SUBSCRIBED


def test_of_somebody_erased_an_event_is_counted_and_no_more(post: Post) -> None:
    with post.world.database.write() as session:
        erase_person(
            session,
            post.world.keys,
            post.unsubscribe_log,
            post.person,
            method="page",
            forget_elsewhere=erase_from_deliveries,
            now=LATER,
        )
    before = post.chain()
    counts = post.arrives(post.event("spamreport"), post.event("bounce", **GONE), post.event("unsubscribe"))
    assert counts == {"complained": 1, "bounced": 1, "unsubscribed": 1}
    assert post.chain() == before
    assert post.state == PersonState.ERASED


def test_a_word_from_before_the_subscribers_own_last_word_does_not_count(quick: Post) -> None:
    with quick.world.database.write() as session:
        person = ledger.lock_person(session, quick.person)
        assert person is not None
        ledger.append_event(session, person, ConsentKind.WITHDRAWN, {"method": "page"}, LATER)
        ledger.append_event(session, person, ConsentKind.CONFIRMED, {}, LATER + timedelta(hours=2))
    now = LATER + timedelta(hours=5)
    quick.arrives(quick.event("unsubscribe"), quick.event("spamreport"), quick.event("bounce", **GONE), at=now)
    assert (quick.state, quick.suppressed) == ("subscribed", None)
    quick.arrives(quick.event("unsubscribe", at=LATER + timedelta(hours=3)), at=now)
    assert quick.state == PersonState.WITHDRAWN


def test_a_bounce_of_an_address_that_was_left_does_not_hit_the_new_one(quick: Post) -> None:
    with quick.world.database.write() as session:
        person = ledger.lock_person(session, quick.person)
        assert person is not None
        ledger.append_event(session, person, ConsentKind.ADDRESS_CHANGED, {}, RELEASE + timedelta(minutes=5))
    quick.arrives(quick.event("bounce", **GONE))
    assert (quick.state, quick.suppressed) == ("subscribed", None)


def test_no_address_is_left_of_a_post_in_the_clear(quick: Post) -> None:
    quick.arrives(
        quick.event("bounce", **GONE),
        quick.event("deferred", response=f"451 try later {ADA.upper()} or grace@hopper.example"),
        quick.event(f"odd {ADA}", type=ADA),
        quick.event("dropped", reason="Invalid ada.lovelace at analytical.example"),
    )
    with quick.world.database.read() as session:
        for table in Base.metadata.tables:
            for row in session.execute(text(f'SELECT * FROM "{table}"')):
                text_shown = " ".join(v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in row).lower()
                assert not any(word in text_shown for word in ("lovelace", "analytical", "hopper")), table


def test_a_payload_that_is_no_json_or_does_not_open_holds_up_nobody(quick: Post) -> None:
    database, keys = quick.world.database, quick.world.keys
    payloads.store_payload(database, keys, b"[{", origin="sendgrid", now=LATER)
    payloads.store_payload(database, keys, b"[1]", origin="sendgrid", now=LATER)
    with database.write() as session:
        session.execute(update(ReceivedEventPayload).where(ReceivedEventPayload.id == 2).values(ciphertext=b"x" * 40))
    assert quick.arrives(quick.event("delivered")) == {"delivered": 1}
    assert list(payloads.stream_unapplied_payloads(database, keys)) == []


def test_payloads_are_dropped_after_30_days(post: Post) -> None:
    post.arrives(post.event("delivered"))
    drop = payloads.delete_old_payloads
    assert drop(post.world.database, now=LATER + timedelta(days=30)) == 0
    assert drop(post.world.database, now=LATER + timedelta(days=30, seconds=1)) == 1
    assert (_count(post.world.database, ReceivedEventPayload), _count(post.world.database, StoredDeliveryEvent)) == (
        0,
        1,
    )


def test_more_events_than_fit_a_transaction_are_all_applied(quick: Post) -> None:
    events = [quick.event("deferred", response=f"451 {n}") for n in range(1201)]
    assert quick.arrives(*events) == {"deferred": 1201}


HARD: dict[str, Any] = {"type": "bounce", "reason": "550 nobody says why"}
SOFT: dict[str, Any] = {"type": "bounce", "status": "5.2.2"}
NIGHT = RELEASE + timedelta(days=3)


def _night(post: Post) -> int:
    return repeated_bounces.suppress_repeated_bounces(
        post.world.database, post.world.keys, post.unsubscribe_log, now=NIGHT, lookback=LOOKED_BACK
    )


def _weeks(post: Post, told: Sequence[tuple[int, str, dict[str, Any]]]) -> None:
    """Let things happen to the messages of some weeks ago."""
    made = {0: post}
    for weeks, name, fields in told:
        earlier = made.get(weeks) or made.setdefault(weeks, post.earlier(weeks))
        at = RELEASE - timedelta(weeks=weeks) + timedelta(hours=1)
        earlier.arrives(earlier.event(name, at=at, **fields))


def test_two_hard_bounces_in_a_row_suppress(post: Post) -> None:
    _weeks(post, [(1, "bounce", HARD), (0, "bounce", HARD)])
    assert (post.state, _night(post), post.state, _night(post)) == ("subscribed", 1, "suppressed", 0)
    assert post.suppressed == "bounced"
    assert len(list(post.unsubscribe_log.read())) == 1


@pytest.mark.parametrize(
    "told",
    [
        [(0, "bounce", HARD), (0, "bounce", HARD | {"reason": "550 again"})],
        [(2, "bounce", HARD), (1, "delivered", {}), (0, "bounce", HARD)],
        [(1, "bounce", HARD), (0, "bounce", {"type": "blocked"})],
        [(2, "bounce", SOFT), (1, "bounce", SOFT), (0, "bounce", SOFT)],
        [(3, "bounce", SOFT), (0, "bounce", SOFT)],
    ],
    ids=["one message", "delivered in between", "blocked", "14 days only", "two soft"],
)
def test_fewer_bounces_suppress_nobody(quick: Post, told: list[tuple[int, str, dict[str, Any]]]) -> None:
    _weeks(quick, told)
    assert _night(quick) == 0
    assert quick.state == PersonState.SUBSCRIBED


def test_three_soft_bounces_over_more_than_14_days_suppress(quick: Post) -> None:
    _weeks(quick, [(3, "bounce", SOFT), (1, "bounce", SOFT), (0, "bounce", SOFT)])
    assert _night(quick) == 1


def test_bounces_wait_until_the_provider_has_nothing_more_to_say(quick: Post) -> None:
    _weeks(quick, [(1, "bounce", HARD), (0, "bounce", HARD)])
    soon = RELEASE + timedelta(hours=20)
    assert (
        repeated_bounces.suppress_repeated_bounces(
            quick.world.database, quick.world.keys, quick.unsubscribe_log, now=soon, lookback=LOOKED_BACK
        )
        == 0
    )
    assert _night(quick) == 1


@pytest.mark.parametrize(
    ("status", "reply", "cause"),
    [
        ("5.1.1", "", "no mailbox"),
        ("5.0.0", "550 5.1.1 no user", "no mailbox"),
        ("550", "", "hard"),
        ("", "550 no user", "hard"),
        ("5.1.2", "", "hard"),
        ("5.1.0", "550 5.1.0 Address rejected", "hard"),
        ("550", "553 5.1.0 Address rejected", "hard"),
        ("5.1.0", "", "soft"),
        ("", "554 5.1.0 Sender denied", "soft"),
        ("5.7.1", "550 5.1.0 Address rejected", "policy"),
        ("5.1.8", "550 5.1.0 Sender rejected", "ours"),
        ("4.2.2", "452 4.2.2 full", "soft"),
        ("", "554 no", "soft"),
        ("", "550-5.7.26 no", "policy"),
        ("5.4.6", "", "ours"),
        ("5.6.1", "550 5.1.1 x", "ours"),
        ("4.4.1", "", ""),
        ("", "see 550 5.1.1", None),
    ],
)
def test_codes_alone_decide_and_the_subscriber_is_given_the_benefit(status: str, reply: str, cause: str | None) -> None:
    assert find_failure_cause(*parse_reply_codes(status, reply)) == cause


STATES = st.sampled_from(DeliveryState)
KINDS = st.lists(st.sampled_from(EventKind))


@given(STATES, KINDS, st.randoms(use_true_random=False))
def test_any_order_repetition_and_cut_of_events_ends_in_one_state(
    state: DeliveryState, kinds: list[EventKind], chance: random.Random
) -> None:
    at_once = find_state_after_events(state, kinds)
    again = kinds + kinds[: chance.randrange(len(kinds) + 1)]
    chance.shuffle(again)
    one_by_one = state
    for kind in again:
        one_by_one = find_state_after_events(one_by_one, [kind])
    assert one_by_one is at_once
    assert at_once in {state, DeliveryState.ACCEPTED, DeliveryState.REFUSED}


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([FailureCause.HARD, FailureCause.SOFT, FailureCause.NONE])),
        max_size=8,
    )
)
def test_striking_out_knows_no_order(told: list[tuple[int, FailureCause]]) -> None:
    attempts = [DeliveryAttempt(RELEASE + timedelta(days=day), f"{n}", cause) for n, (day, cause) in enumerate(told)]
    assert has_failed_too_often(attempts) == has_failed_too_often(reversed(attempts))
    assert not has_failed_too_often([*attempts, DeliveryAttempt(RELEASE + timedelta(days=99), "z", FailureCause.NONE)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["event", "timestamp", "email", "reason", "status", "type", "delivery_id", "sg_event_id", "response"]
VALUES = JSON | st.sampled_from(["bounce", "dropped", "bounce", "5.1.1", "Invalid", ADA, "\ud800\x00"])


@given(JSON | st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES), max_size=3))
def test_reading_never_raises_and_keeps_no_address(told: Any) -> None:
    for said in sendgrid.parse_webhook_body(json.dumps(told).encode(), received_at=LATER) or []:
        assert said.occurred_at <= LATER
        assert "@" not in json.dumps(dict(said.detail)) or ADA not in json.dumps(dict(said.detail))
        json.dumps(dict(said.detail)).encode()


@pytest.mark.parametrize("body", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b"1" * 6000])
def test_what_is_no_array_of_events_is_said_to_be_none(body: bytes) -> None:
    assert sendgrid.parse_webhook_body(body, received_at=LATER) is None


def _everything(post: Post) -> list[dict[str, Any]]:
    return [
        post.event("processed"),
        post.event("deferred", response="451 4.7.1 wait"),
        post.event("delivered"),
        post.event("bounce", **GONE),
        post.event("unsubscribe"),
        post.event("spamreport"),
        post.event("dropped", reason="Unsubscribed Address"),
    ]


@pytest.fixture
def fresh(tmp_path: Path, one_world: DeliverySetup) -> Iterator[Callable[[], Post]]:
    """Give a function that makes Ada's message anew, in doubt, with nothing said of it."""
    first = _post(one_world, DeliveryState.UNCERTAIN)
    tables = [StoredDeliveryEvent, ReceivedEventPayload, Suppression]

    def again() -> Post:
        with one_world.database.write() as session:
            for table in tables:
                session.execute(text(f"DELETE FROM {table.__tablename__}"))
            session.execute(text("DELETE FROM consent_event WHERE seq > 1"))
            head = session.scalars(select(ConsentEvent.hash)).one()
            session.execute(update(Person).values(state=PersonState.SUBSCRIBED, chain_head=head))
        first.stands(DeliveryState.UNCERTAIN)
        return first

    yield again
    assert tmp_path.exists()


def test_everything_that_may_be_said_ends_the_same_in_any_order_and_split(fresh: Callable[[], Post]) -> None:
    ends = set()
    for seed in range(12):
        chance, post = random.Random(seed), fresh()
        sample_here = chance.sample(_everything(post), 7)
        sample_here += chance.sample(sample_here, 3)
        cut = chance.randrange(len(sample_here))
        for part in (sample_here[:cut], sample_here[cut:]):
            post.arrives(*part)
        ends.add((post.state, post.suppressed, post.delivered, _count(post.world.database, StoredDeliveryEvent)))
    assert ends == {("suppressed", "complained", "refused", 7)}


def test_a_time_that_is_none_or_to_come_is_the_time_of_arrival() -> None:
    odd: list[Any] = ["soon", None, 1e400, 99999999999, [], True]
    for value in odd:
        body = json.dumps([{"event": "delivered", "timestamp": value}]).encode()
        events = sendgrid.parse_webhook_body(body, received_at=LATER)
        assert events
        assert events[0].occurred_at in {LATER, datetime.fromtimestamp(1, UTC)}
