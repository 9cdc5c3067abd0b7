"""One feed item must not stop the service: it's parsed elsewhere, and its source reports it."""

import http.client
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from digest.collect.fetch.result import FetchResult
from digest.collect.sandbox import client
from digest.collect.sandbox.client import Sandbox
from digest.collect.visits.collection_run import collect_sources
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Source, SourceHealth
from digest.web.server import open_page_server
from tests.collect.visits.test_collection_run import Web, rss
from tests.conftest import WAIT_TIMEOUT
from tests.moments import MONDAY_NOON as NOW


def count_answers(port: int, until: Future[Any]) -> int:
    """Ask whether the process is alive, again and again; return how many answers were there before something else was."""
    answers = 0
    while not until.done():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"alive\n"
        connection.close()
        answers += not until.done()
        threading.Event().wait(0.02)
    return answers


def test_pages_are_served_while_documents_misbehave_and_each_source_says_what_happened(
    world: Any, one_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = {"burn": b"burn", "die": b"die", "memory": b"take memory", "port": rss("/1", "/2"), "coast": rss("/3")}
    addresses = {name: f"https://{name}.example.org/feed" for name in bodies}
    sources = [SourceSettings(url=url, name=name.title(), publisher=name) for name, url in addresses.items()]
    settings = Settings(file=SettingsFileContent(sources=sources, limits=UsageLimitSettings(fetch_workers=5)))
    getter = Web({url: FetchResult(url=url, status=200, body=bodies[name]) for name, url in addresses.items()})
    sandbox = Sandbox("tests.collect.sandbox.trying_broker")
    monkeypatch.setattr(client, "SANDBOX", sandbox)
    try:
        with open_page_server(world.app, "127.0.0.1", 0) as serving, ThreadPoolExecutor(1) as threads:
            collecting = threads.submit(collect_sources, one_database, getter, settings, now=NOW)
            answers = count_answers(serving.port, collecting)
            reports = {report.name: report for report in collecting.result()}
    finally:
        sandbox.stop()
    assert "reading took more than 1 s of CPU time" in (reports["Burn"].error or "")
    assert "signal 11" in (reports["Die"].error or "")
    assert "200 MB of memory" in (reports["Memory"].error or "")
    assert (reports["Port"].new, reports["Coast"].new) == (2, 1)
    with one_database.read() as session:
        burning = session.scalars(select(Source).where(Source.name == "Burn")).one()
        assert burning.health == SourceHealth.FAILING
        assert "remove the source" in (burning.message or "")
    assert answers > 0, "in the server's own process the first of these never ends"
