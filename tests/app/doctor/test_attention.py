"""`digest status` and `digest doctor` report the same problems."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.app.doctor.attention import list_attention_sentences
from digest.app.subscribers import list_transfers, running_imports
from digest.app.subscribers.child_work import WorkStoppedError
from digest.cli import digest
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.audit import record_audit
from digest.store.delivery_models import StoredInstallationValue
from digest.store.models import Edition, EditionState
from digest.store.process_identity import ProcessIdentity
from subscribers.signup.rate_limits import SURGE_KIND
from subscribers.store.models import ImportBatch
from subscribers.store.signup_models import SignupSurge
from subscribers.transfer.options import ImportOptions
from tests.moments import AFTER_RELEASE as NOW
from tests.web.conftest import store_edition


@pytest.fixture
def home(initialized_home: Path) -> Path:
    return initialized_home.parent


def _run(*words: str) -> Result:
    return CliRunner().invoke(digest, list(words))


def _install_rows(*rows: object) -> Installation:
    with open_installation(load_settings()) as install:
        store_edition(install)
        with install.database.write() as session:
            session.add_all(rows)
        return install


def _surge() -> SignupSurge:
    return SignupSurge(kind=SURGE_KIND, at=NOW, detail={"most": 120})


def _begun() -> ImportBatch:
    return ImportBatch(origin="Mailchimp", file_hash="f", options={}, actor="eve", started_at=NOW, counts={}, reached=0)


def test_an_alarm_and_an_unfinished_import_are_named_with_what_to_do(home: Path) -> None:
    assert home.is_dir()
    _install_rows(_surge(), _begun())
    status, doctor = _run("status", "2026-W47").output, _run("doctor").output
    for said in (status, doctor):
        assert "Sign-ups have surged since 2026-11-20 12:00 UTC, with up to 120 in an hour. Sign-ups" in said
        assert "Import 1 (Mailchimp, started 2026-11-20 12:00 UTC) is unfinished" in said
        assert "digest subscribers import --abandon 1" in said
    found = json.loads(_run("status", "2026-W47", "--json").output)["attention"]
    assert len(found) == 2


def test_an_import_that_somebody_works_on_is_not_named(home: Path) -> None:
    file = home / "list.csv"
    file.write_text("email\nada@example.org\n", "utf-8")
    actor = Actor("terminal:eve", Role.ADMIN, ActionEntryPoint.TERMINAL)
    said: list[list[str]] = []
    with open_installation(load_settings()) as install:

        def look() -> list[str]:
            with install.database.read() as session:
                return list_attention_sentences(session, NOW)

        def stop(_row: int, _rows: int) -> None:
            said.append(look())
            raise WorkStoppedError("Stopped.")

        with pytest.raises(WorkStoppedError):
            list_transfers.import_list(install, actor, file, ImportOptions(), now=NOW, progress=stop)
        (left,) = look()
        with install.database.write() as session:
            batch = session.scalars(select(ImportBatch)).one()
        with running_imports.mark_import_running(install.database, batch.file_hash, now=NOW):
            assert look() == []
            with install.database.read() as session:
                late = NOW + running_imports.TRUSTED_FOR + timedelta(minutes=1)
                assert list_attention_sentences(session, late) == [left], "a machine that went silent works no more"
            with install.database.write() as session:  # the process is gone: its number is another's by now
                dead = ProcessIdentity(nonce="gone")
                stored = session.scalars(
                    select(StoredInstallationValue).where(StoredInstallationValue.name.startswith("import at work"))
                ).one()
                stored.value = {"owner": str(dead), "at": NOW.isoformat()}
            assert look() == [left]
    assert said == [[]]
    assert "is unfinished" in left


def test_when_all_is_as_usual_nothing_is_said(home: Path) -> None:
    assert home.is_dir()
    _install_rows()
    assert json.loads(_run("status", "2026-W47", "--json").output)["attention"] == []
    assert "ok      signup-surge: no problems found" in _run("doctor").output


@pytest.mark.parametrize(
    ("number", "requested_at", "is_named"),
    [
        (147, None, True),
        (0, None, False),  # breaking news waits until somebody selects "Send now"
        (0, NOW - timedelta(minutes=10), False),
        (0, NOW - timedelta(hours=1), True),
    ],
)
def test_an_approved_edition_is_named_if_sending_does_not_start_once_it_should(
    home: Path, number: int, requested_at: datetime | None, *, is_named: bool
) -> None:
    assert home.is_dir()
    with open_installation(load_settings()) as install:
        store_edition(install, state=EditionState.APPROVED, release_at=NOW - timedelta(hours=1))
        with install.database.write() as session:
            edition = session.scalars(select(Edition)).one()
            edition.number, edition.send_requested_at = number, requested_at
            edition.approved_at, edition.approved_by = NOW - timedelta(hours=2), "eve"
        with install.database.read() as session:
            said = list_attention_sentences(session, NOW)
    assert any("sending hasn't started" in sentence for sentence in said) is is_named


@pytest.mark.parametrize(
    ("base", "proxies", "warned"),
    [
        ("https://news.example.org", 0, True),
        ("https://news.example.org", 1, False),
        ("http://127.0.0.1:8025", 0, False),
    ],
)
def test_the_doctor_notices_a_proxy_that_nobody_told_us_of(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    base: str,
    proxies: int,
    warned: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv("DIGEST_BASE_URL", base)
    text = (home / "digest.toml").read_text()
    (home / "digest.toml").write_text(text.replace("[limits]\n", f"[limits]\nproxies = {proxies}\n"))
    assert ("limits.proxies is 0" in _run("doctor").output) is warned


def test_a_deadline_is_missed_only_by_an_edition_that_was_drafted_before_it(home: Path) -> None:
    """Also by one that was drafted again after it."""
    assert home.is_dir()

    def is_missed(install: Installation) -> bool:
        with install.database.read() as session:
            sentences = list_attention_sentences(session, NOW, install.settings.file)
        return any("wasn't approved by its deadline" in sentence for sentence in sentences)

    with open_installation(load_settings()) as install:
        name = store_edition(install, state=EditionState.DRAFT, release_at=NOW - timedelta(hours=1))
        with install.database.write() as session:
            session.scalars(select(Edition)).one().drafted_at = NOW - timedelta(minutes=30)
        assert not is_missed(install)
        with install.database.write() as session:
            record_audit(session, "draft", name, {}, actor="eve", now=NOW - timedelta(days=1))
        assert is_missed(install)
