"""A refused variant is set aside while others continue. If several are refused, everything pauses."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from pydantic import SecretStr

from digest.app.sending import set_aside_domains as undecided
from digest.deliver.control import set_aside_domains
from digest.deliver.control.set_aside_domains import SetAsideDecision, SetAsideDomain, make_variant_tag
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.refusals.message_suspicion import MAX_TRIES
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.edition.edition_queries import find_edition
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.faulty_relay import FaultyRelay, RelayServer, ReplyFault
from tests.deliver.send_scenario import CHOICES, FULL, NO_EVENTS, TEXT, read_variant

ACCEPTED, REFUSED, WAITING = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.WAITING


@pytest.fixture
def relay() -> Iterator[FaultyRelay]:
    relay = FaultyRelay(offers_pipelining=True, messages_per_connection=None, read_variant=read_variant)
    with RelayServer() as server:
        server.relay, relay.port = relay, server.port
        yield relay


def _add_subscribers(world: DeliverySetup, **counts: int) -> None:
    for variant, count in counts.items():
        addresses = (f"{variant}{n}@d{n % 9}.example.org" for n in range(count))
        world.add_subscribers(*addresses, choices=CHOICES[variant.replace("_", " ")])


def _refuse(relay: FaultyRelay, *variants: str) -> None:
    relay.faults = tuple(ReplyFault("DOT", "552 5.3.4 message too big", variant=variant) for variant in variants)


def _send(world: DeliverySetup, relay: FaultyRelay, connections: int = 1) -> SendReport:
    mail_url = SecretStr(f"smtp://127.0.0.1:{relay.port}?starttls=off&connections={connections}")
    settings = world.settings.model_copy(update={"mail_url": mail_url})
    with closing(open_provider(settings)) as provider:
        return run_edition(
            world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock, sleep=world.clock.sleep
        )


def _list_aside(world: DeliverySetup) -> list[SetAsideDomain]:
    with world.database.read() as session:
        return set_aside_domains.list_undecided_domains(find_edition(session, EDITION_NAME))


def _decide(world: DeliverySetup, tag: str, decision: SetAsideDecision) -> None:
    with world.database.write() as session:
        set_aside_domains.store_domain_decision(session, EDITION_NAME, [tag], decision, now=world.clock.now)


def _paused_because(world: DeliverySetup) -> str:
    with world.database.read() as session:
        edition = find_edition(session, EDITION_NAME)
        return edition.paused_because if edition.paused_at else ""


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("decision", [SetAsideDecision.SEND, SetAsideDecision.DROP])
def test_a_refused_variant_waits_for_a_decision_and_the_others_go_on(
    world: DeliverySetup, relay: FaultyRelay, decision: SetAsideDecision, connections: int
) -> None:
    _add_subscribers(world, text=30, full=60)
    _refuse(relay, FULL)
    report = _send(world, relay, connections)
    counts = report.delivery_counts
    assert _paused_because(world) == ""
    assert (counts[ACCEPTED], counts[REFUSED], counts[WAITING]) == (30, 0, 60)
    assert (report.state, report.domains_aside) == (EditionState.SENDING, 1)
    (aside,) = _list_aside(world)
    assert aside.tag == make_variant_tag("")
    assert "552 5.3.4" in aside.reason
    world.settings.key_file.write_text(KEYS.to_json())
    world.settings.key_file.chmod(0o600)
    (listed,) = undecided.list_domains_awaiting_decision(Installation(world.settings, world.database), EDITION_NAME)
    assert (listed.label, listed.waiting) == ("full variant", 60)
    world.clock.now += timedelta(hours=5)
    assert _send(world, relay, connections).awaits_decision
    assert len(relay.record.accepted) == 30
    relay.heal()
    _decide(world, aside.tag, decision)
    report = _send(world, relay, connections)
    counts, is_sent = report.delivery_counts, decision is SetAsideDecision.SEND
    assert (report.state, counts.is_balanced) == (EditionState.SENT, True)
    assert (counts[ACCEPTED], counts[DeliveryState.CANCELLED]) == ((90, 0) if is_sent else (30, 60))


def test_a_variant_that_is_sent_regardless_is_refused_for_good_and_someone_has_to_know(
    one_world: DeliverySetup, relay: FaultyRelay
) -> None:
    _add_subscribers(one_world, text=30, full=60)
    _refuse(relay, FULL)
    _send(one_world, relay)
    _decide(one_world, make_variant_tag(""), SetAsideDecision.SEND)
    for _ in range(MAX_TRIES):
        report = _send(one_world, relay)
        one_world.clock.now += timedelta(hours=5)
    counts = report.delivery_counts
    assert (report.state, counts[REFUSED], counts[ACCEPTED], report.refusals) == (EditionState.SENT, 60, 30, 60)


@pytest.mark.takes_turns
def test_several_refused_variants_pause_the_edition(world: DeliverySetup, relay: FaultyRelay) -> None:
    _add_subscribers(world, text=30, full=30, no_events=30)
    _refuse(relay, FULL, NO_EVENTS)
    report = _send(world, relay)
    assert "552 5.3.4" in _paused_because(world)
    assert (report.delivery_counts[REFUSED], report.delivery_counts[WAITING] > 30) == (0, True)


@pytest.mark.takes_turns
def test_a_variant_that_is_all_there_is_pauses_the_edition(world: DeliverySetup, relay: FaultyRelay) -> None:
    _add_subscribers(world, text=60)
    relay.faults = (ReplyFault("DOT", "552 5.3.4 message too big", variant=TEXT, skipped=20),)
    report = _send(world, relay)
    assert "552 5.3.4" in _paused_because(world)
    assert (report.delivery_counts[REFUSED], report.domains_aside) == (0, 0)
