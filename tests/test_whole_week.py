"""A week with real processes: a feed server, a browser, a mail server, and kills in between."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from digest.cli import digest
from digest.store.delivery_models import StaffMember
from digest.store.engine import open_database
from tests.browser import follow
from tests.deliver.smtp_servers import run_smtp_server
from tests.row_keys import lend_row_keys
from tests.run_database import HomeDatabases

EDITOR = "dana@newsroom.example"
OFFICE = "editors@news.example.org"  # where replies go, and alerts as long as there is no admin
SUBSCRIBERS = [f"reader{n}@county{n}.example.net" for n in range(1, 9)]
PATIENCE = 200  # seconds that anything may take before the test gives up

SETTINGS = """
[publication]
name = "HLS.Today"
timezone = "UTC"
[sender]
postal_address = "1 Example Street, Springfield"
[schedule]
collect = ["every 10s"]
draft = "every 15s"
send = "every 30s"
[select]
minimum = 1
[limits]
allow_networks = ["127.0.0.0/8"]
[[sources]]
url = "http://127.0.0.1:{port}/a.xml"
name = "Harbor Ledger"
publisher = "Harbor Ledger"
[[sources]]
url = "http://127.0.0.1:{port}/b.xml"
name = "Coastal Wire"
publisher = "Coastal Wire"
"""


Value = TypeVar("Value")


def until(what: str, look: Callable[[], Value | None], pause: float = 0.1) -> Value:
    """Wait until `look` gives something; it's asked again after each pause, in seconds."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := look():
            return value
        time.sleep(pause)
    pytest.fail(f"after {PATIENCE} s there is still no {what}")


@dataclass
class Feeds:
    """A feed server whose feeds grow."""

    titles: list[str] = field(default_factory=list)
    port: int = 0
    asked: int = 0

    def xml(self, name: str) -> bytes:
        published = format_datetime(datetime.now(UTC) - timedelta(hours=1))
        items = "".join(
            f"<item><title>{t}</title><link>https://{name}.example.org/{t.replace(' ', '-')}</link>"
            f"<guid>{t}</guid><pubDate>{published}</pubDate>"
            f"<description>{t}: what the port security and border agencies said about it.</description></item>"
            for t in self.titles
        )
        return f'<rss version="2.0"><channel><title>{name}</title>{items}</channel></rss>'.encode()


@pytest.fixture
def feeds() -> Iterator[Feeds]:
    server = Feeds()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked += 1
            body = server.xml(self.path.strip("/").removesuffix(".xml"))
            self.send_response(200)
            self.send_header("Content-Type", "application/rss+xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None: ...

    with served(Handler) as port:
        server.port = port
        yield server


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Mailboxes:
    """A mail server that takes its time, and remembers whom it accepted a message for."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, bytes]] = []
        self.seconds = 0.4  # that it takes for a message

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        await asyncio.sleep(self.seconds)
        assert len(envelope.rcpt_tos) == 1
        assert isinstance(envelope.content, bytes)
        self.accepted.append((envelope.rcpt_tos[0], envelope.content))
        return "250 taken"

    @property
    def names(self) -> list[str]:
        """Give the readers; mails of the installation's own, such as an alert's, go to the editorial office."""
        return [name for name, _ in self.accepted if name != OFFICE]


@pytest.fixture
def mailboxes() -> Iterator[tuple[Mailboxes, int]]:
    mailboxes = Mailboxes()
    with run_smtp_server(mailboxes) as port:
        yield mailboxes, port


@dataclass
class Installation:
    """One installation, run by its real commands."""

    home: Path
    port: int
    mail_url: str
    database_url: str
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("DIGEST_")},
            "DIGEST_HOME": str(self.home / "data"),
            "DIGEST_BASE_URL": "https://news.example.org",
            "DIGEST_MAIL_URL": self.mail_url,
            "DIGEST_INSTALLATION": "the whole week",  # a copy of the prepared one is not held as a copy
            "DIGEST_DATABASE_URL": self.database_url,
            **self.more,
        }

    def run(self, *command: str, typed: str = "") -> str:
        """Run a command that is over at once, in this process; what a test kills or stops is started."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.home)
            result = CliRunner(env=self.environment).invoke(digest, command, input=typed)
        assert result.exit_code == 0, result.output
        return result.stdout

    def start(self, *command: str, log: str) -> subprocess.Popen[str]:
        with (self.home / log).open("a") as out:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self.home,
                env=self.environment | {"PYTHONUNBUFFERED": "1"},
                stdout=out,
                stderr=out,
                text=True,
            )


