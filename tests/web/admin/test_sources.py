"""Sources in pages: their weeks and results, added by a site's URL or OPML, tested, changed, and removed."""

import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.app.sources import source_overview
from digest.collect.sources.source_rows import is_source_due, sync_sources
from digest.collect.sources.source_visit_counts import SourceWeek, count_source_visit, read_source_weeks
from digest.collect.visits.collection_run import has_unclaimed_visits
from digest.settings import load_settings
from digest.store.models import (
    Article,
    AuditEntry,
    DailySourceVisitCounts,
    Edition,
    EditionState,
    EditionStory,
    Source,
    SourceHealth,
)
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.web.admin.conftest import SETTINGS

FEED = """<rss version="2.0"><channel><title>Port News</title>
<item><title>Port reopens</title><link>https://port.example.org/reopens</link>
<pubDate>Sun, 15 Nov 2026 09:00:00 GMT</pubDate></item></channel></rss>"""
HOME = '<html><head><title>Port</title><link rel="alternate" type="application/rss+xml" href="/feed"></head></html>'
OWN = f"""{SETTINGS}
# The press, as agreed

[[sources]]
url = "https://alpha.example/feed"  # since May
name = "Alpha"
publisher = "Alpha Press"
"""
DESCRIBED = {"name": "Port News", "publisher": "Port", "section": "news", "weight": "1.5", "images": "licensed"}


@pytest.fixture
def filed(world: Any, tmp_path: Path, move_settings_to_file: Any) -> Any:
    reopened = move_settings_to_file(world, tmp_path, OWN)
    with reopened.database.write() as session:
        sync_sources(session, reopened.install.settings)
    return reopened


@pytest.fixture
def site(httpserver: HTTPServer) -> str:
    httpserver.expect_request("/feed").respond_with_data(FEED, content_type="application/rss+xml")
    httpserver.expect_request("/").respond_with_data(HOME, content_type="text/html")
    return httpserver.url_for("/")


def submit(client: Any, path: str, *, on: str = "/admin/sources/add", **fields: Any) -> Any:
    page = client.get(on).text
    tokens = {
        name: found[0]
        for name in ("csrf_token", "fingerprint")
        if (found := re.findall(rf'name="{name}" value="([^"]+)"', page))
    }
    return client.post(path, data=tokens | fields)


def test_pages_of_sources_say_before_saving_that_someone_else_must_approve(filed: Any, site: str) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path = f"/admin/sources/{number}"
    why = "as your text, so someone else must approve the next edition."
    changes = "Changes to its URL, name, publisher, default topic, image rights, and official status count"
    sentences_by_label = {
        "Add source": f"A new source counts {why}",
        "Import feeds": f"New sources count {why}",
        "Save source": f"{changes} {why} Pausing it doesn’t count.",
        "Update URL": f"A new URL counts {why}",
        "Undo the URL change": f"The earlier URL counts {why}",
    }
    for told in (False, True):
        adding = submit(client, "/admin/sources/look", on="/desk/sources", address=site).text
        source_page = client.get(path).text
        with filed.database.write() as session:
            session.get_one(Source, number).moved_to = "https://alpha.example/news"
        moved = client.get(f"{path}/address").text
        with filed.database.write() as session:
            source = session.get_one(Source, number)
            source.moved_to, source.moved_from = None, "https://alpha.example/old"
        pages = adding, adding, source_page, moved, client.get(path).text
        for page, (label, sentence) in zip(pages, sentences_by_label.items(), strict=True):
            assert f">{label}<" in page
            assert (
                bool(re.search(rf"{re.escape(sentence)}</p>\s*<[^>]*>(?:<[^>]*>)*\s*<button[^>]*>{label}<", page))
                is told
            )
            assert told or "someone else" not in page
        filed.session_cookie("editor")  # before, no one else could approve


def acts(world: Any) -> list[tuple[str, str]]:
    with world.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act.like("%source%")).order_by(AuditEntry.id))
        return [(row.act, row.subject) for row in rows]


