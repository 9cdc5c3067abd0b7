"""The commands that skip, move, add, and restore editions."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.cli import digest
from digest.cli.context import CommandContext
from tests.moments import MONDAY_MORNING as MONDAY

WEDNESDAY, FRIDAY = "2026-11-18T07:00", "2026-11-20"


@pytest.fixture
def home(initialized_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(CommandContext, "now", lambda *_: MONDAY)
    return initialized_home


def run(*words: str) -> str:
    """Run a command of the calendar, and return what it printed."""
    done = CliRunner().invoke(digest, ["calendar", *words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.usefixtures("home")
def test_editions_are_skipped_moved_added_and_restored() -> None:
    planned = run("list", "--json")
    assert "Its stories are kept for the next edition." in run("skip", FRIDAY)
    assert run("restore", FRIDAY).startswith("Restored.")
    assert run("move", "next", WEDNESDAY).startswith("Moved to ")
    assert run("list", "--json") != planned
    run("restore", WEDNESDAY)
    assert run("list", "--json") == planned
    assert run("add", WEDNESDAY).startswith("Added an extra edition on ")
    run("skip", WEDNESDAY)
    assert run("list", "--json") == planned
