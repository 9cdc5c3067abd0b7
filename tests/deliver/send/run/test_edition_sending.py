"""Sending to the outbox: who gets what, once, and the delivery counts."""

import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from email.message import EmailMessage
from pathlib import Path
from time import monotonic, sleep

import pytest
from pydantic import SecretStr
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from digest.app.doctor.attention import list_attention_findings
from digest.deliver.compose.variants import ComposeError, compose_sample_message
from digest.deliver.control import edition_control
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.providers.outbox.kind import OutboxProvider
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import SendError, SendReport, run_edition
from digest.edition.approval.approved_versions import ApprovalError, read_mailable_edition
from digest.edition.edition_queries import UnknownEditionError, find_edition
from digest.store.approval_models import Approval, ApprovedRenderedFragment
from digest.store.delivery_models import Delivery, DeliveryState, RunLease
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState
from digest.store.process_identity import identify_current_process
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto import link_tokens
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store.key_check import KeyMismatchError, check_key_match
from subscribers.store.models import Person
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup, delivery_settings, store_approved_edition
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.deliver.silent_runs import silence_runs
from tests.deliver.smtp_servers import ScriptedSmtpServer
from tests.moments import RELEASE, Clock
from tests.run_database import read_stored_bytes

Arrived = Callable[[bytes], EmailMessage]


def _send(world: DeliverySetup, provider: object = None, limit: int | None = None) -> SendReport:
    return run_edition(
        world.database,
        EDITION_NAME,
        provider or open_provider(world.settings),  # type: ignore[arg-type]  # it is a Provider
        world.keys,
        world.settings,
        clock=world.clock,
        sleep=world.clock.sleep,
        limit=limit,
    )


def _files(world: DeliverySetup) -> list[Path]:
    return sorted((world.settings.outbox_folder / "edition").glob("*.eml"))


def _states(world: DeliverySetup) -> dict[int | None, DeliveryState]:
    with world.database.read() as session:
        return {d.person: d.state for d in session.scalars(select(Delivery))}


def _state(world: DeliverySetup) -> EditionState:
    with world.database.read() as session:
        return session.scalars(select(Edition.state)).one()


def test_each_of_two_hundred_subscribers_gets_one_message_and_no_trace_of_another(
    one_world: DeliverySetup, arrived: Arrived
) -> None:
    world = one_world
    addresses = {f"reader{n:03}.x{n * 7919 % 1000:03}@d{n:03}.example.org" for n in range(200)}
    numbers = world.add_subscribers(*sorted(addresses))
    report = _send(world)
    assert (report.state, report.delivery_counts.planned, report.delivery_counts[DeliveryState.ACCEPTED]) == (
        EditionState.SENT,
        200,
        200,
    )
    by_address = dict(zip(sorted(addresses), numbers, strict=True))
    seen, ids = set(), set()
    for file in _files(world):
        raw = file.read_bytes()
        message = arrived(raw)
        to = str(message["To"])
        seen.add(to)
        ids.add(message["Message-ID"])
        assert not [a for a in addresses - {to} if a.encode() in raw]
        token = str(message["List-Unsubscribe"]).rstrip(">").rpartition("/")[2]
        assert link_tokens.read_link_token(world.keys, token, "leave") == (by_address[to], 0)
        assert link_tokens.read_link_token(world.keys, token, "preferences") is None
        for part in ("plain", "html"):
            body = message.get_body((part,))
            assert body is not None
            assert f"/u/{token}" in body.get_content()
            assert "August 12, 2026, at hls.today" in body.get_content()
    assert seen == addresses
    assert len(ids) == len(_files(world)) == 200


