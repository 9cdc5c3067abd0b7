"""Disclosures of addresses are evidence, so the check of the seals reports any change from outside."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, select, update
from sqlalchemy.orm import Session

from digest.app.sending import send_control as sending
from digest.app.upkeep import nightly_steps
from digest.deliver.events.delivery_event import DeliveryEvent, EventKind
from digest.deliver.events.event_processor import process_events
from digest.deliver.events.failure_causes import FailureCause
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.retention.delivery_disclosures import add_old_deliveries_to_totals, make_delivery_erasure_callback
from digest.deliver.retention.delivery_seals import SEALED_TABLES, seal_deliveries
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState, DeliveryTotal
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.consent import disclosure_log, disclosures, sealed_rows, seals
from subscribers.consent.disclosure_sealing import seal_disclosures
from subscribers.consent.sealed_rows import BATCH_SIZE
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto import key_file
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import erase_person
from subscribers.store.models import (
    ConsentEvent,
    ConsentKind,
    Disclosure,
    DisclosureLogEntry,
    DisclosureTotal,
    ListExport,
    ListExportPart,
    Person,
)
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.moments import RELEASE

NIGHT = RELEASE + timedelta(hours=16)
LATE = RELEASE + timedelta(days=401)
PURPOSE = make_edition_delivery_purpose(EDITION_NAME)


def send(world: DeliverySetup, *states: DeliveryState) -> list[int]:
    """Send an edition to as many subscribers, with what came of each message."""
    people = world.add_subscribers(*(f"r{n}@example.org" for n in range(len(states))))
    plan_deliveries(world.database, EDITION_NAME, world.keys, world.settings, now=RELEASE)
    with world.database.write() as session:
        for number, state in zip(people, states, strict=True):
            handed = None if state in {DeliveryState.SKIPPED, DeliveryState.WAITING} else RELEASE
            values: dict[str, Any] = {"state": state, "transport": "smtp" if handed else ""}
            values |= {"handed_at": handed, "first_handed_at": handed}
            session.execute(update(Delivery).where(Delivery.person == number).values(**values))
        session.execute(update(Edition).values(state=EditionState.SENT, sent_at=RELEASE))
    return people


def add_notice(session: Session, number: int | None, serial: int, **more: Any) -> str:
    """Add the delivery of a notice that was handed over."""
    said: dict[str, Any] = {"state": DeliveryState.ACCEPTED, "handed_at": RELEASE, "first_handed_at": RELEASE} | more
    row = Delivery(id=f"notice{serial:x}".ljust(26, "x"), purpose=f"confirm:{serial}", person=number, **said)
    row.due_at = row.next_try_at = RELEASE
    row.transport = "smtp"
    session.add(row)
    session.flush()
    return row.id


def disclose(world: DeliverySetup, numbers: list[int]) -> None:
    """Have the staff look at addresses, and the list exported."""
    with world.database.write() as session:
        disclosures.record_disclosures(session, numbers, to_whom="our staff", why="a look", reference="r", now=RELEASE)
        export = ListExport(at=RELEASE, to_whom="an auditor", why="audit", reference="e", done_at=RELEASE, people=1)
        session.add(export)
        session.flush()
        bits = sum(1 << number for number in numbers).to_bytes(8, "little")
        session.add(ListExportPart(export=export.id, first=0, bits=bits))


def seal(world: DeliverySetup) -> None:
    """Seal as the night does."""
    seal_deliveries(world.database, world.keys, now=NIGHT)
    seal_disclosures(world.database, world.keys, now=NIGHT)


def find_faults(world: DeliverySetup) -> tuple[str, ...]:
    """Return what a check finds wrong with where addresses have been; the rest of it has to hold."""
    with world.database.read() as session:
        proof = seals.verify_ledger(session, world.keys, tables=SEALED_TABLES)
    assert (proof.broken, proof.fault, proof.address_faults) == (None, "", ())
    return proof.disclosure_faults


def erase(world: DeliverySetup, number: int) -> None:
    """Erase a person as their own page does."""
    forget = make_delivery_erasure_callback(world.keys, lambda: NIGHT)
    log = UnsubscribeLog(world.settings.left_log, world.keys)
    with world.database.write() as session:
        assert erase_person(session, world.keys, log, number, method="page", forget_elsewhere=forget, now=NIGHT)


def fold(world: DeliverySetup, **later: float) -> None:
    """Make totals of what is old enough."""
    now = LATE + timedelta(**later)
    add_old_deliveries_to_totals(world.database, world.keys, world.settings, now=now)
    with world.database.write() as session:
        disclosures.aggregate_disclosures(session, world.keys, now)


def _of_edition(*, skip: int = 0, limit: int = 100) -> Any:
    return Delivery.id.in_(
        select(Delivery.id).where(Delivery.purpose == PURPOSE).order_by(Delivery.id).offset(skip).limit(limit)
    )


def _forge_entry(session: Session, **said: Any) -> Any:
    """Put an entry before the first one: where sums would count it, and a check that starts at 1 wouldn't look."""
    entry = {
        "kind": "folded",
        "source": "delivery",
        "subject": "",
        "rows": 0,
        "folded": 0,
        "erased": 0,
        "added": 0,
    } | said
    forged = dict.fromkeys(("root", "previous", "hash", "mac"), "forged")
    return session.execute(insert(DisclosureLogEntry).values(id=-1, at=RELEASE, **entry, **forged))


