"""Someone who can write to the database, but lacks the key file, can't let anyone in, because such rows are sealed."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import Delete, Update, delete, func, select, text, update

from digest.app.accounts import own_account, sign_in, staff
from digest.app.accounts.attempt_limits import SignInRefusedError
from digest.app.accounts.authenticator_apps import find_authenticator
from digest.app.accounts.passkeys import list_passkeys
from digest.app.accounts.passwords import hash_password
from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.operation_checks import check_row_seals
from digest.app.upkeep.keys import rotate_key
from digest.edition.approval.authors import read_approver_rule_for_authors
from digest.installation.audited_actions import UnknownStaffError, identify_staff
from digest.store import staff as staff_store
from digest.store import staff_sessions
from digest.store.account_models import AuthenticatorApp, Passkey, RecoveryCode, StaffSession
from digest.store.audit import hash_audit_entry, read_audit_head, record_audit
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry
from digest.store.staff_sessions import hash_session_token
from subscribers.address import read_address
from subscribers.store import keyed_row_seals, one_time_tokens
from subscribers.store.models import Base, table_of
from tests.actors import ADMIN
from tests.app.accounts.test_sign_in import HOME, PASSWORD, SAM, Desk, open_desk, set_up_password
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW

EVE = "eve@elsewhere.example"


@dataclass(frozen=True)
class Forger:
    """Somebody with write access to the database of Sam's desk, and nothing else."""

    desk: Desk

    def write(self, statement: str, **values: object) -> None:
        """Run a statement of SQL; times are bound as the dialect's own column would be."""
        table = statement.split()[1 if statement.startswith("UPDATE") else 2]
        columns = next(m for m in keyed_row_seals.list_keyed_seal_models() if m.__tablename__ == table)
        clause = text(statement)
        typed = [
            clause._bindparams[name]._with_binary_element_type(table_of(columns).c[name].type)
            for name in clause._bindparams
            if name in table_of(columns).c
        ]
        with self.desk.install.database.engine.begin() as connection:
            connection.execute(clause.bindparams(*typed), values)


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return set_up_password(open_desk(database, tmp_path))


@pytest.fixture
def forger(desk: Desk) -> Forger:
    return Forger(desk)


INSERT_MEMBER = (
    "INSERT INTO staff (email, role, added_at, added_by, proven_at, password_hash, name) "
    "VALUES (:email, 'admin', :added_at, 'staff 1', :proven_at, :password_hash, '')"
)
INSERT_SESSION = (
    "INSERT INTO staff_session (hash, staff, began_at, used_at, fresh_at, network, browser) "
    "VALUES (:hash, :staff, :began_at, :used_at, :fresh_at, 'this machine', 'Firefox')"
)
INSERT_TOKEN = (
    "INSERT INTO one_time (hash, purpose, person, serial, made_at, expires_at, used) "
    "VALUES (:hash, :purpose, :person, :serial, :made_at, :expires_at, :used)"
)


def test_a_forged_session_signs_nobody_in(forger: Forger) -> None:
    desk, moments = forger.desk, dict.fromkeys(("began_at", "used_at", "fresh_at"), NOW)
    forger.write(INSERT_SESSION, hash=hash_session_token("forged"), staff=1, **moments)
    assert sign_in.find_signed_in_member(desk.install, "forged", now=desk.now) is None
    member = desk.signed_in()
    shown = own_account.view_own_account(desk.install, member, now=desk.now).sessions
    assert [row.id for row in shown] == [member.session_id]


def test_a_session_that_is_given_to_somebody_else_or_made_fresh_ends(forger: Forger) -> None:
    desk = forger.desk
    url = sign_in.make_sign_in_link(desk.install, ADMIN, SAM, now=desk.now)
    begun = sign_in.sign_in_by_link(desk.install, url.rpartition("/")[2], HOME, now=desk.now)
    assert begun is not None
    assert sign_in.find_signed_in_member(desk.install, begun.token, now=desk.now) is not None
    forger.write("UPDATE staff_session SET fresh_at = :fresh_at", fresh_at=NOW + timedelta(days=3))
    assert sign_in.find_signed_in_member(desk.install, begun.token, now=desk.now) is None