@contextmanager
def running(installation: Installation, *command: str, log: str) -> Iterator[subprocess.Popen[str]]:
    process = installation.start(*command, log=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def approve_in_browser(page: Page, base: str) -> str:
    """Approve what the desk shows, as an editor does; give the edition's name."""
    for _ in range(60):
        page.goto(f"{base}/desk/")
        follow(page.get_by_role("link", name=re.compile("Review and approve")).first)
        name = page.url.rstrip("/").split("/")[-2]
        button = page.get_by_role("button", name=re.compile("^Approve"))
        if not button.is_enabled():
            time.sleep(0.3)
            continue
        follow(button)
        # The timetable may have drafted anew since the page was shown: then nothing is approved yet.
        if not page.get_by_role("heading", name="The edition wasn\u2019t approved").count():
            return name
    pytest.fail("the desk did not let the edition be approved")


def sign_in_by_link(page: Page, installation: Installation, base: str) -> None:
    """Sign in at the desk as the editor, by a link that the terminal prints."""
    link = urlsplit(installation.run("staff", "link", EDITOR).strip())
    page.goto(base + link.path)
    follow(page.get_by_role("button", name="Sign in"))


SCHEDULER = ("-m", "scheduler")


class Provider:
    """A provider on loopback that accepts every request, and remembers it."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    @property
    def names(self) -> list[str]:
        everyone = [to["email"] for r in self.requests for p in r["personalizations"] for to in p["to"]]
        return [name for name in everyone if name != OFFICE]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(202)
                self.send_header("X-Message-Id", f"m{len(requests)}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None: ...

        return Handler


@pytest.fixture(scope="module")
def prepared_home(tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases) -> Path:
    """Set up an installation with readers once, by its commands; each test gets a copy."""
    home = tmp_path_factory.mktemp("prepared")
    (home / "data").mkdir(mode=0o700)
    prepared = Installation(home, 0, "outbox:", home_databases.create_bare(home / "data"))
    (home / "digest.toml").write_text(SETTINGS.format(port=0))
    prepared.run("init")
    evidence = ("--where", "hls.today", "--consent-text", "Yes.", "--method", "form", "--on", "2026-01-05")
    database = lend_row_keys(open_database(prepared.database_url), home / "data")
    with database.write() as session:  # by hand, so that no invitation is among the mails
        session.add(StaffMember(email=EDITOR, role="editor", added_at=datetime.now(UTC), added_by="test"))
    database.close()
    for address in SUBSCRIBERS:
        prepared.run("subscribers", "add", "-", *evidence, typed=address)
    return home


@pytest.fixture
def installation(tmp_path: Path, feeds: Feeds, prepared_home: Path, home_databases: HomeDatabases) -> Installation:
    """Copy the prepared installation, and let it collect from this test's feeds."""
    shutil.copytree(prepared_home, tmp_path, dirs_exist_ok=True)
    (tmp_path / "digest.toml").write_text(SETTINGS.format(port=feeds.port))
    feeds.titles = ["Port security drill at the harbor", "Border crossing opens new lanes"]
    url = home_databases.copy(prepared_home / "data", tmp_path / "data")
    return Installation(tmp_path, feeds.port, "outbox:", url)


def drafted_and_approved(installation: Installation, browser: Browser) -> str:
    """Wait for a draft and approve it in the browser; give the edition's name."""
    home = installation.home
    with running(installation, "-m", "digest", "serve", "--port", "0", "--no-schedule", log="serve.log"):
        address = until("page", lambda: re.search(r"http://127\.0\.0\.1:\d+", (home / "serve.log").read_text()))
        until("draft", lambda: "drafted from" in (home / "scheduler.log").read_text())
        page = browser.new_page()
        sign_in_by_link(page, installation, address[0])
        name = approve_in_browser(page, address[0])
        page.close()
    return name


def no_address_in_a_log(home: Path) -> bool:
    return not any("@county" in log.read_text() for log in home.glob("*.log"))


@pytest.mark.timeout(900)
@pytest.mark.chromium
def test_a_timetable_sends_by_smtp_and_repeats_nothing_over_kills(
    installation: Installation, feeds: Feeds, mailboxes: tuple[Mailboxes, int], browser: Browser
) -> None:
    boxes, port = mailboxes
    installation.mail_url = f"smtp://127.0.0.1:{port}?starttls=off"
    with running(installation, *SCHEDULER, log="scheduler.log"):
        until("visit of a source", lambda: feeds.asked >= 2)  # killed on the way, at the end of the block
    with running(installation, *SCHEDULER, log="scheduler.log"):
        until("draft", lambda: "drafted from" in (installation.home / "scheduler.log").read_text())
        assert boxes.names == [], "nothing leaves before an editor approves"
        assert drafted_and_approved(installation, browser)
        until("first messages", lambda: len(boxes.names) >= 2)  # killed in the middle of sending
    with running(installation, *SCHEDULER, log="scheduler.log"):
        until("rest of the messages", lambda: len(boxes.names) >= len(SUBSCRIBERS) - 1)
        time.sleep(5)  # time enough for whatever would be sent twice
    assert len(SUBSCRIBERS) - len(boxes.names) <= 1, "a kill leaves one open connection's message in doubt at most"
    assert len(set(boxes.names)) == len(boxes.names), "nobody gets it twice"
    assert set(boxes.names) <= set(SUBSCRIBERS)
    for name, message in boxes.accepted:
        assert not [r for r in SUBSCRIBERS if r != name and r.encode() in message], "no address but the reader's own"
    assert no_address_in_a_log(installation.home)


@pytest.mark.soak  # the week by SMTP is in the suite; SendGrid's own sends are in tests/deliver
@pytest.mark.timeout(900)
@pytest.mark.chromium
def test_a_timetable_sends_by_sendgrid_once(installation: Installation, browser: Browser) -> None:
    provider = Provider()
    with served(provider.handler()) as port:
        installation.mail_url = "sendgrid:?batch=3"
        installation.more = {
            "DIGEST_SENDGRID_API_KEY": "SG.only-a-test",
            "DIGEST_SENDGRID_HOST": f"http://127.0.0.1:{port}",
        }
        with running(installation, *SCHEDULER, log="scheduler.log"):
            until("draft", lambda: "drafted from" in (installation.home / "scheduler.log").read_text())
            assert provider.names == [], "nothing leaves before an editor approves"
            name = drafted_and_approved(installation, browser)
            until("last request", lambda: len(provider.names) >= len(SUBSCRIBERS))
        with running(installation, *SCHEDULER, log="scheduler.log"):
            until("end", lambda: '"state": "sent"' in installation.run("status", name, "--json"), pause=1)
    assert sorted(provider.names) == sorted(SUBSCRIBERS)
    assert all(len(p["to"]) == 1 for r in provider.requests for p in r["personalizations"])
    assert no_address_in_a_log(installation.home)


def approved_by_command(installation: Installation) -> str:
    """Draft an edition that goes out in a few seconds, and approve it; give its name."""
    file = installation.home / "digest.toml"
    calm = {"every 10s": "daily 03:00", "every 15s": "daily 03:10", "every 30s": "every 5s"}
    for old, new in calm.items():
        file.write_text(file.read_text().replace(f'"{old}"', f'"{new}"'))
    installation.run("collect")
    installation.run("draft")
    name, content_hash = re.findall(r"digest approve (\S+) (\S+)", installation.run("approve", "current"))[-1]
    installation.run("approve", name, content_hash)
    return str(name)


@pytest.mark.parametrize(("command", "code"), [(("serve", "--port", "0"), 0), (("send", "current", "--yes"), 1)])
def test_a_service_managers_stop_leaves_nothing_in_the_air(
    installation: Installation, mailboxes: tuple[Mailboxes, int], command: tuple[str, ...], code: int
) -> None:
    boxes, port = mailboxes
    boxes.seconds = 1.5  # so that four turns of two are not over before the stop comes, on a busy machine too
    installation.mail_url = f"smtp://127.0.0.1:{port}?starttls=off&connections=2"
    name = approved_by_command(installation)
    with running(installation, "-m", "digest", *command, log="stopped.log") as process:
        until("first messages", lambda: len(boxes.names) >= 2)
        process.terminate()
        assert process.wait(PATIENCE) == code, (installation.home / "stopped.log").read_text()
    counts = json.loads(installation.run("status", name, "--json"))
    assert (counts["handing over"], counts["uncertain"]) == (0, 0)
    assert counts["accepted"] == len(boxes.names)
    assert counts["waiting"] == len(SUBSCRIBERS) - len(boxes.names) > 0
    boxes.seconds = 0
    installation.run("send", name, "--yes")
    assert sorted(boxes.names) == sorted(SUBSCRIBERS)
