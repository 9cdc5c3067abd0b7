"""A backup has every row, and no plaintext addresses. After a restore, later unsubscribes are applied, and nothing is sent."""

import contextlib
import hashlib
import json
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, text

from digest.app.accounts import sign_in
from digest.app.upkeep.backups import rehearse_restore, restore_backup
from digest.backups import creation, restore
from digest.backups.archive import MANIFEST_NAME, ArchiveReader, BackupError
from digest.backups.restore import RestoreResult
from digest.backups.table_rows import list_tables_by_dependency
from digest.cli import digest
from digest.deliver.control import installation_hold
from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.deliver.retention.delivery_seals import SEALED_TABLES, seal_deliveries
from digest.deliver.send.notices import notice_sending as notices
from digest.edition.edition_queries import find_edition
from digest.installation.audited_actions import make_terminal_actor
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.approval_models import Approval, ApprovalState
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail, ReceivedEventPayload, StaffMember
from digest.store.engine import FIRST_REVISION, Database, migrate_schema, open_database
from digest.store.models import Edition, EditionState
from subscribers.address import read_address
from subscribers.consent import audience, disclosures, seals, suppression
from subscribers.consent.disclosure_sealing import seal_disclosures
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup import manual_signup
from subscribers.store import people
from subscribers.store.models import Base, Person, PersonState
from tests.later_revisions import LATER_REVISION, MOVED_VALUE
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.subscribers.ledger_replay import find_ledger_differences
from tests.web.conftest import ADA_ADDRESS, WebSetup, build_web_setup, sample_evidence, store_edition

EVE = make_terminal_actor("eve")
LATER = NOW + timedelta(days=3)
NAMES = ("bo", "cy", "dee", "eve")
# What a restore writes itself, what it leaves out, and that the backup was made.
NOT_SAME = {"memo", "audit", "inbound", "address_use"}


@pytest.fixture
def full(database: Database, tmp_path: Path) -> WebSetup:
    """Give an installation with something in most tables."""
    return fill(build_web_setup(database, tmp_path / "home"))


@pytest.fixture
def small(one_database: Database, tmp_path: Path) -> WebSetup:
    return fill(build_web_setup(one_database, tmp_path / "home"))


def fill(world: WebSetup) -> WebSetup:
    keys, database = world.install.keys, world.database
    store_edition(
        world.install, name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7)
    )
    store_edition(world.install)
    with database.write() as session:
        edition = find_edition(session, "2026-W46")
        version = {"version": 2, "state": ApprovalState.SUPERSEDED, "content_hash": "0" * 64, "edit_seq": 0}
        session.add(Approval(edition_id=edition.id, **version, statement={}, content={}, made_at=NOW))
        for name in NAMES:
            manual_signup.add_subscriber(session, keys, f"{name}@county.example", evidence=sample_evidence(), now=NOW)
        address = read_address("gone@county.example")
        journal = UnsubscribeLog(world.install.settings.left_log, keys)
        suppression.suppress_address(
            session, keys, address, reason="complained", actor="hook", now=NOW, unsubscribe_log=journal
        )
        delivery = Delivery(
            id="d1",
            purpose="edition:2026-W46",
            person=world.ada,
            state=DeliveryState.ACCEPTED,
            due_at=NOW,
            next_try_at=NOW,
            message_id="<a@b>",
            reply="250 \u00e9\u2028 ok",
        )
        session.add(delivery)
        session.flush()
        session.add(
            QueuedNoticeEmail(delivery="d1", kind="data", ciphertext=b"\x00\xff\n", key_id=keys.current("vault").id)
        )
        for n, applied in enumerate((NOW, None)):
            session.add(
                ReceivedEventPayload(
                    at=NOW,
                    origin="sendgrid",
                    body_hash=str(n),
                    ciphertext=b"payload",
                    key_id=keys.current("vault").id,
                    applied_at=applied,
                )
            )
        session.flush()
    with database.write() as session:
        told = {"to_whom": "our staff", "why": "a look", "reference": "r"}
        disclosures.record_disclosures(session, [world.ada], now=NOW, **told)
    seal_deliveries(database, keys, now=NOW)
    assert seal_disclosures(database, keys, now=NOW)
    through = seals.find_last_fully_committed_rows(database)
    with database.read() as session:
        proof = seals.verify_ledger(session, keys, tables=SEALED_TABLES, through=through)
    assert proof.summary is not None
    with database.write() as session:
        seals.append_seal(session, proof.summary, NOW)
    return world


