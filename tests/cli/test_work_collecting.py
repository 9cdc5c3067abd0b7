"""`digest work --only collect`: processes share the scheduled collection over PostgreSQL, even when one is killed."""

import os
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select

from digest.store.engine import open_database
from digest.store.models import Article, ScheduleSlot, Source, SourceHostClaim
from digest.store.schedule_slots import find_or_record_schedule_start
from tests.conftest import WAIT_TIMEOUT
from tests.deliver.kill_harness import wait_until
from tests.deliver.worker_server import run_worker_server
from tests.run_database import run_on_server, sibling_database_url
from tests.threaded_server import ServedInThread

HOSTS = [f"127.0.0.{n}" for n in range(1, 9)]
FEED = """<rss version="2.0"><channel><title>Port</title><item><title>News of {host}</title>
<link>https://port.example.org/{host}</link></item></channel></rss>"""


class SlowPublisher(ServedInThread, ThreadingHTTPServer):
    """Publishes a feed on every address of loopback, once `opened`; `asked` counts the requests by their host."""

    daemon_threads = True

    def __init__(self) -> None:
        self.opened, self.asked = threading.Event(), Counter[str]()
        super().__init__(("0.0.0.0", 0), _FeedHandler)


class _FeedHandler(BaseHTTPRequestHandler):
    server: SlowPublisher

    def do_GET(self) -> None:
        host = self.headers["Host"].partition(":")[0]
        self.server.asked[host] += 1
        self.server.opened.wait(WAIT_TIMEOUT)
        with suppress(OSError):  # whoever asked may have been killed
            self.send_response(200)
            self.end_headers()
            self.wfile.write(FEED.format(host=host).encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.mark.usefixtures("initialized_home")
def test_two_workers_share_a_collection_and_one_goes_on_where_the_other_was_killed(
    monkeypatch: pytest.MonkeyPatch, postgresql_url: str, postgresql_template: str
) -> None:
    run_on_server(postgresql_url, f"CREATE DATABASE collecting_{os.getpid()} TEMPLATE {postgresql_template}")
    url = sibling_database_url(postgresql_url, f"collecting_{os.getpid()}")
    monkeypatch.setenv("DIGEST_DATABASE_URL", url)
    database = open_database(url)
    # One collection is owed, of an hour ago, and no other within the next hours: one that came due meanwhile would visit all anew.
    now = datetime.now(UTC)
    find_or_record_schedule_start(database, now - timedelta(hours=2))

    def is_done() -> bool:
        with database.read() as session:
            return session.scalar(select(ScheduleSlot.done_at).where(ScheduleSlot.job == "collect")) is not None

    with SlowPublisher() as publisher:
        port = publisher.server_address[1]
        sources = (
            f'[[sources]]\nurl = "http://{host}:{port}/feed"\nname = "{host}"\npublisher = "P"\n' for host in HOSTS
        )
        limits = f'allow_networks = ["127.0.0.0/8"]\nfetch_workers = 1\nfetch_timeout = {WAIT_TIMEOUT}'
        schedule = f'collect = ["daily {now - timedelta(hours=1):%H:%M}"]'
        tables = f'[publication]\ntimezone = "UTC"\n[schedule]\n{schedule}\n[limits]\n{limits}\n'
        Path("digest.toml").write_text(tables + "\n".join(sources))
        with run_worker_server(part="collect") as server:
            killed, survivor = server.start_worker(), server.start_worker()
            wait_until(lambda: len(publisher.asked) == 2)  # each is at a host of its own
            server.kill_worker(killed)
            publisher.opened.set()
            wait_until(is_done)
            assert server.stop_worker(survivor) == 0
    with database.read() as session:
        assert all(source.failures == 0 and source.good_at for source in session.scalars(select(Source)))
        assert set(session.scalars(select(Article.title))) == {f"News of {host}" for host in HOSTS}
        assert session.scalars(select(SourceHostClaim)).all() == []
    database.close()
    # Only what was in the air is asked for again.
    assert sorted(publisher.asked.values()) == [1] * (len(HOSTS) - 1) + [2]
