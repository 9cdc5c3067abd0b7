"""A command imports its own parts: what is needed at once starts quickly. (structlog imports rich by itself.)"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from digest.installation.opened import open_installation
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
RUN = """
import gc, json, sys
from digest.cli import main
try:
    main()
finally:
    modules = sorted(sys.modules)
    print(json.dumps({"modules": modules, "collects": gc.isenabled(), "passed over": gc.get_freeze_count()}))
"""


def _run_command(*words: str, exit_code: int = 0) -> dict[str, Any]:
    run = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == exit_code, run.stderr
    ended: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return ended


def _imported(*words: str) -> set[str]:
    return set(_run_command(*words)["modules"])


def test_the_version_needs_neither_database_nor_settings() -> None:
    assert _imported("--version") & (HEAVY | {"sqlalchemy", "pydantic", "structlog", "rich"}) == set()


@pytest.mark.parametrize(
    "words", [("pause", "--all"), ("resume", "--all"), ("pause",), ("status",), ("status", "--json")], ids=" ".join
)
def test_what_is_needed_at_once_imports_nothing_heavy(new_home: Path, words: tuple[str, ...]) -> None:
    with open_installation(load_settings()) as installation:
        store_edition(installation, state=EditionState.SENDING)
    assert _imported(*words) & HEAVY == set()


def test_a_send_imports_neither_what_drafts_nor_what_fetches_and_collects_no_garbage_in_what_it_imports(
    new_home: Path,
) -> None:
    with open_installation(load_settings()) as installation:
        store_edition(installation, state=EditionState.SENDING)
    # It comes as far as the proof of the approval, which such an edition lacks.
    ended = _run_command("send", "current", "--yes", exit_code=2)
    assert "digest.deliver.send.run.edition_run" in ended["modules"]
    assert set(ended["modules"]) & (HEAVY | FETCHES_OR_DRAFTS) == set()
    assert ended["collects"]
    assert ended["passed over"] > 10_000
