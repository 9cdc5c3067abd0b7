"""Stop rules per receiving domain: one that refuses is set aside while others continue. If several do, everything pauses."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import event, select, update

from digest.deliver.control import edition_control, set_aside_domains
from digest.deliver.control.set_aside_domains import DomainNotSetAsideError, SetAsideDecision, store_domain_decision
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import IS_WAITING, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.refusals import stop_rules
from digest.deliver.send.refusals.message_suspicion import MAX_TRIES
from digest.deliver.send.refusals.stop_rules import count_failures
from digest.deliver.send.run.edition_sending import SendReport, run_edition
from digest.edition.edition_queries import find_edition
from digest.store.delivery_models import Delivery, DeliveryState, DomainGroupMember, StoredDeliveryEvent
from digest.store.models import EditionState
from subscribers.address import Address
from subscribers.consent.preferences import Preferences
from subscribers.crypto.stored_addresses import make_domain_tag
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider
from tests.deliver.smtp_servers import ScriptedSmtpServer
from tests.moments import RELEASE

ACCEPTED, REFUSED, WAITING = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.WAITING
POLICY = MessageOutcome(HandoverStatus.REFUSED, "550 5.7.1 blocked by policy")
MISSING = MessageOutcome(HandoverStatus.REFUSED, "550 5.1.1 no such user")


def _refuse_domains(*domains: str, outcome: MessageOutcome = POLICY) -> Callable[[str], MessageOutcome]:
    accepted = MessageOutcome(HandoverStatus.ACCEPTED, "250 taken")
    return lambda address: outcome if address.rpartition("@")[2] in domains else accepted


def _provider(world: DeliverySetup, answer: Callable[[str], MessageOutcome], seconds: float = 0.1) -> ScriptedProvider:
    def answer_batch(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        world.clock.sleep(seconds)
        return BatchOutcome(tuple(answer(message.address) for message in messages))

    return ScriptedProvider(answer_batch, 10, "smtp")


def _send(world: DeliverySetup, provider: ScriptedProvider) -> SendReport:
    return run_edition(
        world.database, EDITION_NAME, provider, world.keys, world.settings, clock=world.clock, sleep=world.clock.sleep
    )


def _add_subscribers(world: DeliverySetup, count: int, *refusing: str, every: int = 5) -> None:
    """Add so many subscribers at 40 domains; each `every`-th is at one of the refusing domains, in turn."""
    at_fault = {n: refusing[n // every % len(refusing)] for n in range(0, count, every)} if refusing else {}
    world.add_subscribers(*(f"r{n}@{at_fault.get(n, f'd{n % 40}.example.org')}" for n in range(count)))


def _paused_because(world: DeliverySetup) -> str:
    with world.database.read() as session:
        edition = find_edition(session, EDITION_NAME)
        return edition.paused_because if edition.paused_at else ""


@pytest.mark.takes_turns
@pytest.mark.parametrize("refusal", [POLICY, MISSING])
def test_a_domain_with_a_fifth_of_the_list_that_refuses_needs_no_resume(
    world: DeliverySetup, refusal: MessageOutcome
) -> None:
    _add_subscribers(world, 1500, "strict.example")
    resumes, report = 0, _send(world, _provider(world, _refuse_domains("strict.example", outcome=refusal)))
    while _paused_because(world):
        resumes += 1
        with world.database.write() as session:
            edition_control.resume_edition(session, EDITION_NAME, now=world.clock.now)
        report = _send(world, _provider(world, _refuse_domains("strict.example", outcome=refusal)))
    assert resumes == 0
    counts = report.delivery_counts
    assert counts[ACCEPTED] == 1200
    assert counts[REFUSED] < 20
    assert (counts[WAITING], counts.is_balanced) == (300 - counts[REFUSED], True)
    assert report.state is EditionState.SENDING
    assert report.domains_aside == 1
    assert not report.stop_reason


@pytest.mark.takes_turns
@pytest.mark.parametrize("domains", [2, 3])
def test_several_domains_that_refuse_pause_everything_and_one_resume_is_enough(
    world: DeliverySetup, domains: int
) -> None:
    names = [f"strict{n}.example" for n in range(domains)]
    _add_subscribers(world, 600, *names, every=3)
    provider = _provider(world, _refuse_domains(*names))
    report = _send(world, provider)
    assert "providers refused" in _paused_because(world)
    assert report.delivery_counts[WAITING] > 400
    resumes = 0
    while _paused_because(world):
        resumes += 1
        with world.database.write() as session:
            edition_control.resume_edition(session, EDITION_NAME, now=world.clock.now)
        report = _send(world, provider)
    counts = report.delivery_counts
    assert resumes == 1
    assert (counts[ACCEPTED], counts[REFUSED] + counts[WAITING], counts.is_balanced) == (400, 200, True)
    assert counts[REFUSED] < 10 * domains
    assert report.domains_aside == domains


def test_a_list_of_one_domain_pauses(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers(*(f"r{n}@strict.example" for n in range(100)))
    report = _send(world, _provider(world, _refuse_domains("strict.example")))
    assert "refused 10 of " in _paused_because(world)
    assert report.domains_aside == 0


def test_refusals_by_many_domains_pause_although_none_of_them_has_many(one_world: DeliverySetup) -> None:
    world = one_world
    _add_subscribers(world, 400)
    report = _send(world, _provider(world, _refuse_domains(*(f"d{n}.example.org" for n in range(0, 40, 4)))))
    assert "providers refused" in _paused_because(world)
    assert report.domains_aside == 0
    assert report.delivery_counts[REFUSED] < 12


def test_a_small_domain_is_set_aside_without_any_effect_on_a_large_list(one_world: DeliverySetup) -> None:
    """Two such domains are no reason to pause: what they refuse is nothing next to the rest."""
    world = one_world
    world.add_subscribers(*(f"r{n}@d{n % 40}.example.org" for n in range(2000)))
    world.add_subscribers(*(f"r{n}@strict{n % 2}.example" for n in range(120)))
    report = _send(world, _provider(world, _refuse_domains("strict0.example", "strict1.example"), 1.0))
    assert _paused_because(world) == ""
    assert report.domains_aside == 2
    assert report.delivery_counts[ACCEPTED] == 2000
    assert report.delivery_counts[WAITING] > 90


@pytest.mark.takes_turns
@pytest.mark.parametrize("decision", [SetAsideDecision.SEND, SetAsideDecision.DROP])
@pytest.mark.parametrize("still_refusing", [("strict.example",), ()])
def test_one_decision_sends_or_drops_a_domain(
    world: DeliverySetup, decision: SetAsideDecision, still_refusing: tuple[str, ...]
) -> None:
    _add_subscribers(world, 600, "strict.example")
    report = _send(world, _provider(world, _refuse_domains("strict.example")))
    waiting, refused = report.delivery_counts[WAITING], report.delivery_counts[REFUSED]
    again = _provider(world, _refuse_domains(*still_refusing))
    report = _send(world, again)
    assert (report.state, report.awaits_decision) == (EditionState.SENDING, True)
    assert not again.received_messages
    with world.database.write() as session:
        (domain,) = set_aside_domains.list_undecided_domains(find_edition(session, EDITION_NAME))
        store_domain_decision(session, EDITION_NAME, [domain.tag], decision, now=world.clock.now)
        due_at = claims.find_next_due_time(session, make_edition_delivery_purpose(EDITION_NAME))
        assert due_at == world.clock.now, "so that a run begins at once"
    with world.database.write() as session, pytest.raises(DomainNotSetAsideError):
        store_domain_decision(session, EDITION_NAME, [domain.tag], decision, now=world.clock.now)
    report = _send(world, again)
    counts = report.delivery_counts
    assert (report.state, report.domains_aside, counts.is_balanced) == (EditionState.SENT, 0, True)
    if decision is SetAsideDecision.DROP:
        assert (counts[DeliveryState.CANCELLED], counts[REFUSED]) == (waiting, refused)
        assert not again.received_messages
    elif still_refusing:
        assert counts[REFUSED] == refused + waiting
    else:
        assert (counts[ACCEPTED], counts[REFUSED]) == (600 - refused, refused)


@pytest.mark.parametrize("decision", [SetAsideDecision.SEND, SetAsideDecision.DROP])
def test_a_decision_on_more_than_a_page_of_deliveries_reaches_all_of_them(
    one_world: DeliverySetup, decision: SetAsideDecision
) -> None:
    world = one_world
    _add_subscribers(world, 3600, "strict.example", every=2)
    report = _send(world, _provider(world, _refuse_domains("strict.example")))
    assert report.delivery_counts[WAITING] > 1700
    with world.database.write() as session:
        (domain,) = set_aside_domains.list_undecided_domains(find_edition(session, EDITION_NAME))
        store_domain_decision(session, EDITION_NAME, [domain.tag], decision, now=world.clock.now)
    report = _send(world, _provider(world, _refuse_domains()))
    assert report.state is EditionState.SENT
    assert report.delivery_counts[WAITING] == 0


@pytest.mark.parametrize("reply", [b"554 denied", b"550 5.1.8 sender rejected"])
def test_a_domain_that_refuses_at_rcpt_is_set_aside_and_none_of_its_subscribers_is_lost(
    world: DeliverySetup, reply: bytes
) -> None:
    """What the table of blame assigns to the domain is deferred, so it's counted in windows."""
    _add_subscribers(world, 300, "strict.example")
    with StrictServer({}, b"strict.example", reply) as server:
        report = _send_over(world, server)
    counts = report.delivery_counts
    assert _paused_because(world) == ""
    assert (counts[ACCEPTED], counts[WAITING], counts[REFUSED]) == (240, 60, 0)
    assert report.domains_aside == 1
    assert server.refused_count < 15


