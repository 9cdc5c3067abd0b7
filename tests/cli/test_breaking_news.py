"""Breaking news in a terminal: `digest breaking-news`, and the question that `digest send` asks first."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending.send_control import describe_upcoming_send
from digest.cli import digest
from digest.installation.opened_installation import create_key_file, open_installation
from digest.settings import load_settings
from digest.store.models import AuditEntry
from tests.actors import EDITOR
from tests.app.editing.test_changes import TITLES, url_of
from tests.app.sending.test_breaking_news import add_list
from tests.edition.drafting.test_drafts import add


def run(*words: str) -> str:
    result = CliRunner().invoke(digest, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def home(new_home: Path) -> Path:
    """Give a new installation with an article and a list."""
    now = datetime.now(UTC)
    Path(os.environ.get("DIGEST_SETTINGS", "digest.toml")).write_text(
        '[sender]\npostal_address = "1 Main St, Springfield"\n[schedule]\nfinal_check_minutes = 0\n'
    )
    with open_installation(load_settings()) as installation:
        create_key_file(installation)
        add(installation.database, TITLES[0], dated=now - timedelta(hours=1), found=now)
        add_list(installation)
    return new_home


@pytest.mark.usefixtures("home")
def test_it_is_drafted_shown_and_sent() -> None:
    drafted = run("breaking-news", url_of(TITLES[0]))
    name = drafted.removeprefix("Drafted ").partition(".")[0]
    assert f"digest send {name}" in drafted
    assert "BREAKING NEWS" in run("show", name, "--as", "text").upper()
    assert "(breaking news)" in run("status", name)
    refused = CliRunner().invoke(digest, ["send", name])
    assert refused.exit_code == 2
    assert f"Breaking news {name} is a draft. It can be sent once it's approved." in refused.output
    with open_installation(load_settings()) as installation:
        now = datetime.now(UTC)
        status = read_edition_status(installation, name, now=now)
        assert describe_upcoming_send(installation, status, now=now) == (
            f"Breaking news {name} will be sent to 5 subscribers who get breaking news, immediately. It can't be recalled."
        )
        edition_approval.approve_edition(installation, name, status.content_hash, actor=EDITOR, now=now)
    assert "5 accepted" in run("send", name)
    assert "5 accepted" in run("send", name), "a second time changes nothing"
    with open_installation(load_settings()) as installation, installation.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "send now")).all()
    assert [(row.subject, row.detail) for row in rows] == [(name, {"recipients": 5})]


@pytest.mark.usefixtures("home")
def test_a_mistake_is_said() -> None:
    result = CliRunner().invoke(digest, ["breaking-news", "the levee"])
    assert result.exit_code == 1
    assert "This isn't a URL." in result.output


def test_its_help_has_examples() -> None:
    assert "digest breaking-news https://" in run("breaking-news", "--help")