def source_number(world: Any, url: str) -> int:
    with world.database.read() as session:
        number: int = session.scalars(select(Source.id).where(Source.url == url)).one()
        return number


def test_a_source_is_added_by_its_sites_address_after_what_was_found_is_shown(
    filed: Any, site: str, tmp_path: Path
) -> None:
    client = filed.signed_in_client("admin")
    found = submit(client, "/admin/sources/look", on="/desk/sources", address=site)
    assert "Found: Port News" in found.text
    assert "Port reopens" in found.text
    assert "The newest item is from" not in found.text
    assert '<option value="news" selected>News</option>' in found.text
    assert re.search(r'Add source</button>.*?</div>\s*<p class="hint">You can undo this', found.text)
    assert f'name="url" value="{site}feed"' in found.text
    assert acts(filed) == [], "nothing is added before somebody says so"
    answer = submit(
        client,
        "/admin/sources",
        **DESCRIBED,
        url=f"{site}feed",
        default_topic="Maritime security",
        license="CC BY 4.0",
        primary="1",
    )
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "Source added. The next collection (Nov. 20, 5:00 a.m.) will read it." in page
    source = load_settings(tmp_path / "digest.toml", {}).file.sources[1]
    assert (source.name, source.weight, source.images, source.primary) == ("Port News", 1.5, "licensed", True)
    assert source.license == "CC BY 4.0"
    assert 'name="license" maxlength="200" autocomplete="off" value="CC BY 4.0"' in page
    assert acts(filed) == [("source added", f"{site}feed")]
    again = submit(client, "/admin/sources/look", address=site)
    assert (again.status_code, "already has the URL" in again.text) == (409, True)


def test_of_a_long_feed_the_newest_items_are_shown_and_an_old_one_is_warned_about(
    filed: Any, httpserver: HTTPServer
) -> None:
    items = "".join(
        f"<item><title>Item {n}</title><link>https://port.example.org/{n}</link>"
        f"<pubDate>{n:02} Jul 2025 09:00:00 GMT</pubDate></item>"
        for n in range(1, 13)
    )
    feed = f'<rss version="2.0"><channel><title>Port News</title>{items}</channel></rss>'
    httpserver.expect_request("/old").respond_with_data(feed, content_type="application/rss+xml")
    page = submit(filed.signed_in_client("admin"), "/admin/sources/look", address=httpserver.url_for("/old")).text
    assert "The newest item is from July 12, 2025." in page
    assert "The 8 newest:" in page
    assert re.findall(r"<b>Item (\d+)</b>", page) == [str(n) for n in range(12, 4, -1)]


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("ftp://port.example.org/", 400, "a URL. Enter one such as"),
        ("https://alpha.example/feed", 409, "already has the URL"),
        ("http://127.0.0.2:9/", 409, "http://127.0.0.2:9/"),
    ],
)
def test_what_cannot_be_added_is_said_beside_the_address(filed: Any, address: str, status: int, said: str) -> None:
    answer = submit(filed.signed_in_client("admin"), "/admin/sources/look", address=address)
    assert (answer.status_code, said in answer.text) == (status, True)
    assert re.search(rf'name="address"[^>]*value="{re.escape(address)}"[^>]*aria-invalid', answer.text)


def test_wrong_values_of_a_source_are_answered_at_their_field(filed: Any, tmp_path: Path) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path = f"/admin/sources/{number}"
    assert "Only images credited to a US agency" in client.get(path).text
    answer = submit(client, path, on=path, **DESCRIBED | {"weight": "9", "images": "all"})
    assert answer.status_code == 400
    assert re.search(r'id="weight"[^>]*value="9"[^>]*aria-invalid="true"', answer.text)
    assert "must be 3 or less" in answer.text
    assert (tmp_path / "digest.toml").read_text("utf-8") == OWN