@pytest.mark.takes_turns
def test_the_message_says_what_its_headers_must(world: DeliverySetup, arrived: Arrived) -> None:
    world.add_subscribers("ada@example.org")
    _send(world)
    message = arrived(_files(world)[0].read_bytes())
    assert message["Subject"] == "Ports reopen \u2014 and six more stories"
    assert str(message["Date"]) == "Fri, 20 Nov 2026 06:00:00 -0500"
    assert str(message["From"]) == '"HLS.Today" <digest@news.example.org>'
    assert message["Precedence"] == "bulk"
    assert message["List-Post"] == "NO"
    assert str(message["Message-ID"]).startswith(f"<{EDITION_NAME}.")
    assert "Auto-Submitted" not in message
    html = message.get_body(("html",))
    assert html is not None
    assert html.get_content().count("caf\u00e9") == 4


def test_what_was_approved_with_links_to_this_machine_goes_into_files_and_is_not_mailed(
    one_database: Database, tmp_path: Path
) -> None:
    settings = delivery_settings(tmp_path).model_copy(update={"base_url": "http://localhost:8025"})
    store_approved_edition(one_database, settings, EDITION_NAME, RELEASE)
    world = DeliverySetup(one_database, settings, KEYS, Clock(RELEASE))
    world.add_subscribers("ada@example.org")
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    with pytest.raises(SendError, match="links to http://localhost:8025, which work only on this machine"):
        _send(world, provider)
    assert provider.received_messages == []
    assert _state(world) == EditionState.APPROVED
    assert _send(world).state == EditionState.SENT


def test_no_address_stands_in_the_database_after_a_send(one_world: DeliverySetup) -> None:
    names = [(f"zq{n:04x}xvk", f"wj{n:04x}qz.example.org") for n in range(0, 65536, 1311)]
    one_world.add_subscribers(*(f"{local}@{domain}" for local, domain in names))
    _send(one_world)
    stored = read_stored_bytes(one_world.database.engine).lower()
    assert len(stored) > 50_000
    assert not [n for n in names for part in n if part.encode() in stored]


@pytest.mark.takes_turns
def test_outbox_files_are_private(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    _send(world)
    (file,) = _files(world)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (file.parent, file.parent.parent)} == {0o700}
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.takes_turns
def test_a_second_send_hands_nothing_over(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    _send(world)
    before = [(f.name, f.stat().st_mtime_ns) for f in _files(world)]
    report = _send(world)
    assert report.results.total() == 0
    assert [(f.name, f.stat().st_mtime_ns) for f in _files(world)] == before


@pytest.mark.takes_turns
def test_the_same_edition_gives_the_same_bytes(world: DeliverySetup, tmp_path: Path) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.NOT_TRIED, stop="later"))
    _send(world, provider)
    _send(world, OutboxProvider(tmp_path / "again"))
    for message in provider.received_messages:
        assert (tmp_path / "again" / "edition" / f"{message.delivery_id}.eml").read_bytes() == message.to_bytes()


@pytest.mark.takes_turns
def test_choices_decide_what_a_subscriber_gets(world: DeliverySetup, arrived: Arrived) -> None:
    world.add_subscribers("plain@example.org")
    world.add_subscribers("short@example.org", choices=Preferences(frozenset({"events", "not-here"})))
    world.add_subscribers("text@example.org", choices=Preferences(text_only=True))
    world.add_subscribers("none@example.org", choices=Preferences(frozenset({"featured", "events"})))
    world.add_subscribers("pause@example.org", choices=Preferences(pause_until=date(2026, 12, 1)))
    world.add_subscribers("back@example.org", choices=Preferences(pause_until=date(2026, 11, 20)))
    report = _send(world)
    got = {str(m["To"]).partition("@")[0]: m for m in (arrived(f.read_bytes()) for f in _files(world))}
    assert set(got) == {"plain", "short", "text", "back"}
    assert (report.delivery_counts[DeliveryState.SKIPPED], report.delivery_counts.planned) == (2, 6)
    assert got["text"].get_content_type() == "text/plain"
    short = got["short"].get_body(("html",))
    assert short is not None
    assert 'id="section:events"' not in short.get_content()
    assert 'id="section:featured"' in short.get_content()
    assert 'id="foot"' in short.get_content()


def _write_choices(world: DeliverySetup, number: int, written: str) -> None:
    with world.database.write() as session:
        session.execute(
            text("UPDATE person SET choices = :written WHERE number = :n"), {"written": written, "n": number}
        )


