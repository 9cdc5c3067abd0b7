"""Editions from before this installation: read from files and pages, and used to prevent repeats."""

from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.app.sources import past_editions
from digest.app.sources.past_editions import ImportedEditionResult
from digest.edition.calendar.edition_windows import find_next_window
from digest.edition.drafting.candidates import load_previous_editions
from digest.edition.edition_queries import next_edition_number
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsFileContent, UsageLimitSettings
from digest.store.engine import Database
from digest.store.imported_edition_models import ImportedEdition
from digest.store.models import AuditEntry
from tests.actors import EDITOR
from tests.moments import RELEASE

NOW = datetime(2026, 11, 19, 22, tzinfo=UTC)
PAGE = """<!doctype html><html><head><title>The Watch, Issue 146</title>{head}</head><body>
<p>Friday, November 13, 2026</p><a href="https://watch.example.org/newsletter/146">View this in your browser</a>
<h2><a href="https://a.example.org/tunnel?utm_source=mail">Border tunnel found under a market hall</a></h2>
<p>Agents sealed a passage of ninety meters near the crossing.</p>
<h2>Hospital network recovers from ransomware</h2><p>Nurses wrote on paper.</p>
<a href="https://b.example.org/hospital">Read more</a>
<a href="https://b.example.org/hospital#again">Hospital network recovers, once more</a>
<a href="https://news.us1.list-manage.com/track/click?u=1">Coast Guard drill closes the harbor</a>
<a href="https://www.facebook.com/watch/page">Follow us on Facebook for more</a>
<a href="https://watch.example.org/">The Watch web site front</a>
<a href="https://watch.example.org/leave">Unsubscribe from this list</a>
</body></html>"""
CANONICAL = '<link rel="canonical" href="https://watch.example.org/newsletter/146">'


@pytest.fixture
def install(database: Database, tmp_path: Path) -> Installation:
    """Give an installation that may read pages of this machine."""
    file = SettingsFileContent(limits=UsageLimitSettings(allow_networks=["127.0.0.0/8"]))
    return Installation(Settings(file=file, home=tmp_path), database)


def saved(tmp_path: Path, text: str, name: str = "146.html") -> str:
    (tmp_path / name).write_text(text, "utf-8")
    return str(tmp_path / name)


def run_import(install: Installation, *places: str, dry_run: bool = False) -> list[ImportedEditionResult]:
    return past_editions.import_past_editions(install, places, actor=EDITOR, now=NOW, dry_run=dry_run)


def test_the_stories_of_an_imported_edition_count_as_told_and_numbers_go_on(
    install: Installation, tmp_path: Path
) -> None:
    (dry,) = run_import(install, saved(tmp_path, PAGE.format(head=CANONICAL)), dry_run=True)
    with install.database.read() as session:
        assert session.scalars(select(ImportedEdition)).all() == []
    (report,) = run_import(install, str(tmp_path / "146.html"))
    assert report == dry
    assert report.page is not None
    assert (report.page.number, report.page.counted_links) == (146, 1)
    assert report.page.released_at is not None
    assert report.page.released_at.date().isoformat() == "2026-11-13"
    assert [(story.url, story.headline) for story in report.page.stories] == [
        ("https://a.example.org/tunnel", "Border tunnel found under a market hall"),
        ("https://b.example.org/hospital", "Hospital network recovers from ransomware"),
    ]
    with install.database.read() as session:
        previous = load_previous_editions(session, find_next_window(NOW, None), RELEASE, 4)
        assert next_edition_number(session, 1) == 147
        assert session.scalars(select(AuditEntry.detail)).all() == [{"editions": 1, "stories": 2}]
    assert [(used.edition_called, used.url) for used in previous.used_stories] == [
        ("No. 146", "https://a.example.org/tunnel"),
        ("No. 146", "https://b.example.org/hospital"),
    ]
    told = previous.news_stories[0]
    assert (told.edition, told.number) == ("2026-W46", 146)
    assert told.articles[0].summary == "Agents sealed a passage of ninety meters near the crossing."
    assert past_editions.find_past_edition_url(install, "2026-W46") == "https://watch.example.org/newsletter/146"
    (again,) = run_import(install, str(tmp_path / "146.html"))
    assert again.replaced