def test_a_session_under_the_number_of_another_is_not_renewed(forger: Forger) -> None:
    desk = forger.desk
    url = sign_in.make_sign_in_link(desk.install, ADMIN, SAM, now=desk.now)
    begun = sign_in.sign_in_by_link(desk.install, url.rpartition("/")[2], HOME, now=desk.now)
    assert begun is not None
    forger.write("UPDATE staff_session SET id = 9001")
    assert sign_in.find_signed_in_member(desk.install, begun.token, now=desk.now) is None
    with desk.install.database.write() as session:
        assert staff_sessions.reauthenticate_session(session, 9001, now=desk.now) is None


def test_a_forged_member_is_none(forger: Forger) -> None:
    desk = forger.desk
    forger.write(INSERT_MEMBER, email=EVE, added_at=NOW, proven_at=NOW, password_hash=hash_password(PASSWORD))
    with desk.install.database.read() as session:
        assert staff_store.find_staff_member(session, EVE) is None
        assert [member.email for member in staff_store.list_verified_staff(session)] == [SAM]
    with pytest.raises(UnknownStaffError):
        identify_staff(desk.install.database, EVE, claimant=ADMIN, subject="x", now=desk.now)
    with pytest.raises(SignInRefusedError):
        desk.sign_in(email=EVE)
    with pytest.raises(staff_store.StaffError, match=r"^No team member has this address\."):
        sign_in.make_sign_in_link(desk.install, ADMIN, EVE, now=desk.now)


def test_a_forged_row_keeps_its_address_from_nobody(forger: Forger) -> None:
    desk = forger.desk
    forger.write(INSERT_MEMBER, email=EVE, added_at=NOW, proven_at=NOW, password_hash=None)
    added = staff.add_staff_member(desk.install, ADMIN, read_address(EVE), "editor", now=desk.now)
    members = staff.list_staff_members(desk.install, ADMIN, include_removed=True, now=desk.now)
    assert [(member.id, member.email, member.role) for member in members] == [
        (1, SAM, "editor"),
        (2, "staff 2", "admin"),
        (added.id, EVE, "editor"),
    ]


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("role = 'admin'", {}),
        ("email = :email", {"email": EVE}),
        ("password_hash = :password_hash", {"password_hash": "$argon2id$v=19$m=8,t=1,p=1$YWFhYWFhYWE$AAAA"}),
        ("proven_at = :proven_at", {"proven_at": NOW + timedelta(days=1)}),
    ],
)
def test_a_changed_member_is_none_and_their_sessions_end(
    forger: Forger, change: str, values: dict[str, object]
) -> None:
    desk = forger.desk
    begun = desk.sign_in()
    forger.write(f"UPDATE staff SET {change}", **values)
    assert sign_in.find_signed_in_member(desk.install, begun.token, now=desk.now) is None
    with desk.install.database.read() as session:
        assert staff_store.list_staff_members(session) == []


def test_a_member_under_another_number_is_none(forger: Forger) -> None:
    desk = forger.desk
    staff.add_staff_member(desk.install, ADMIN, read_address("kim@newsroom.example"), "admin", now=desk.now)
    forger.write("UPDATE staff SET id = 7 WHERE id = 2")
    with desk.install.database.read() as session:
        assert [member.id for member in staff_store.list_staff_members(session)] == [1]


def test_a_changed_row_does_not_become_genuine_by_a_later_change_of_ours(forger: Forger) -> None:
    desk = forger.desk
    forger.write("UPDATE staff SET role = 'admin'")
    with desk.install.database.write() as session:
        session.get_one(StaffMember, 1).proven_at = NOW + timedelta(hours=1)
    with desk.install.database.read() as session:
        assert staff_store.find_staff_member(session, SAM) is None


def test_a_forged_or_copied_passkey_is_not_known(forger: Forger) -> None:
    desk = forger.desk
    with desk.install.database.write() as session:
        session.add(Passkey(staff=1, credential=b"c", public_key=b"k", sign_count=0, name="Own", made_at=NOW))
    forger.write(
        "INSERT INTO passkey (staff, credential, public_key, sign_count, name, made_at) "
        "VALUES (1, :credential, :public_key, 0, 'Forged', :made_at)",
        credential=b"e",
        public_key=b"e",
        made_at=NOW,
    )
    member = desk.signed_in()
    shown = own_account.view_own_account(desk.install, member, now=desk.now).passkeys
    assert [passkey.name for passkey in shown] == ["Own"]
    forger.write("UPDATE passkey SET public_key = :public_key WHERE name = 'Own'", public_key=b"e")
    assert own_account.view_own_account(desk.install, member, now=desk.now).passkeys == ()