@pytest.mark.takes_turns
def test_nobody_whose_choices_cannot_be_read_is_mailed_an_edition(world: DeliverySetup) -> None:
    damages = ('{"omit": 7}', '{"pause": "2027"}', "null", "[]", '"often"')
    damaged = world.add_subscribers(*(f"reader{n}@example.org" for n in range(len(damages))))
    later, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    for number, written in zip(damaged, damages, strict=True):
        _write_choices(world, number, written)
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    _write_choices(world, later, "{}[]" if world.database.engine.dialect.name == "sqlite" else '{"omit": "events"}')
    report = _send(world)
    skipped = dict.fromkeys([*damaged, later], DeliveryState.SKIPPED)
    assert _states(world) == skipped | {bo: DeliveryState.ACCEPTED}
    assert (report.state, report.delivery_counts.is_balanced, len(_files(world))) == (EditionState.SENT, True, 1)


@pytest.mark.takes_turns
def test_choices_and_departures_after_planning_count_too(world: DeliverySetup, tmp_path: Path) -> None:
    ada, bo, cy = world.add_subscribers("ada@example.org", "bo@example.org", "cy@example.org")
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        unsubscribe_person(session, UnsubscribeLog(tmp_path / "left.log", world.keys), ada, method="page", now=RELEASE)
        change_preferences(session, bo, Preferences(pause_until=date(2027, 1, 1)), RELEASE)
    report = _send(world)
    assert _states(world) == {ada: DeliveryState.WITHDRAWN, bo: DeliveryState.SKIPPED, cy: DeliveryState.ACCEPTED}
    assert (report.state, report.delivery_counts.is_balanced) == (EditionState.SENT, True)


@pytest.mark.takes_turns
@pytest.mark.parametrize("batch", [1, 4])
def test_who_leaves_while_a_send_runs_gets_nothing_after_that_moment(
    world: DeliverySetup, tmp_path: Path, batch: int
) -> None:
    numbers = world.add_subscribers(*(f"r{n}@example.org" for n in range(12)))
    left_numbers: set[int] = set()

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        owners = [link_tokens.read_link_token(world.keys, m.placeholders.leave_token, "leave") for m in messages]
        handed = {owner.number for owner in owners if owner}
        assert not handed & left_numbers
        with world.database.write() as session:
            for number in [n for n in numbers if n not in handed and n not in left_numbers][:1]:
                unsubscribe_log = UnsubscribeLog(tmp_path / "left.log", world.keys)
                unsubscribe_person(session, unsubscribe_log, number, method="one-click", now=world.clock())
                left_numbers.add(number)
        return same_outcome_for_all(HandoverStatus.ACCEPTED)(messages)

    report = _send(world, ScriptedProvider(answer, batch))
    accepted = {n for n, s in _states(world).items() if s is DeliveryState.ACCEPTED}
    assert report.delivery_counts.is_balanced
    assert len(accepted) + report.delivery_counts[DeliveryState.WITHDRAWN] == 12
    assert report.state is EditionState.SENT


@dataclass(frozen=True)
class Meddling(Database):
    """A database in which somebody leaves just when a claimed message is about to be handed over."""

    left_log: Path

    @contextmanager
    def write(self) -> Iterator[Session]:
        with super().write() as session:
            yield session
        with super().read() as looking:
            claimed = looking.scalar(
                select(Delivery.person).where(Delivery.state.in_((DeliveryState.RESERVED, DeliveryState.HANDING_OVER)))
            )
        if claimed is not None:
            unsubscribe_log = UnsubscribeLog(self.left_log, KEYS)
            with super().write() as session:
                unsubscribe_person(session, unsubscribe_log, claimed, method="page", now=RELEASE)


def test_who_leaves_between_claim_and_handing_over_gets_nothing(one_world: DeliverySetup) -> None:
    one_world.add_subscribers("ada@example.org")
    meddled = replace(one_world, database=Meddling(one_world.database.engine, one_world.settings.left_log))
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    assert _send(meddled, provider).delivery_counts[DeliveryState.WITHDRAWN] == 1
    assert not provider.received_messages
    with one_world.database.read() as session:
        assert session.scalars(select(Delivery.handed_at)).one() is None


