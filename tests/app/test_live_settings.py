from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from digest.collect.sources.source_rows import sync_sources
from digest.installation.opened_installation import Installation
from digest.settings import SourceSettings, load_settings
from digest.settings.file_edits import append_sources
from digest.store.engine import Database
from digest.store.models import Source

ONE = '[[sources]]\nurl = "https://one.example.org/feed"\nname = "One"\npublisher = "One"\n'
TWO = SourceSettings(url="https://two.example.org/feed", name="Two", publisher="Two")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "digest.toml"
    written.write_text(ONE)
    return written


@pytest.fixture
def serving(file: Path, one_database: Database) -> Installation:
    """Give the installation as a process that runs long has it."""
    return Installation(load_settings(file, {"DIGEST_BASE_URL": "https://news.example.org"}), one_database)


def active(install: Installation) -> list[str]:
    with install.database.write() as session:
        sync_sources(session, install.settings)
        return sorted(session.scalars(select(Source.name).where(Source.active)))


def test_a_source_that_is_added_while_a_process_runs_is_not_taken_out_by_it(serving: Installation, file: Path) -> None:
    assert active(serving) == ["One"]
    append_sources(load_settings(file, {}), [TWO])
    assert active(serving) == ["One", "Two"]


def test_what_came_from_the_environment_stays_and_the_bounce_mailbox_waits_for_a_restart(
    serving: Installation, file: Path
) -> None:
    with capture_logs() as logged:
        file.write_text(ONE + '[inbound]\nfolder = "Bounces"\n[select]\npins = ["https://one.example.org/story"]\n')
        settings = serving.settings
    assert settings.link_base == "https://news.example.org"
    assert settings.file.select.pins == ["https://one.example.org/story"]
    assert settings.file.inbound.folder == "INBOX"
    assert [line.get("followed") or line.get("tables") for line in logged] == [["select"], ["inbound"]]


@pytest.mark.parametrize("written", ["[[sources]\n", "[select]\nminimum = 0\n", "[weather]\n"])
def test_a_file_with_a_mistake_changes_nothing_and_is_said_once(
    serving: Installation, file: Path, written: str
) -> None:
    with capture_logs() as logged:
        file.write_text(written)
        assert [s.name for s in serving.settings.file.sources] == ["One"]
        assert [s.name for s in serving.settings.file.sources] == ["One"]
    assert [line["log_level"] for line in logged] == ["warning"]
    file.write_text(ONE.replace("One", "Uno"))
    assert [s.name for s in serving.settings.file.sources] == ["Uno"]


def test_a_file_that_is_away_changes_nothing(serving: Installation, file: Path) -> None:
    file.rename(file.with_suffix(".bak"))
    assert [s.name for s in serving.settings.file.sources] == ["One"]


def test_settings_without_a_file_are_what_they_are(one_database: Database) -> None:
    assert Installation(load_settings(None, {}), one_database).settings.file.sources == []