def dump(database: Database) -> dict[str, list[Any]]:
    with database.read() as session:
        return {
            t.name: sorted((tuple(row) for row in session.execute(select(t))), key=repr)
            for t in list_tables_by_dependency()
            if t.name not in NOT_SAME
        }


def settings_of(home: Path, keys: KeyRing, url: str = "") -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    (home / "keys.json").write_text(keys.to_json())
    (home / "keys.json").chmod(0o600)
    return Settings(home=home, database_url=url)


def opened(settings: Settings) -> Database:
    return open_database(settings.effective_database_url)


def put_back(settings: Settings, file: Path, **said: Any) -> RestoreResult:
    return restore_backup(settings, EVE, file, now=LATER, **{"replace": False, **said})


def a_backup(world: WebSetup, tmp_path: Path, name: str = "b.zip") -> Path:
    """Write a backup that isn't encrypted, as older versions did."""
    creation.create_backup(world.database, tmp_path / name, now=NOW)
    return tmp_path / name


def sound(database: Database, keys: KeyRing) -> None:
    with database.read() as session:
        assert seals.verify_ledger(session, keys, tables=SEALED_TABLES).sound
        assert list(find_ledger_differences(session)) == []


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_a_backup_restores_into_either_kind_of_database_row_for_row(
    full: WebSetup, tmp_path: Path, into: str, postgresql_url: str
) -> None:
    file, before = a_backup(full, tmp_path), dump(full.database)
    same = full.database.engine.dialect.name == into == "postgresql"
    url = ""
    if same:
        url = full.database.engine.url.render_as_string(hide_password=False)
    elif into == "postgresql":
        url = postgresql_url
        empty(url)
    full.database.close()
    settings = settings_of(tmp_path / "other", full.install.keys, url)
    done = put_back(settings, file, replace=same)
    assert done.proof.sound
    target = opened(settings)
    try:
        assert dump(target) == before
        sound(target, full.install.keys)
        with target.read() as session:
            assert [row.body_hash for row in session.scalars(select(ReceivedEventPayload))] == ["1"]
            assert session.get_one(Person, full.ada).state is PersonState.SUBSCRIBED
            null = text("SELECT count(*) FROM approval WHERE editor_counts IS NULL")
            found = session.scalar(null)
        with full.database.read() as session:
            assert same or session.scalar(null) == found == 2  # an empty value is not turned into JSON's null
        migrate_schema(target)
        with target.write() as session:  # numbers go on from where they stood
            manual_signup.add_subscriber(
                session, full.install.keys, "new@county.example", evidence=sample_evidence(), now=LATER
            )
        store_edition(Installation(settings, target), name="2026-W48", number=148, release_at=RELEASE + timedelta(7))
    finally:
        target.close()


def empty(url: str) -> None:
    database = open_database(url)
    with database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.close()


def test_no_address_and_no_key_stands_in_a_backup_and_only_its_owner_reads_it(full: WebSetup, tmp_path: Path) -> None:
    file = a_backup(full, tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.glob(".*")] == []
    with zipfile.ZipFile(file) as archive:
        bytes_ = b"".join(archive.read(name) for name in archive.namelist())
    for name in (ADA_ADDRESS, "lovelace", "analytical", *(f"{n}@" for n in NAMES), "county.example"):
        assert name.encode() not in bytes_, name
    for key in full.install.keys.all:
        assert key.secret not in bytes_
        assert b64encode(key.secret) not in bytes_
    with pytest.raises(BackupError, match=r"b\.zip already exists\. Choose another name"):
        creation.create_backup(full.database, file, now=NOW)