@pytest.mark.takes_turns
def test_planning_twice_owes_once_and_a_later_subscriber_gets_the_next_edition(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    first = plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    world.add_subscribers("late@example.org")
    second = plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    assert first.planned == second.planned == 2
    assert first.is_balanced
    assert _send(world).delivery_counts[DeliveryState.ACCEPTED] == 2


def test_planning_that_was_cut_short_goes_on_where_rows_are_missing(world: DeliverySetup) -> None:
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        kept = {d.person: d.id for d in session.scalars(select(Delivery))}
        session.delete(session.get_one(Delivery, kept[bo]))
        session.execute(update(Edition).values(planned_at=None, planned=None))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.read() as session:
        assert {d.person: d.id for d in session.scalars(select(Delivery))} == kept
    assert ada in kept


def test_a_missing_row_unbalances_the_delivery_counts(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        session.delete(session.scalars(select(Delivery)).first())
    with world.database.read() as session:
        assert not count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME)).is_balanced


@pytest.mark.takes_turns
def test_counts_that_do_not_balance_are_said_aloud_at_the_end_of_a_run(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    assert not _send(world).stop_reason
    with world.database.write() as session:
        session.delete(session.scalars(select(Delivery)).first())
    assert "2 deliveries were planned, but there are 1" in _send(world).stop_reason
    with world.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "delivery counts do not balance")).one()
    assert (row.subject, row.detail) == (EDITION_NAME, {"planned": 2, "deliveries": 1})


@pytest.mark.parametrize("what", ["body", "subject", "sender"])
def test_nothing_is_sent_but_what_was_approved(world: DeliverySetup, what: str) -> None:
    world.add_subscribers("ada@example.org")
    settings = world.settings
    with world.database.write() as session:
        if what == "body":
            session.execute(
                update(ApprovedRenderedFragment).where(ApprovedRenderedFragment.name == "foot").values(body="other")
            )
        elif what == "subject":
            approval = session.scalars(select(Approval)).one()
            approval.statement = approval.statement | {"subject": "other"}
        else:
            file = settings.file
            sender = file.sender.model_copy(update={"address": "other@news.example.org"})
            settings = settings.model_copy(update={"file": file.model_copy(update={"sender": sender})})
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    with pytest.raises(ApprovalError):
        run_edition(world.database, EDITION_NAME, provider, world.keys, settings, clock=world.clock)
    assert not provider.received_messages
    assert _state(world) is EditionState.APPROVED


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (EditionState.DRAFT, "2026-W47 is a draft. Only approved editions can be sent. Approve the edition first."),
        (
            EditionState.INCOMPLETE,
            "2026-W47 is incomplete. Only approved editions can be sent. Approve the edition first.",
        ),
        (EditionState.CANCELLED, "2026-W47 can't be sent: it is canceled."),
    ],
)
def test_only_an_approved_edition_is_sent(world: DeliverySetup, state: EditionState, said: str) -> None:
    with world.database.write() as session:
        session.execute(update(Edition).values(state=state))
    with pytest.raises(SendError, match=re.escape(said)):
        _send(world)