def _forge_total(session: Session) -> None:
    """Put a total that no commitment covers, and that adds nothing to the sum, before the first one."""
    person = session.scalar(select(func.min(Person.number)))
    said = {"to_whom": "a broker", "why": "sold", "times": 0, "first_at": RELEASE, "last_at": RELEASE}
    session.execute(insert(DisclosureTotal).values(id=-1, person=person, **said))


Tampering = Callable[[Session], object]
TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "deliveries deleted": (
        lambda s: s.execute(delete(Delivery).where(_of_edition(limit=2))),
        "edition 2026-W47: of 4 sealed deliveries, 2 missing",
    ),
    "one person's deliveries deleted": (
        lambda s: s.execute(delete(Delivery).where(Delivery.person == s.scalar(select(func.min(Delivery.person))))),
        "1 missing",
    ),
    "another person": (
        lambda s: s.execute(
            update(Delivery)
            .where(Delivery.purpose == "confirm:1")
            .values(person=s.scalar(select(func.max(Person.number))))
        ),
        "deliveries sealed 2026-11-21: of 2 sealed deliveries, 1 changed",
    ),
    "another purpose": (
        lambda s: s.execute(update(Delivery).where(Delivery.purpose == "confirm:1").values(purpose="welcome:1")),
        "1 changed",
    ),
    "another time": (
        lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(first_handed_at=NIGHT)),
        "1 changed",
    ),
    "another last time": (
        lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(handed_at=NIGHT)),
        "1 changed",
    ),
    "another Message-ID": (
        lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(message_id="<x@y>")),
        "1 changed",
    ),
    "another way": (
        lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(transport="sendgrid")),
        "1 changed",
    ),
    "a handover that never was": (
        lambda s: s.execute(
            update(Delivery)
            .where(Delivery.state == DeliveryState.SKIPPED)
            .values(handed_at=NIGHT, first_handed_at=NIGHT)
        ),
        "1 changed",
    ),
    "taken for erased": (
        lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(person=None, salt=None)),
        "sealed deliveries without a subscriber: 1, but erasures account for 0",
    ),
    "unsealed": (lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(sealed_in=None)), "1 missing"),
    "moved to another batch": (
        lambda s: s.execute(update(Delivery).where(_of_edition(limit=1)).values(sealed_in=4711)),
        "refer to a missing batch",
    ),
    "added afterwards": (
        lambda s: s.execute(
            insert(Delivery).values(
                id="x" * 26,
                purpose=PURPOSE,
                person=None,
                state=DeliveryState.ACCEPTED,
                due_at=RELEASE,
                next_try_at=RELEASE,
            )
        ),
        "deliveries added after sealing was complete (1)",
    ),
    "a look deleted": (lambda s: s.execute(delete(Disclosure)), "of 4 sealed disclosures, 4 missing"),
    "a look with another reason": (
        lambda s: s.execute(update(Disclosure).values(why="nothing")),
        "of 4 sealed disclosures, 4 changed",
    ),
    "an export deleted": (
        lambda s: (s.execute(delete(ListExportPart)), s.execute(delete(ListExport))),
        "of 1 sealed list exports, 1 missing",
    ),
    "an export to somebody else": (lambda s: s.execute(update(ListExport).values(to_whom="nobody")), "1 changed"),
    "an export without somebody": (
        lambda s: s.execute(update(ListExportPart).values(bits=b"\0")),
        "the list export of 2026-11-20 11:00 UTC doesn't list the same people as before",
    ),
    "the end of the log cut off": (
        lambda s: s.execute(
            delete(DisclosureLogEntry).where(DisclosureLogEntry.id == s.scalar(select(func.max(DisclosureLogEntry.id))))
        ),
        "entries after",
    ),
    "an entry changed": (
        lambda s: s.execute(update(DisclosureLogEntry).where(DisclosureLogEntry.rows == 4).values(rows=3)),
        "was changed (its hash doesn't match)",
    ),
    "taken for erased, with a forged entry before the first": (
        lambda s: (
            s.execute(update(Delivery).where(_of_edition(limit=1)).values(person=None, salt=None)),
            _forge_entry(s, erased=-1),
        ),
        "entry 1 is missing; the next one is -1",
    ),
    "totals made up, with a forged entry before the first": (
        lambda s: (
            s.execute(insert(DeliveryTotal).values(purpose=PURPOSE, state=DeliveryState.ACCEPTED, count=99)),
            _forge_entry(s, subject=PURPOSE, folded=99),
        ),
        "entry 1 is missing; the next one is -1",
    ),
    "a total of disclosures made up, with a negative ID": (
        _forge_total,
        "totals of disclosures that don't match their seal: 1",
    ),
}


