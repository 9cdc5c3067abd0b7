"""A mail server's log resolves uncertain deliveries: by its entries, and by their absence if the log proves it."""

from collections import Counter
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from digest.app.sending import uncertain_delivery_actions
from digest.deliver.events.postfix_log import MailLogError, read_postfix_log
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome
from digest.deliver.send.run.edition_sending import run_edition
from digest.deliver.send.uncertain.log_evidence import LogEvidence, LogVerdict, UncertainHandover, weigh_log_evidence
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, list_uncertain_deliveries
from digest.installation.audited_actions import NotPermittedError
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.store.models import Person, PersonState
from tests.actors import ADMIN, EDITOR
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.postfix_lines import LogLine, iso_line, log_text, queue_lines, traditional_line
from tests.deliver.scripted_provider import ScriptedProvider
from tests.moments import RELEASE

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SUBSCRIBERS = [f"reader{n}@county.example" for n in range(8)]
NOW = RELEASE + 3 * HOUR


@pytest.fixture
def doubtful(world: DeliverySetup) -> DeliverySetup:
    """Give a world whose eight messages went out over SMTP: two were accepted, six got no answer."""
    world.settings.key_file.write_text(KEYS.to_json())
    world.settings.key_file.chmod(0o600)
    world.add_subscribers(*SUBSCRIBERS)

    def answer(messages: object) -> BatchOutcome:
        accepted, uncertain = (MessageOutcome(r) for r in (HandoverStatus.ACCEPTED, HandoverStatus.UNCERTAIN))
        assert len(list(messages)) == len(SUBSCRIBERS)  # type: ignore[call-overload]  # the batch
        return BatchOutcome((accepted,) * 2 + (uncertain,) * 6)

    provider = ScriptedProvider(answer, name="smtp")
    run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    world.clock.now = NOW
    return world


def message_ids(world: DeliverySetup, state: DeliveryState) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(Delivery.message_id).where(Delivery.state == state).order_by(Delivery.id)))


def states(world: DeliverySetup) -> dict[DeliveryState, int]:
    with world.database.read() as session:
        counted = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert counted.is_balanced
    return {state: count for state, count in counted.by_state.items() if count}


