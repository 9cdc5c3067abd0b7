"""Fetches from a real loopback server: redirects, conditional requests, refusals, and waits."""

import threading
from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from digest.collect.fetch.fetcher import HttpFetcher, build_user_agent
from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.settings import UsageLimitSettings
from tests.conftest import WAIT_TIMEOUT, reserve_port
from tests.moments import AFTER_RELEASE as NOW

LIMITS = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT, fetch_redirects=3)
AGENT = "hls-digest/1 (+https://hls.example/)"


@pytest.fixture
def fetcher() -> Iterator[HttpFetcher]:
    with HttpFetcher(LIMITS, AGENT, clock=lambda: NOW) as http_fetcher:
        yield http_fetcher


def failing(fetcher: HttpFetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetcher.get(url)
    assert caught.value.url == url
    return caught.value


def test_a_body_comes_with_what_its_headers_say(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    headers = {
        "Content-Type": 'Application/RSS+xml; Charset="UTF-8"',
        "ETag": '"1"',
        "Last-Modified": "Thu, 19 Nov 2026 08:00:00 GMT",
        "Cache-Control": "public, max-age=900",
        "Age": "300",
    }
    httpserver.expect_request("/feed").respond_with_data(b"<rss/>", headers=headers)
    got = fetcher.get(httpserver.url_for("/feed#part"))
    assert (got.url, got.status, got.body) == (httpserver.url_for("/feed"), 200, b"<rss/>")
    assert (got.content_type, got.charset) == ("application/rss+xml", "utf-8")
    assert (got.etag, got.last_modified) == ('"1"', headers["Last-Modified"])
    assert (got.max_age, got.moved_to, got.not_modified) == (600, None, False)


def test_we_say_who_we_are_and_ask_for_gzip_only(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"x")
    fetcher.get(httpserver.url_for("/feed"), accept="application/rss+xml")
    sent = httpserver.log[0][0].headers
    assert sent["User-Agent"] == AGENT
    assert sent["Accept"] == "application/rss+xml"
    assert sent["Accept-Encoding"] == "gzip"
    assert "Cookie" not in sent


def test_cookies_of_one_answer_are_not_sent_with_the_next(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"x", headers={"Set-Cookie": "who=us"})
    fetcher.get(httpserver.url_for("/feed"))
    fetcher.get(httpserver.url_for("/feed"))
    assert "Cookie" not in httpserver.log[1][0].headers


def test_a_proxy_of_the_environment_is_not_used(
    httpserver: HTTPServer, fetcher: HttpFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    httpserver.expect_request("/feed").respond_with_data(b"x")
    assert fetcher.get(httpserver.url_for("/feed")).body == b"x"


def test_an_unchanged_document_is_not_sent_again(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    def answer(request: Request) -> Response:
        known = request.headers.get("If-None-Match") == '"1"' and "If-Modified-Since" in request.headers
        return Response(status=304, headers={"ETag": '"1"'}) if known else Response(b"all", headers={"ETag": '"1"'})

    httpserver.expect_request("/feed").respond_with_handler(answer)
    first = fetcher.get(httpserver.url_for("/feed"))
    second = fetcher.get(httpserver.url_for("/feed"), etag=first.etag, last_modified="Thu, 19 Nov 2026 08:00:00 GMT")
    assert (second.not_modified, second.status, second.body, second.etag) == (True, 304, b"", '"1"')


def test_not_modified_without_a_condition_is_no_answer(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"", status=304)
    assert failing(fetcher, httpserver.url_for("/feed")).reason is FetchErrorReason.BAD_ANSWER


def test_a_stored_etag_that_could_inject_a_header_is_left_out(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"x")
    fetcher.get(httpserver.url_for("/feed"), etag='"1"\r\nX-Evil: 1', last_modified="é")
    sent = httpserver.log[0][0].headers
    assert not {"X-Evil", "If-None-Match", "If-Modified-Since"} & set(sent.keys())


def redirects(server: HTTPServer, *statuses: int) -> str:
    """Lead from /0 over one hop a status to a document."""
    for place, status in enumerate(statuses):
        headers = {"Location": f"/{place + 1}"}
        server.expect_request(f"/{place}").respond_with_data(b"", status=status, headers=headers)
    server.expect_request(f"/{len(statuses)}").respond_with_data(b"here")
    return server.url_for("/0")


@pytest.mark.parametrize(
    ("statuses", "moved_to"),
    [
        ([301], "/1"),
        ([308], "/1"),
        ([301, 308, 301], "/3"),
        ([302], None),
        ([303], None),
        ([307], None),
        ([301, 302], "/1"),
        ([302, 301], None),
    ],
)
def test_only_permanent_redirects_move_a_source(
    httpserver: HTTPServer, fetcher: HttpFetcher, statuses: list[int], moved_to: str | None
) -> None:
    got = fetcher.get(redirects(httpserver, *statuses))
    assert (got.body, got.url) == (b"here", httpserver.url_for(f"/{len(statuses)}"))
    assert got.moved_to == (httpserver.url_for(moved_to) if moved_to else None)


def test_too_many_redirects_are_not_followed(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    error = failing(fetcher, redirects(httpserver, 302, 302, 302, 302))
    assert error.reason is FetchErrorReason.TOO_MANY_REDIRECTS
    assert "more than 3 redirects" in error.message
    assert len(httpserver.log) == 4


def test_a_redirect_in_a_circle_is_noticed(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/a").respond_with_data(b"", status=302, headers={"Location": "/b"})
    httpserver.expect_request("/b").respond_with_data(b"", status=302, headers={"Location": "/a#again"})
    assert failing(fetcher, httpserver.url_for("/a")).reason is FetchErrorReason.REDIRECT_LOOP
    assert len(httpserver.log) == 2


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", FetchErrorReason.REFUSED_ADDRESS),
        ("http://0xa9fea9fe/", FetchErrorReason.REFUSED_ADDRESS),
        ("http://[::1]:8080/", FetchErrorReason.REFUSED_ADDRESS),
        ("//10.0.0.1/", FetchErrorReason.REFUSED_ADDRESS),
        ("file:///etc/passwd", FetchErrorReason.BAD_URL),
        ("gopher://127.0.0.1:70/", FetchErrorReason.BAD_URL),
        ("http://user:secret@127.0.0.1/", FetchErrorReason.BAD_URL),
        ("http://127.0.0.1:25/", FetchErrorReason.BAD_URL),
        ("", FetchErrorReason.BAD_ANSWER),
    ],
)
def test_a_redirect_to_a_forbidden_place_is_refused_without_a_connection(
    httpserver: HTTPServer, fetcher: HttpFetcher, location: str, reason: FetchErrorReason
) -> None:
    # pytest-socket stops the run at a connection to any of these.
    httpserver.expect_request("/feed").respond_with_data(b"", status=302, headers={"Location": location})
    error = failing(fetcher, httpserver.url_for("/feed"))
    assert error.reason is reason
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("status", "reason", "permanent"),
    [
        (400, FetchErrorReason.BAD_ANSWER, False),
        (401, FetchErrorReason.REFUSING, True),
        (403, FetchErrorReason.REFUSING, True),
        (404, FetchErrorReason.MISSING, False),
        (410, FetchErrorReason.GONE, True),
        (429, FetchErrorReason.RATE_LIMITED, False),
        (451, FetchErrorReason.REFUSING, True),
        (500, FetchErrorReason.SERVER, False),
        (503, FetchErrorReason.SERVER, False),
        (300, FetchErrorReason.BAD_ANSWER, False),
    ],
)
def test_each_status_has_its_reason(
    httpserver: HTTPServer, fetcher: HttpFetcher, status: int, reason: FetchErrorReason, *, permanent: bool
) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"no", status=status)
    error = failing(fetcher, httpserver.url_for("/feed"))
    assert (error.reason, not error.can_retry, error.status) == (reason, permanent, status)
    assert str(status) in error.message


def test_a_refusal_says_what_the_operator_can_do(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"no", status=403)
    message = failing(fetcher, httpserver.url_for("/feed")).message
    assert AGENT in message
    assert "use another of their feeds" in message


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Fri, 20 Nov 2026 12:05:00 GMT", 300.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("9" * 5000, 7 * 24 * 3600.0),
    ],
)
def test_the_wait_that_a_publisher_asks_for_is_read(
    httpserver: HTTPServer, fetcher: HttpFetcher, status: int, header: str, seconds: float | None
) -> None:
    httpserver.expect_request("/feed").respond_with_data(b"", status=status, headers={"Retry-After": header})
    assert failing(fetcher, httpserver.url_for("/feed")).retry_after == seconds


