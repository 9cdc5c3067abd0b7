"""The links of an installation whose pages are served on a port other than the default."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from digest.cli import digest
from digest.cli.context import CommandContext
from digest.cli.upkeep.installation import use_port_in_links
from digest.settings import load_settings
from tests.conftest import WAIT_TIMEOUT


@pytest.fixture(autouse=True)
def _run_in_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("port", "url"), [(9000, "http://localhost:9000"), (0, "http://localhost:8025")])
def test_links_lead_to_the_port_that_is_served(port: int, url: str) -> None:
    context = CommandContext()
    assert context.settings.base_url == "http://localhost:8025"
    use_port_in_links(context, port)
    assert context.settings.base_url == url
    assert load_settings(None).base_url == url, "also when the settings are read again"


def test_a_base_url_that_was_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGEST_BASE_URL", "https://news.example.org")
    context = CommandContext()
    use_port_in_links(context, 9000)
    assert context.settings.base_url == load_settings(None).base_url == "https://news.example.org"


@pytest.mark.usefixtures("initialized_home")
def test_each_sign_in_link_says_whose_it_is_and_leads_to_the_port_that_is_served() -> None:
    team = {"eve@newsroom.example": "editor", "Ann@newsroom.example": "admin"}
    for email, role in team.items():
        assert CliRunner().invoke(digest, ["staff", "add", email, "--role", role]).exit_code == 0
    words = [sys.executable, "-m", "digest", "serve", "--port", "0", "--no-schedule"]
    words += [word for email in team for word in ("--sign-in", email)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, encoding="utf-8") as served:
        try:
            assert served.stdout is not None
            lines = [served.stdout.readline() for _ in range(5)]
        finally:
            served.kill()
            served.wait(WAIT_TIMEOUT)
    port = re.findall(r"^Serving http://127.0.0.1:(\d+)/", lines[0])
    assert re.findall(r"signs in the (\w+) (\S+) once", "".join(lines)) == [
        (role, email) for email, role in team.items()
    ]
    assert re.findall(r"http://localhost:(\d+)/desk/link/", "".join(lines)) == port * 2