def find_faults_after(world: DeliverySetup, tamper: Tampering) -> str:
    """Return what a check finds after a change, which is rolled back."""
    with world.database.read() as session:
        tamper(session)
        proof = seals.verify_ledger(session, world.keys, tables=SEALED_TABLES)
    assert (proof.broken, proof.fault, proof.address_faults) == (None, "", ())
    return " | ".join(proof.disclosure_faults)


def test_whatever_is_tampered_with_after_sealing_is_reported(world: DeliverySetup) -> None:
    people = send(world, *[DeliveryState.ACCEPTED] * 2, DeliveryState.REFUSED, DeliveryState.SKIPPED)
    with world.database.write() as session:
        for serial in range(2):
            add_notice(session, people[serial], serial)
    disclose(world, people)
    seal(world)
    _seal_ledger(world)
    for name, (tamper, told) in TAMPERINGS.items():
        assert told in find_faults_after(world, tamper), name
        assert find_faults(world) == ()


def _seal_ledger(world: DeliverySetup) -> None:
    """Append a seal of everything, as the night does after it has sealed the deliveries."""
    through = seals.find_last_fully_committed_rows(world.database)
    with world.database.read() as session:
        proof = seals.verify_ledger(session, world.keys, tables=SEALED_TABLES, through=through)
    assert proof.summary is not None
    with world.database.write() as session:
        seals.append_seal(session, proof.summary, NIGHT)


def test_an_edition_is_sealed_and_closed_once_nothing_of_it_is_under_way(world: DeliverySetup) -> None:
    send(world, DeliveryState.ACCEPTED, DeliveryState.SKIPPED, DeliveryState.WAITING)
    assert seal_deliveries(world.database, world.keys, now=NIGHT) == 2
    with world.database.write() as session:
        assert disclosure_log.list_fully_sealed_subjects(session, "delivery") == set()
        waiting = update(Delivery).where(Delivery.state == DeliveryState.WAITING)
        session.execute(waiting.values(state=DeliveryState.CANCELLED))
    assert seal_deliveries(world.database, world.keys, now=NIGHT) == 1
    assert seal_deliveries(world.database, world.keys, now=NIGHT) == 0
    with world.database.read() as session:
        assert disclosure_log.list_fully_sealed_subjects(session, "delivery") == {PURPOSE}
        kinds = session.scalars(select(DisclosureLogEntry.kind).order_by(DisclosureLogEntry.id)).all()
    assert kinds == ["begun", "sealed", "sealed", "closed"]
    assert find_faults(world) == ()