def test_a_restored_copy_knows_who_left_since_and_nothing_leaves_it(full: WebSetup, tmp_path: Path) -> None:
    file, keys = a_backup(full, tmp_path), full.install.keys
    journal = UnsubscribeLog(full.install.settings.left_log, keys)
    with full.database.write() as session:
        session.execute(text("UPDATE edition SET state = 'sent' WHERE name = '2026-W47'"))
        numbers = {n: people.find_person_number(session, keys, read_address(f"{n}@county.example")) or 0 for n in NAMES}
        unsubscribe_person(session, journal, numbers["bo"], method="one-click", now=LATER)
        suppression.suppress_address(
            session,
            keys,
            read_address("cy@county.example"),
            reason="bounced",
            actor="hook",
            now=LATER,
            unsubscribe_log=journal,
        )
        erase_person(session, keys, journal, full.ada, method="page", forget_elsewhere=erase_from_deliveries, now=LATER)
        new = manual_signup.add_subscriber(
            session, keys, "late@county.example", evidence=sample_evidence(), now=LATER
        ).number
        unsubscribe_person(session, journal, new, method="one-click", now=LATER)
    full.database.close()
    url = str(full.database.engine.url.render_as_string(hide_password=False))
    settings = full.install.settings.model_copy(update={"database_url": url})
    with_edition_approved = file
    with pytest.raises(BackupError, match="--replace"):
        put_back(settings, with_edition_approved)
    done = put_back(settings, file, replace=True)
    assert dict(done.departures.departed) == {"left": 1, "bounced": 1, "erased": 1}
    assert done.departures.unknown_hashes >= 1
    assert done.unsubscribe_log_found
    copy = opened(settings)
    try:
        with copy.read() as session:
            mailed = {reader.number for reader in audience.load_audience_page(session)}
            held = installation_hold.read_current_hold(session)
            delivery = session.scalars(select(Delivery)).one()
        assert mailed == {numbers["dee"], numbers["eve"]}
        assert held is not None
        assert "restored from a backup" in held.reason
        assert "digest resume --all" in str(held)
        assert delivery.person is None
        sound(copy, keys)
    finally:
        copy.close()


def test_editions_that_the_copy_takes_for_unsent_are_named(small: WebSetup, tmp_path: Path) -> None:
    with small.database.write() as session:
        edition = session.scalars(select(Edition).where(Edition.name == "2026-W47")).one()
        edition.state = EditionState.APPROVED
    file = a_backup(small, tmp_path)
    done = put_back(settings_of(tmp_path / "other", small.install.keys), file)
    assert done.open_editions == {"2026-W47": 0}
    assert not done.unsubscribe_log_found


def test_no_session_and_no_sign_in_link_of_a_backup_lives_again(small: WebSetup, tmp_path: Path) -> None:
    _, token = small.session_cookie()
    link = sign_in.make_sign_in_link(small.install, EVE, "eve@newsroom.example", now=NOW).rpartition("/")[2]
    assert sign_in.look_up_sign_in_link(small.install, link, now=NOW).until is not None
    settings = settings_of(tmp_path / "other", small.install.keys)
    put_back(settings, a_backup(small, tmp_path))
    database = opened(settings)
    install = Installation(settings, database)
    assert sign_in.find_signed_in_member(install, token, now=NOW) is None
    assert sign_in.look_up_sign_in_link(install, link, now=NOW).until is None
    assert sign_in.find_signed_in_member(small.install, token, now=NOW) is not None, "the installation itself goes on"
    database.close()


def test_what_was_there_is_set_aside_whole(full: WebSetup, tmp_path: Path) -> None:
    file, before = a_backup(full, tmp_path), dump(full.database)
    with full.database.write() as session:
        manual_signup.add_subscriber(
            session, full.install.keys, "late@county.example", evidence=sample_evidence(), now=LATER
        )
    after = dump(full.database)
    full.database.close()
    full.install.settings.left_log.unlink()  # it would bar one hash more
    url = str(full.database.engine.url.render_as_string(hide_password=False))
    settings = full.install.settings.model_copy(update={"database_url": url})
    aside = put_back(settings, file, replace=True).set_aside_as
    restored = opened(settings)
    assert dump(restored) == before
    restored.close()
    if restored.engine.dialect.name == "sqlite":
        old = open_database(f"sqlite:///{aside}")
        assert dump(old) == after
        assert (Path(aside).stat().st_mode & 0o777) == 0o600
    else:
        old = open_database(f"{url}&options=-csearch_path%3D{aside.removeprefix('schema ')}")
        assert dump(old) == after
    old.close()