def test_a_forged_recovery_code_and_one_made_unused_are_refused(forger: Forger) -> None:
    desk = forger.desk
    desk.sign_in(code=desk.codes[0])
    forger.write("UPDATE recovery_code SET used_at = NULL")
    with pytest.raises(SignInRefusedError):
        desk.sign_in(code=desk.codes[0])
    forged = hashlib.sha256(b"recovery code\0" + b"a" * 30).hexdigest()
    forger.write("INSERT INTO recovery_code (staff, hash) VALUES (1, :hash)", hash=forged)
    with pytest.raises(SignInRefusedError):
        desk.sign_in(code="a" * 30)


def test_a_code_app_that_was_confirmed_or_whose_step_was_taken_back_makes_no_codes(forger: Forger) -> None:
    desk = forger.desk
    code = desk.code()
    desk.sign_in(code=code)
    forger.write("UPDATE code_app SET last_step = NULL")
    with pytest.raises(SignInRefusedError):
        desk.sign_in(code=code)
    with pytest.raises(SignInRefusedError):
        desk.sign_in(code=pyotp.TOTP(desk.secret).at(desk.now))


@pytest.mark.parametrize("purpose", [staff_store.SIGN_IN_PURPOSE, staff_store.PROOF_PURPOSE, "my data"])
def test_a_forged_link_opens_nothing(forger: Forger, purpose: one_time_tokens.OneTimePurpose) -> None:
    desk, token = forger.desk, "A" * one_time_tokens.TOKEN_LENGTH
    made = {"made_at": NOW, "expires_at": NOW + timedelta(days=1)}
    forger.write(
        INSERT_TOKEN,
        hash=one_time_tokens.hash_token(token),
        purpose=purpose,
        person=None,
        serial="1",
        used=False,
        **made,
    )
    with desk.install.database.read() as session:
        found = one_time_tokens.look_up_token(session, token, purpose, now=desk.now)
    assert found.state is one_time_tokens.TokenState.UNKNOWN
    assert sign_in.look_up_sign_in_link(desk.install, token, now=desk.now).until is None
    assert sign_in.sign_in_by_link(desk.install, token, HOME, now=desk.now) is None
    link, begun = sign_in.accept_invitation(desk.install, token, HOME, now=desk.now)
    assert (link.stage, begun) == (staff_store.VerificationLinkState.UNKNOWN, None)


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("serial = '2'", {}),
        ("expires_at = :expires_at", {"expires_at": NOW + timedelta(days=99)}),
        ("ended_at = NULL", {}),
    ],
)
def test_a_link_that_was_used_or_changed_opens_nothing(
    forger: Forger, change: str, values: dict[str, datetime]
) -> None:
    desk = forger.desk
    token = sign_in.make_sign_in_link(desk.install, ADMIN, SAM, now=desk.now).rpartition("/")[2]
    if change == "ended_at = NULL":
        assert sign_in.sign_in_by_link(desk.install, token, HOME, now=desk.now) is not None
    forger.write(f"UPDATE one_time SET {change}", **values)
    assert sign_in.sign_in_by_link(desk.install, token, HOME, now=desk.now) is None


def test_the_seal_of_one_row_does_not_fit_another(forger: Forger) -> None:
    desk = forger.desk
    staff.add_staff_member(desk.install, ADMIN, read_address("kim@newsroom.example"), "admin", now=desk.now)
    forger.write("UPDATE staff SET seal = (SELECT seal FROM staff WHERE id = 2) WHERE id = 1")
    with desk.install.database.read() as session:
        assert [member.id for member in staff_store.list_staff_members(session)] == [2]


def test_damaged_colleagues_leave_nobody_as_the_only_editor(forger: Forger) -> None:
    desk = forger.desk
    staff.add_staff_member(desk.install, ADMIN, read_address("kim@newsroom.example"), "editor", now=desk.now)
    forger.write("UPDATE staff SET removed_at = :removed_at WHERE id = 2", removed_at=NOW - timedelta(days=99))
    with desk.install.database.read() as session:
        assert [m.id for m in staff_store.list_active_staff(session, removed_after=NOW)] == [1, 2]


