"""A command imports only its own parts, so urgent commands start quickly."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from digest import __version__
from digest.cli import digest
from digest.installation.opened_installation import create_key_file, open_installation
from digest.settings import load_settings
from digest.store.models import EditionState
from tests.conftest import ROOT
from tests.web.conftest import store_edition

HEAVY = {
    *("alembic", "lxml", "PIL", "trafilatura", "feedparser", "flask", "sendgrid", "premailer", "apscheduler"),
    "icalendar",
}
FETCHES_OR_DRAFTS = {
    *("httpx", "markdown_it", "pycountry", "nh3", "email_validator", "digest.edition.kinds"),
    *("digest.select.ranking", "digest.deliver.providers.sendgrid.kind"),
}
# Each took 15 to 60 ms of the start of a command that needs none of it.
NOT_AT_ONCE = {
    *("structlog", "rich", "pygments", "attr", "pycountry", "digest.edition.kinds", "digest.select.ranking"),
    *("digest.deliver.compose.message", "digest.deliver.plan.planning", "digest.deliver.providers.base", "smtplib"),
}
RUN = """
import gc, json, sys
from digest.cli import main
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["digest", *words]
    try:
        main()
    except SystemExit as exit:
        code = exit.code or 0
    modules = sorted(sys.modules)
    ended.append({"code": code, "modules": modules, "collects": gc.isenabled(), "passed over": gc.get_freeze_count()})
print(json.dumps(ended))
"""


def _run_commands(*commands: str, exit_code: int = 0) -> list[dict[str, Any]]:
    """Run commands one after the other in a new process; tell of the process after each."""
    words = json.dumps([command.split() for command in commands])
    run = subprocess.run([sys.executable, "-c", RUN, words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    ended: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    assert [each["code"] for each in ended] == [exit_code] * len(commands), run.stderr
    return ended


def test_the_version_needs_neither_database_nor_settings() -> None:
    (ended,) = _run_commands("--version")
    assert set(ended["modules"]) & (HEAVY | {"sqlalchemy", "pydantic", "structlog", "rich"}) == set()
    assert CliRunner().invoke(digest, ["--version"]).output == f"digest, version {__version__}\n"


def test_what_is_needed_at_once_imports_nothing_heavy(new_home: Path) -> None:
    with open_installation(load_settings()) as installation:
        create_key_file(installation)
        store_edition(installation, state=EditionState.SENDING)
    commands = ("pause --all", "resume --all", "pause", "status", "status --json")
    for command, ended in zip(commands, _run_commands(*commands), strict=True):
        assert set(ended["modules"]) & HEAVY == set(), command


@pytest.mark.parametrize("command", ["pause --all", "resume --all", "status", "status --json"])
def test_what_is_asked_for_in_an_emergency_imports_only_what_it_needs(new_home: Path, command: str) -> None:
    with open_installation(load_settings()) as installation:
        create_key_file(installation)
        store_edition(installation, state=EditionState.SENDING)
    (ended,) = _run_commands(command)
    assert set(ended["modules"]) & NOT_AT_ONCE == set()


def test_a_send_imports_neither_what_drafts_nor_what_fetches_and_collects_no_garbage_in_what_it_imports(
    new_home: Path,
) -> None:
    with open_installation(load_settings()) as installation:
        create_key_file(installation)
        store_edition(installation, state=EditionState.SENDING)
    (ended,) = _run_commands("send current --yes")  # to no one: its list is empty
    assert "digest.deliver.send.run.edition_sending" in ended["modules"]
    assert set(ended["modules"]) & (HEAVY | FETCHES_OR_DRAFTS) == set()
    assert ended["collects"]
    assert ended["passed over"] > 10_000