@pytest.mark.takes_turns
def test_an_edition_that_is_being_sent_is_left_alone(world: DeliverySetup) -> None:
    send(world, DeliveryState.ACCEPTED)
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENDING))
    assert seal_deliveries(world.database, world.keys, now=NIGHT) == 0


def test_erasing_somebody_leaves_the_commitments_and_ties_them_to_nobody(world: DeliverySetup) -> None:
    ada, bo = send(world, DeliveryState.ACCEPTED, DeliveryState.ACCEPTED)
    with world.database.write() as session:
        add_notice(session, ada, 1)
    disclose(world, [ada, bo])
    seal(world)
    with world.database.write() as session:
        add_notice(session, ada, 2)  # not sealed yet: nothing of it is counted
    erase(world, ada)
    with world.database.read() as session:
        erased = session.scalars(select(Delivery).where(Delivery.person.is_(None))).all()
        body = session.scalars(select(ConsentEvent.body).where(ConsentEvent.kind == ConsentKind.ERASED)).one()
    assert sorted(bool(row.commitment) for row in erased) == [False, True, True]
    assert all(row.salt is None for row in erased)
    assert json.loads(body)["sealed_rows"] == {"delivery": 2, "disclosure": 1}
    assert find_faults(world) == ()
    seal(world)
    assert find_faults(world) == ()
    with world.database.write() as session:
        session.execute(delete(Delivery).where(Delivery.person.is_(None), Delivery.sealed_in.is_not(None)))
    assert "missing" in " | ".join(find_faults(world))


def test_retention_says_how_many_rows_it_folded_and_the_check_balances(world: DeliverySetup) -> None:
    people = send(world, *[DeliveryState.ACCEPTED] * 3, DeliveryState.REFUSED)
    with world.database.write() as session:
        add_notice(session, people[0], 1)
        add_notice(session, people[0], 2, handed_at=LATE, first_handed_at=LATE)  # of the same batch, and young
    disclose(world, people[:1])
    seal(world)
    erase(world, people[1])
    fold(world)
    with world.database.read() as session:
        entries = session.scalars(select(DisclosureLogEntry).where(DisclosureLogEntry.kind == "folded")).all()
        told = sorted((e.source, e.subject, e.rows, e.folded, e.erased) for e in entries)
        assert told == [("delivery", "", 1, 1, 0), ("delivery", PURPOSE, 0, 4, 1), ("disclosure", "", 0, 1, 0)]
        assert session.scalar(select(func.sum(DisclosureTotal.times))) == sum(e.added for e in entries) == 5
    assert find_faults(world) == ()
    fold(world, days=500)
    erase(world, people[0])
    assert find_faults(world) == ()


TOTAL_TAMPERINGS: list[tuple[Tampering, str]] = [
    (lambda s: s.execute(delete(DisclosureTotal)), "count 0, but 3 were added to them"),
    (
        lambda s: s.execute(update(DisclosureTotal).values(times=9)),
        "totals of disclosures that don't match their seal: ",
    ),
    (lambda s: s.execute(update(DisclosureTotal).values(last_at=NIGHT)), "don't match their seal"),
    (lambda s: s.execute(update(DisclosureTotal).values(to_whom="nobody")), "don't match their seal"),
    (
        lambda s: s.execute(update(DisclosureTotal).values(person=None, salt=None)),
        "sealed totals of disclosures without a subscriber: 3, but erasures account for 0",
    ),
    (
        lambda s: s.execute(update(DisclosureTotal).values(person=None, salt=None, commitment=None)),
        "don't match their seal",
    ),
    (
        lambda s: s.execute(delete(DeliveryTotal)),
        "edition 2026-W47: 2 replaced with totals, but the totals count 0",
    ),
    (lambda s: s.execute(update(DeliveryTotal).values(count=1)), "2 replaced with totals, but the totals count 1"),
]


