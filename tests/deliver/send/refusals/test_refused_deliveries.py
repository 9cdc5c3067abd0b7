"""An edition with many refusals reports them until they're acknowledged. Those not due to an address can be sent again."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from digest.app.alerts.alert_log import update_alerts
from digest.app.sending import refusal_actions
from digest.app.sending.refusal_actions import ChangedRefusalsError
from digest.deliver.control.edition_control import EditionControlError
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.event_processor import apply_pending_events, process_events
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import DeliveryCounts, count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.retention.delivery_seals import SEALED_TABLES, seal_deliveries, seal_edition_deliveries
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.deliver.send.claims.restored_copy import RestoreGap, mark_open_deliveries_uncertain
from digest.deliver.send.claims.retry_policy import GIVE_UP_AFTER
from digest.deliver.send.refusals.refused_deliveries import (
    MIN_NAMED,
    RefusalGroup,
    RefusalReason,
    find_refusal_reason,
    find_small_provider_names,
    group_refusals,
    is_notable,
    iterate_refused,
    merge_refusals,
    recount_refusals_of_sent_editions,
)
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.installation.opened_installation import Installation
from digest.store.alert_models import Alert
from digest.store.delivery_models import Delivery, DeliveryState, DomainGroupMember, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.address import Address
from subscribers.consent import disclosure_log, ledger, seals
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from tests.actors import ADMIN, EDITOR
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider
from tests.moments import RELEASE
from tests.query_plans import record_plans

TOO_BIG = MessageOutcome(HandoverStatus.REFUSED, "552 5.3.4 message too big", cause=FailureCause.OUR_FAULT)
NO_MAILBOX = MessageOutcome(HandoverStatus.REFUSED, "550 5.1.1 no such user")
FULL = MessageOutcome(HandoverStatus.REFUSED, "552 5.2.2 mailbox full")
TAKEN = MessageOutcome(HandoverStatus.ACCEPTED, "250 ok")
REFUSED, ACCEPTED, WAITING = DeliveryState.REFUSED, DeliveryState.ACCEPTED, DeliveryState.WAITING


def send(world: DeliverySetup, *outcomes: MessageOutcome) -> tuple[SendReport, list[OutgoingMessage]]:
    """Send the edition over SMTP, to which these are the first answers; all others are taken."""
    answers = iter(outcomes)
    provider = ScriptedProvider(
        lambda messages: BatchOutcome(tuple(next(answers, TAKEN) for _ in messages)), name="smtp"
    )
    report = run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    return report, provider.received_messages


def sent_with(world: DeliverySetup, refused: Sequence[MessageOutcome], *, of: int) -> SendReport:
    world.add_subscribers(*(f"reader{number}@example.org" for number in range(of)))
    return send(world, *refused)[0]


def edition(world: DeliverySetup) -> Edition:
    with world.database.read() as session:
        return session.scalars(select(Edition)).one()


def counts(world: DeliverySetup) -> DeliveryCounts:
    with world.database.read() as session:
        counted = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert counted.is_balanced
    return counted


def ids_of(world: DeliverySetup, *states: DeliveryState) -> list[str]:
    with world.database.read() as session:
        return sorted(session.scalars(select(Delivery.id).where(Delivery.state.in_(states))))


def opened(world: DeliverySetup) -> Installation:
    if not world.settings.key_file.exists():
        world.settings.key_file.touch(mode=0o600)
        world.settings.key_file.write_text(KEYS.to_json())
    return Installation(world.settings, world.database)


def acknowledge(world: DeliverySetup, confirmed: int = 5) -> int:
    return refusal_actions.acknowledge_refusals(
        opened(world), EDITION_NAME, confirmed=confirmed, reason="", actor=EDITOR, now=world.clock()
    )


def again(world: DeliverySetup, *chosen: str, confirmed: int) -> int:
    return refusal_actions.send_refused_again(
        opened(world), EDITION_NAME, chosen, confirmed=confirmed, reason="fixed", actor=ADMIN, clock=world.clock
    )


def bounce(
    world: DeliverySetup,
    ids: Sequence[str],
    cause: FailureCause = FailureCause.POLICY,
    serial: str = "",
    **detail: str,
) -> None:
    """Have a provider report that messages came back."""
    events = [
        DeliveryEvent(
            "sendgrid",
            id_,
            EventKind.BOUNCED,
            cause,
            RELEASE,
            world.clock(),
            f"{id_}{serial}",
            None,
            {"status": "5.7.1"} | detail,
        )
        for id_ in ids
    ]
    log = UnsubscribeLog(world.settings.left_log, KEYS)
    with world.database.write() as session:
        process_events(session, events, keys=KEYS, unsubscribe_log=log, now=world.clock())


@pytest.mark.parametrize(
    ("cause", "reply", "reason"),
    [
        ("ours", "552 5.3.4 message too big", "message"),
        ("policy", "554 spam message rejected", "message"),
        ("ours", "550 5.1.8 bad sender", "reputation"),
        ("policy", "550 5.7.1 blocked", "reputation"),
        ("policy", "bounced 5.7.1 blocked", "reputation"),
        ("policy", "550 5.7.26 unauthenticated", "authentication"),
        ("policy", "550 5.7.27 null MX", "reputation"),
        ("", "421 4.7.26 rate limited because it is unauthenticated", "authentication"),
        ("soft", "554 no", "domain"),
        ("", "554 5.4.14 hop count", "domain"),
        ("", "421 4.3.0 shutting down", "domain"),
        ("", "450 4.7.1 greylisted", "domain"),
        ("", "The batch was too large", "relay"),
        ("soft", "552 5.2.2 mailbox full", "full mailbox"),
        ("soft", "452 4.2.2 over quota", "full mailbox"),
        ("soft", "bounced", "address"),
        ("soft", "550 5.2.0 try another time", "address"),
        ("no mailbox", "550 5.1.1 no such user", "no mailbox"),
        ("hard", "550 no such user", "no mailbox"),
        ("hard", "550 5.1.0 Address rejected", "no mailbox"),
        ("hard", "550 5.1.2 no such host", "no mailbox"),
        ("complained", "dropped", "departed"),
        ("left", "dropped", "departed"),
        ("", CHANGED_ROW, "changed row"),
    ],
)
def test_a_refusal_has_the_reason_that_the_table_of_blame_gives(cause: str, reply: str, reason: str) -> None:
    found = find_refusal_reason(FailureCause(cause), reply)
    assert found == reason
    assert found.is_doubtful is (reason in {"message", "relay", "reputation", "authentication", "domain"})
    assert found.is_about_mailbox is (reason in {"full mailbox", "no mailbox"})
    assert found.is_loss is (reason not in {"no mailbox", "departed"})


def group(reply: str, count: int = 1, *, cause: FailureCause = FailureCause.POLICY) -> RefusalGroup:
    return RefusalGroup("a" * 32, cause, reply, count, count)


BLOCKED = [group(f"554 5.7.1 [TSS09] blocked due to spam content (in reply to 4Xq{n}zK)") for n in range(6)]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([group("550 5.1.1 no such user", 2)], id="a provider calls an unknown user blocked"),
        pytest.param([group("550 5.1.1 no such user", 7)], id="its codes give another cause, however often"),
        pytest.param([group("550 5.7.1 go away", 5)], id="another reply is the most common only word by word"),
        pytest.param([group("550 5.1.8 bad sender", 4, cause=FailureCause.OUR_FAULT)], id="a smaller cause"),
        pytest.param([], id="no others"),
    ],
)
def test_the_reply_shown_is_the_most_common_one_of_the_cause_that_most_have(others: list[RefusalGroup]) -> None:
    for groups in ([*BLOCKED, *others], [*others, *BLOCKED]):
        (merged,) = merge_refusals(groups)
        assert merged.reply == "554 5.7.1 [TSS09] blocked due to spam content (in reply to 4Xq0zK)"
        assert (merged.reason, merged.count) == (RefusalReason.REPUTATION, 6 + sum(each.count for each in others))


def test_a_rejected_address_is_shown_with_its_own_reply() -> None:
    rejected = [
        group(f"550 {codes} no", count, cause=FailureCause.HARD) for codes, count in (("5.1.0", 3), ("5.1.2", 2))
    ]
    (merged,) = merge_refusals(rejected)
    assert (merged.reply, merged.reason) == ("550 5.1.0 no", RefusalReason.NO_MAILBOX)


@pytest.mark.takes_turns
def test_a_reply_is_of_the_last_event_that_gives_a_cause(world: DeliverySetup) -> None:
    sent_with(world, [], of=20)
    (refused, *_) = ids_of(world, ACCEPTED)
    bounce(world, [refused], FailureCause.SOFT, status="452 4.2.2", reason="452 4.2.2 over quota")
    bounce(world, [refused], serial="2", status="554 5.7.1", reason="554 5.7.1 [TSS09] spam content")
    bounce(world, [refused], FailureCause.NONE, serial="3", status="", reason="connection lost")
    (only,) = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN).groups
    assert (only.reason, only.reply) == (RefusalReason.REPUTATION, "554 5.7.1 [TSS09] spam content")
    bounce(world, [ids_of(world, ACCEPTED)[0]], serial="4")
    replies = {each.reply for each in refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN).groups}
    assert replies == {"554 5.7.1 [TSS09] spam content"}
    with world.database.read() as session:
        assert "bounced 452 4.2.2" in session.get_one(Delivery, refused).reply, "the delivery keeps the first"


def test_domains_of_one_provider_are_one_group(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"reader{number}@{name}.example" for name in ("one", "two") for number in range(3)))
    with world.database.write() as session:
        tags = session.scalars(select(Person.domain_tag).distinct()).all()
        fresh_until = world.clock()
        for tag in tags:
            session.add(DomainGroupMember(domain_tag=tag, group_tag="f" * 32, fresh_until=fresh_until))
    send(world, *[MessageOutcome(HandoverStatus.REFUSED, "550 5.7.1 blocked")] * 6)
    (only,) = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN).groups
    assert (len(tags), only.key, only.count) == (2, f"reputation-{'f' * 12}", 6)


def test_a_small_provider_is_named_after_a_domain_with_enough_refused_subscribers(world: DeliverySetup) -> None:
    people = {"one.example": MIN_NAMED, "two.example": MIN_NAMED + 1, "three.example": MIN_NAMED - 1, "gmail.com": 1}
    world.add_subscribers(*(f"reader{number}@{domain}" for domain, many in people.items() for number in range(many)))
    tags = {domain: make_domain_tag(KEYS, Address("x", domain)) for domain in people}
    with world.database.write() as session:
        for domain in ("one.example", "two.example"):
            session.add(DomainGroupMember(domain_tag=tags[domain], group_tag="f" * 32, fresh_until=world.clock()))
    send(world, *[NO_MAILBOX] * sum(people.values()))
    overview = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN)
    names = {group.tag: overview.domain_names.get(group.tag) for group in overview.groups}
    assert names == {"f" * 32: "two.example", tags["three.example"]: None, tags["gmail.com"]: "gmail.com"}
    shown = refusal_actions.read_refusals(opened(world), EDITION_NAME, EDITOR).domain_names
    assert {"one.example", "two.example"}.isdisjoint(shown.values()), (
        "only admins see names that subscribers' addresses give"
    )
    for shown_groups, expected in ((0, set()), (1, {"two.example"})):
        asked = refusal_actions.read_chosen_refusals(
            opened(world), EDITION_NAME, "no mailbox", suppresses=True, shown=shown_groups, actor=ADMIN
        )
        assert expected == {"one.example", "two.example"}.intersection(asked.domain_names.values())


def test_replies_that_differ_in_an_id_are_one_group_from_the_start(world: DeliverySetup) -> None:
    replies = [f"550 5.7.1 blocked, q{number}" for number in range(9)] + ["550 5.7.25 blocked, q9"]
    sent_with(world, [MessageOutcome(HandoverStatus.REFUSED, reply) for reply in replies], of=20)
    with world.database.read() as session:
        groups = group_refusals(session, EDITION_NAME)
    assert sorted((one.reason, one.reply, one.count, one.recipients) for one in groups) == [
        (RefusalReason.AUTHENTICATION, "550 5.7.25 blocked, q9", 1, 1),
        (RefusalReason.REPUTATION, "550 5.7.1 blocked, q0", 9, 9),
    ]


def test_many_small_providers_are_named_with_as_many_queries_as_one(world: DeliverySetup) -> None:
    domains = [f"provider{number}.example" for number in range(4)]
    world.add_subscribers(*(f"reader{number}@{domain}" for domain in domains for number in range(MIN_NAMED)))
    send(world, *[NO_MAILBOX] * len(domains) * MIN_NAMED)
    with world.database.read() as session, record_plans(session) as plans:
        groups = group_refusals(session, EDITION_NAME)
        names = find_small_provider_names(session, KEYS, EDITION_NAME, groups, ())
    assert sorted(names.values()) == domains
    assert len(plans) == 5, "the last restore, refusals, domains, people, and their consent"


@pytest.mark.sqlite  # whose planner would read all refusals for each page
def test_the_refusals_of_a_pages_people_on_sqlite_are_found_by_number(one_world: DeliverySetup) -> None:
    with one_world.database.read() as session, record_plans(session) as plans:
        assert [*iterate_refused(session, EDITION_NAME, [1, 2])] == []
    assert "(purpose=? AND person=?)" in plans[-1]


def test_a_provider_is_not_named_after_the_domain_of_a_changed_or_erased_address(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"reader{number}@one.example" for number in range(MIN_NAMED)))
    send(world, *[NO_MAILBOX] * MIN_NAMED)
    for change in ({"domain_tag": "0" * 32}, {"person": None, "domain_tag": None}):
        with world.database.write() as session:
            session.execute(update(Delivery).values(**change))
        overview = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN)
        assert "one.example" not in overview.domain_names.values()


@pytest.mark.parametrize(
    ("refusals", "tried", "notable"),
    [(4, 4, False), (5, 250, True), (5, 251, False), (20, 1000, True), (19, 1000, False)],
)
def test_five_refusals_and_two_percent_are_too_many_to_pass_unnoticed(
    refusals: int, tried: int, *, notable: bool
) -> None:
    assert is_notable(refusals, tried) is notable


@pytest.mark.takes_turns
def test_a_send_ends_with_refusals_that_someone_has_to_acknowledge(world: DeliverySetup) -> None:
    report = sent_with(world, [TOO_BIG] * 4 + [FULL], of=250)
    assert (report.state, report.refusals) == (EditionState.SENT, 5)
    assert (edition(world).has_refusals, edition(world).state_words) == (True, "sent with refusals")
    assert send(world)[0].refusals == 5, "nor does another run make them go away"


@pytest.mark.takes_turns
@pytest.mark.parametrize(
    ("refused", "of"),
    [([TOO_BIG] * 4, 4), ([TOO_BIG] * 5, 251), ([NO_MAILBOX] * 20, 40), ([NO_MAILBOX] * 20 + [FULL] * 4, 40)],
)
def test_few_refusals_and_addresses_that_do_not_exist_end_as_sent(
    world: DeliverySetup, refused: list[MessageOutcome], of: int
) -> None:
    assert sent_with(world, refused, of=of).refusals == 0
    assert (edition(world).state_words, counts(world)[REFUSED]) == ("sent", len(refused))


@pytest.mark.takes_turns
def test_what_was_deferred_until_it_expired_was_refused_too(world: DeliverySetup) -> None:
    later = MessageOutcome(HandoverStatus.TRY_LATER, "421 4.7.0 try again later")
    sent_with(world, [later] * 5, of=50)
    world.clock.now += GIVE_UP_AFTER
    assert send(world, *[later] * 5)[0].refusals == 5
    assert counts(world)[DeliveryState.EXPIRED] == 5
    assert again(world, "domain", confirmed=5) == 5


@pytest.mark.takes_turns
def test_an_acknowledgment_holds_until_many_more_come_back(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 5, of=100)
    with pytest.raises(ChangedRefusalsError, match="from 4 to 5"):
        acknowledge(world, confirmed=4)
    assert acknowledge(world) == 5
    assert (edition(world).state_words, acknowledge(world)) == ("sent", 0)
    assert send(world)[0].refusals == 0
    taken = ids_of(world, ACCEPTED)
    bounce(world, taken[:4])
    recount_refusals_of_sent_editions(world.database, now=world.clock())
    assert not edition(world).has_refusals
    bounce(world, taken[4:5])
    recount_refusals_of_sent_editions(world.database, now=world.clock())
    assert (edition(world).has_refusals, edition(world).refusals) == (True, 10)
    with world.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "refusals acknowledged")).all()
    assert [(row.actor, row.subject, row.detail) for row in rows] == [(EDITOR.name, EDITION_NAME, {"refused": 5})]


def test_bounces_that_come_after_the_end_count_for_eight_days(world: DeliverySetup) -> None:
    sent_with(world, [], of=50)
    bounce(world, ids_of(world, ACCEPTED)[:5])
    recount_refusals_of_sent_editions(world.database, now=world.clock() + timedelta(days=9))
    assert not edition(world).has_refusals
    recount_refusals_of_sent_editions(world.database, now=world.clock() + timedelta(days=7))
    assert edition(world).refusals == 5


def test_an_alert_reports_bounces_that_come_after_the_end_until_they_are_acknowledged(world: DeliverySetup) -> None:
    sent_with(world, [], of=50)
    installation = opened(world)

    def alert() -> Alert | None:
        update_alerts(installation, now=world.clock())
        with world.database.read() as session:
            return session.scalar(select(Alert).where(Alert.kind == "refusals"))

    assert alert() is None
    bounce(world, ids_of(world, ACCEPTED)[:5])
    opened_alert = alert()
    assert opened_alert is not None
    assert (opened_alert.subject, opened_alert.opened_at, opened_alert.missing_since) == (
        EDITION_NAME,
        world.clock(),
        None,
    )
    assert opened_alert.sentence.startswith("No. 12 was sent with 5 refusals that need a decision. ")
    acknowledge(world)
    over = alert()
    assert over is not None
    assert over.missing_since == world.clock()


def test_what_was_refused_for_a_doubtful_reason_is_sent_again_once_with_the_same_message_id(
    world: DeliverySetup,
) -> None:
    sent_with(world, [TOO_BIG] * 5 + [NO_MAILBOX, FULL], of=20)
    with world.database.read() as session:
        messages = dict(
            session.execute(select(Delivery.id, Delivery.message_id).where(Delivery.reply == TOO_BIG.reply)).all()
        )
    assert again(world, "all", confirmed=5) == 5
    assert (edition(world).state, counts(world)[WAITING], counts(world)[REFUSED]) == (EditionState.SENDING, 5, 2)
    report, received = send(world)
    assert {each.delivery_id: each.placeholders.message_id for each in received} == messages
    assert (report.state, report.refusals, counts(world)[ACCEPTED]) == (EditionState.SENT, 0, 18)
    assert send(world)[1] == []
    with world.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "refused sent again")).one()
    assert (row.actor, row.detail["because"], sorted(row.detail["deliveries"])) == (
        ADMIN.name,
        "fixed",
        sorted(messages),
    )


def test_only_the_chosen_reasons_and_domains_are_sent_again(world: DeliverySetup) -> None:
    policy = MessageOutcome(HandoverStatus.REFUSED, "550 5.7.1 blocked")
    world.add_subscribers(*(f"reader{number}@{name}.example" for name in ("one", "two") for number in range(4)))
    send(world, *[TOO_BIG, policy] * 4)
    overview = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN)
    assert {group.key.partition("-")[0]: group.count for group in overview.groups}.keys() == {"message", "reputation"}
    assert sum(group.recipients for group in overview.choose_resendable(["reputation"])) == 4
    chosen = overview.choose_resendable(["message"])[0]
    assert again(world, chosen.key, confirmed=chosen.recipients) == chosen.recipients
    with world.database.read() as session:
        tags = set(session.scalars(select(Delivery.domain_tag).where(Delivery.state == WAITING)))
        replies = set(session.scalars(select(Delivery.reply).where(Delivery.state == WAITING)))
    assert (tags, replies) == ({chosen.tag}, {TOO_BIG.reply})


def suppress(world: DeliverySetup, *chosen: str, confirmed: int) -> int:
    return refusal_actions.suppress_refused(
        opened(world), EDITION_NAME, chosen, confirmed=confirmed, reason="gone", actor=ADMIN, clock=world.clock
    )


def test_those_whose_mailboxes_are_full_are_suppressed_once(world: DeliverySetup) -> None:
    sent_with(world, [FULL] * 3 + [NO_MAILBOX, TOO_BIG], of=20)
    with pytest.raises(ChangedRefusalsError, match="from 4 to 3"):
        suppress(world, "full mailbox", confirmed=4)
    full, left = ids_of(world, REFUSED), ""
    with world.database.write() as session:
        left = session.scalars(select(Delivery.id).where(Delivery.reply == FULL.reply).limit(1)).one()
        person = session.get_one(Delivery, left).person
        assert person is not None
        unsubscribe_person(session, UnsubscribeLog(world.settings.left_log, KEYS), person, method="page", now=RELEASE)
    assert suppress(world, "all", confirmed=2) == 2
    assert suppress(world, "all", confirmed=0) == 0
    with world.database.read() as session:
        people = session.scalars(select(Person).where(Person.state == PersonState.SUPPRESSED)).all()
        by_admin = {
            event.person: json.loads(event.body)
            for event in session.scalars(select(ConsentEvent).where(ConsentEvent.kind == ConsentKind.SUPPRESSED))
            if json.loads(event.body)["reason"] == "by an admin"
        }
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "refused suppressed")).one()
    assert (len(full), len(people)) == (5, 3), "the third has no mailbox, and was suppressed by the bounce"
    assert [(body["method"], body["actor"]) for body in by_admin.values()] == [("admin: gone", ADMIN.name)] * 2
    assert (row.actor, row.subject, row.detail) == (
        ADMIN.name,
        EDITION_NAME,
        {"because": "gone", "people": sorted(by_admin), "addresses": 2},
    )
    log = world.settings.left_log.read_text()
    assert log.count('"barred"') == 2, "a restored copy knows it too"
    remaining = refusal_actions.read_chosen_refusals(
        opened(world), EDITION_NAME, "all", suppresses=True, shown=10, actor=ADMIN
    )
    assert all(group.recipients == 0 for group in remaining.groups)


@pytest.mark.parametrize("kind", [ConsentKind.ADDRESS_CHANGED, ConsentKind.CONFIRMED])
def test_nobody_is_suppressed_for_an_earlier_address_or_from_before_a_new_consent(
    world: DeliverySetup, monkeypatch: pytest.MonkeyPatch, kind: ConsentKind
) -> None:
    sent_with(world, [FULL] * 3, of=20)
    world.clock.now += timedelta(hours=1)

    def speak(delivery: str) -> int:
        with world.database.write() as session:
            person = ledger.lock_person(session, session.get_one(Delivery, delivery).person or 0)
            assert person is not None
            ledger.append_event(session, person, kind, {"method": "page"}, world.clock())
            return person.number

    def speak_after_the_count(refused: int, confirmed: int, consequence: str) -> None:
        check_number(refused, confirmed, consequence)
        spoken.append(speak(meanwhile))

    before, meanwhile, silent = ids_of(world, REFUSED)
    spoken = [speak(before)]
    (group,) = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN).groups
    assert (group.count, group.recipients) == (3, 2)
    with pytest.raises(ChangedRefusalsError, match="from 3 to 2"):
        suppress(world, "all", confirmed=3)
    check_number = refusal_actions._check_number
    monkeypatch.setattr(refusal_actions, "_check_number", speak_after_the_count)
    assert suppress(world, "all", confirmed=2) == 1
    with world.database.read() as session:
        (suppressed,) = session.scalars(select(Person.number).where(Person.state == PersonState.SUPPRESSED))
        assert session.get_one(Delivery, silent).person == suppressed
    assert len(spoken) == 2


@pytest.mark.takes_turns
def test_people_who_unsubscribed_meanwhile_are_neither_counted_nor_sent_it(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 6, of=20)
    left, leaving = ids_of(world, REFUSED)[:2]

    def unsubscribe(delivery: str) -> None:
        with world.database.write() as session:
            person = session.get_one(Delivery, delivery).person
            assert person is not None
            log = UnsubscribeLog(world.settings.left_log, KEYS)
            unsubscribe_person(session, log, person, method="page", now=RELEASE)

    unsubscribe(left)
    with pytest.raises(ChangedRefusalsError, match="from 6 to 5"):
        again(world, "all", confirmed=6)
    assert ids_of(world, WAITING) == []
    assert again(world, "all", confirmed=5) == 5
    unsubscribe(leaving)
    assert len(send(world)[1]) == 4
    assert (counts(world)[DeliveryState.WITHDRAWN], ids_of(world, REFUSED)) == (1, [left])


def test_a_restored_copy_sends_nothing_again_that_the_original_may_have_sent_again(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    made_at = world.clock()
    world.clock.now += timedelta(hours=3)
    with world.database.write() as session:
        mark_open_deliveries_uncertain(session, RestoreGap(made_at, world.clock()))
    assert again(world, "all", confirmed=0) == 0
    world.clock.now += timedelta(minutes=1)
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.reply == TOO_BIG.reply).values(handed_at=world.clock()))
    assert again(world, "all", confirmed=5) == 5, "what was refused after the restore is known"


HOURS_BACK = timedelta(hours=9)


@pytest.mark.parametrize("set_back", ["before the backup", "before the restore"])
def test_a_restored_copy_keeps_to_that_however_the_clock_was_set(world: DeliverySetup, set_back: str) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    world.clock.now += timedelta(minutes=1)
    if set_back == "before the backup":
        world.clock.now -= HOURS_BACK
    made_at = world.clock()
    world.clock.now += timedelta(minutes=1)
    if set_back == "before the restore":
        world.clock.now -= HOURS_BACK
    with world.database.write() as session:
        mark_open_deliveries_uncertain(session, RestoreGap(made_at, world.clock()))
    assert again(world, "all", confirmed=0) == 0


def test_a_bounce_of_what_fell_due_between_a_backup_and_its_restore_isnt_sent_again(world: DeliverySetup) -> None:
    """The lost installation may have sent it, received the bounce, and sent it again."""
    world.add_subscribers("reader@example.org")
    planned = {"due_at": world.clock(), "next_try_at": world.clock()}
    send(world)
    made_at = world.clock() - timedelta(minutes=1)
    with world.database.write() as session:
        session.execute(update(Delivery).values(state=WAITING, handed_at=None, **planned))
        mark_open_deliveries_uncertain(session, RestoreGap(made_at, world.clock() + timedelta(hours=1)))
        session.execute(update(Delivery).values(state=REFUSED, reply=TOO_BIG.reply))
    assert again(world, "all", confirmed=0) == 0


@pytest.mark.takes_turns
def test_nothing_of_a_canceled_edition_is_sent_again(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.CANCELLED))
    with pytest.raises(EditionControlError, match="is canceled"):
        again(world, "all", confirmed=5)
    assert counts(world)[REFUSED] == 5


def test_a_row_that_was_changed_outside_the_application_is_not_offered_again(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.id.in_(ids_of(world, REFUSED)[:2])).values(reply=CHANGED_ROW))
        session.execute(update(StoredDeliveryEvent).values(cause=""))
    assert again(world, "all", confirmed=3) == 3


def test_the_first_refusal_counts_no_more_once_the_message_was_sent_again(world: DeliverySetup) -> None:
    """An event that comes while the second try is under way is applied later, together with all others of its delivery."""
    sent_with(world, [TOO_BIG] * 5, of=20)
    again(world, "all", confirmed=5)

    def taken_during_the_second_try(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        bounced = [message.delivery_id for message in messages][:1]
        delivered = DeliveryEvent(
            "smtp", bounced[0], EventKind.DELIVERED, FailureCause.NONE, RELEASE, RELEASE, bounced[0], None, {}
        )
        log = UnsubscribeLog(world.settings.left_log, KEYS)
        with world.database.write() as session:
            process_events(session, [delivered], keys=KEYS, unsubscribe_log=log, now=world.clock())
        return BatchOutcome((TAKEN,) * len(messages))

    provider = ScriptedProvider(taken_during_the_second_try, name="smtp")
    run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    with world.database.write() as session:
        apply_pending_events(
            session, [message.delivery_id for message in provider.received_messages], now=world.clock()
        )
    assert (counts(world)[ACCEPTED], counts(world)[REFUSED]) == (20, 0)
    with world.database.read() as session:
        kinds = set(session.scalars(select(StoredDeliveryEvent.kind).where(StoredDeliveryEvent.cause == "")))
    assert kinds == {"superseded", "delivered"}


def test_a_second_refusal_is_reported_like_the_first(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    acknowledge(world)
    again(world, "message", confirmed=5)
    report, _ = send(world, *[FULL] * 5)
    assert (report.refusals, counts(world)[REFUSED]) == (5, 5)
    overview = refusal_actions.read_refusals(opened(world), EDITION_NAME, ADMIN)
    assert [(group.reason, group.count) for group in overview.groups] == [(RefusalReason.FULL_MAILBOX, 5)]
    assert overview.choose_resendable(["all"]) == [], "a full mailbox isn't a doubtful reason"


@pytest.mark.takes_turns
def test_two_admins_at_once_send_each_message_again_once(world: DeliverySetup) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    again(world, "all", confirmed=5)
    with pytest.raises(ChangedRefusalsError, match="from 5 to 0"):
        again(world, "all", confirmed=5)
    assert len(send(world)[1]) == 5


@pytest.fixture
def find_faults(world: DeliverySetup) -> Callable[[], tuple[str, ...]]:
    def find() -> tuple[str, ...]:
        with world.database.read() as session:
            return seals.verify_ledger(session, KEYS, tables=SEALED_TABLES).disclosure_faults

    return find


def test_sealed_deliveries_leave_their_seal_to_be_sent_again_and_are_sealed_anew(
    world: DeliverySetup, find_faults: Callable[[], tuple[str, ...]]
) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    seal_deliveries(world.database, KEYS, now=world.clock())

    def closed() -> set[str]:
        with world.database.read() as session:
            return disclosure_log.list_fully_sealed_subjects(session, "delivery")

    assert closed() == {make_edition_delivery_purpose(EDITION_NAME)}
    world.clock.now += timedelta(hours=1)
    assert again(world, "all", confirmed=5) == 5
    assert (closed(), find_faults()) == (set(), ())
    send(world)
    assert find_faults() == ()
    assert seal_edition_deliveries(world.database, KEYS, EDITION_NAME, now=world.clock()) == 5
    assert (closed(), find_faults()) == ({make_edition_delivery_purpose(EDITION_NAME)}, ())
    with world.database.write() as session:
        session.execute(update(Delivery).values(transport="another"))
    assert "20 changed" in find_faults()[0], "the second try is evidence like the first"


def test_a_sealed_delivery_that_was_changed_is_not_sent_again_so_that_the_fault_stays_in_sight(
    world: DeliverySetup, find_faults: Callable[[], tuple[str, ...]]
) -> None:
    sent_with(world, [TOO_BIG] * 5, of=20)
    seal_deliveries(world.database, KEYS, now=world.clock())
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.id == ids_of(world, REFUSED)[0]).values(transport="another"))
    faults = find_faults()
    assert "1 changed" in faults[0]
    assert again(world, "all", confirmed=5) == 0
    assert (find_faults(), edition(world).state) == (faults, EditionState.SENT)