def test_a_source_is_changed_and_removed_and_the_operators_words_stay(filed: Any, tmp_path: Path) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path, file = f"/admin/sources/{number}", tmp_path / "digest.toml"
    shown = client.get(path).text
    assert submit(client, path, on=path, **DESCRIBED | {"name": "Alpha"}).status_code == 303
    assert file.read_text("utf-8") == OWN.replace(
        'publisher = "Alpha Press"\n', 'publisher = "Port"\nweight = 1.5\nimages = "licensed"\n'
    )
    tokens = {name: re.findall(rf'name="{name}" value="([^"]+)"', shown)[0] for name in ("csrf_token", "fingerprint")}
    late = client.post(path, data=tokens | DESCRIBED)
    assert (late.status_code, "Someone else has made changes" in late.text) == (409, True)
    assert "Your changes weren’t saved." in late.text
    assert "Upcoming editions don" in client.get(f"{path}/remove").text
    removed = submit(client, f"{path}/remove", on=f"{path}/remove")
    assert "Alpha was removed. Its articles are kept." in client.get(removed.location).text
    assert file.read_text("utf-8") == SETTINGS + "\n# The press, as agreed\n\n"
    assert client.get(f"{path}/remove").status_code == 404
    assert "This source is no longer in your settings" in client.get(path).text
    assert [act for act, _ in acts(filed)] == ["source changed", "failed: source changed", "source removed"]


def test_what_is_typed_of_a_source_stays_where_a_colleague_was_first(filed: Any, tmp_path: Path) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path = f"/admin/sources/{number}"
    shown = re.findall(r'name="fingerprint" value="([^"]+)"', client.get(path).text)[0]
    theirs = {"name": "Alpha", "publisher": "Alpha Group", "section": "news", "weight": "1.0", "images": "none"}
    assert submit(client, path, on=path, **theirs).status_code == 303
    mine = theirs | {"publisher": "Alpha Press", "weight": "2.5", "primary": "1"}
    answer = submit(client, path, on=path, **mine, fingerprint=shown)
    assert answer.status_code == 409
    assert re.search(r'id="weight"[^>]*value="2.5"', answer.text), "what was typed stays"
    assert re.findall(r"Saved value: ([^<]+)<", answer.text) == ["Alpha Group", "1", "no"]
    again = re.findall(r'name="fingerprint" value="([^"]+)"', answer.text)[0]
    assert submit(client, path, on=path, **mine, fingerprint=again).status_code == 303
    [source] = load_settings(tmp_path / "digest.toml", {}).file.sources
    assert (source.publisher, source.weight, source.primary) == ("Alpha Press", 2.5, True)


def test_the_new_address_of_a_source_is_taken_over_and_its_articles_and_health_stay(filed: Any, tmp_path: Path) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path, new = f"/admin/sources/{number}", "https://alpha.example/news/feed"
    assert "Update URL" not in client.get(path).text
    with filed.database.write() as session:
        source = session.get_one(Source, number)
        source.moved_to, source.health, source.good_at = new, SourceHealth.GOOD, NOW
        article = Article(source_id=number, key="1", url="https://alpha.example/1", title="x", link="")
        article.dated_at = article.found_at = article.seen_at = NOW
        article.categories, article.date_basis = [], "stated"
        session.add(article)
    assert ">Moved</span>" in client.get("/desk/sources").text
    assert "Update URL…" in client.get(path).text
    asked = client.get(f"{path}/address").text
    assert all(f'<dd class="address">{url}</dd>' in asked for url in ("https://alpha.example/feed", new))
    assert (tmp_path / "digest.toml").read_text("utf-8") == OWN, "nothing changes before the button is pressed"
    another = submit(client, f"{path}/address", on=path, address="https://elsewhere.example/feed")
    assert (another.status_code, "no longer redirects to" in another.text) == (409, True)
    answer = submit(client, f"{path}/address", on=path, address=new)
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "Articles will now be collected from the new URL. Existing articles are kept." in page
    assert "Update URL" not in page
    text = (tmp_path / "digest.toml").read_text("utf-8")
    assert text == OWN.replace("https://alpha.example/feed", new)
    with filed.database.read() as session:
        kept = session.scalars(select(Source)).one()
        assert (kept.id, kept.url, kept.moved_to, kept.active) == (number, new, None, True)
        assert (kept.health, kept.good_at) == (SourceHealth.GOOD, NOW)
        assert session.scalars(select(Article.source_id)).all() == [number]
        audited = session.scalars(select(AuditEntry).where(AuditEntry.act == "source changed")).one()
        assert audited.detail == {"before": {"url": "https://alpha.example/feed"}, "after": {"url": new}}
    again = submit(client, f"{path}/address", on=path, address=new)
    assert again.status_code == 409
    assert client.get(f"{path}/address").status_code == 303
    shown = re.findall(r'name="fingerprint" value="([^"]+)"', page)[0]
    assert submit(client, f"{path}/address/undo", on=path, fingerprint="another").status_code == 409
    undone = submit(client, f"{path}/address/undo", on=path, fingerprint=shown)
    page = client.get(undone.location).text
    assert "Undone. Articles will be collected from the earlier URL." in page
    assert "Undo the URL change" not in page
    assert (tmp_path / "digest.toml").read_text("utf-8") == OWN
    with filed.database.read() as session:
        back = session.scalars(select(Source)).one()
        assert (back.id, back.url, back.moved_from) == (number, "https://alpha.example/feed", None)