def test_several_domains_that_refuse_at_rcpt_pause_everything(one_world: DeliverySetup) -> None:
    world = one_world
    _add_subscribers(world, 300, "a.strict.example", "b.strict.example", every=3)
    with StrictServer({}, b"strict.example", b"554 denied") as server:
        report = _send_over(world, server)
    assert "the mail server refused" in _paused_because(world)
    assert (report.domains_aside, report.delivery_counts[REFUSED]) == (2, 0)


@pytest.mark.takes_turns
@pytest.mark.parametrize("counted", [0, 4])
def test_refusals_that_blame_the_message_count_against_no_domain(world: DeliverySetup, counted: int) -> None:
    """A message is tried among others of its variant; what's refused for good after that is no domain's fault."""
    _add_subscribers(world, 100, "strict.example", every=25)
    blamed = MessageOutcome(HandoverStatus.REFUSED, "554 spam", True, FailureCause.POLICY, blames_domain=bool(counted))
    provider = _provider(world, _refuse_domains("strict.example", outcome=blamed))
    for _ in range(MAX_TRIES):
        report = _send(world, provider)
        world.clock.now += timedelta(hours=5)
    assert (report.state, report.delivery_counts[REFUSED]) == (EditionState.SENT, 4)
    with world.database.read() as session:
        assert count_failures(session, make_edition_delivery_purpose(EDITION_NAME), RELEASE).policy_refusals == counted