def test_a_name_that_leads_to_loopback_is_refused(httpserver: HTTPServer) -> None:
    with HttpFetcher(UsageLimitSettings(), AGENT) as strict:
        error = failing(strict, f"http://localhost:{httpserver.port}/feed")
        assert error.reason is FetchErrorReason.REFUSED_ADDRESS
        assert "limits.allow_networks" in error.message
    assert not httpserver.log


def test_localhost_is_reached_where_its_networks_are_open(httpserver: HTTPServer) -> None:
    # It often leads to ::1 first, where nobody listens: then the next address is tried.
    limits = UsageLimitSettings(allow_networks=["127.0.0.0/8", "::1/128"])
    httpserver.expect_request("/feed").respond_with_data(b"x")
    with HttpFetcher(limits, AGENT) as open_fetcher:
        assert open_fetcher.get(f"http://localhost:{httpserver.port}/feed").body == b"x"


def test_the_connection_goes_to_the_address_that_was_checked_under_the_asked_name(httpserver: HTTPServer) -> None:
    resolved_hosts: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        resolved_hosts.append(host)
        return ["127.0.0.1"] if len(resolved_hosts) == 1 else ["10.0.0.1"]

    httpserver.expect_request("/feed").respond_with_data(b"x")
    with HttpFetcher(LIMITS, AGENT, resolver=rebinding) as http_fetcher:
        url = f"http://Feeds.Example.ORG:{httpserver.port}/feed"
        assert http_fetcher.get(url).body == b"x"
        assert failing(http_fetcher, url).reason is FetchErrorReason.REFUSED_ADDRESS
    assert resolved_hosts == ["feeds.example.org", "feeds.example.org"]
    assert httpserver.log[0][0].headers["Host"] == f"feeds.example.org:{httpserver.port}"