def test_a_url_that_was_not_changed_is_not_undone(filed: Any) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path = f"/admin/sources/{number}"
    refused = submit(client, f"{path}/address/undo", on=path, fingerprint="x")
    assert (refused.status_code, "URL wasn’t changed" in refused.text) == (409, True)


def test_an_address_that_another_source_has_is_not_taken_over(filed: Any, tmp_path: Path) -> None:
    number, new = source_number(filed, "https://alpha.example/feed"), "https://alpha.example/news/feed"
    with filed.database.write() as session:
        session.get_one(Source, number).moved_to = new
        session.add(Source(url=new, name="Alpha News", publisher="Alpha", topics={}, active=False))
    path = f"/admin/sources/{number}"
    answer = submit(filed.signed_in_client("admin"), f"{path}/address", on=path, address=new)
    assert answer.status_code == 409
    assert "“Alpha News,” which is no longer in your settings, had the URL" in answer.text
    assert "Remove this source, and add that URL again." in answer.text
    assert (tmp_path / "digest.toml").read_text("utf-8") == OWN


def test_a_source_is_tried_and_nothing_is_stored(filed: Any, site: str, httpserver: HTTPServer) -> None:
    client = filed.signed_in_client("admin")
    with filed.database.write() as session:
        row = session.scalars(select(Source)).one()
        row.moved_to = f"{site}feed"
        number = row.id
    before = filed.dump()
    page = submit(client, f"/admin/sources/{number}/test", on="/desk/sources").text
    assert "Test results" in page
    assert "Port reopens" in page
    httpserver.clear()
    assert submit(client, f"/admin/sources/{number}/test", on="/desk/sources").status_code == 409
    after = filed.dump()
    assert {name for name in after if after[name] != before[name]} <= {"staff_session"}


def test_a_source_is_tested_by_the_typed_url_and_the_form_is_kept(filed: Any, site: str) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path = f"/admin/sources/{number}"
    assert f'form="source" formaction="{path}/test"' in client.get(path).text
    typed = {**DESCRIBED, "name": "Alpha Two", "url": f"{site}feed", "fingerprint": "an earlier one"}
    page = submit(client, f"{path}/test", on=path, **typed).text
    assert ("Port reopens" in page, "Changes to the settings below aren’t saved, either." in page) == (True, True)
    for kept in ('value="Alpha Two"', f'value="{site}feed"', 'name="fingerprint" value="an earlier one"'):
        assert kept in page, kept
    refused = submit(client, f"{path}/test", on=path, **typed | {"url": f"{site}nowhere"})
    assert (refused.status_code, 'value="Alpha Two"' in refused.text) == (409, True)
    assert "Alpha Two" not in client.get(path).text