def _await_lock_waits(world: DeliverySetup, transactions: int) -> None:
    """Wait until so many transactions wait for locks."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = monotonic() + 60
    while monotonic() < deadline:
        with world.database.read() as session:
            if session.scalar(waiting) == transactions:
                return
        sleep(0.01)
    pytest.fail("nobody waits")


def test_of_two_runs_that_begin_an_edition_at_once_one_does(postgresql_world: DeliverySetup) -> None:
    world = postgresql_world
    world.add_subscribers("ada@example.org", "bo@example.org")
    begun = []

    def note_begun(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(
            "UPDATE edition SET state=%(state)s WHERE"
        ):  # the end of a run also sets another column
            begun.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note_begun)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    with ThreadPoolExecutor(2) as threads:
        with world.database.write() as session:
            find_edition(session, EDITION_NAME, lock=True)
            reports = [threads.submit(_send, world, provider) for _ in range(2)]
            _await_lock_waits(world, 2)
        for report in reports:
            report.result()
    assert len(begun) == 1
    assert (_state(world), len(provider.received_messages)) == (EditionState.SENT, 2)


def test_an_edition_that_is_canceled_while_a_run_begins_stays_canceled(postgresql_world: DeliverySetup) -> None:
    world = postgresql_world
    world.add_subscribers("ada@example.org")
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    with ThreadPoolExecutor(1) as threads:
        with world.database.write() as session:
            edition_control.mark_edition_cancelled(session, EDITION_NAME)
            session.flush()
            report = threads.submit(_send, world, provider)
            _await_lock_waits(world, 1)
        with pytest.raises(SendError, match="is canceled"):
            report.result()
    assert (_state(world), provider.received_messages) == (EditionState.CANCELLED, [])


@pytest.mark.takes_turns
def test_an_unknown_edition_is_an_error(one_database: Database, world: DeliverySetup) -> None:
    with pytest.raises(UnknownEditionError, match="2020-W01"):
        run_edition(
            one_database,
            "2020-W01",
            ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)),
            world.keys,
            world.settings,
            clock=world.clock,
        )


@pytest.mark.takes_turns
def test_a_base_url_that_makes_list_unsubscribe_too_long_is_refused_before_anything_moves(world: DeliverySetup) -> None:
    settings = world.settings.model_copy(update={"base_url": f"https://{'a' * 43}"})
    with pytest.raises(ComposeError, match="DIGEST_BASE_URL"):
        run_edition(
            world.database,
            EDITION_NAME,
            ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)),
            world.keys,
            settings,
            clock=world.clock,
        )
    assert _state(world) is EditionState.APPROVED


@pytest.mark.takes_turns
def test_a_limit_leaves_the_rest_waiting_and_the_next_run_goes_on(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(10)))
    report = _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED), batch_size=3), limit=4)
    assert (report.state, report.delivery_counts[DeliveryState.WAITING]) == (EditionState.SENDING, 6)
    assert (
        _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED), batch_size=3)).state
        is EditionState.SENT
    )


@pytest.mark.takes_turns
def test_a_run_that_must_stop_keeps_everybody_waiting(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(5)))
    report = _send(
        world, ScriptedProvider(same_outcome_for_all(HandoverStatus.NOT_TRIED, stop="the key is wrong"), batch_size=2)
    )
    assert report.stop_reason == "the key is wrong"
    assert (report.delivery_counts[DeliveryState.WAITING], report.state) == (5, EditionState.SENDING)
    with world.database.read() as session:
        assert {d.tries for d in session.scalars(select(Delivery))} == {0}


def test_a_refusal_for_now_is_tried_again_later_and_given_up_after_three_days(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers("ada@example.org")
    tries = 0
    while (
        report := _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.TRY_LATER)))
    ).next_due_at is not None:
        tries += 1
        assert report.next_due_at - world.clock() >= timedelta(minutes=15)
        assert report.state is EditionState.SENDING
        assert _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))).results.total() == 0
        world.clock.now = report.next_due_at
    assert (report.delivery_counts[DeliveryState.EXPIRED], report.state) == (1, EditionState.SENT)
    assert 15 < tries < 30
    assert world.clock() <= RELEASE + timedelta(hours=72)


@pytest.mark.takes_turns
def test_a_refusal_for_good_is_final_and_keeps_the_reply(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    assert (
        _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.REFUSED))).delivery_counts[
            DeliveryState.REFUSED
        ]
        == 1
    )
    with world.database.read() as session:
        delivery = session.scalars(select(Delivery)).one()
    assert (delivery.reply, delivery.tries, delivery.transport) == ("said", 1, "scripted")
    assert delivery.owner is None
    assert delivery.lease_until is None


@pytest.mark.takes_turns
def test_a_doubt_is_never_resolved_by_sending_again(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.UNCERTAIN)))
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    for _ in range(3):
        world.clock.now += timedelta(days=1)
        assert _send(world, provider).delivery_counts[DeliveryState.UNCERTAIN] == 1
    assert not provider.received_messages


@pytest.mark.takes_turns
@pytest.mark.parametrize(("lost", "seconds"), [(1, 1), (2, 3), (4, 15)])
def test_a_lost_answer_on_the_only_connection_costs_seconds_and_the_rest_goes_out(
    world: DeliverySetup, lost: int, seconds: int
) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(10)))
    with ScriptedSmtpServer({"DOT": [None] * lost}) as server:
        mail_url = SecretStr(f"smtp://127.0.0.1:{server.port}?starttls=off&connections=1")
        with closing(open_provider(world.settings.model_copy(update={"mail_url": mail_url}))) as provider:
            report = _send(world, provider)
    counts = report.delivery_counts
    assert (counts[DeliveryState.UNCERTAIN], counts[DeliveryState.ACCEPTED]) == (lost, 10 - lost)
    assert (report.state, report.stop_reason) == (EditionState.SENT, "")
    assert world.clock.now == RELEASE + timedelta(seconds=seconds)


@pytest.mark.takes_turns
def test_an_edition_that_the_server_rejects_again_and_again_is_reported_within_an_hour(
    world: DeliverySetup,
) -> None:
    """Each try is recorded, which must not count as progress."""
    world.add_subscribers("ada@example.org")
    login: dict[str, list[bytes | None]] = {"AUTH": [b"535 5.7.8 wrong password"] * 8}

    def find_stuck() -> list[str]:
        with world.database.read() as session:
            return [f.sentence for f in list_attention_findings(session, world.clock.now) if f.kind == "stuck-send"]

    with ScriptedSmtpServer(login, b"AUTH PLAIN") as server:
        mail_url = SecretStr(f"smtp://desk:secret@127.0.0.1:{server.port}?starttls=off")
        settings = world.settings.model_copy(update={"mail_url": mail_url})
        for quarter in range(3):
            assert find_stuck() == [], quarter
            with closing(open_provider(settings)) as provider:
                assert not _send(world, provider).delivery_counts[DeliveryState.ACCEPTED]
            world.clock.now += timedelta(minutes=15)
        (sentence,) = find_stuck()
        assert f"no progress since {RELEASE:%Y-%m-%d %H:%M} UTC. Overdue emails: 1. Reason: 127.0.0.1:" in sentence
        assert "rejected the sign-in: 535 5.7.8 wrong password. Correct the user and password in" in sentence
        assert ".." not in sentence
        server.script["AUTH"] = [b"235 ok"]
        with closing(open_provider(settings)) as provider:
            assert _send(world, provider).state is EditionState.SENT
    assert find_stuck() == []


@pytest.mark.takes_turns
def test_after_a_lost_batch_one_message_at_a_time_asks_whether_answers_come_again(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(20)))
    sizes: list[int] = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        sizes.append(len(messages))
        result = HandoverStatus.UNCERTAIN if len(sizes) <= 3 else HandoverStatus.ACCEPTED
        return same_outcome_for_all(result)(messages)

    report = _send(world, ScriptedProvider(answer, batch_size=5))
    assert sizes == [5, 1, 1, 1, 5, 5, 2]
    assert report.delivery_counts[DeliveryState.UNCERTAIN] == 7


@pytest.mark.takes_turns
def test_a_run_ends_when_no_answer_comes_for_a_minute(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(12)))
    report = _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.UNCERTAIN), batch_size=2))
    assert (report.delivery_counts[DeliveryState.UNCERTAIN], report.delivery_counts[DeliveryState.WAITING]) == (8, 4)
    assert "7 times in a row" in report.stop_reason
    assert world.clock.now == RELEASE + timedelta(seconds=1 + 2 + 4 + 8 + 16 + 32)


@pytest.mark.takes_turns
def test_a_short_wait_is_slept_through_and_a_long_one_ends_the_run(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    answers = [
        BatchOutcome((MessageOutcome(HandoverStatus.NOT_TRIED),), wait_seconds=20.0),
        BatchOutcome((MessageOutcome(HandoverStatus.NOT_TRIED),), wait_seconds=600.0),
    ]
    report = _send(world, ScriptedProvider(lambda _: answers.pop(0)))
    assert world.clock() == RELEASE + timedelta(seconds=20)
    assert (report.stop_reason, report.wait_reason) == ("", "the provider asked senders to wait")
    assert report.next_due_at == world.clock() + timedelta(seconds=600)
    assert report.delivery_counts[DeliveryState.WAITING] == 1


@pytest.mark.takes_turns
def test_a_wait_that_the_provider_asks_for_holds_for_every_process(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    patience = BatchOutcome((MessageOutcome(HandoverStatus.NOT_TRIED),), wait_seconds=600.0)
    _send(world, ScriptedProvider(lambda _: patience, batch_size=1))
    world.clock.now += timedelta(seconds=10)
    another = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    report = _send(world, another)
    assert another.received_messages == []
    assert (report.wait_reason, report.next_due_at) == (
        "the provider asked senders to wait",
        RELEASE + timedelta(seconds=600),
    )
    world.clock.now = RELEASE + timedelta(seconds=600)
    assert _send(world, another).state is EditionState.SENT


def test_a_wait_that_one_provider_asks_for_does_not_hold_for_another(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers("ada@example.org")
    patience = BatchOutcome((MessageOutcome(HandoverStatus.NOT_TRIED),), wait_seconds=600.0)
    _send(world, ScriptedProvider(lambda _: patience, batch_size=1))
    assert _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED), name="other")).handed_over == 1


@pytest.mark.takes_turns
def test_what_a_dead_process_left_claimed_is_uncertain_and_the_rest_goes_out(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(5)))

    def crash(_: Sequence[OutgoingMessage]) -> BatchOutcome:
        raise MemoryError

    with pytest.raises(MemoryError):
        _send(world, ScriptedProvider(crash, batch_size=2))
    report = _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    assert (report.delivery_counts[DeliveryState.ACCEPTED], report.delivery_counts[DeliveryState.HANDING_OVER]) == (
        3,
        2,
    )
    assert report.state is EditionState.SENDING
    silence_runs(world.database)
    report = _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    assert (report.delivery_counts[DeliveryState.UNCERTAIN], report.state) == (2, EditionState.SENT)
    assert report.delivery_counts.is_balanced


def test_a_process_of_this_machine_that_is_gone_is_known_dead_at_once(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")

    def crash(_: Sequence[OutgoingMessage]) -> BatchOutcome:
        raise MemoryError

    with pytest.raises(MemoryError):
        _send(world, ScriptedProvider(crash, batch_size=1))
    with world.database.write() as session:
        dead = str(replace(identify_current_process(), nonce="0000"))
        session.execute(update(Delivery).values(owner=dead).where(Delivery.owner.is_not(None)))
        session.execute(update(RunLease).values(owner=dead))
    report = _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    assert (report.delivery_counts[DeliveryState.UNCERTAIN], report.delivery_counts[DeliveryState.ACCEPTED]) == (1, 1)


def _answer_past_the_lease(world: DeliverySetup, answer: BatchOutcome) -> Callable[[object], BatchOutcome]:
    """Give an answer so late that another run has taken the claim for a dead one's by then, and the edition for sent."""

    def answer_late(_: object) -> BatchOutcome:
        silence_runs(world.database)
        world.clock.now += timedelta(hours=3)
        other = replace(world, database=Database(world.database.engine))  # as in another process
        assert _send(other, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))).state is EditionState.SENT
        return answer

    return answer_late