def test_a_connection_that_hangs_up_is_waited_for(postgresql: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgresql.engine.url.render_as_string(hide_password=False)
    with closing(open_database(url)) as other, postgresql.engine.begin() as connection:
        with other.read() as session:
            session.scalar(select(1))
        waits: list[float] = []

        def hang_up(seconds: float) -> None:
            waits.append(seconds)
            other.close()

        monkeypatch.setattr(restore, "time", SimpleNamespace(monotonic=time.monotonic, sleep=hang_up))
        restore.wait_for_other_connections(connection)
        assert waits


def test_a_database_that_somebody_has_open_is_not_replaced(
    full: WebSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "CLOSING_SECONDS", 0.2)
    file = a_backup(full, tmp_path)
    url = str(full.database.engine.url.render_as_string(hide_password=False))
    settings = full.install.settings.model_copy(update={"database_url": url})
    before = dump(full.database)
    with full.database.read() as session:
        session.scalar(select(1))
        with pytest.raises(BackupError, match="in use"):
            put_back(settings, file, replace=True)
    assert dump(full.database) == before
    assert list(settings.home.glob(".*restoring*")) == []


class Interrupted(Exception):  # noqa: N818 - it is no error of ours
    """Somebody presses Ctrl+C, or the machine goes down."""


def test_a_restore_that_is_cut_short_has_changed_nothing(full: WebSetup, tmp_path: Path) -> None:
    file = a_backup(full, tmp_path)
    url = str(full.database.engine.url.render_as_string(hide_password=False))
    settings = full.install.settings.model_copy(update={"database_url": url})
    with full.database.write() as session:
        manual_signup.add_subscriber(
            session, full.install.keys, "late@county.example", evidence=sample_evidence(), now=LATER
        )
    before = dump(full.database)
    steps: list[int] = []
    full.database.close()
    for at in (1, 5, 10, 10_000):

        def cut(done: int, _whole: int, at: int = at) -> None:
            steps.append(done)
            if len(steps) % at == 0:
                raise Interrupted

        with contextlib.suppress(Interrupted):
            put_back(settings, file, replace=True, progress=cut)
            break
        assert dump(full.database) == before
        full.database.close()
        assert list(settings.home.glob("*before*")) == []
    else:
        pytest.fail("no run came to its end")
    assert len(dump(full.database)["person"]) == len(before["person"]) - 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE edition ADD COLUMN strange INTEGER", rf"the schema \({FIRST_REVISION}\): edition .* strange"),
        ("CREATE TABLE strange (id INTEGER)", r"has unknown tables \(strange\)"),
    ],
)
def test_a_backup_whose_rows_are_not_of_the_schema_that_it_names_changes_nothing(
    full: WebSetup, tmp_path: Path, request: pytest.FixtureRequest, statement: str, words: str
) -> None:
    request.getfixturevalue("later_revisions")  # the backup is one of an older schema, read as the database has it
    with full.database.engine.begin() as connection:
        connection.execute(text(statement))
    file = a_backup(full, tmp_path)
    assert_refused_without_change(full, file, words)


def replace_rows(manifest: dict[str, Any], members: dict[str, bytes], table: str, lines: list[bytes]) -> None:
    body = members[f"rows/{table}.jsonl"] = b"".join(lines)
    manifest["tables"][table] |= {"rows": len(lines), "sha256": hashlib.sha256(body).hexdigest()}