def test_an_international_host_is_asked_for_in_ascii(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/r%C3%A9sum%C3%A9".replace("%C3%A9", "é")).respond_with_data(b"x")
    with HttpFetcher(LIMITS, AGENT, resolver=lambda *_: ["127.0.0.1"]) as http_fetcher:
        got = http_fetcher.get(f"http://bücher.example:{httpserver.port}/résumé")
    assert got.url == f"http://xn--bcher-kva.example:{httpserver.port}/r%C3%A9sum%C3%A9"
    assert httpserver.log[0][0].headers["Host"].startswith("xn--bcher-kva.example")


def test_an_unknown_host_and_a_closed_port_have_their_own_reasons() -> None:
    with HttpFetcher(LIMITS, AGENT, resolver=lambda *_: []) as http_fetcher, reserve_port() as closed:
        assert failing(http_fetcher, "http://nowhere.example/").reason is FetchErrorReason.DNS
        assert failing(http_fetcher, f"http://127.0.0.1:{closed}/").reason is FetchErrorReason.CONNECT


def test_plain_http_on_an_https_address_is_a_tls_failure(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    error = failing(fetcher, f"https://127.0.0.1:{httpserver.port}/feed")
    assert error.reason is FetchErrorReason.TLS
    assert "try the URL with http://" in error.message


def test_one_host_is_asked_one_thing_at_a_time(httpserver: HTTPServer) -> None:
    inside, most, count = 0, 0, threading.Lock()

    def answer(request: Request) -> Response:
        nonlocal inside, most
        with count:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.01)  # long enough for another request to come in, were it let
        with count:
            inside -= 1
        return Response(b"x")

    httpserver.expect_request("/feed").respond_with_handler(answer)
    with HttpFetcher(LIMITS, AGENT) as http_fetcher:
        url = httpserver.url_for("/feed")
        threads = [threading.Thread(target=http_fetcher.get, args=(url,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(httpserver.log), most) == (6, 1)


def test_the_user_agent_names_product_version_and_contact() -> None:
    assert build_user_agent("https://bücher.example/").startswith("hls-digest/")
    assert build_user_agent("https://bücher.example/").endswith("(+https://xn--bcher-kva.example/)")
    with pytest.raises(ValueError, match="printable ASCII"):
        HttpFetcher(LIMITS, "evil\r\nX: 1")


@pytest.mark.parametrize(
    ("body", "kind", "explanation"),
    [
        (
            b'{"code":"rest_cannot_access","message":"DRA: Only <b>authenticated<\\/b> users can access the REST API.","data":{"status":401}}',
            "application/json; charset=UTF-8",
            "DRA: Only authenticated users can access the REST API.",
        ),
        (b'{"code":"rest_forbidden","message":"D\\u00e9sol\\u00e9.\\u0007"}', "application/json", "D\u00e9sol\u00e9."),
        (b'{"code":"rest_forbidden","message":"' + b"x" * 400 + b'"}', "application/json", ""),
        (b'{"code":"rest_forbidden","message":"\\ud800\\q"}', "application/json", ""),
        (b'{"code":"forbidden","message":"No."}', "application/json", ""),
        (b'{"code":"rest_forbidden","message":"No."}', "text/html", ""),
        (b"[" * 100_000, "application/json", ""),
    ],
)
def test_wordpress_says_why_its_rest_api_is_closed(
    httpserver: HTTPServer, fetcher: HttpFetcher, body: bytes, kind: str, explanation: str
) -> None:
    httpserver.expect_request("/posts").respond_with_data(body, status=401, content_type=kind)
    error = failing(fetcher, httpserver.url_for("/posts"))
    assert (error.reason, error.status, error.explanation) == (FetchErrorReason.REFUSING, 401, explanation)
    assert ("The site says" in error.message) is bool(explanation)


def test_a_refusal_that_breaks_off_is_still_one(httpserver: HTTPServer, fetcher: HttpFetcher) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    httpserver.expect_request("/posts").respond_with_data(b"no gzip", status=403, headers=headers)
    assert failing(fetcher, httpserver.url_for("/posts")).reason is FetchErrorReason.REFUSING
