"""Seals: a saved seal shows changes that a chain alone can't."""

import hashlib
import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import scheduler
from digest.app import jobs
from digest.app.jobs import JobContext
from digest.app.upkeep import nightly_steps
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store import schedule_slots
from digest.store.engine import Database
from digest.store.models import AuditEntry
from digest.store.process_identity import ProcessIdentity
from digest.timetable import JobSlot
from subscribers.address import read_address
from subscribers.consent import chain_verification, ledger, seals, suppression
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.crypto import key_file
from subscribers.crypto.keys import KeyRing
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, Person, Seal, Suppression
from tests.moments import BETWEEN_SECONDS as NOON

KEYS = KeyRing.from_seed(b"seal tests")
NIGHT = timedelta(days=1)


@cache
def _home() -> TemporaryDirectory[str]:
    home = TemporaryDirectory(prefix="digest-seals-")
    key_file.create_file(Path(home.name) / "keys.json", KEYS.to_json())
    return home


def _installation(database: Database) -> Installation:
    return Installation(Settings(home=Path(_home().name)), database)


def _person(database: Database, name: str, *kinds: ConsentKind) -> int:
    with database.write() as session:
        address = read_address(f"{name}@example.org")
        person = people.create_person(session, KEYS, address, asked_at=NOON, asked_where="hls.today")
        commitment = people.make_person_address_commitment(KEYS, person, address)
        for kind in kinds:
            body = {"wording": "\u00e9 yes", "page": "hls.today"}
            ledger.append_event(session, person, kind, body, NOON, commitment=commitment)
        return person.number


def _more(database: Database, number: int, kind: ConsentKind) -> None:
    with database.write() as session:
        person = ledger.lock_person(session, number)
        assert person is not None
        ledger.append_event(session, person, kind, {"method": "page"}, NOON + NIGHT)


def _seal(database: Database, now: datetime = NOON) -> str:
    sealed, _ = nightly_steps.verify_and_seal_ledger(_installation(database), now, actor="test")
    return sealed.hash


def _prove(database: Database, *kept: str) -> seals.LedgerProof:
    with database.read() as session:
        return seals.verify_ledger(session, KEYS, kept_hashes=kept)


def _forge(session: Session, number: int) -> None:
    """Rewrite a person's whole chain so that it is sound in itself: with other words, and never withdrawn."""
    head = ""
    for event in session.scalars(select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)):
        event.body, event.previous = ledger.encode_canonical_json({"wording": "anything at all"}), head
        head = event.hash = ledger.hash_chain_link(
            event.person,
            event.seq,
            event.kind,
            event.at,
            body=event.body,
            previous=event.previous,
            commitment=event.commitment,
        )
    session.execute(update(Person).where(Person.number == number).values(chain_head=head))


