"""`digest approve` with editors' texts: who has to sign, the effect of a first signature, and the exit codes."""

import os
import re
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.cli import digest
from digest.installation.opened_installation import open_installation
from digest.settings import load_settings
from digest.store.delivery_models import StaffMember
from digest.store.models import Edition
from subscribers.consent.preferences import Preferences
from tests.app.sending.test_breaking_news import add_list
from tests.moments import DRAFTING as NOW
from tests.row_keys import change_rows
from tests.web.conftest import store_edition

pytestmark = pytest.mark.usefixtures("stored_as_composed")

NAME = "2026-W47"
DANA, SAM = ("--as", "dana@news.example.org"), ("--as", "sam@news.example.org")


def run(*words: str) -> Result:
    return CliRunner().invoke(digest, list(words))


@pytest.fixture
def home(initialized_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an installation with a draft in which Dana and Sam wrote."""
    settings_file = Path(os.environ.get("DIGEST_SETTINGS", "digest.toml"))
    settings_file.write_text('[sender]\npostal_address = "1 Main St, Springfield"\n')
    monkeypatch.setenv("DIGEST_BASE_URL", "https://news.example.org")
    with open_installation(load_settings()) as install:
        store_edition(install)
        with install.database.write() as session:
            for name in ("dana", "sam"):
                session.add(
                    StaffMember(
                        email=f"{name}@news.example.org",
                        name=name.capitalize(),
                        role="editor",
                        added_at=NOW,
                        added_by="test",
                        proven_at=NOW,
                    )
                )
                session.flush()
            session.scalars(select(Edition)).one().written_parts = [
                {"actor": "staff 1", "part": "intro", "item": ""},
                {"actor": "staff 2", "part": "story", "item": "Cranes"},
            ]
    return initialized_home


def mark() -> str:
    shown = run("approve", NAME)
    assert shown.exit_code == 0
    return str(re.findall(rf"digest approve {NAME} (\S+)", shown.output)[-1])


@pytest.mark.usefixtures("home")
def test_the_first_of_two_authors_is_told_who_still_has_to_approve_and_for_what() -> None:
    shown = run("approve", NAME).output
    assert "Dana wrote the intro, which someone other than Dana needs to approve." in shown
    assert "Sam wrote the story “Cranes,” which someone other than Sam needs to approve." in shown
    nameless = run("approve", NAME, mark())
    assert (nameless.exit_code, "--as EMAIL" in nameless.output) == (2, True)
    first = run(*DANA, "approve", NAME, mark())
    assert first.exit_code == 1
    assert f"Your approval of {NAME} is recorded, but the edition isn't approved yet." in first.output
    assert "Dana wrote the intro, which someone other than Dana needs to approve." in first.output
    assert "Sam wrote the story “Cranes,” approved by Dana." in first.output
    again = run(*DANA, "approve", NAME, mark())
    assert (again.exit_code, "already approved" in again.output) == (2, True)
    second = run(*SAM, "approve", NAME, mark())
    assert (second.exit_code, f"{NAME} is approved." in second.output) == (0, True)


@pytest.mark.usefixtures("home")
def test_an_only_editor_is_told_that_no_second_approval_is_needed() -> None:
    with open_installation(load_settings()) as install, install.database.write() as session:
        change_rows(session, StaffMember, StaffMember.id == 2, removed_at=NOW, proven_at=None)
    assert "There's only one editor, so their text doesn't need a second approval." in run("approve", NAME).output
    approved = run(*DANA, "approve", NAME, mark())
    assert (approved.exit_code, f"{NAME} is approved." in approved.output) == (0, True)


def test_approving_and_sending_count_those_who_will_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_installation(load_settings()) as install:
        add_list(install, [Preferences(), Preferences(), Preferences(pause_until=date.max)])
    words = re.compile(r"No\. 147 will be sent to 2 subscribers [^.]+\. 1 is paused\.")
    assert words.search(run("approve", NAME).output)
    monkeypatch.setenv("DIGEST_MAIL_URL", "smtp://192.0.2.1")
    asked = CliRunner().invoke(digest, ["send", NAME], input="n\n")
    assert asked.exit_code != 0
    assert words.search(asked.output)
    assert "paused. Send now? [y/N]" in asked.output