def _report_failures(world: DeliverySetup, domain: str, many: int, minute: int) -> None:
    """Report so many more failures at a domain, as a provider's events do."""
    at = RELEASE + timedelta(minutes=minute)
    accepted = (Delivery.state == ACCEPTED, Delivery.domain_tag == _tag(world, domain))
    with world.database.write() as session:
        for id_ in session.scalars(select(Delivery.id).where(*accepted).order_by(Delivery.id).limit(many)).all():
            session.execute(update(Delivery).where(Delivery.id == id_).values(state=REFUSED))
            columns = {"kind": "bounced", "cause": "policy", "fingerprint": id_, "detail": {}}
            session.add(StoredDeliveryEvent(delivery=id_, at=at, received_at=at, **columns))


def test_events_that_come_while_no_run_is_at_it_set_a_domain_aside(world: DeliverySetup) -> None:
    """A large list is counted again only if a rule may be reached by then."""
    world.add_subscribers(*(f"r{n}@large.example" for n in range(900)), *(f"r{n}@strict.example" for n in range(40)))
    later = [f"late{n}@{domain}" for n in range(5) for domain in ("large.example", "strict.example")]
    world.add_subscribers(*later, choices=Preferences(hour=20, zone="UTC"))
    _send(world, _provider(world, _refuse_domains()))
    counted: list[str] = []
    event.listen(
        world.database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, sql, *_: (
            counted.append(sql) if "AS many" in sql and "FROM event" not in sql else None
        ),
    )

    def look(minute: int) -> tuple[int, int]:
        """Return how often the list was counted, and how many domains are set aside."""
        counted.clear()
        world.clock.now = RELEASE + timedelta(minutes=minute)
        stop_rules.apply_stop_rules(world.database, world.settings.file.alerts, now=world.clock.now)
        with world.database.read() as session:
            return len(counted), len(set_aside_domains.list_undecided_domains(find_edition(session, EDITION_NAME)))

    _report_failures(world, "large.example", 4, 1)
    assert look(2) == (0, 0)
    _report_failures(world, "large.example", 2, 3)
    assert look(4) == (1, 0)
    assert look(5) == (0, 0)
    _report_failures(world, "strict.example", 5, 6)
    assert look(7) == (1, 1)
    assert _paused_because(world) == ""