def test_a_list_of_feeds_goes_out_and_comes_in_again(filed: Any, tmp_path: Path) -> None:
    client = filed.signed_in_client("admin")
    written = client.get("/admin/sources.opml")
    assert 'xmlUrl="https://alpha.example/feed"' in written.text
    assert written.headers["Content-Disposition"] == 'attachment; filename="sources.opml"'
    outlines = [
        '<outline text="Folder"><outline text="Beta" xmlUrl="https://beta.example/feed"/></outline>',
        '<outline text="Evil" xmlUrl="javascript:alert(1)"/>',
        '<outline text="Empty" type="rss"/>',
    ]
    more = written.text.replace("</body>", f"{''.join(outlines)}</body>")
    more += " " * 100_000  # longer than a form without a file may be
    answer = submit(client, "/admin/sources/opml", section="events", file=(io.BytesIO(more.encode()), "list.opml"))
    assert "1 source added.</b> 1 already listed, 2 skipped" in answer.text
    assert re.findall(r"Outline (\d+), “(\w+)”: it has no http", answer.text) == [("4", "Evil"), ("5", "Empty")]
    assert load_settings(tmp_path / "digest.toml", {}).file.sources[1].section == "events"
    wrong = submit(client, "/admin/sources/opml", section="news", file=(io.BytesIO(FEED.encode()), "feed.xml"))
    assert (wrong.status_code, "isn’t a list of feeds" in wrong.text) == (409, True)
    assert submit(client, "/admin/sources/opml", section="news").status_code == 409


def test_what_a_source_gave_to_editions_and_what_rests_on_it_are_counted(both: Any) -> None:
    with both.database.write() as session:
        rows = [Source(url=f"https://{n}.example/", name=n, publisher=n, topics={}) for n in ("alpha", "beta")]
        session.add_all(rows)
        session.flush()
        for number, row in enumerate((rows[0], rows[0], rows[1])):
            article = Article(source_id=row.id, key=str(number), url=f"https://x.example/{number}", title="x", link="")
            article.dated_at = article.found_at = article.seen_at = NOW
            article.categories, article.date_basis = [], "stated"
            session.add(article)
        alpha, beta = rows[0].id, rows[1].id
        count_source_visit(session, rows[0], NOW.date(), is_good=True, item_count=3)
        count_source_visit(session, rows[0], NOW.date(), is_good=False)
        count_source_visit(session, rows[0], NOW.date() - timedelta(days=7), is_good=True, item_count=1)
        count_source_visit(session, rows[0], NOW.date() - timedelta(days=56), is_good=True, item_count=100)
    sent = both.edition(state=EditionState.SENT)
    draft = both.edition(name="2026-W48", number=148, release_at=NOW + timedelta(days=8))
    members = {sent: [["https://x.example/0", "https://x.example/2"]], draft: [["https://x.example/2"]]}
    with both.database.write() as session:
        for story in session.scalars(select(EditionStory)):
            session.delete(story)
        for edition in session.scalars(select(Edition)):
            for urls in members[edition.name]:
                session.add(
                    EditionStory(
                        edition_id=edition.id,
                        section="topics",
                        position=1,
                        title=f"Of {edition.name}",
                        url=urls[0],
                        score=1,
                        terms=[],
                        members=urls,
                    )
                )
    seen = {number: source_overview.view_source(both.install, ADMIN, number, now=NOW) for number in (alpha, beta)}
    assert [(share.number, share.led, share.also) for share in seen[alpha].shares] == [(147, 1, 0)]
    assert [(share.number, share.led, share.also) for share in seen[beta].shares] == [(147, 0, 1)]
    assert (seen[alpha].draft_stories, seen[beta].draft_stories) == ((), (("2026-W48", "Of 2026-W48"),))
    start = NOW.date() - timedelta(days=6)
    assert seen[alpha].weeks[-2:] == (SourceWeek(start - timedelta(days=7), 1, 0, 1), SourceWeek(start, 1, 1, 3))
    assert [week.state for week in seen[alpha].weeks] == ["nothing"] * 6 + ["good", "partly"]
    page = both.desk.get("/desk/sources").text
    assert 'aria-label="Good in 1 of 8 weeks, 1 partly good, 6 not collected"' in page
    assert re.search(r'data-label="New in the last 7 days">3</td>\n<td class="num" data-label="Used">0<', page)
    assert "Used<br>in No. 148" in page
    assert "Find feeds" not in page, "editors read them, admins also act"