def test_totals_that_are_tampered_with_are_reported(world: DeliverySetup) -> None:
    people = send(world, DeliveryState.ACCEPTED, DeliveryState.ACCEPTED)
    disclose(world, people[:1])
    seal(world)
    fold(world)
    for tamper, told in TOTAL_TAMPERINGS:
        assert told in find_faults_after(world, tamper)
        assert find_faults(world) == ()


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        (delete(Delivery).where(_of_edition(limit=1)), "1 missing"),
        (update(Delivery).where(_of_edition(limit=1)).values(message_id="<x@y>"), "1 changed"),
    ],
)
def test_a_batch_that_was_tampered_with_is_never_folded_so_that_the_fault_stays(
    world: DeliverySetup, tampered: Any, told: str
) -> None:
    send(world, *[DeliveryState.ACCEPTED] * 3)
    seal(world)
    with world.database.write() as session:
        session.execute(tampered)
    faults = find_faults(world)
    fold(world)
    assert find_faults(world) == faults == (f"edition 2026-W47: of 3 sealed deliveries, {told}",)


def test_what_was_uncertain_when_it_was_sealed_may_be_settled_either_way(world: DeliverySetup) -> None:
    ada, bo, cy = send(world, *[DeliveryState.UNCERTAIN] * 3)
    seal(world)
    assert find_faults(world) == ()
    states = {ada: DeliveryState.ACCEPTED, bo: DeliveryState.WAITING, cy: DeliveryState.REFUSED}
    with world.database.write() as session:
        for number, state in states.items():
            again = NIGHT if state is DeliveryState.WAITING else RELEASE
            values = {"state": state, "handed_at": again, "first_handed_at": again}
            session.execute(update(Delivery).where(Delivery.person == number).values(**values))
    assert find_faults(world) == ()
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.person == ada).values(purpose="edition:2026-W48"))
    assert find_faults(world) == ("edition 2026-W47: of 3 sealed deliveries, 1 changed",)


def test_a_late_bounce_leaves_the_seal_as_it_is(world: DeliverySetup) -> None:
    (ada,) = send(world, DeliveryState.ACCEPTED)
    seal(world)
    bounce = DeliveryEvent(
        "sendgrid",
        _delivery_of(world, ada),
        EventKind.BOUNCED,
        FailureCause.HARD,
        LATE,
        LATE,
        "f",
        None,
        {"status": "5.1.1"},
    )
    with world.database.write() as session:
        log = UnsubscribeLog(world.settings.left_log, world.keys)
        process_events(session, [bounce], keys=world.keys, unsubscribe_log=log, now=NIGHT)
        assert session.scalars(select(Delivery.state)).one() is DeliveryState.REFUSED
    assert find_faults(world) == ()


def _delivery_of(world: DeliverySetup, number: int) -> str:
    with world.database.read() as session:
        return session.scalars(select(Delivery.id).where(Delivery.person == number)).one()


def test_what_was_folded_before_there_were_seals_is_taken_as_it_is_found(world: DeliverySetup) -> None:
    people = send(world, *[DeliveryState.ACCEPTED] * 2)
    with world.database.write() as session:
        session.add(DeliveryTotal(purpose="edition:2025-W01", state=DeliveryState.ACCEPTED, count=7))
        session.add(DeliveryTotal(purpose="confirm", state=DeliveryState.ACCEPTED, count=2))
        old = {"to_whom": "Twilio SendGrid", "why": "To send you an edition", "first_at": RELEASE, "last_at": RELEASE}
        session.add_all(DisclosureTotal(person=number, times=4, **old) for number in (*people, None))
    assert find_faults(world) == ()
    seal(world)
    assert find_faults(world) == ()
    fold(world)
    assert find_faults(world) == ()
    with world.database.write() as session:
        session.execute(update(DeliveryTotal).where(DeliveryTotal.purpose == "edition:2025-W01").values(count=6))
    assert find_faults(world) == ("edition 2025-W01: 7 replaced with totals, but the totals count 6",)


