"""A command imports its own parts: what is needed at once starts quickly. (structlog imports rich by itself.)"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from digest.app.installation import open_installation
from digest.settings import load_settings
from digest.store.models import EditionState
from tests.conftest import ROOT
from tests.web.conftest import store_edition

HEAVY = {
    *("alembic", "lxml", "PIL", "trafilatura", "feedparser", "flask", "sendgrid", "premailer", "apscheduler"),
    "icalendar",
}
RUN = """
import json, sys
from digest.cli import digest
try:
    digest(sys.argv[1:], prog_name="digest")
finally:
    print(json.dumps(sorted(sys.modules)))
"""


def _imported(*words: str) -> set[str]:
    run = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_version_needs_neither_database_nor_settings() -> None:
    assert _imported("--version") & (HEAVY | {"sqlalchemy", "pydantic", "structlog", "rich"}) == set()


@pytest.mark.parametrize(
    "words", [("hold",), ("release",), ("pause",), ("status",), ("status", "--json")], ids=" ".join
)
def test_what_is_needed_at_once_imports_nothing_heavy(new_home: Path, words: tuple[str, ...]) -> None:
    with open_installation(load_settings()) as installation:
        store_edition(installation, state=EditionState.SENDING)
    assert _imported(*words) & HEAVY == set()
