"""The audit log is a chain: removed, changed, and inserted rows are reported, as are changes to sealed rows."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from digest.app.upkeep import nightly_steps
from digest.store.audit import record_audit
from digest.store.audit_chain import verify_audit_log
from digest.store.engine import Database
from digest.store.models import AuditEntry
from tests.moments import DRAFTING as NOW
from tests.web.conftest import build_web_setup


def record(database: Database, *acts: str) -> None:
    for act in acts:
        with database.write() as session:
            detail = {"why": "café", "counts": {"people": 3}, "share": 0.1}
            record_audit(session, act, "person 7", detail, actor="staff 1", now=NOW + timedelta(microseconds=7))


def record_and_fail(database: Database) -> None:
    with database.write() as session:
        record_audit(session, "rolled back", "list", {}, actor="staff 1", now=NOW)
        raise RuntimeError


def fault_of(database: Database) -> str:
    with database.read() as session:
        return verify_audit_log(session).fault


def test_rows_are_chained_in_the_order_of_their_commits(database: Database) -> None:
    record(database, "one", "two")
    with pytest.raises(RuntimeError):
        record_and_fail(database)
    with database.write() as session:
        for act in ("three", "four"):
            record_audit(session, act, "list", {}, actor="staff 1", now=NOW)
    with database.read() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.seq)).all()
        assert [(row.seq, row.act) for row in rows] == [(1, "one"), (2, "two"), (3, "three"), (4, "four")]
        assert [row.previous for row in rows] == ["", *(row.hash for row in rows[:-1])]
        assert (verify_audit_log(session).rows, verify_audit_log(session).fault) == (4, "")


def test_many_writers_make_one_chain(database: Database) -> None:
    threads = [threading.Thread(target=record, args=(database, *[f"act {n}"] * 5)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        proof = verify_audit_log(session)
    assert (proof.rows, proof.fault) == (20, "")


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        (update(AuditEntry).where(AuditEntry.seq == 2).values(subject="person 8"), "row 2 was changed"),
        (update(AuditEntry).where(AuditEntry.seq == 2).values(detail={"why": "another"}), "row 2 was changed"),
        (update(AuditEntry).where(AuditEntry.seq == 2).values(at=NOW - timedelta(days=1)), "row 2 was changed"),
        (update(AuditEntry).where(AuditEntry.seq == 2).values(hash="0" * 64), "row 2 was changed"),
        (
            update(AuditEntry).where(AuditEntry.seq == 3).values(previous="0" * 64),
            "row 3 doesn't match the row before it",
        ),
        (delete(AuditEntry).where(AuditEntry.seq == 2), "row 2 is missing; the next one is 3"),
        (
            insert(AuditEntry).values(at=NOW, actor="staff 1", act="made up", subject="list", detail={}),
            "wasn't written by this program",
        ),
        *(
            (
                insert(AuditEntry).values(seq=seq, at=NOW, actor="staff 1", act="made up", subject="list", detail={}),
                f"row 1 is missing; the next one is {seq}",
            )
            for seq in (0, -1)
        ),
    ],
)
def test_what_was_changed_taken_away_or_put_in_is_named(one_database: Database, tampering: Any, named: str) -> None:
    record(one_database, "one", "two", "three")
    with one_database.write() as session:
        session.execute(tampering)
    assert named in fault_of(one_database)


def test_a_seal_covers_the_log_and_tells_that_its_end_was_cut_off_or_written_anew(
    one_database: Database, tmp_path: Any
) -> None:
    world = build_web_setup(one_database, tmp_path)
    record(one_database, "one", "two", "three")
    sealed, proof = nightly_steps.verify_and_seal_ledger(world.install, NOW, actor="scheduler")
    assert (proof.fault, sealed.log_through) == ("", 3)
    assert fault_of(one_database) == ""
    with one_database.write() as session:
        session.execute(delete(AuditEntry).where(AuditEntry.seq > 1))
    assert "rows after 1 are missing; the seal of 2026-11-19 22:30 UTC covers row 3" in fault_of(one_database)
    record(one_database, "two", "a milder three")
    assert "row 3 isn't the one covered by the seal of 2026-11-19 22:30 UTC" in fault_of(one_database)
    _, proof = nightly_steps.verify_and_seal_ledger(world.install, NOW + timedelta(days=1), actor="scheduler")
    assert "row 3 isn't the one covered by the seal of 2026-11-19 22:30 UTC" in proof.fault