@pytest.mark.takes_turns
def test_what_comes_back_to_wait_after_another_run_took_the_edition_for_sent_goes_out_later(
    world: DeliverySetup,
) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    busy = BatchOutcome((MessageOutcome(HandoverStatus.TRY_LATER, "450 4.2.0 busy"),))
    report = _send(world, ScriptedProvider(_answer_past_the_lease(world, busy), batch_size=1))
    assert (report.delivery_counts[DeliveryState.WAITING], report.state) == (1, EditionState.SENDING)
    world.clock.now += timedelta(hours=1)
    report = _send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    assert (report.delivery_counts[DeliveryState.ACCEPTED], report.state) == (2, EditionState.SENT)


@pytest.mark.takes_turns
def test_a_run_that_is_broken_off_lets_what_came_back_to_wait_go_out_later_too(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    patience = BatchOutcome((MessageOutcome(HandoverStatus.NOT_TRIED),), wait_seconds=20.0)
    provider = ScriptedProvider(_answer_past_the_lease(world, patience), batch_size=1)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_edition(world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=interrupt)
    assert (Counter(_states(world).values())[DeliveryState.WAITING], _state(world)) == (1, EditionState.SENDING)


@pytest.mark.takes_turns
def test_an_address_that_does_not_open_holds_up_nobody(world: DeliverySetup) -> None:
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    with world.database.write() as session:
        sealed = session.get_one(Person, bo).ciphertext
        session.execute(update(Person).where(Person.number == ada).values(ciphertext=sealed))
    _send(world)
    assert _states(world) == {ada: DeliveryState.REFUSED, bo: DeliveryState.ACCEPTED}
    assert [f.read_bytes().count(b"To: bo@example.org") for f in _files(world)] == [1]


def test_a_missing_key_is_noticed_at_the_start_and_later_its_own_rows_wait_for_it(world: DeliverySetup) -> None:
    ada, bo = world.add_subscribers("ada@example.org", "bo@example.org")
    with world.database.write() as session:
        session.execute(update(Person).where(Person.number == ada).values(key_id="9-lost"))
    with world.database.read() as session, pytest.raises(KeyMismatchError, match="the vault key 9-lost"):
        check_key_match(session, world.keys)
    _send(world)
    assert _states(world) == {ada: DeliveryState.WAITING, bo: DeliveryState.ACCEPTED}
    with world.database.write() as session:
        reply = session.scalars(select(Delivery.reply).where(Delivery.person == ada)).one()
        session.execute(update(Person).where(Person.number == ada).values(key_id=world.keys.current("vault").id))
    assert "The vault key 9-lost isn't in the key file" in reply
    world.clock.now += timedelta(hours=1)
    assert _send(world).state is EditionState.SENT
    assert _states(world) == {ada: DeliveryState.ACCEPTED, bo: DeliveryState.ACCEPTED}


@pytest.mark.takes_turns
def test_a_full_disk_stops_the_run_and_loses_nobody(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org", "bo@example.org")
    (world.settings.home / "outbox").write_text("in the way")
    report = _send(world)
    assert f"Can't write to {world.settings.home / 'outbox'}: " in report.stop_reason
    assert report.delivery_counts[DeliveryState.WAITING] == 2
    (world.settings.home / "outbox").unlink()
    assert _send(world).state is EditionState.SENT


@pytest.mark.takes_turns
def test_progress_is_told_after_every_batch(world: DeliverySetup) -> None:
    world.add_subscribers(*(f"r{n}@example.org" for n in range(5)))
    reports: list[tuple[int, int]] = []
    run_edition(
        world.database,
        EDITION_NAME,
        ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED), batch_size=2),
        world.keys,
        world.settings,
        clock=world.clock,
        report_progress=lambda done, planned: reports.append((done, planned)),
    )
    assert reports == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.takes_turns
def test_the_specimen_is_the_message_of_an_invented_subscriber(world: DeliverySetup, arrived: Arrived) -> None:
    with world.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        mailable = read_mailable_edition(session, edition, world.settings)
        message = arrived(compose_sample_message(mailable, edition, world.settings))
    assert message["To"] == "reader@example.org"
    token = str(message["List-Unsubscribe"]).rstrip(">").rpartition("/")[2]
    assert link_tokens.read_link_token(world.keys, token, "leave") is None