def test_a_deleted_colleague_leaves_nobody_as_the_only_editor(forger: Forger) -> None:
    desk = forger.desk
    staff.add_staff_member(desk.install, ADMIN, read_address("kim@newsroom.example"), "editor", now=desk.now)
    forger.write("DELETE FROM staff WHERE id = 2")
    with desk.install.database.read() as session:
        rule = read_approver_rule_for_authors(session, ["staff 1"], desk.now, desk.install.settings)
    assert not rule.is_alone
    found = list(check_row_seals(ExaminedInstallation(desk.install, desk.now)))
    assert [(finding.level, "staff 2" in finding.message) for finding in found] == [("error", True)]


@dataclass(frozen=True)
class Snapshot:
    """Rows as they once were, seals and all, to be put back."""

    forger: Forger
    rows: dict[str, list[dict[str, object]]]

    @classmethod
    def take(cls, forger: Forger, *tables: str) -> "Snapshot":
        with forger.desk.install.database.engine.connect() as connection:
            found = {name: connection.execute(Base.metadata.tables[name].select()).mappings().all() for name in tables}
        return cls(forger, {name: [dict(row) for row in rows] for name, rows in found.items()})

    def put_back(self) -> None:
        with self.forger.desk.install.database.engine.begin() as connection:
            for name, rows in self.rows.items():
                table = Base.metadata.tables[name]
                for row in rows:
                    if connection.execute(table.update().where(table.c.id == row["id"]).values(row)).rowcount == 0:
                        connection.execute(table.insert().values(row))


def test_a_member_who_was_removed_or_demoted_is_not_brought_back_by_an_older_row(forger: Forger) -> None:
    desk = forger.desk
    address = read_address("kim@newsroom.example")
    kim = staff.add_staff_member(desk.install, ADMIN, address, "admin", now=desk.now)
    for act in ("demote", "remove"):
        before = Snapshot.take(forger, "staff")
        if act == "demote":
            staff.change_staff_role(desk.install, ADMIN, address, "editor", now=desk.now)
        else:
            staff.remove_staff_member(desk.install, ADMIN, address, now=desk.now)
        now = Snapshot.take(forger, "staff")
        before.put_back()
        with desk.install.database.read() as session:
            assert staff_store.find_staff_member(session, "kim@newsroom.example") is None
            assert [member.id for member in staff_store.list_staff_members(session)] == [1]
            assert staff_store.get_staff_member(session, kim.id) is None
        now.put_back()


def test_the_session_of_a_member_whose_row_was_deleted_is_not_the_next_members(forger: Forger) -> None:
    """SQLite gives a number again once its row is gone; who is added under it brings nothing of the one before along."""
    desk = forger.desk
    kim = read_address("kim@newsroom.example")
    member = staff.add_staff_member(desk.install, ADMIN, kim, "editor", now=desk.now)
    desk.steps += 2
    url = sign_in.make_sign_in_link(desk.install, ADMIN, "kim@newsroom.example", now=desk.now)
    begun = sign_in.sign_in_by_link(desk.install, url.rpartition("/")[2], HOME, now=desk.now)
    assert begun is not None
    kept = Snapshot.take(forger, "staff_session")
    desk.steps += 2
    staff.remove_staff_member(desk.install, ADMIN, kim, now=desk.now)
    with desk.install.database.engine.begin() as connection:
        for place in ("sign_in WHERE staff", "staff_session WHERE staff", "staff WHERE id"):
            connection.execute(text(f"DELETE FROM {place} = {member.id}"))
    desk.steps += 2
    nina = staff.add_staff_member(desk.install, ADMIN, read_address("nina@newsroom.example"), "admin", now=desk.now)
    if nina.id == member.id:  # PostgreSQL never gives one again by itself
        kept.put_back()
        assert sign_in.find_signed_in_member(desk.install, begun.token, now=desk.now) is None


def append_audit_row(forger: Forger, act: str, subject: str, detail: dict[str, str]) -> None:
    """Append a row to the audit log as anyone can who knows how rows are hashed: a copy of the newest, which says something else."""
    with forger.desk.install.database.engine.begin() as connection:
        audit = table_of(AuditEntry)
        newest = dict(connection.execute(audit.select().order_by(audit.c.seq.desc()).limit(1)).mappings().one())
        seq, previous, at = newest.pop("seq") + 1, newest["hash"], newest["at"].astimezone(UTC)
        del newest["id"]
        said = (seq, f"{at:%Y-%m-%d %H:%M:%S.%f}", "terminal:root", act, subject, detail)
        row = newest | {"seq": seq, "previous": previous, "hash": hash_audit_entry(*said, previous=previous)}
        row |= {"actor": "terminal:root", "act": act, "subject": subject, "detail": detail}
        connection.execute(audit.insert().values(row))