@pytest.mark.takes_turns
def test_a_page_is_fetched_and_what_cannot_be_read_is_said_while_the_others_go_on(
    install: Installation, tmp_path: Path, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("User-agent: *\nAllow: /")
    httpserver.expect_request("/146").respond_with_data(PAGE.format(head=""), content_type="text/html")
    httpserver.expect_request("/gone").respond_with_data("", status=404)
    reports = run_import(
        install,
        httpserver.url_for("/gone"),
        str(tmp_path / "missing.html"),
        saved(tmp_path, "<html><body><p>Nothing here.</p></body></html>", "empty.html"),
        saved(tmp_path, PAGE.format(head="").replace("Friday, November 13, 2026", ""), "undated.html"),
        httpserver.url_for("/146"),
    )
    assert [bool(report.page) for report in reports] == [False, False, False, False, True]
    words = ["", "No such file", "no recognizable stories", "--sent"]
    assert all(word in report.refusal for word, report in zip(words, reports, strict=False))
    assert reports[0].refusal
    with install.database.read() as session:
        (edition,) = session.scalars(select(ImportedEdition))
        assert (edition.address, edition.name) == (httpserver.url_for("/146"), "2026-W46")


@pytest.mark.takes_turns
def test_a_link_in_a_sentence_is_no_story_and_one_behind_a_label_is(install: Installation, tmp_path: Path) -> None:
    prose = """<p>Also reported by the <a href="https://c.example.org/t">Harbor Safety Board</a>, <a
    href="https://d.example.org/t">National Border Digest</a> and others</p>
    <p>It was a long night. <a href="https://e.example.org/drill">Read more</a></p>
    <p>From the county: <a href="https://f.example.org/shelters">Six shelters were warm by nightfall</a></p>
    <p><a href="https://watch.example.org/146.ics">Add these to your calendar</a></p>
    <p>Anything missing? <a href="https://watch.example.org/contact">Write to the editors</a></p></body>"""
    text = PAGE.format(head="").replace("<h2>Hospital", "<h2>Drill closes the harbor</h2>" + prose + "<h2>Hospital")
    (report,) = run_import(install, saved(tmp_path, text), dry_run=True)
    assert report.page is not None
    assert [(story.url, story.headline) for story in report.page.stories] == [
        ("https://a.example.org/tunnel", "Border tunnel found under a market hall"),
        ("https://e.example.org/drill", "Drill closes the harbor"),
        ("https://f.example.org/shelters", "Six shelters were warm by nightfall"),
        ("https://b.example.org/hospital", "Hospital network recovers from ransomware"),
    ]


@pytest.mark.takes_turns
def test_a_message_is_read_as_it_arrived(install: Installation, tmp_path: Path) -> None:
    page = PAGE.format(head=CANONICAL).replace("Friday, November 13, 2026", "Café à la carte")
    message = EmailMessage()
    message["Subject"], message["Date"] = "The Watch, Issue 146", "Fri, 13 Nov 2026 11:00:00 +0000"
    message["To"] = "pat@county.example"
    message.set_content("In plain words.")
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    (tmp_path / "146.eml").write_bytes(message.as_bytes())
    (report,) = run_import(install, str(tmp_path / "146.eml"))
    assert report.page is not None, report.refusal
    assert [story.url for story in report.page.stories] == [
        "https://a.example.org/tunnel",
        "https://b.example.org/hospital",
    ]
    assert report.page.released_at == datetime(2026, 11, 13, 11, tzinfo=UTC)
    message = EmailMessage()
    message["Subject"], message["To"] = "The Watch, Issue 146", "pat@county.example"
    message.set_content("In plain words.")
    (tmp_path / "text.eml").write_bytes(message.as_bytes())
    (refused,) = run_import(install, str(tmp_path / "text.eml"))
    assert "no HTML part" in refused.refusal


def test_the_subscriber_whose_copy_was_saved_is_not_stored(install: Installation, tmp_path: Path) -> None:
    text = PAGE.format(
        head='<link rel="canonical" href="https://watch.example.org/newsletter/146?to=pat%40county.example">'
    )
    text = text.replace("The Watch, Issue 146", "The Watch, Issue 146, for pat@county.example")
    text = text.replace("/tunnel?utm_source=mail", "/tunnel?id=7&e=pat%40county.example")
    text = text.replace("near the crossing.", "near the crossing. Sent to pat@county.example.")
    (report,) = run_import(
        install, saved(tmp_path, text.replace("Hospital network", "For pat@county.example: network"))
    )
    assert report.page is not None
    assert (report.page.title, report.page.stories[0].url) == (
        "The Watch, Issue 146, for",
        "https://a.example.org/tunnel?id=7",
    )
    with install.database.read() as session:
        (edition,) = session.scalars(select(ImportedEdition))
        kept = [edition.address, edition.title, *(v for s in edition.stories for v in (s.url, s.headline, s.summary))]
    assert edition.address == "https://watch.example.org/newsletter/146"
    assert "county.example" not in " ".join(kept)


@pytest.mark.takes_turns
def test_one_that_was_released_ahead_of_now_is_no_past_edition(install: Installation, tmp_path: Path) -> None:
    text = PAGE.format(head="").replace("Friday, November 13, 2026", "")
    ahead = NOW + timedelta(days=1)
    (report,) = past_editions.import_past_editions(
        install, [saved(tmp_path, text)], actor=EDITOR, now=NOW, released_on=ahead
    )
    assert "in the future" in report.refusal