def test_seals_hold_while_the_ledger_grows(database: Database) -> None:
    ada = _person(database, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
    first = _seal(database)
    _person(database, "bo", ConsentKind.ATTESTED)
    _more(database, ada, ConsentKind.WITHDRAWN)
    second = _seal(database, NOON + NIGHT)
    third = _seal(database, NOON + 2 * NIGHT)
    _person(database, "cy", ConsentKind.CONFIRMED)
    proof = _prove(database, first, second[:12], third.upper())
    assert proof == seals.LedgerProof(people=3, links=5, seals=3, suppressions=0, broken=None, fault="")
    with database.read() as session:
        kept = session.scalars(select(Seal).order_by(Seal.id)).all()
    assert [(s.people, s.links) for s in kept] == [(1, 2), (2, 4), (2, 4)]
    assert [s.previous for s in kept] == ["", first, second]
    assert kept[1].root == kept[2].root != kept[0].root
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("number", [0, -5, -(2**31)])
def test_a_person_below_the_first_number_is_reported(database: Database, number: int) -> None:
    ada = _person(database, "ada", ConsentKind.CONFIRMED)
    with database.write() as session:
        row = session.get_one(Person, ada)
        copied = {name: getattr(row, name) for name in ("lookup_key", "key_id", "asked_at", "asked_where")}
        session.execute(insert(Person).values(number=number, state=row.state, choices={}, lookup="0" * 64, **copied))
    broken = _prove(database).broken
    assert broken is not None
    assert "subscriber rows with an invalid number: 1" in broken.fault


def test_a_suppression_below_the_first_id_breaks_the_seal(database: Database) -> None:
    _suppress(database, "ada", "complained")
    _seal(database)
    with database.write() as session:
        session.execute(insert(Suppression).values(id=-1, hash="0" * 64, key_id="x", reason="lifted", at=NOON))
    assert "doesn't match the suppression list" in _prove(database).fault


@pytest.mark.takes_turns
def test_an_empty_ledger_can_be_sealed(database: Database) -> None:
    sealed = _seal(database)
    _person(database, "ada", ConsentKind.CONFIRMED)
    assert _prove(database, sealed).sound


def test_a_chain_that_was_rewritten_whole_is_sound_and_breaks_the_seal(database: Database) -> None:
    ada = _person(database, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
    _seal(database)
    with database.write() as session:
        _forge(session, ada)
    proof = _prove(database)
    assert proof.broken is None
    assert "2026-11-20 12:00 UTC doesn't match the ledger" in proof.fault


def test_a_person_who_was_removed_with_their_whole_chain_breaks_the_seal(one_database: Database) -> None:
    _person(one_database, "ada", ConsentKind.CONFIRMED)
    bo = _person(one_database, "bo", ConsentKind.CONFIRMED)
    _seal(one_database)
    with one_database.write() as session:
        session.execute(delete(ConsentEvent).where(ConsentEvent.person == bo))
        session.execute(delete(Person).where(Person.number == bo))
    proof = _prove(one_database)
    assert proof.broken is None
    assert "doesn't match the ledger" in proof.fault


def test_only_a_seal_that_was_kept_shows_that_ledger_and_seals_were_replaced_together(one_database: Database) -> None:
    ada = _person(one_database, "ada", ConsentKind.CONFIRMED)
    kept = _seal(one_database)
    with one_database.write() as session:
        _forge(session, ada)
        session.execute(delete(Seal))
    forged = _seal(one_database)
    assert _prove(one_database, forged).sound
    assert _prove(one_database, kept).fault == f"there is no seal {kept}; seals, or the whole ledger, were replaced"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"at": NOON}, "doesn't match its hash"),
        ({"people": 7}, "doesn't match the ledger"),
        ({"links": 7}, "doesn't match the ledger"),
        ({"root": "0" * 64}, "doesn't match the ledger"),
        ({"through": 1}, "doesn't match the ledger"),
        ({"suppressions": 7}, "doesn't match the suppression list"),
        ({"suppressions_root": "0" * 64}, "doesn't match the suppression list"),
        ({"hash": "0" * 64}, "doesn't match its hash"),
        ({"previous": "0" * 64}, "doesn't match the one before it"),
    ],
)
def test_whatever_is_changed_in_a_seal_is_found(one_database: Database, changed: dict[str, object], fault: str) -> None:
    _person(one_database, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
    _seal(one_database)
    second = _seal(one_database, NOON + NIGHT)
    with one_database.write() as session:
        session.execute(update(Seal).where(Seal.hash == second).values(**changed))
    assert fault in _prove(one_database).fault


def test_a_seal_taken_out_of_the_middle_is_found_and_two_cannot_follow_one(one_database: Database) -> None:
    for night in range(3):
        _seal(one_database, NOON + night * NIGHT)
    with one_database.read() as session:
        second = session.scalars(select(Seal).where(Seal.id == 2)).one()
    twin = {"at": NOON, "through": 0, "people": 0, "links": 0, "root": "", "hash": "0" * 64}
    with pytest.raises(IntegrityError), one_database.write() as session:
        session.add(Seal(previous=second.previous, **twin))
    with one_database.write() as session:
        session.execute(delete(Seal).where(Seal.id == 2))
    assert "doesn't match the one before it" in _prove(one_database).fault


def _suppress(database: Database, name: str, reason: suppression.SuppressionReason) -> None:
    with database.write() as session:
        hashes = suppression.hash_address(session, KEYS, read_address(f"{name}@example.org")).suppressions
        suppression.suppress_hashes(session, hashes, reason, NOON)


def test_seals_hold_while_addresses_are_suppressed_and_lifted(database: Database) -> None:
    _suppress(database, "ada", "bounced")
    _seal(database)
    _suppress(database, "ada", "complained")
    _seal(database, NOON + NIGHT)
    with database.write() as session:
        suppression.lift_suppression(session, KEYS, read_address("ada@example.org"), now=NOON)
    kept = _seal(database, NOON + 2 * NIGHT)
    _suppress(database, "bo", "by an admin")
    proof = _prove(database, kept)
    assert (proof.sound, proof.suppressions) == (True, 4)
    with database.read() as session:
        assert session.scalars(select(Seal.suppressions).order_by(Seal.id)).all() == [1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM suppression WHERE id = 1",
        "DELETE FROM suppression WHERE id = 2",
        "UPDATE suppression SET reason = 'lifted' WHERE id = 2",
        "UPDATE suppression SET hash = 'no more' WHERE id = 1",
        "UPDATE suppression SET key_id = '2-x' WHERE id = 1",
        "UPDATE suppression SET id = id + 7",
        "UPDATE suppression SET at = '2026-11-21 00:00:00.000000' WHERE id = 1",
    ],
)
def test_a_suppression_that_is_taken_away_or_changed_breaks_the_seal(database: Database, change: str) -> None:
    _suppress(database, "ada", "complained")
    _suppress(database, "bo", "bounced")
    _seal(database)
    assert _prove(database).sound
    with database.write() as session:
        session.execute(text(change))
    proof = _prove(database)
    assert "2026-11-20 12:00 UTC doesn't match the suppression list" in proof.fault