KIM = read_address("kim@newsroom.example")


@dataclass(frozen=True)
class Demoted:
    """Kim, who was an admin and is an editor since, with the row from before, and the places of the audit rows that say so."""

    before: Snapshot
    added: int
    demoted: int


def demote_kim(forger: Forger) -> Demoted:
    desk, places = forger.desk, []
    staff.add_staff_member(desk.install, ADMIN, KIM, "admin", now=desk.now)
    places.append(newest_place(forger))
    before = Snapshot.take(forger, "staff")
    staff.change_staff_role(desk.install, ADMIN, KIM, "editor", now=desk.now)
    places.append(newest_place(forger))
    staff.change_staff_role(desk.install, ADMIN, read_address(SAM), "admin", now=desk.now)
    staff.change_staff_role(desk.install, ADMIN, read_address(SAM), "editor", now=desk.now)
    return Demoted(before, *places)


def newest_place(forger: Forger) -> int:
    with forger.desk.install.database.read() as session:
        return read_audit_head(session)[0]


def list_team(forger: Forger) -> list[tuple[str, str]]:
    with forger.desk.install.database.read() as session:
        return [(member.email, member.role) for member in staff_store.list_staff_members(session)]


@pytest.mark.parametrize(
    ("act", "detail"), [("staff role changed", {"role": "admin"}), ("staff added", {"role": "admin"})]
)
@pytest.mark.parametrize("ending", ["demoted", "removed"])
def test_an_appended_audit_row_brings_nobody_back(
    forger: Forger, act: str, detail: dict[str, str], ending: str
) -> None:
    kim = demote_kim(forger)
    if ending == "removed":
        staff.remove_staff_member(forger.desk.install, ADMIN, KIM, now=forger.desk.now)
    kim.before.put_back()
    append_audit_row(forger, act, "staff 2", detail)
    assert list_team(forger) == [(SAM, "editor")]
    with forger.desk.install.database.read() as session:
        assert "wasn't written with this installation's keys" in verify_audit_log(session).fault


@pytest.mark.parametrize(
    "tampering",
    [delete(AuditEntry), update(AuditEntry).values(act="settings changed"), update(AuditEntry).values(seq=9001)],
    ids=["cut out", "changed", "moved"],
)
def test_an_audit_row_that_was_cut_out_or_changed_brings_nobody_back(
    forger: Forger, tampering: Delete | Update
) -> None:
    kim = demote_kim(forger)
    with forger.desk.install.database.engine.begin() as connection:
        connection.execute(tampering.where(AuditEntry.seq == kim.demoted))
    kim.before.put_back()
    assert ("kim@newsroom.example", "admin") not in list_team(forger)
    (finding,) = check_row_seals(ExaminedInstallation(forger.desk.install, forger.desk.now))
    assert (finding.level, finding.message) == ("error", "The audit log doesn't confirm 2 team rows.")


@pytest.mark.parametrize("act", ["staff role changed", "settings changed"])
def test_vouching_for_rows_without_a_mac_brings_nobody_back_and_closes_no_gap(forger: Forger, act: str) -> None:
    kim, desk = demote_kim(forger), forger.desk
    with desk.install.database.write() as session:
        record_audit(session, "settings changed", "branding", {}, actor="test", now=desk.now)
    append_audit_row(forger, act, "staff 2", {"role": "admin"})
    with desk.install.database.engine.begin() as connection:
        connection.execute(delete(AuditEntry).where(AuditEntry.seq.between(kim.demoted, kim.demoted + 2)))
        newest = select(func.max(AuditEntry.seq)).scalar_subquery()
        connection.execute(update(AuditEntry).where(AuditEntry.seq == newest).values(mac=""))
    kim.before.put_back()
    rotate_key(desk.install, ADMIN, "audit", force_new_key=False, now=desk.now, progress=lambda *_: None)
    assert ("kim@newsroom.example", "admin") not in list_team(forger)


def test_after_a_gap_in_the_audit_log_those_who_are_added_again_work(forger: Forger) -> None:
    desk, kim, audit = forger.desk, demote_kim(forger), table_of(AuditEntry)
    with desk.install.database.engine.begin() as connection:
        connection.execute(audit.delete().where(audit.c.seq == kim.demoted))
    kim.before.put_back()
    staff.add_staff_member(desk.install, ADMIN, KIM, "editor", now=desk.now)
    assert list_team(forger) == [("kim@newsroom.example", "editor")]


