"""robots.txt, read as RFC 9309 requires, from a real loopback server."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from pytest_httpserver import HTTPServer

from digest.collect.fetch.fetcher import HttpFetcher
from digest.collect.fetch.robots_txt import CACHE_SECONDS, RobotsRules
from digest.settings import UsageLimitSettings
from tests.conftest import WAIT_TIMEOUT, reserve_port

LIMITS = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT)


@pytest.fixture
def fetcher() -> Iterator[HttpFetcher]:
    with HttpFetcher(LIMITS, "hls-digest/1 (+https://hls.example/)") as http_fetcher:
        yield http_fetcher


def test_the_rules_for_us_are_kept_and_asked_for_once(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    rules = "\ufeffUser-agent: other\nDisallow: /\n\nUser-agent: hls-digest\nDisallow: /private/*.html$\nAllow: /\n"
    httpserver.expect_request("/robots.txt").respond_with_data(rules.encode())
    assert fetcher.may_read(httpserver.url_for("/news/1.html"))
    assert not fetcher.may_read(httpserver.url_for("/private/1.html#part"))
    assert len(httpserver.log) == 1


def test_rules_for_everybody_are_for_us(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("User-agent: *\nDisallow: /a")
    assert not fetcher.may_read(httpserver.url_for("/a/b"))
    assert fetcher.may_read(httpserver.url_for("/b"))


def test_an_agent_whose_contact_address_is_named_in_a_rule_is_not_meant(
    httpserver: HTTPServer, fetcher: HttpFetcher
) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("User-agent: https\nDisallow: /")
    assert fetcher.may_read(httpserver.url_for("/a"))


@pytest.mark.parametrize(
    ("status", "allowed"), [(404, True), (403, True), (410, True), (429, False), (500, False), (503, False)]
)
def test_no_rules_allow_all_and_a_failing_server_allows_nothing(
    httpserver: HTTPServer, fetcher: HttpFetcher, status: int, *, allowed: bool
) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("no", status=status)
    assert fetcher.may_read(httpserver.url_for("/a")) is allowed


def test_a_host_that_is_not_there_allows_nothing(fetcher: HttpFetcher) -> None:
    with reserve_port() as closed:
        assert not fetcher.may_read(f"http://127.0.0.1:{closed}/a")
    assert not fetcher.may_read("http://10.0.0.1/a")
    assert not fetcher.may_read("ftp://example.org/")


def test_rules_that_moved_are_followed(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data(status=301, headers={"Location": "/r"})
    httpserver.expect_request("/r").respond_with_data("User-agent: *\nDisallow: /a")
    assert not fetcher.may_read(httpserver.url_for("/a"))


def test_of_overlong_rules_the_first_half_megabyte_counts(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    rules = b"User-agent: *\nDisallow: /early\n" + b"# padding\n" * 60_000 + b"Disallow: /late\n"
    httpserver.expect_request("/robots.txt").respond_with_data(rules)
    assert not fetcher.may_read(httpserver.url_for("/early"))
    assert fetcher.may_read(httpserver.url_for("/late"))


def test_rules_are_forgotten_after_an_hour() -> None:
    read: list[str] = []
    now = [0.0]

    def give(address: str) -> bytes:
        read.append(address)
        return b""

    robots = RobotsRules(give, "hls-digest", clock=lambda: now[0])
    for moment in (0.0, CACHE_SECONDS - 1, CACHE_SECONDS, CACHE_SECONDS + 1):
        now[0] = moment
        assert robots.allows(httpx.URL("https://example.org/a?b"))
    assert read == ["https://example.org/robots.txt"] * 2
    robots.allows(httpx.URL("http://example.org:8080/a"))
    assert read[-1] == "http://example.org:8080/robots.txt"


def test_rules_of_many_wildcards_do_not_hold_the_process() -> None:
    """In a child with 10 s of processor time: as a pattern with backtracking they would take for ever."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "import httpx; from digest.collect.fetch.robots_txt import RobotsRules\n"
        "text = b'User-agent: *\\nDisallow: /' + b'*a' * 20 + b'*b$\\n'\n"
        "assert RobotsRules(lambda _: text, 'hls-digest').allows(httpx.URL('https://example.org/' + 'a' * 2000))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
