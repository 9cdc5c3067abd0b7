import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pytest_httpserver import HTTPServer
from sqlalchemy import select
from structlog.testing import capture_logs

from digest.cli import digest
from digest.cli.context import find_system_user
from digest.settings import load_settings
from digest.store.engine import Database, open_database
from digest.store.models import AuditEntry, DailySourceVisitCounts, Source

FEED = """<rss version="2.0"><channel><title>Port News</title>
<item><title>Port reopens</title><link>https://port.example.org/reopens</link>
<pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item>
<item><title>No address</title></item></channel></rss>"""
OWN = '# the operator\'s own words\n[limits]\nallow_networks = ["127.0.0.0/8"]\n'

Run = Callable[..., Result]


@pytest.fixture
def run(new_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("DIGEST_SETTINGS", raising=False)
    (tmp_path / "digest.toml").write_text(OWN, "utf-8")

    def invoke(*words: object) -> Result:
        # A process writes its log to standard error; here it would be in the output, if no earlier test has set it up.
        with capture_logs():
            return CliRunner().invoke(digest, [str(word) for word in words], catch_exceptions=False)

    return invoke


@pytest.fixture
def feed(httpserver: HTTPServer) -> str:
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    return httpserver.url_for("/feed")


def database(tmp_path: Path) -> Database:
    return open_database(load_settings(tmp_path / "digest.toml").effective_database_url)


def test_a_source_is_added_and_collected(run: Run, feed: str, tmp_path: Path) -> None:
    added = run("sources", "add", feed, "--publisher", 'Port "Authority"')
    assert (added.exit_code, added.output) == (0, f"Added Port News <{feed}>: 1 item, rss. Next: digest collect\n")
    text = (tmp_path / "digest.toml").read_text("utf-8")
    assert text.startswith(OWN)
    (named,) = load_settings(tmp_path / "digest.toml", {}).file.sources
    assert (named.url, named.name, named.publisher) == (feed, "Port News", 'Port "Authority"')
    collected = run("collect")
    assert collected.exit_code == 0
    assert "Port News" in collected.output
    assert "item 2 rejected: no link" in collected.output
    opened = database(tmp_path)
    with opened.read() as session:
        (audit,) = session.scalars(select(AuditEntry).where(AuditEntry.act != "collected"))
        assert (audit.actor, audit.act) == (f"terminal:{find_system_user()}", "source added")
    opened.close()


def test_json_says_for_each_source_what_became_of_it(run: Run, feed: str) -> None:
    run("sources", "add", feed)
    said = json.loads(run("collect", "--json").output)
    (source,) = said["sources"]
    assert {key: source[key] for key in ("name", "url", "kind", "found", "new", "updated", "unchanged", "error")} == {
        "name": "Port News",
        "url": feed,
        "kind": "rss",
        "found": 2,
        "new": 1,
        "updated": 0,
        "unchanged": 0,
        "error": None,
    }
    assert source["rejected"] == [{"place": 2, "reason": "no link, and the id isn't a URL", "withheld_url": ""}]
    assert said["total"] == {"found": 2, "new": 1, "updated": 0, "unchanged": 0, "rejected": 1}


def test_files_are_collected_as_of_the_moment_that_is_named(run: Run, tmp_path: Path) -> None:
    undated = FEED.replace("<pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate>", "")
    (tmp_path / "port.xml").write_text(undated, "utf-8")
    assert run("collect", "port.xml", "--now", "2026-11-16T12:00").exit_code == 0
    opened = database(tmp_path)
    with opened.read() as session:
        found = session.scalars(select(Source.good_at)).one()
    opened.close()
    assert found
    assert found.isoformat() == "2026-11-16T17:00:00+00:00", "without a zone, the publication's is meant"


def test_nothing_that_can_be_read_is_an_error_and_some_is_not(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}", "utf-8")
    assert run("collect", "notes.json").exit_code == 1
    (tmp_path / "port.xml").write_text(FEED, "utf-8")
    assert run("collect", "notes.json", "port.xml").exit_code == 0


def test_sources_that_are_not_due_are_said_and_no_error(run: Run, httpserver: HTTPServer) -> None:
    fresh = {"Cache-Control": "max-age=3600"}
    httpserver.expect_request("/feed").respond_with_data(FEED, headers=fresh)
    run("sources", "add", httpserver.url_for("/feed"))
    run("collect")
    again = run("collect")
    assert again.exit_code == 0
    assert "not due until" in again.output
    forced = json.loads(run("collect", "port news", "--force", "--json").output)
    assert [source["unchanged"] for source in forced["sources"]] == [1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["collect"], "no sources in the settings yet"),
        (["collect", "nothing-like-it"], "There's no source or file"),
        (["collect", "digest.toml", "--now", "yesterday"], "isn't a date and time"),
        (["--as", "nobody", "sources", "list"], "Enter a team member's email address"),
        (["--settings", "none.toml", "sources", "list"], "There's no settings file"),
        (["sources", "add", "ftp://port.example.org/"], "not an http or https URL"),
        (["sources", "add", "mailto:x"], "isn't a URL"),
    ],
)
def test_wrong_use_is_said_with_exit_code_2(run: Run, words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.output


def test_a_source_that_cannot_be_read_is_not_added(run: Run, httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/feed").respond_with_data("", 403)
    result = run("sources", "add", httpserver.url_for("/feed"))
    assert result.exit_code == 1
    assert "denied access (403)" in result.output
    assert (tmp_path / "digest.toml").read_text("utf-8") == OWN
    assert run("sources", "add", httpserver.url_for("/feed"), "--untried").exit_code == 0


def test_of_a_site_the_feed_is_added(run: Run, feed: str, httpserver: HTTPServer, tmp_path: Path) -> None:
    home = '<html><head><title>Port</title><link rel="alternate" type="application/rss+xml" href="/feed"></head></html>'
    httpserver.expect_request("/").respond_with_data(home, content_type="text/html")
    run("sources", "add", httpserver.url_for("/"))
    assert [s.url for s in load_settings(tmp_path / "digest.toml", {}).file.sources] == [feed]
    again = run("sources", "add", httpserver.url_for("/"))
    assert again.exit_code == 1
    assert "already has the URL" in again.output


def test_a_source_is_added_to_a_list_in_brackets_too(run: Run, feed: str, tmp_path: Path) -> None:
    inline = OWN.replace(
        "[limits]", 'sources = [{url = "https://a.example.org/f", name = "A", publisher = "A"}]\n[limits]'
    )
    (tmp_path / "digest.toml").write_text(inline, "utf-8")
    assert run("sources", "add", feed).exit_code == 0
    listed = load_settings(tmp_path / "digest.toml", {}).file.sources
    assert [source.url for source in listed] == ["https://a.example.org/f", feed]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["digest.toml"], "no draft stays behind"


def test_a_source_is_removed_after_a_question_and_its_visits_stay_counted(run: Run, feed: str, tmp_path: Path) -> None:
    run("sources", "add", feed)
    run("collect")
    run("collect", "--force")
    assert f'xmlUrl="{feed}"' in run("sources", "export-opml").output
    assert run("sources", "remove", feed).exit_code == 1, "nobody said yes"
    assert (
        run("sources", "remove", feed, "--yes").output
        == f"Removed Port News <{feed}>. To add it again, run 'digest sources add'.\n"
    )
    assert (tmp_path / "digest.toml").read_text("utf-8").rstrip("\n") == OWN.rstrip("\n")
    again = run("sources", "remove", feed, "--yes")
    assert (again.exit_code, "isn't a source in the settings" in again.output) == (1, True)
    opened = database(tmp_path)
    with opened.read() as session:
        day = session.scalars(select(DailySourceVisitCounts)).one()
        counted = (day.good, day.bad, day.found)
        assert session.scalars(select(Source.active)).one() is False
    opened.close()
    assert counted == (2, 0, 1)


def test_testing_a_source_stores_nothing(run: Run, feed: str, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = run("sources", "test", feed)
    assert result.exit_code == 0
    assert "2026-11-15 09:00  Port reopens" in result.output
    assert "item 2 rejected" in result.output
    assert json.loads(run("sources", "test", feed, "--json").output)["items"][0]["title"] == "Port reopens"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_list_shows_how_each_source_is(run: Run, feed: str, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/403").respond_with_data("", 403)
    run("sources", "add", feed)
    run("sources", "add", httpserver.url_for("/403"), "--untried", "--name", "Closed shop")
    assert [row["health"] for row in json.loads(run("sources", "list", "--json").output)] == ["new", "new"]
    run("collect")
    rows = {row["name"]: row for row in json.loads(run("sources", "list", "--json").output)}
    assert (rows["Port News"]["state"], rows["Port News"]["kind"]) == ("good", "rss")
    assert rows["Closed shop"]["state"].startswith("access denied since")
    assert "Closed shop" in run("sources", "list").output


def test_a_subscribers_list_is_imported_once(run: Run, tmp_path: Path) -> None:
    outlines = "".join(f'<outline text="Feed {n}" xmlUrl="https://f{n}.example.org/feed"/>' for n in (1, 2, 2))
    (tmp_path / "list.opml").write_text(f'<opml version="2.0"><body>{outlines}</body></opml>', "utf-8")
    assert run("sources", "import-opml", "list.opml").output.startswith("Added 2 sources. 0 were already listed")
    assert run("sources", "import-opml", "list.opml").output.startswith("Added 0 sources. 2 were already listed")
    assert [s.name for s in load_settings(tmp_path / "digest.toml", {}).file.sources] == ["Feed 1", "Feed 2"]
    (tmp_path / "port.xml").write_text(FEED, "utf-8")
    wrong = run("sources", "import-opml", "port.xml")
    assert wrong.exit_code == 1
    assert "isn't a list of feeds" in wrong.output


def test_a_settings_file_is_made_where_there_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "digest.toml").unlink()
    assert run("sources", "add", "port.example.org/feed", "--untried").exit_code == 0
    assert [s.url for s in load_settings(tmp_path / "digest.toml", {}).file.sources] == [
        "https://port.example.org/feed"
    ]
