"""Several runs share the due sources: each host is visited by one of them, and none is left out when one dies."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from digest.collect.fetch.result import FetchResult
from digest.collect.visits import collection_run
from digest.collect.visits.collection_run import (
    SourceReport,
    collect_sources,
    has_unclaimed_visits,
    join_collection_run,
)
from digest.collect.visits.source_visit import find_visit_host
from digest.collect.visits.visit_queue import (
    CLAIM_LEASE,
    claim_hosts,
    delete_lapsed_claims,
    list_claimed_hosts,
    release_host_claims,
    renew_claims,
)
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Source, SourceHostClaim
from digest.store.process_identity import ProcessIdentity, identify_current_process
from tests.conftest import WAIT_TIMEOUT
from tests.moments import MONDAY_NOON as NOON

LATER = NOON + timedelta(minutes=1)
HERE, THERE = str(identify_current_process()), str(ProcessIdentity("elsewhere", 7, "x"))


class SlowWeb:
    """Answers every address with a feed. Until `opened`, each request waits; `meeting` gets one for each that has begun."""

    def __init__(self, *, is_open: bool) -> None:
        self.opened, self.meeting = threading.Event(), threading.Semaphore(0)
        self.asked: list[str] = []
        self._at_hosts, self._lock = set[str](), threading.Lock()
        if is_open:
            self.opened.set()

    def get(self, url: str, **_: object) -> FetchResult:
        host = find_visit_host(url)
        with self._lock:
            assert host not in self._at_hosts, "one thing at a time"
            self._at_hosts.add(host)
            self.asked.append(url)
        self.meeting.release()
        assert self.opened.wait(WAIT_TIMEOUT)
        with self._lock:
            self._at_hosts.remove(host)
        title = f"<item><title>News</title><link>{url}/1</link></item>"
        return FetchResult(url, 200, f'<rss version="2.0"><channel><title>T</title>{title}</channel></rss>'.encode())

    def may_read(self, _url: str) -> bool:
        return True


def naming(hosts: int, *, workers: int = 1) -> Settings:
    urls = [f"https://site{n}.example.org/feed" for n in range(hosts)]
    sources = [SourceSettings(url=url, name=url, publisher="P") for url in urls]
    return Settings(file=SettingsFileContent(sources=sources, limits=UsageLimitSettings(fetch_workers=workers)))


def list_claims(database: Database) -> dict[str, str]:
    with database.read() as session:
        return {claim.host: claim.owner for claim in session.scalars(select(SourceHostClaim))}


def claim(database: Database, hosts: list[str], owner: str, now: datetime) -> set[str]:
    with database.write() as session:
        delete_lapsed_claims(session, now)
        return claim_hosts(session, sorted(set(hosts) - list_claimed_hosts(session, now)), owner, now)


@pytest.fixture(scope="module")
def dead_process() -> str:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return str(ProcessIdentity(pid=int(ended.stdout)))


def test_a_host_has_one_claim_until_it_is_given_back_lapses_or_its_process_is_dead(
    database: Database, dead_process: str
) -> None:
    assert claim(database, ["a", "b"], HERE, NOON) == {"a", "b"}
    assert claim(database, ["b", "c"], THERE, NOON) == {"c"}
    with database.write() as session:
        assert claim_hosts(session, ["a", "d"], THERE, NOON) == {"d"}  # had it looked before `a` was claimed
        release_host_claims(session, ["a", "c"], HERE)  # what is another's stays
    assert claim(database, ["a", "c"], dead_process, NOON) == {"a"}
    assert claim(database, ["a", "c"], HERE, NOON) == {"a"}
    with database.write() as session:
        renew_claims(session, HERE, NOON + CLAIM_LEASE)
    assert claim(database, ["a", "b", "c", "d"], f"{HERE}/2", NOON + CLAIM_LEASE) == {"c", "d"}


def test_two_runs_share_a_collection_and_no_source_is_visited_twice(database: Database) -> None:
    web, settings = SlowWeb(is_open=False), naming(12)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(collect_sources, database, web, settings, now=LATER, since=NOON)
        assert web.meeting.acquire(timeout=WAIT_TIMEOUT)
        second = threads.submit(
            join_collection_run, database, web, settings, now=LATER, since=NOON, stopping=threading.Event()
        )
        assert web.meeting.acquire(timeout=WAIT_TIMEOUT)  # both are at it
        web.opened.set()
        own, shared = first.result(WAIT_TIMEOUT), second.result(WAIT_TIMEOUT)
    assert len(web.asked) == len(set(web.asked)) == 12
    assert shared
    assert all(report.succeeded for report in shared)
    # Whoever collects knows of every source, and which another visited.
    elsewhere = {report.url for report in own if report.skipped == collection_run.VISITED_ELSEWHERE}
    assert [report.url for report in own] == [source.url for source in settings.file.sources]
    assert elsewhere == {report.url for report in shared}
    assert list_claims(database) == {}
    assert not has_unclaimed_visits(database, settings, now=LATER, since=NOON)


def test_what_a_dead_run_had_claimed_is_visited_and_what_it_had_visited_is_not(
    one_database: Database, dead_process: str
) -> None:
    web, settings = SlowWeb(is_open=True), naming(3)
    collect_sources(one_database, web, settings, now=NOON, only=["https://site0.example.org/feed"])
    claim(one_database, ["site1.example.org"], dead_process, datetime.now(UTC))
    reports = collect_sources(one_database, web, settings, now=LATER, since=NOON)
    assert [report.skipped for report in reports] == ["visited at 2026-11-16 07:00", None, None]
    assert len(web.asked) == 3


def test_a_run_that_shares_leaves_to_others_what_they_hold(one_database: Database) -> None:
    web, settings = SlowWeb(is_open=True), naming(2)
    collect_sources(one_database, web, settings, now=NOON - timedelta(hours=1))
    held = ["site0.example.org", "site1.example.org"]
    claim(one_database, held, THERE, datetime.now(UTC))
    assert not has_unclaimed_visits(one_database, settings, now=LATER, since=NOON)
    with one_database.write() as session:
        release_host_claims(session, held[:1], THERE)
    assert has_unclaimed_visits(one_database, settings, now=LATER, since=NOON)
    shared = join_collection_run(one_database, web, settings, now=LATER, since=NOON, stopping=threading.Event())
    assert [report.url for report in shared] == ["https://site0.example.org/feed"]
    assert list_claims(one_database) == {"site1.example.org": THERE}


def test_a_run_that_is_stopped_ends_its_visits_begins_no_other_and_gives_back_what_it_holds(
    one_database: Database,
) -> None:
    web, settings, stopping = SlowWeb(is_open=False), naming(9, workers=2), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(collect_sources, one_database, web, settings, now=NOON, stopping=stopping)
        for _ in range(2):
            assert web.meeting.acquire(timeout=WAIT_TIMEOUT)
        stopping.set()
        web.opened.set()
        reports = run.result(WAIT_TIMEOUT)
    visited = [report for report in reports if report.skipped is None]
    assert {report.skipped for report in reports} == {None, collection_run.STOPPED}
    assert len(visited) == len(web.asked) <= 4  # twice the threads were handed out
    assert list_claims(one_database) == {}
    with one_database.read() as session:
        assert {source.tried_at for source in session.scalars(select(Source))} == {None, NOON}


def test_sources_of_one_host_are_claimed_together(one_database: Database) -> None:
    urls = ["https://one.example.org/a", "https://one.example.org./b", "https://two.example.org:8443/c", "no address"]
    assert [find_visit_host(url) for url in urls] == ["one.example.org", "one.example.org", "two.example.org", urls[-1]]
    web = SlowWeb(is_open=True)
    sources = [SourceSettings(url=url, name=url, publisher="P") for url in (urls[0], urls[0] + "b")]
    limits = UsageLimitSettings(fetch_workers=1)
    reports: list[SourceReport] = collect_sources(
        one_database, web, Settings(file=SettingsFileContent(sources=sources, limits=limits)), now=NOON
    )
    assert [report.new for report in reports] == [1, 1]
