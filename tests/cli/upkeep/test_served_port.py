"""The links of an installation whose pages are served at another port than the default."""

from pathlib import Path

import pytest

from digest.cli.context import CommandContext
from digest.cli.upkeep.installation import follow_port
from digest.settings import load_settings


@pytest.fixture(autouse=True)
def _restore_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIGEST_BASE_URL", "")
    monkeypatch.delenv("DIGEST_BASE_URL")


@pytest.mark.parametrize(("port", "url"), [(9000, "http://localhost:9000"), (0, "http://localhost:8025")])
def test_links_lead_to_the_port_that_is_served(port: int, url: str) -> None:
    context = CommandContext()
    assert context.settings.base_url == "http://localhost:8025"
    follow_port(context, port)
    assert context.settings.base_url == url
    assert load_settings(None).base_url == url, "also when the settings are read again"


def test_a_base_url_that_was_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGEST_BASE_URL", "https://news.example.org")
    context = CommandContext()
    follow_port(context, 9000)
    assert context.settings.base_url == load_settings(None).base_url == "https://news.example.org"