def test_editors_and_unknown_numbers_are_turned_away(filed: Any) -> None:
    assert filed.desk.get("/admin/sources/1").status_code == 403
    client = filed.signed_in_client("admin")
    assert client.get("/admin/sources/4711").status_code == 404


def test_without_a_settings_file_sources_are_shown_and_not_changed(world: Any) -> None:
    with world.database.write() as session:
        session.add(Source(url="https://alpha.example/", name="Alpha", publisher="Alpha", topics={}, active=False))
    client = world.signed_in_client("admin")
    answer = submit(client, "/admin/sources", **DESCRIBED, url="https://beta.example/")
    assert (answer.status_code, "is running without a settings file" in answer.text) == (409, True)


def test_sources_of_the_environment_are_shown_and_locked(
    world: Any, tmp_path: Path, move_settings_to_file: Any
) -> None:
    listed = '[{url = "https://alpha.example/", name = "Alpha", publisher = "Alpha"}]'
    locked = move_settings_to_file(world, tmp_path, OWN.partition("[[sources]]")[0], DIGEST_SOURCES=listed)
    with locked.database.write() as session:
        sync_sources(session, locked.install.settings)
        (number,) = session.scalars(select(Source.id).where(Source.active))
    client = locked.signed_in_client("admin")
    for path, button in (
        ("/desk/sources", ">Find feeds</button>"),
        (f"/admin/sources/{number}", ">Save source</button>"),
        ("/admin/sources/add", ""),
    ):
        page = client.get(path).text
        assert "The sources are set in the environment with DIGEST_SOURCES. Change them there and restart." in page, (
            path
        )
        assert not button or button not in page, path


@pytest.mark.both_databases
def test_visits_are_counted_by_day_on_both_databases(both: Any) -> None:
    with both.database.write() as session:
        row = Source(url="https://alpha.example/", name="Alpha", publisher="Alpha", topics={})
        session.add(row)
        session.flush()
        for good in (True, True, False):
            count_source_visit(session, row, NOW.date(), is_good=good, item_count=2 if good else 0)
        [day] = session.scalars(select(DailySourceVisitCounts))
        assert (day.good, day.bad, day.found) == (2, 1, 4)
        assert read_source_weeks(session, NOW.date(), only=[row.id + 1]) == {}


SITE_WITH_FEEDS = """<html><head><title>Port</title>
<link rel="alternate" type="application/rss+xml" title="All news" href="/feed">
<link rel="alternate" type="application/rss+xml" title="Ships" href="/ships/feed">
<link rel="alternate" type="application/rss+xml" title="Comments" href="/comments/feed"></head></html>"""


@pytest.fixture
def site_with_feeds(httpserver: HTTPServer) -> str:
    for path in ("/feed", "/ships/feed", "/comments/feed"):
        feed = FEED.replace("Port News", f"Feed {path}")
        httpserver.expect_request(path).respond_with_data(feed, content_type="application/rss+xml")
    httpserver.expect_request("/").respond_with_data(SITE_WITH_FEEDS, content_type="text/html")
    return httpserver.url_for("/")


def offered_feeds(page: str) -> list[tuple[str, str]]:
    return re.findall(r'type="radio" name="url" value="([^"]+)"[^>]*><span>([^<]*)<', page)


