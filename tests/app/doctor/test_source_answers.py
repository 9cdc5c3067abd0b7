"""`digest doctor --online` reports which sources respond, tested against a server on loopback."""

from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.examination import run_checks
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsFileContent, SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Article, Source
from tests.conftest import WAIT_TIMEOUT
from tests.moments import MONDAY_NOON as NOON

FEED = """<rss version="2.0"><channel><title>Port</title><item><title>Port reopens</title>
<link>https://port.example.org/reopens</link><pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item></channel></rss>"""
CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Port//EN
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20261203
SUMMARY:Port drill
URL:https://port.example.org/drill
END:VEVENT
END:VCALENDAR
"""


def make_source(server: HTTPServer, path: str, checked: str = "") -> SourceSettings:
    return SourceSettings(url=server.url_for(path), name=path.strip("/"), publisher="Port", checked=checked)


def examine(database: Database, home: Path, *sources: SourceSettings) -> list[DoctorFinding]:
    limits = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT)
    settings = Settings(home=home, file=SettingsFileContent(sources=list(sources), limits=limits))
    return run_checks(ExaminedInstallation(Installation(settings, database), NOON), ["source-answers"])


def test_the_sources_that_answer_are_listed_and_the_others_explained(
    one_database: Database, tmp_path: Path, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    httpserver.expect_request("/drills.ics").respond_with_data(CALENDAR, content_type="text/calendar")
    httpserver.expect_request("/refused").respond_with_data("no", 403)
    httpserver.expect_request("/broken").respond_with_data("<rss><channel>", content_type="application/rss+xml")
    sources = [make_source(httpserver, path) for path in ("/feed", "/refused", "/drills.ics", "/broken")]
    sources[1] = make_source(httpserver, "/refused", "2026-08-09")
    findings = examine(one_database, tmp_path, *sources)
    assert [(f.level, f.message.partition(" ")[0]) for f in findings] == [
        *(("warning", "refused"), ("warning", "broken"), ("ok", "2"))
    ]
    assert findings[0].message.startswith("refused can't be read, though it could be on August 9, 2026: ")
    assert "403" in findings[0].message
    assert findings[1].message.startswith("broken can't be read: ")
    assert findings[2].message == "2 of 4 sources responded: feed (1 item) and drills.ics (1 item)"


def test_nothing_is_stored_and_each_source_is_asked_once(
    one_database: Database, tmp_path: Path, httpserver: HTTPServer
) -> None:
    requests: list[str] = []

    def answer(request: Request) -> Response:
        requests.append(request.path)
        return Response(FEED, content_type="application/rss+xml")

    httpserver.expect_request("/feed").respond_with_handler(answer)
    (finding,) = examine(one_database, tmp_path, make_source(httpserver, "/feed"))
    assert (finding.level, requests) == ("ok", ["/feed"])
    with one_database.read() as session:
        assert session.query(Article).count() == session.query(Source).count() == 0


def test_sources_that_all_fail_have_one_cause(one_database: Database, tmp_path: Path, httpserver: HTTPServer) -> None:
    sources = [make_source(httpserver, path) for path in ("/gone", "/away")]
    (finding,) = examine(one_database, tmp_path, *sources)
    assert finding.message.startswith("None of the 2 sources can be read. The first: ")
    assert finding.is_unexamined
    httpserver.expect_request("/gone").respond_with_data(FEED, content_type="application/rss+xml")
    levels = [finding.level for finding in examine(one_database, tmp_path, *sources)]
    assert levels == ["warning", "ok"]


@pytest.mark.parametrize("day", ["August 9", "2026-02-30", "2026-8-9"])
def test_the_day_of_the_last_check_is_a_day(day: str) -> None:
    with pytest.raises(ValueError, match="checked"):
        SourceSettings(url="https://port.example.org/feed", name="Port", publisher="Port", checked=day)