def test_any_byte_of_any_link_that_is_flipped_is_found(sqlite: Database) -> None:
    """Each link has every fourth byte of its columns flipped, and the others have theirs: any place is one link's turn."""
    _person(sqlite, "ada", ConsentKind.REQUESTED, ConsentKind.CONFIRMED, ConsentKind.WITHDRAWN)
    _person(sqlite, "bo", ConsentKind.ATTESTED)
    flips = flips_found = 0
    with sqlite.write() as session:
        links = session.execute(text("SELECT id, kind, at, body, previous, hash FROM consent_event")).mappings()
        for link in list(links):
            for column in ("kind", "at", "body", "previous", "hash"):
                value = str(link[column]).encode()
                for place in range(link["id"] % 4, len(value), 4):
                    flipped = bytes(b ^ (0x11 if i == place else 0) for i, b in enumerate(value))
                    flips += 1
                    flips_found += _found_with(session, link["id"], column, flipped)
            for seq in (0, 2, 3, 5, -1):
                flips += 1
                flips_found += _found_with(session, link["id"], "seq", seq) or seq == _seq(session, link["id"])
    assert flips > 150
    assert flips_found == flips


def _found_with(session: Session, link: int, column: str, value: bytes | int) -> bool:
    """Say whether a verification finds the fault; the change is taken back."""
    set_to = "CAST(:value AS TEXT)" if isinstance(value, bytes) else ":value"
    with session.begin_nested() as step:
        try:
            session.execute(
                text(f"UPDATE consent_event SET {column} = {set_to} WHERE id = :id"), {"value": value, "id": link}
            )
            return seals.verify_ledger(session, KEYS).broken is not None
        except IntegrityError:  # two links in one place: the database itself refuses
            return True
        finally:
            step.rollback()


def _seq(session: Session, link: int) -> int:
    return session.scalars(select(ConsentEvent.seq).where(ConsentEvent.id == link)).one()


def test_links_of_no_person_and_a_person_without_links_who_may_be_mailed_are_found(sqlite: Database) -> None:
    ada = _person(sqlite, "ada", ConsentKind.CONFIRMED)
    with sqlite3.connect(str(sqlite.engine.url.database)) as foreign:  # a program that keeps no foreign keys
        foreign.execute("UPDATE consent_event SET person = -5")
    foreign.close()
    assert "in the subscriber's row" in _broken(sqlite).fault
    with sqlite.write() as session:
        session.execute(text("UPDATE person SET chain_head = ''"))
    assert _broken(sqlite) == chain_verification.BrokenLink(
        ada, 0, "the state is requested in the record but subscribed in the row"
    )
    with sqlite.write() as session:
        session.execute(text("UPDATE person SET state = 'requested'"))
    nobody = chain_verification.BrokenLink(0, 0, "events with an invalid subscriber number: 1")
    assert _broken(sqlite) == nobody
    with sqlite3.connect(str(sqlite.engine.url.database)) as foreign:  # SQLite keeps any type in any column
        foreign.execute("UPDATE consent_event SET person = 'nobody'")
    foreign.close()
    assert _broken(sqlite) == nobody


_READABLE = ('{"pause_until": "9999-12-31"}', "{}")


@pytest.mark.parametrize("written", [*_READABLE, '{"omit": 7}', '["omit"]', "7"])
def test_choices_that_the_person_did_not_make_are_noticed(database: Database, written: str) -> None:
    ada = _person(database, "ada", ConsentKind.CONFIRMED)
    _person(database, "bo", ConsentKind.CONFIRMED)
    with database.write() as session:
        change_preferences(session, ada, Preferences(frozenset({"products"})), NOON)
        change_preferences(session, ada, Preferences(frozenset({"events"}), text_only=True), NOON + NIGHT)
    assert _prove(database).sound
    with database.write() as session:
        session.execute(
            text("UPDATE person SET choices = :written WHERE number = :ada"), {"written": written, "ada": ada}
        )
    broken = _broken(database)
    words = (
        "the preferences in the record and the row differ" if written in _READABLE else "the preferences can't be read"
    )
    assert (broken.person, broken.seq, words in broken.fault) == (ada, 3, True)