def test_a_new_source_is_one_of_its_sites_feeds(filed: Any, site_with_feeds: str, tmp_path: Path) -> None:
    client, site = filed.signed_in_client("admin"), site_with_feeds
    found = submit(client, "/admin/sources/look", address=site).text
    ships, comments = (f"{site}ships/feed", "Ships"), (f"{site}comments/feed", "Comments")
    # The names of the first feed wouldn't fit another one.
    assert re.findall(r'id="(?:name|publisher)"[^>]*value="([^"]*)"', found) == ["", ""]
    assert "Found: Feed /feed" in found
    assert offered_feeds(found) == [(f"{site}feed", "Feed /feed"), ships, comments]
    assert f'name="address" value="{ships[0]}" formaction="/admin/sources/look"' in found
    assert "Found: Feed /ships/feed" in submit(client, "/admin/sources/look", address=ships[0]).text
    answer = submit(client, "/admin/sources", **DESCRIBED, url=ships[0])
    assert answer.status_code == 303
    assert load_settings(tmp_path / "digest.toml", {}).file.sources[1].url == ships[0]
    assert submit(client, "/admin/sources", **DESCRIBED | {"name": "All"}, url=f"{site}feed").status_code == 303
    again = submit(client, "/admin/sources/look", address=site).text
    assert "Found: Feed /comments/feed" in again, "feeds that are sources already aren't offered again"
    assert f'name="url" value="{comments[0]}"' in again
    assert submit(client, "/admin/sources", **DESCRIBED | {"name": "Talk"}, url=comments[0]).status_code == 303
    assert "already has the URL" in submit(client, "/admin/sources/look", address=site).text


def test_the_url_of_a_source_is_edited_and_its_articles_stay(filed: Any, site_with_feeds: str, tmp_path: Path) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path, site = f"/admin/sources/{number}", site_with_feeds
    assert 'name="url" required' in client.get(path).text
    asked = submit(client, path, on=path, **DESCRIBED, url=site)
    assert (asked.status_code, "This page has 3 feeds." in asked.text) == (409, True)
    assert 'id="name" name="name" required maxlength="200" autocomplete="off" value="Port News"' in asked.text
    new = offered_feeds(asked.text)[1][0]
    answer = submit(client, path, on=path, **DESCRIBED, url=new)
    assert answer.status_code == 303
    [source] = load_settings(tmp_path / "digest.toml", {}).file.sources
    assert (source.url, source.name) == (new, "Port News")
    with filed.database.read() as session:
        row = session.scalars(select(Source)).one()
        assert (row.id, row.url, row.moved_to, row.active) == (number, new, None, True)
        audited = session.scalars(select(AuditEntry).where(AuditEntry.act == "source changed")).one()
    assert (audited.detail["before"]["url"], audited.detail["after"]["url"]) == ("https://alpha.example/feed", new)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("javascript:alert(1)", "isn’t a URL"),
        ("http://127.0.0.2:9/", "http://127.0.0.2:9/"),
        ("{site}ships/feed", "“Ships,” which is no longer in your settings, had the URL"),
    ],
)
def test_a_source_keeps_its_url_where_the_new_one_is_no_source(
    filed: Any, site_with_feeds: str, tmp_path: Path, url: str, said: str
) -> None:
    with filed.database.write() as session:
        taken = f"{site_with_feeds}ships/feed"
        session.add(Source(url=taken, name="Ships", publisher="Port", topics={}, active=False))
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path, typed = f"/admin/sources/{number}", url.format(site=site_with_feeds)
    answer = submit(client, path, on=path, **DESCRIBED, url=typed)
    assert (answer.status_code, said in answer.text) == (409, True)
    assert f'name="url" required maxlength="2000" autocomplete="off" inputmode="url" value="{typed}"' in answer.text
    assert (tmp_path / "digest.toml").read_text("utf-8") == OWN


def test_a_source_starts_anew_at_another_url_and_is_asked_for_the_whole_feed(filed: Any, site_with_feeds: str) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    with filed.database.write() as session:
        source = session.get_one(Source, number)
        source.health, source.message, source.failures = SourceHealth.GONE, "closed", 3
        source.failing_since, source.next_try_at = NOW, NOW + timedelta(days=1)
        source.etag, source.last_modified = '"old"', "Thu, 19 Nov 2026 09:00:00 GMT"
    path, new = f"/admin/sources/{number}", f"{site_with_feeds}ships/feed"
    assert submit(client, path, on=path, **DESCRIBED, url=new).status_code == 303
    with filed.database.read() as session:
        source = session.get_one(Source, number)
        assert (source.url, is_source_due(source, NOW)) == (new, True)
        assert (source.health, source.message, source.failures) == (SourceHealth.NEW, "", 0)
        assert (source.failing_since, source.etag, source.last_modified) == (None, None, None)