def a_person_twice(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    lines = members["rows/person.jsonl"].splitlines(keepends=True)
    replace_rows(manifest, members, "person", [*lines, lines[0]])


def an_unknown_state(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    lines = members["rows/person.jsonl"].splitlines(keepends=True)
    place = list(manifest["tables"]["person"]["columns"]).index("state")
    first = json.loads(lines[0])
    first[place] = "lurking"
    replace_rows(manifest, members, "person", [json.dumps(first).encode() + b"\n", *lines[1:]])


@pytest.mark.parametrize(("change", "reason"), [(a_person_twice, "unique"), (an_unknown_state, "LookupError")])
def test_a_backup_with_rows_that_the_database_refuses_changes_nothing(
    full: WebSetup, tmp_path: Path, change: Any, reason: str
) -> None:
    file = rewritten(a_backup(full, tmp_path), change)
    assert_refused_without_change(
        full, file, rf"(?i)Can't restore .*changed-b\.zip: .*{reason}.*\. Nothing was changed"
    )


def assert_refused_without_change(world: WebSetup, file: Path, words: str) -> None:
    """Assert that a backup is neither restored over a database nor proven, that the message says why, and that nothing is lost."""
    url = world.database.engine.url.render_as_string(hide_password=False)
    settings = world.install.settings.model_copy(update={"database_url": url})
    before, files = dump(world.database), sorted(settings.home.iterdir())
    world.database.close()
    with pytest.raises(BackupError, match=words):
        put_back(settings, file, replace=True)
    assert (dump(world.database), sorted(settings.home.iterdir())) == (before, files)
    with pytest.raises(BackupError, match=words):
        rehearse_restore(settings, file)


def test_a_damaged_backup_is_refused_and_changes_nothing(small: WebSetup, tmp_path: Path) -> None:
    file = a_backup(small, tmp_path)
    whole = file.read_bytes()
    settings = settings_of(tmp_path / "other", small.install.keys)
    step = max(1, len(whole) // 60)
    damages = [whole[:at] for at in range(0, len(whole), step * 4)]
    damages += [whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :] for at in range(0, len(whole), step)]
    said = []
    for damaged in [b"", b"no zip", *damages]:
        file.write_bytes(damaged)
        try:
            put_back(settings, file, replace=True)
        except BackupError as exc:
            said.append(str(exc))
        else:  # a byte that nothing depends on, such as a time in the ZIP's own lists
            database = opened(settings)
            assert dump(database) == dump(small.database)
            database.close()
    assert len(said) > len(damages) * 0.8
    assert not [words for words in said if "@" in words]


def rewritten(file: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """Write an archive anew with something in it changed."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop(MANIFEST_NAME))
    change(manifest, members)
    other = file.with_name(f"changed-{file.name}")
    other.unlink(missing_ok=True)
    with zipfile.ZipFile(other, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
        archive.writestr(MANIFEST_NAME, json.dumps(manifest))
    return other


def a_person_less(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    del manifest
    lines = members["rows/person.jsonl"].splitlines(keepends=True)
    members["rows/person.jsonl"] = b"".join(lines[1:])


def a_table_less(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    del manifest, members["rows/suppression.jsonl"]


def newer(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    del members
    manifest["revision"] = "9999"


def other_format(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    del members
    manifest["format"] = 2


def strange_table(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    manifest["tables"]["spy"] = manifest["tables"]["person"]
    members["rows/spy.jsonl"] = members["rows/person.jsonl"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (a_person_less, "failed verification"),
        (a_table_less, "damaged"),
        (newer, "the version you're running doesn't support the backup's database schema"),
        (other_format, "has backup format 2, but this version reads 1"),
        (strange_table, r"has unknown tables \(spy\)"),
    ],
)
def test_an_archive_that_is_not_what_was_written_is_refused(
    small: WebSetup, tmp_path: Path, change: Any, words: str
) -> None:
    file = rewritten(a_backup(small, tmp_path), change)
    settings = settings_of(tmp_path / "other", small.install.keys)
    with pytest.raises(BackupError, match=words):
        put_back(settings, file)
    assert not (settings.home / "digest.db").exists()
    assert sorted(p.name for p in settings.home.iterdir()) == ["keys.json"]


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    small: WebSetup, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """That its chains and seals hold is proved in tests/store/test_upgrade.py."""
    file = a_backup(small, tmp_path)
    request.getfixturevalue("later_revisions")
    settings = settings_of(tmp_path / "other", small.install.keys)
    put_back(settings, file)
    database = opened(settings)
    with database.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == LATER_REVISION
        assert session.scalar(text("SELECT count(*) FROM memo WHERE name = :name"), {"name": MOVED_VALUE}) == 1
        assert {e.name for e in session.scalars(select(Edition))} == {"2026-W46", "2026-W47"}
        assert audience.count_audience(session) == 5
    database.close()


def test_without_the_keys_of_its_time_a_backup_is_refused(small: WebSetup, tmp_path: Path) -> None:
    file = a_backup(small, tmp_path)
    settings = settings_of(tmp_path / "other", KeyRing.generate())
    with pytest.raises(BackupError, match=r"keys that aren't in the key file \(.*vault 1-"):
        put_back(settings, file)


def test_a_backup_is_of_one_moment_while_people_come_and_go(full: WebSetup, tmp_path: Path) -> None:
    stop = threading.Event()

    def come() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with full.database.write() as session:
                address = f"r{number}@county.example"
                manual_signup.add_subscriber(session, full.install.keys, address, evidence=sample_evidence(), now=NOW)

    thread = threading.Thread(target=come)
    thread.start()
    try:
        files = [a_backup(full, tmp_path, f"{n}.zip") for n in range(3)]
    finally:
        stop.set()
        thread.join()
    for file in files:
        assert rehearse_restore(full.install.settings, file).sound
    assert list(full.install.settings.home.glob(".rehearsal*")) == []


def run(home: Path, *words: str, typed: str = "") -> Result:
    return CliRunner(env={"DIGEST_HOME": str(home), "DIGEST_BACKUP_PASSPHRASE": "what nobody guesses"}).invoke(
        digest, list(words), input=typed
    )


@pytest.mark.sqlite  # each home has its database in it
def test_the_commands_say_what_they_did_and_what_to_do_next(
    small: WebSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = small.install.settings.home
    with contextlib.closing(small.database):
        file = a_backup(small, tmp_path, "lib.zip")
    settings_of(tmp_path / "other", small.install.keys)
    other = tmp_path / "other"
    check = run(other, "restore", str(file), "--check")
    assert check.exit_code == 0
    assert "All rows, records, and seals passed verification" in check.output
    assert not (other / "digest.db").exists()
    done = run(other, "restore", str(file))
    assert done.exit_code == 0, done.output
    for words in ("left.log is missing", "All sending is paused", "digest subscribers pull", "digest resume --all"):
        assert words in done.output
    made = run(other, "backup", "again.zip")
    assert made.exit_code == 0, made.output
    assert "5 people" in made.output
    assert run(other, "backup", "again.zip").exit_code == 1
    said = run(other, "restore", "again.zip")
    assert said.exit_code == 1
    assert "--replace" in said.output
    assert run(other, "restore", "again.zip", "--replace", typed="n\n").exit_code == 1
    (other / "left.log").write_bytes((home / "left.log").read_bytes())
    found = json.loads(run(other, "restore", "again.zip", "--replace", "--yes", "--json").output)
    assert (found["sound"], found["held"], found["journal"], found["people"]) == (True, True, True, 5)
    assert "before-" in found["aside"]
    assert run(other, "restore", "nothing.zip").exit_code == 1
    assert "All sending has been paused by" in run(other, "status", "2026-W47").output
    assert "can decrypt its addresses" in made.output
    (other / "keys.json").unlink()
    KeyRing.create(other / "keys.json")
    foreign = run(other, "backup", "foreign.zip")
    assert "doesn't decrypt its addresses" in foreign.output
    assert "doesn't belong to this database" in foreign.output


def test_every_table_is_in_an_archive(small: WebSetup, tmp_path: Path) -> None:
    reader = ArchiveReader(a_backup(small, tmp_path))
    assert set(reader.manifest.tables) == set(Base.metadata.tables)
    assert set(reader.manifest.keys) >= {"vault", "lookup", "suppression"}
    reader.close()


def test_a_restore_tells_the_admins_of_the_copy_once_it_may_send(small: WebSetup, tmp_path: Path) -> None:
    with small.database.write() as session:
        session.add(StaffMember(email="bo@newsroom.example", role="admin", added_at=NOW, added_by="eve", proven_at=NOW))
    file, settings = a_backup(small, tmp_path), small.install.settings
    small.database.close()
    put_back(settings, file, replace=True)
    with contextlib.closing(open_database(settings.effective_database_url)) as database, database.write() as session:
        assert not notices.has_due_notices(session, now=LATER)
        installation_hold.resume_all_sending(session)
        assert notices.has_due_notices(session, now=LATER)
        assert "guard" in session.scalars(select(QueuedNoticeEmail.kind)).all()