@pytest.mark.takes_turns
def test_a_forged_newest_row_hides_no_earlier_one(forger: Forger) -> None:
    """Rows that we append after it go on from the newest genuine one."""
    desk, kim = forger.desk, demote_kim(forger)
    append_audit_row(forger, "settings changed", "branding", {})
    staff.change_staff_role(desk.install, ADMIN, read_address(SAM), "admin", now=desk.now)
    assert list_team(forger) == [(SAM, "admin"), ("kim@newsroom.example", "editor")]
    kim.before.put_back()
    assert ("kim@newsroom.example", "admin") not in list_team(forger)


def test_after_a_reset_or_another_password_no_older_row_signs_anybody_in(forger: Forger) -> None:
    desk = forger.desk
    begun = desk.sign_in()
    with desk.install.database.write() as session:
        session.add(Passkey(staff=1, credential=b"c", public_key=b"k", sign_count=0, name="Own", made_at=NOW))
    before = Snapshot.take(forger, "staff", "staff_session", "passkey", "code_app", "recovery_code")
    later = desk.now + timedelta(hours=1)
    staff.reset_staff_sign_in(desk.install, ADMIN, read_address(SAM), now=later)
    before.put_back()
    assert sign_in.find_signed_in_member(desk.install, begun.token, now=later) is None
    with desk.install.database.read() as session:
        assert list_passkeys(session, 1) == []
        assert find_authenticator(session, 1) is None
    with pytest.raises(SignInRefusedError):
        desk.sign_in()


def test_every_column_of_a_sealed_table_is_sealed_or_declared_to_grant_nothing() -> None:
    assert {model.__tablename__ for model in keyed_row_seals.list_keyed_seal_models()} == {
        *(model.__tablename__ for model in (StaffMember, StaffSession, Passkey, AuthenticatorApp, RecoveryCode)),
        "one_time",
        "edition_figures",
        "edit",
        "proposal",
        "correction",
    }
    for model in keyed_row_seals.list_keyed_seal_models():
        declared = [*model.__sealed__, *model.__unsealed__, "seal"]
        assert sorted(declared) == sorted(table_of(model).c.keys()), model.__tablename__


SEALED_NAMES = "|".join(model.__name__ for model in keyed_row_seals.list_keyed_seal_models())
# Reads that grant nothing: names and counts that are shown, a member's own changes, rows that are discarded, links that ran out;
# corrections that are shown, or whose emails their signatures prove.
UNJUDGED_SUBSCRIBERS = {
    "digest/app/accounts/own_account.py",
    "digest/app/editing/presence.py",
    "digest/edition/approval/unpublished_setting_changes.py",  # a forged edit there only makes it stricter
    "digest/app/doctor/attention.py",
    "digest/app/doctor/installation_checks.py",  # by itself: it finds seals of other keys, and counts
    "digest/deliver/send/notices/correction_sending.py",
    "digest/installation/guarded_action_notices.py",
    "digest/store/staff_revocations.py",
    "subscribers/lifecycle/preference_changes.py",
    "subscribers/lifecycle/expiry.py",
    "subscribers/lifecycle/inactivity_questions.py",
}


def find_statements(pattern: str) -> dict[str, list[str]]:
    """Find where the product's modules say something, by file."""
    found = {}
    for file in (path for top in ("digest", "subscribers") for path in (ROOT / top).rglob("*.py")):
        if "migrations" not in file.parts and (lines := re.findall(pattern, file.read_text("utf-8"))):
            found[file.relative_to(ROOT).as_posix()] = lines
    return found


def test_no_statement_of_ours_updates_a_sealed_row_past_its_seal() -> None:
    assert find_statements(rf"\bupdate\((?:{SEALED_NAMES})\b.*") == {}
    assert find_statements(rf"\b(?:upsert|insert)\((?:session, )?(?:{SEALED_NAMES})\b.*") == {}


def test_whoever_reads_sealed_rows_judges_their_seals() -> None:
    subscribers = find_statements(rf"\b(?:select|get|get_one)\((?:{SEALED_NAMES})\b")
    judging = find_statements(r"\b(?:is_genuine_row|filter_genuine_rows|keep_if_genuine|find_forged_rows)\b")
    assert subscribers.keys() - judging.keys() == UNJUDGED_SUBSCRIBERS