def test_a_source_does_not_take_the_url_of_another_in_the_settings(filed: Any, site_with_feeds: str) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path, taken = f"/admin/sources/{number}", f"{site_with_feeds}feed"
    assert submit(client, "/admin/sources", **DESCRIBED, url=taken).status_code == 303
    answer = submit(client, path, on=path, **DESCRIBED | {"name": "Alpha"}, url=taken)
    assert answer.status_code == 409
    assert "Another source named “Port News” already has the URL" in answer.text
    assert "change the other one first" in answer.text


def test_a_paused_source_is_not_collected_until_it_is_resumed(filed: Any, tmp_path: Path) -> None:
    client, number = filed.signed_in_client("admin"), source_number(filed, "https://alpha.example/feed")
    path, as_it_is = f"/admin/sources/{number}", {"name": "Alpha", "publisher": "Alpha Press", "section": "news"}
    assert submit(client, path, on=path, **as_it_is, paused="1").status_code == 303
    assert "paused = true\n" in (tmp_path / "digest.toml").read_text("utf-8")
    for page in (client.get(path).text, filed.desk.get("/desk/sources").text):
        assert re.search(r'class="pill[^>]*>Paused<', page)
        assert "No more articles are collected from this source." in page
    with filed.database.write() as session:
        row = session.get_one(Source, number)
        row.health, row.failing_since = SourceHealth.GONE, NOW - timedelta(days=30)
    assert "needs attention" not in filed.desk.get("/desk/sources").text
    with filed.database.write() as session:
        session.get_one(Source, number).health = SourceHealth.NEW
    settings = load_settings(tmp_path / "digest.toml", {})
    assert not has_unclaimed_visits(filed.database, settings, now=NOW, since=NOW)
    assert submit(client, path, on=path, **as_it_is).status_code == 303
    settings = load_settings(tmp_path / "digest.toml", {})
    assert has_unclaimed_visits(filed.database, settings, now=NOW, since=NOW)
    assert "Paused<" not in client.get(path).text


def test_the_summary_counts_only_sources_that_are_read(filed: Any) -> None:
    client = filed.signed_in_client("admin")
    page = client.get("/desk/sources").text
    assert "All sources are fine" not in page
    number = source_number(filed, "https://alpha.example/feed")
    assert f'<a href="/admin/sources/{number}">Alpha</a>' in page
    form = re.findall(
        r'<form class="settings" id="source".*?</form>', client.get(f"/admin/sources/{number}").text, re.DOTALL
    )
    assert ["Save source</button>" in each for each in form] == [True]
    assert "0 of 0 sources collected without errors, 1 not collected yet." in page
    with filed.database.write() as session:
        source = session.scalars(select(Source)).one()
        source.health, source.paused = SourceHealth.GOOD, True
    page = client.get("/desk/sources").text
    assert "No source has a problem." in page
    assert "0 of 0 sources collected without errors, 1 paused." in page
    with filed.database.write() as session:
        source = session.scalars(select(Source)).one()
        source.paused, source.moved_to = False, "https://alpha.example/new"
    page = client.get("/desk/sources").text
    assert "1 of 1 source collected without errors." in page
    assert "Select “Update URL” on the source’s page." in page
    assert "An admin can update its URL." in filed.desk.get("/desk/sources").text


def test_a_sources_page_says_which_topics_it_feeds(filed: Any, tmp_path: Path) -> None:
    client, path = filed.signed_in_client("admin"), "/admin/sources/1"
    assert "No categories of this publisher are mapped to topics." in client.get(path).text
    text = f'{OWN}[sources.topics]\n"Terminals" = "Maritime security"\n'
    (tmp_path / "digest.toml").write_text(text, "utf-8")
    page = client.get(path).text
    assert re.search(r">Terminals</th><td>Maritime security</td>", page)