def write_log(
    world: DeliverySetup,
    *,
    line: LogLine = iso_line,
    statuses: tuple[str, ...] = ("sent", "sent", "bounced", "queued", "broken"),
    witnesses: int = 2,
    start: datetime = RELEASE - HOUR,
    end: datetime = RELEASE + 2 * HOUR,
) -> Path:
    """Write the log of the mail server: some of the uncertain messages in their order, the last one in no line."""
    known = [(id_, "sent") for id_ in message_ids(world, DeliveryState.ACCEPTED)[:witnesses]]
    doubted = zip(message_ids(world, DeliveryState.UNCERTAIN), statuses, strict=False)
    lines = [line(start + n * 30 * MINUTE, "anvil", "statistics") for n in range((end - start) // (30 * MINUTE) + 1)]
    for n, (message_id, status) in enumerate((*known, *doubted)):
        dsn = "5.1.1" if status == "bounced" else "2.0.0"
        lines += queue_lines(line, RELEASE + timedelta(seconds=n), f"4Xq1aZ2b{n:03}", message_id, status, dsn=dsn)
    path = world.settings.home / "mail.log"
    path.write_bytes(log_text(lines))
    return path


def examine(world: DeliverySetup, *files: Path, zone: tzinfo = UTC) -> LogEvidence:
    return uncertain_delivery_actions.examine_mail_log(
        Installation(world.settings, world.database),
        EDITION_NAME,
        files,
        zone=zone,
        longest_silence=HOUR,
        now=world.clock(),
    )


def resolve(world: DeliverySetup, evidence: LogEvidence) -> int:
    installation = Installation(world.settings, world.database)
    return uncertain_delivery_actions.resolve_by_log(
        installation, EDITION_NAME, evidence, reason="the log", actor=ADMIN, clock=world.clock
    )


def test_what_the_log_has_is_settled_by_it_and_what_it_lacks_is_sent_again(doubtful: DeliverySetup) -> None:
    evidence = examine(doubtful, write_log(doubtful))
    assert evidence.verdicts == {
        LogVerdict.DELIVERED: 2,
        LogVerdict.BOUNCED: 1,
        LogVerdict.IN_QUEUE: 1,
        LogVerdict.NOT_ACCEPTED: 2,
    }
    assert states(doubtful)[DeliveryState.UNCERTAIN] == 6, "looking changes nothing"
    assert resolve(doubtful, evidence) == 6
    assert states(doubtful) == {DeliveryState.ACCEPTED: 5, DeliveryState.REFUSED: 1, DeliveryState.WAITING: 2}
    with doubtful.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.SENDING
        assert session.scalars(select(Person.state).where(Person.state != PersonState.SUBSCRIBED)).all() == [
            PersonState.SUPPRESSED
        ], "5.1.1 says that there is no such mailbox"
        acts = Counter(session.scalars(select(AuditEntry.act).where(AuditEntry.act.startswith("uncertain"))))
        kept = repr([event.detail for event in session.scalars(select(StoredDeliveryEvent))])
    assert acts == {"uncertain settled by a log": 1, "uncertain sent again": 1}
    assert "@" not in kept
    assert resolve(doubtful, evidence) == 0, "a second time changes nothing"
    assert states(doubtful)[DeliveryState.WAITING] == 2


def test_a_log_that_ends_or_begins_within_the_doubt_settles_only_what_stands_in_it(doubtful: DeliverySetup) -> None:
    for start, end in ((RELEASE - HOUR, RELEASE + HOUR), (RELEASE + MINUTE, RELEASE + 2 * HOUR)):
        evidence = examine(doubtful, write_log(doubtful, start=start, end=end))
        assert (evidence.verdicts[LogVerdict.NOT_ACCEPTED], evidence.verdicts[LogVerdict.UNKNOWN]) == (0, 2)
        assert len(evidence.events) == 4


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_wherever_a_log_is_cut_off_nobody_who_has_it_counts_as_without(tmp_path: Path, data: st.DataObject) -> None:
    statuses = data.draw(st.lists(st.sampled_from(("sent", "bounced", "deferred", "queued", "broken")), min_size=1))
    times = [RELEASE + n * data.draw(st.integers(0, 50)) * MINUTE for n in range(len(statuses))]
    doubtful = [
        UncertainHandover(str(n), f"<{n}@x>", at, at + 30 * MINUTE, over_smtp=True) for n, at in enumerate(times)
    ]
    lines = [
        (at + timedelta(seconds=m), text)
        for n, (at, status) in enumerate(zip(times, statuses, strict=True))
        for m, text in enumerate(queue_lines(iso_line, at, f"4Xq{n:06}", f"<{n}@x>", status))
    ]
    start = data.draw(st.integers(0, len(lines) - 1))
    kept = [text for _, text in sorted(lines)][start : data.draw(st.integers(start + 1, len(lines)))]
    (tmp_path / "mail.log").write_bytes(log_text(kept))
    ids = {delivery.message_id for delivery in doubtful}
    log = read_postfix_log([tmp_path / "mail.log"], ids, zone=UTC, longest_silence=HOUR, now=NOW)
    absent = weigh_log_evidence(log, doubtful, {}, now=NOW).not_accepted
    assert {statuses[int(n)] for n in absent} <= {"broken"}


def test_only_the_time_around_the_doubts_is_told(doubtful: DeliverySetup) -> None:
    hours = (-90, -60, 0, 2, 60)
    marks = [log_text([iso_line(RELEASE + hour * HOUR, "anvil", "statistics")]) for hour in hours]
    log = doubtful.settings.home / "marks.log"
    log.write_bytes(b"".join(marks))
    assert examine(doubtful, log).spans == ((RELEASE, RELEASE),)
    with doubtful.database.write() as session:
        session.execute(update(Delivery).values(handed_at=RELEASE + 30 * HOUR))
    assert examine(doubtful, log).spans == ()


def test_half_a_log_or_that_of_another_server_shows_itself_by_what_was_accepted_for_certain(
    doubtful: DeliverySetup,
) -> None:
    evidence = examine(doubtful, write_log(doubtful, witnesses=1))
    assert evidence.incomplete_reason.startswith("1 of 2 messages that the mail server accepted are missing")
    assert evidence.verdicts[LogVerdict.NOT_ACCEPTED] == 0
    with doubtful.database.write() as session:
        session.execute(update(Delivery).where(Delivery.state == DeliveryState.ACCEPTED).values(transport="outbox"))
    empty = examine(doubtful, write_log(doubtful, witnesses=0, statuses=()))
    assert empty.incomplete_reason == "no messages of this edition are in the log"
    assert empty.verdicts == {LogVerdict.UNKNOWN: 6}


@pytest.mark.takes_turns
def test_who_is_taken_as_accepted_by_a_word_bears_no_witness(doubtful: DeliverySetup) -> None:
    (first, *_) = list_uncertain_deliveries(doubtful.database, EDITION_NAME, now=NOW)
    log = write_log(doubtful, statuses=("broken",) * 6)
    installation = Installation(doubtful.settings, doubtful.database)
    accepted = UncertainResolution.ACCEPTED
    uncertain_delivery_actions.resolve_uncertain(
        installation, EDITION_NAME, [first.delivery_id], accepted, reason="a guess", actor=ADMIN, clock=doubtful.clock
    )
    assert examine(doubtful, log).verdicts == {LogVerdict.NOT_ACCEPTED: 5}


@pytest.mark.takes_turns
def test_times_in_another_zone_are_noticed(doubtful: DeliverySetup) -> None:
    log = write_log(doubtful, line=traditional_line)
    with pytest.raises(
        MailLogError, match=r"60 minutes ahead of this server's\. Set the log's time zone with --log-zone"
    ):
        examine(doubtful, log, zone=UTC)
    assert examine(doubtful, log, zone=ZoneInfo("Europe/Berlin")).verdicts[LogVerdict.NOT_ACCEPTED] == 2


def test_a_message_that_another_provider_took_is_not_missed_in_the_log(doubtful: DeliverySetup) -> None:
    with doubtful.database.write() as session:
        session.execute(update(Delivery).where(Delivery.state == DeliveryState.UNCERTAIN).values(transport="sendgrid"))
    assert examine(doubtful, write_log(doubtful)).verdicts[LogVerdict.NOT_ACCEPTED] == 0


def test_of_a_dead_process_the_lease_says_how_long_the_doubt_lasts(doubtful: DeliverySetup) -> None:
    log = write_log(doubtful)
    with doubtful.database.write() as session:
        uncertain = update(Delivery).where(Delivery.state == DeliveryState.UNCERTAIN)
        session.execute(uncertain.values(lease_until=RELEASE + 2 * HOUR))
    assert examine(doubtful, log).verdicts[LogVerdict.UNKNOWN] == 2


@pytest.mark.takes_turns
def test_an_editor_may_not_resolve(doubtful: DeliverySetup) -> None:
    evidence = examine(doubtful, write_log(doubtful))
    installation = Installation(doubtful.settings, doubtful.database)
    with pytest.raises(NotPermittedError):
        uncertain_delivery_actions.resolve_by_log(
            installation, EDITION_NAME, evidence, reason="the log", actor=EDITOR, clock=doubtful.clock
        )
    assert states(doubtful)[DeliveryState.UNCERTAIN] == 6