def _broken(database: Database) -> chain_verification.BrokenLink:
    broken = _prove(database).broken
    assert broken is not None
    return broken


def test_people_beyond_a_thousand_and_gaps_in_their_numbers_are_all_walked(sqlite: Database) -> None:
    _person(sqlite, "ada", ConsentKind.CONFIRMED)
    for number, name in ((1000, "bo"), (1001, "cy"), (5_000_000, "dee")):
        with sqlite.write() as session:
            session.execute(text("UPDATE sqlite_sequence SET seq = :seq WHERE name = 'person'"), {"seq": number - 1})
        assert _person(sqlite, name, ConsentKind.CONFIRMED) == number
    seen: list[tuple[int, int]] = []
    with sqlite.read() as session:
        proof = seals.verify_ledger(session, KEYS, progress=lambda done, total: seen.append((done, total)))
    assert (proof.people, proof.links, proof.sound) == (4, 4, True)
    assert seen == [(2, 4), (3, 4), (4, 4)]


def test_the_night_seals_once_and_writes_it_into_the_audit_log(database: Database) -> None:
    _person(database, "ada", ConsentKind.CONFIRMED)
    install = _installation(database)
    slot = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)  # 03:30 in New York
    schedule_slots.find_or_record_schedule_start(database, slot - NIGHT / 2)
    assert jobs.find_due_slots(
        JobContext(install, lambda: slot), "nightly", scheduler.read_schedule_rules(install)["nightly"]
    ) == (JobSlot("nightly", slot),)
    (outcome,) = scheduler.run_due_slots(JobContext(install, lambda: slot, owner=ProcessIdentity()), "nightly")
    assert outcome.startswith("sealed 0 deliveries and 0 other disclosures; sealed 1 links of 1 people as ")
    assert (
        scheduler.run_due_slots(JobContext(install, lambda: slot + NIGHT / 2, owner=ProcessIdentity()), "nightly") == []
    )
    with database.read() as session:
        (sealed,) = session.scalars(select(Seal))
        (line,) = session.scalars(select(AuditEntry))
    assert (line.act, line.detail["seal"], line.detail["root"]) == ("ledger sealed", sealed.hash, sealed.root)


def test_a_night_that_finds_the_ledger_broken_says_so_and_seals_what_is_there(one_database: Database) -> None:
    ada = _person(one_database, "ada", ConsentKind.CONFIRMED)
    with one_database.write() as session:
        session.execute(update(ConsentEvent).values(body="{}"))
    assert "the ledger failed verification" in nightly_steps.seal_ledger_and_email_admins(
        _installation(one_database), NOON
    )
    with one_database.read() as session:
        broken = session.scalars(select(AuditEntry).where(AuditEntry.act == "ledger broken")).one()
    assert broken.detail == {"person": ada, "link": 1, "fault": "the event's content doesn't match its hash"}


def test_one_step_of_the_night_that_fails_does_not_stop_the_others(one_database: Database) -> None:
    with one_database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE seal")
    results = nightly_steps.run_nightly_steps(_installation(one_database), NOON)
    assert re.search(r"seal_ledger_and_email_admins failed: (Operational|Programming)Error", results)
    assert "0 old disclosures replaced with totals" in results


SUPPRESSION_FIELDS = ("suppressions", "suppressions_through", "suppressions_root")
WORDING_FIELDS = ("wordings", "wordings_through", "wordings_root")
LOG_FIELDS = ("log_through", "log_head", "disclosures_through", "disclosures_head")


def test_a_seal_hashes_the_numbers_and_heads_alone(one_database: Database) -> None:
    """The root can be computed from a list of (number, head) without any of our code."""
    ada = _person(one_database, "ada", ConsentKind.CONFIRMED)
    bo = _person(one_database, "bo", ConsentKind.REQUESTED, ConsentKind.CONFIRMED)
    _seal(one_database)
    with one_database.read() as session:
        heads = {p.number: p.chain_head for p in session.scalars(select(Person))}
        sealed = session.scalars(select(Seal)).one()
    thousand = hashlib.sha256(f"{ada} {heads[ada]}\n{bo} {heads[bo]}\n".encode()).hexdigest()
    assert sealed.root == hashlib.sha256(f"1 {thousand}\n".encode()).hexdigest()
    names = ("previous", "root", "through", "links", "people")
    fields = {k: getattr(sealed, k) for k in (*names, *SUPPRESSION_FIELDS, *WORDING_FIELDS, *LOG_FIELDS)}
    canonical = json.dumps({"at": "2026-11-20T12:00:00.123+00:00", **fields}, sort_keys=True, separators=(",", ":"))
    assert sealed.hash == hashlib.sha256(canonical.encode()).hexdigest()