@pytest.mark.takes_turns
def test_domains_that_share_mail_servers_are_set_aside_as_one(world: DeliverySetup) -> None:
    """None of 60 companies refuses enough to be noticed alone, and together they'd be several."""
    companies = [f"company{n}.example" for n in range(60)]
    _share_mail_servers(world, *companies)
    _add_subscribers(world, 600, *companies)
    provider = _provider(world, _refuse_domains(*companies))
    report = _send(world, provider)
    assert _paused_because(world) == ""
    assert (report.domains_aside, report.delivery_counts[ACCEPTED]) == (1, 480)
    assert report.delivery_counts[REFUSED] < 20
    with world.database.write() as session:
        (domain,) = set_aside_domains.list_undecided_domains(find_edition(session, EDITION_NAME))
        assert domain.tag == _tag(world, "outlook.com")
        store_domain_decision(session, EDITION_NAME, [domain.tag], SetAsideDecision.DROP, now=world.clock.now)
    report = _send(world, provider)
    assert (report.state, report.delivery_counts.is_balanced) == (EditionState.SENT, True)


def test_a_domain_whose_group_is_found_while_it_is_aside_stays_aside(one_world: DeliverySetup) -> None:
    world = one_world
    _add_subscribers(world, 300, "strict.example")
    _send(world, _provider(world, _refuse_domains("strict.example")))
    with world.database.write() as session:  # as it would be if it wasn't parked yet
        session.execute(update(Delivery).where(IS_WAITING).values(next_try_at=RELEASE))
    _share_mail_servers(world, "strict.example")
    again = _provider(world, _refuse_domains("strict.example"))
    report = _send(world, again)
    assert (again.received_messages, report.domains_aside) == ([], 1)


def _tag(world: DeliverySetup, domain: str) -> str:
    return make_domain_tag(world.keys, Address("x", domain))


def _share_mail_servers(world: DeliverySetup, *domains: str) -> None:
    with world.database.write() as session:
        group, until = _tag(world, "outlook.com"), RELEASE + timedelta(days=7)
        session.add_all(
            DomainGroupMember(domain_tag=_tag(world, domain), group_tag=group, fresh_until=until) for domain in domains
        )


class StrictServer(ScriptedSmtpServer):
    """Refuses the recipients of a domain."""

    def __init__(self, script: dict[str, list[bytes | None]], domain: bytes, reply: bytes) -> None:
        super().__init__(script)
        self._domain, self._reply, self.refused_count = domain, reply, 0

    def next_reply(self, verb: str) -> bytes | None:
        if verb == "RCPT" and self._domain in self.received_lines[-1]:
            self.refused_count += 1
            return self._reply
        return super().next_reply(verb)


def _send_over(world: DeliverySetup, server: ScriptedSmtpServer) -> SendReport:
    mail_url = SecretStr(f"smtp://127.0.0.1:{server.port}?starttls=off&connections=2")
    settings = world.settings.model_copy(update={"mail_url": mail_url})
    with closing(open_provider(settings)) as provider:
        return run_edition(
            world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock, sleep=world.clock.sleep
        )