def test_sealing_many_takes_few_rows_a_transaction_and_goes_on_where_it_was_cut_short(world: DeliverySetup) -> None:
    with world.database.write() as session:
        for serial in range(2 * BATCH_SIZE + 3):
            add_notice(session, None, serial)
    entries = [0]

    @event.listens_for(world.database.engine, "before_cursor_execute")
    def _cut(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        entries[0] += statement.startswith("INSERT INTO disclosure_log")
        if entries[0] == 3:  # the entry of the second batch, whose rows are written already
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal(world)
    event.remove(world.database.engine, "before_cursor_execute", _cut)
    assert find_faults(world) == ()
    seal(world)
    assert find_faults(world) == ()
    with world.database.read() as session:
        sealed = select(DisclosureLogEntry.rows).where(DisclosureLogEntry.kind == "sealed")
        assert session.scalars(sealed.order_by(DisclosureLogEntry.id)).all() == [BATCH_SIZE, BATCH_SIZE, 3]
    assert BATCH_SIZE <= 500


@pytest.mark.takes_turns
def test_nobody_without_the_keys_can_append_to_the_log(world: DeliverySetup) -> None:
    send(world, *[DeliveryState.ACCEPTED] * 2)
    seal(world)
    with world.database.write() as session:
        session.execute(delete(Delivery).where(_of_edition(limit=1)))
        left = session.scalars(select(Delivery)).one()
        draft = disclosure_log.LogEntryDraft(
            disclosure_log.LogEntryKind.FOLDED,
            "delivery",
            PURPOSE,
            left.sealed_in,
            rows=1,
            folded=1,
            root=sealed_rows.hash_commitments([left.commitment or ""]),
        )
        disclosure_log.append_log_entries(session, KeyRing.generate(), [draft], NIGHT)
    assert "wasn't written by this program" in " | ".join(find_faults(world))


def test_the_night_seals_reports_and_names_the_edition(world: DeliverySetup) -> None:
    key_file.create_file(world.settings.home / "keys.json", world.keys.to_json())
    installation = Installation(world.settings, world.database)
    ada, _ = send(world, DeliveryState.ACCEPTED, DeliveryState.ACCEPTED)
    assert nightly_steps.seal_disclosures(installation, NIGHT) == "sealed 2 deliveries and 0 other disclosures"
    sealed, proof = nightly_steps.verify_and_seal_ledger(installation, NIGHT, actor="test")
    assert proof.sound
    assert sealed.disclosures_through == 4  # begun, sealed, closed; and that the totals of before are known
    with world.database.write() as session:
        session.execute(delete(Delivery).where(Delivery.person == ada))
    _, proof = nightly_steps.verify_and_seal_ledger(installation, NIGHT + timedelta(days=1), actor="test")
    assert proof.disclosure_faults == ("edition 2026-W47: of 2 sealed deliveries, 1 missing",)
    with world.database.read() as session:
        broken = session.scalars(select(AuditEntry).where(AuditEntry.act == "ledger broken")).one()
    assert broken.detail == {"disclosures": list(proof.disclosure_faults)}


@pytest.mark.takes_turns
def test_keys_that_were_rotated_still_open_what_older_ones_sealed(world: DeliverySetup) -> None:
    send(world, DeliveryState.ACCEPTED)
    seal(world)
    rotated = world.keys.with_new_key("commitment")
    with world.database.read() as session:
        assert seals.verify_ledger(session, rotated, tables=SEALED_TABLES).disclosure_faults == ()
        assert seals.verify_ledger(session, KeyRing.generate(), tables=SEALED_TABLES).disclosure_faults != ()


def test_a_send_that_is_done_seals_its_deliveries(world: DeliverySetup) -> None:
    key_file.create_file(world.settings.home / "keys.json", world.keys.to_json())
    world.add_subscribers("ada@example.org", "bo@example.org")
    actor = Actor("terminal:eve", Role.ADMIN, ActionEntryPoint.TERMINAL)
    sending.send_edition(
        Installation(world.settings, world.database),
        EDITION_NAME,
        actor=actor,
        clock=world.clock,
        sleep=world.clock.sleep,
    )
    with world.database.read() as session:
        assert session.scalar(select(func.count()).where(Delivery.sealed_in.is_not(None))) == 2
        assert disclosure_log.list_fully_sealed_subjects(session, "delivery") == {PURPOSE}
    assert find_faults(world) == ()


def test_two_who_seal_at_once_seal_each_row_once(world: DeliverySetup) -> None:
    send(world, *[DeliveryState.ACCEPTED] * 5)
    with ThreadPoolExecutor(2) as pool:
        sealed = list(pool.map(lambda _: seal_deliveries(world.database, world.keys, now=NIGHT), range(2)))
    assert sum(sealed) == 5
    assert find_faults(world) == ()


def test_a_person_is_told_which_of_their_rows_were_changed(world: DeliverySetup) -> None:
    ada, bo = send(world, DeliveryState.ACCEPTED, DeliveryState.ACCEPTED)
    disclose(world, [ada, bo])
    seal(world)
    with world.database.write() as session:
        session.execute(update(Delivery).where(Delivery.person == ada).values(transport="sendgrid"))
        session.execute(update(Disclosure).where(Disclosure.person == ada).values(why="nothing"))
    with world.database.read() as session:
        assert sealed_rows.find_changed_rows(session, world.keys, SEALED_TABLES, ada) == [
            "deliveries that don't match their seal: 1",
            "disclosures that don't match their seal: 1",
        ]
        assert sealed_rows.find_changed_rows(session, world.keys, SEALED_TABLES, bo) == []


def test_a_total_that_nothing_covers_is_no_fault_before_sealing_began_and_one_after(world: DeliverySetup) -> None:
    (ada,) = send(world, DeliveryState.ACCEPTED)
    with world.database.write() as session:
        _forge_total(session)
    assert _changed_totals(world, ada) == []
    seal(world)
    assert _changed_totals(world, ada) == []
    with world.database.write() as session:
        session.execute(update(DisclosureTotal).values(salt=None, commitment=None))
    assert _changed_totals(world, ada) == ["totals of disclosures that don't match their seal: 1"]


def _changed_totals(world: DeliverySetup, number: int) -> list[str]:
    with world.database.read() as session:
        return sealed_rows.find_changed_rows(session, world.keys, [sealed_rows.TOTALS], number)


def test_a_sealed_row_without_its_commitment_is_named_on_the_record(world: DeliverySetup) -> None:
    (ada,) = send(world, DeliveryState.ACCEPTED)
    seal(world)
    with world.database.write() as session:
        session.execute(update(Delivery).values(commitment=None))
    with world.database.read() as session:
        found = sealed_rows.find_changed_rows(session, world.keys, SEALED_TABLES, ada)
    assert found == ["deliveries that don't match their seal: 1"]


@pytest.mark.takes_turns
def test_an_entry_that_counts_less_than_nothing_is_reported(world: DeliverySetup) -> None:
    seal(world)
    with world.database.write() as session:
        draft = disclosure_log.LogEntryDraft(disclosure_log.LogEntryKind.FOLDED, "delivery", PURPOSE, erased=-1)
        disclosure_log.append_log_entries(session, world.keys, [draft], NIGHT)
    assert "has a negative count" in " | ".join(find_faults(world))


def test_a_mac_that_is_no_mac_is_reported(world: DeliverySetup) -> None:
    seal(world)
    with world.database.write() as session:
        session.execute(update(DisclosureLogEntry).values(mac="é"))
    assert "its MAC doesn't match" in " | ".join(find_faults(world))


@pytest.mark.takes_turns
def test_a_night_counts_every_row_and_opens_the_older_ones_once_in_a_week(world: DeliverySetup) -> None:
    send(world, *[DeliveryState.ACCEPTED] * 3)
    seal(world)

    def check(day: int) -> tuple[str, ...]:
        with world.database.read() as session:
            night = NIGHT + timedelta(days=day)
            return seals.verify_ledger(session, world.keys, tables=SEALED_TABLES, night=night).disclosure_faults

    assert {check(day) for day in range(21)} == {()}
    with world.database.write() as session:
        session.execute(update(Delivery).where(_of_edition(limit=1)).values(transport="sendgrid"))
    assert [bool(check(day)) for day in range(21)].count(True) == 7 + 2
    assert find_faults(world) == ("edition 2026-W47: of 3 sealed deliveries, 1 changed",)
    with world.database.write() as session:
        session.execute(delete(Delivery).where(_of_edition(limit=1)))
    assert all(
        "1 missing" in faults[0] or "1 sealed deliveries are missing" in faults[0] for faults in map(check, range(21))
    )
