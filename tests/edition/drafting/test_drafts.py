import random
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from digest.app.editions import drafting as weekly
from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParsedItem
from digest.collect.fetch.fetcher import FolderFetcher
from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_item
from digest.collect.sources.readership import import_readership
from digest.collect.texts.urls import site_name
from digest.collect.visits import collection_run
from digest.deliver.providers.outbox.kind import OutboxProvider
from digest.deliver.send.run import edition_sending
from digest.edition.approval.approval_check import verify_approval
from digest.edition.approval.approved_versions import (
    ApprovalError,
    find_last_unrevoked_approval,
    read_current_content_hash,
    read_draft_approval_code,
    read_draft_version,
    read_mailable_edition,
    revoke_all_approvals,
    sign_approval,
)
from digest.edition.content.edition_content import EarlierAppearance, EditionContent
from digest.edition.drafting.drafts import DraftError
from digest.installation.opened_installation import Installation
from digest.select.exclusion_reasons import WITHDRAWN_REASON
from digest.settings import (
    PublicationSettings,
    ScheduleSettings,
    SelectionSettings,
    SenderSettings,
    Settings,
    SettingsFileContent,
    load_settings,
)
from digest.store.approval_models import Approval, ApprovedRenderedFragment
from digest.store.engine import Database
from digest.store.models import (
    Article,
    Edition,
    EditionEdit,
    EditionState,
    EditionStory,
    MediaFile,
    RenderedEditionFragment,
    Source,
)
from subscribers.crypto.keys import KeyRing
from tests.actors import ADMIN
from tests.collect.stored_documents import store_document
from tests.conftest import ROOT
from tests.moments import DRAFTING as NOW
from tests.row_keys import lend_row_keys
from tests.run_database import HomeDatabases

SAMPLE = ROOT / "digest" / "sample"
KEYS = KeyRing.from_seed(b"tests")


def sample_settings() -> Settings:
    return load_settings(SAMPLE / "digest.toml", {}).model_copy(update={"base_url": "https://news.example.org"})


def collected(database: Database, settings: Settings, now: datetime = NOW) -> Installation:
    """Collect the bundled sample."""
    fetcher = FolderFetcher(SAMPLE)
    collection_run.collect_sources(database, fetcher, settings, now=now)
    import_readership(database, fetcher, settings, now=now)
    return Installation(settings, database)


def drafted(install: Installation, now: datetime = NOW) -> Edition:
    weekly.draft_next_edition(install, now=now, actor=ADMIN, fetcher=FolderFetcher(SAMPLE))
    with install.database.read() as session:
        return session.scalars(select(Edition).order_by(Edition.release_at.desc())).first() or pytest.fail("no draft")


def bodies(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        query = select(RenderedEditionFragment).order_by(
            RenderedEditionFragment.edition_id, RenderedEditionFragment.position, RenderedEditionFragment.id
        )
        return [(f.kind, f.name, f.body) for f in session.scalars(query)]


def test_sqlite_and_postgresql_give_the_same_bytes(sqlite: Database, postgresql: Database) -> None:
    settings = sample_settings()
    editions = [drafted(collected(database, settings)) for database in (sqlite, postgresql)]
    assert bodies(sqlite) == bodies(postgresql)
    assert editions[0].content == editions[1].content
    assert len(bodies(sqlite)) > 10


def test_sources_in_another_order_give_the_same_bytes(
    one_database: Database, home_databases: HomeDatabases, tmp_path: Path
) -> None:
    from digest.store.engine import open_database

    settings = sample_settings()
    drafted(collected(one_database, settings))
    sources = list(settings.file.sources)
    random.Random(7).shuffle(sources)
    (tmp_path / "other").mkdir()
    other = lend_row_keys(open_database(home_databases.create(tmp_path / "other")), tmp_path)
    file = settings.file.model_copy(update={"sources": sources})
    drafted(collected(other, settings.model_copy(update={"file": file})))
    assert bodies(one_database) == bodies(other)
    other.close()


def test_a_feed_does_not_word_the_article_of_another_site(database: Database) -> None:
    install = collected(database, sample_settings())
    before = (drafted(install), bodies(database))[1]
    with database.write() as session:
        other = Source(url="https://other.example.net/feed", name="Other", publisher="Other", topics={}, weight=5.0)
        # Of sources on the article's site alone: elsewhere any feed may be the first to tell.
        for article, source in session.execute(
            select(Article, Source).join(Source).where(Source.section == "news")
        ).all():
            if site_name(article.url) == site_name(source.url):
                values = {c.name: getattr(article, c.name) for c in Article.__table__.columns}
                del values["id"], values["source_id"]
                changed = {
                    "title": "Other words",
                    "summary": "Others.",
                    "dated_at": article.dated_at - timedelta(seconds=1),
                }
                session.add(Article(**values | changed | {"source": other}))
    drafted(install)
    assert bodies(database) == before


def test_drafting_again_replaces_the_draft_says_the_same_and_cuts_no_picture_whose_cuts_are_kept(
    one_database: Database,
) -> None:
    install = collected(one_database, sample_settings())
    first = drafted(install)
    before = bodies(one_database)
    is_truncated = MediaFile.source_url.contains("#")
    with one_database.write() as session:
        gone, *others = session.scalars(select(MediaFile).where(is_truncated).order_by(MediaFile.hash))
        assert others
        session.delete(gone)
        pictures_of_others = ~is_truncated & (MediaFile.source_url != gone.source_url.partition("#")[0])
        session.execute(update(MediaFile).where(pictures_of_others).values(body=b"no picture that could be cut"))
    second = drafted(install)
    assert (second.id, second.name, second.number) == (first.id, "2026-W47", 147)
    assert bodies(one_database) == before
    with one_database.read() as session:
        assert session.get(MediaFile, gone.hash), "what is not kept any more is cut again"


def test_the_operators_own_subject_is_the_subject(one_database: Database, tmp_path: Path) -> None:
    own = tmp_path / "templates" / "mail" / "edition"
    own.mkdir(parents=True)
    (own / "subject.txt").write_text("No. {{ content.number }}: {{ content.subject }}\n")
    usual = drafted(collected(one_database, sample_settings())).subject
    settings = sample_settings().model_copy(update={"templates": tmp_path / "templates"})
    edition = drafted(Installation(settings, one_database))
    assert edition.subject == edition.content["subject"] == f"No. 147: {usual}"


# --- Windows, with articles that the test writes ---------------------------------------------------------

WEEKLY = Settings(
    base_url="https://news.example.org",
    file=SettingsFileContent(
        schedule=ScheduleSettings(draft="thu 17:30", send="fri 06:00"),
        sender=SenderSettings(postal_address="1 Test Street"),
        select=SelectionSettings(minimum=1),
    ),
)


def add(database: Database, *titles: str, dated: datetime, found: datetime) -> None:
    """Publish articles at a source of the test."""
    with database.write() as session:
        source = session.scalar(select(Source)) or Source(
            url="https://a.example.org/feed", name="A", publisher="A Press", topics={}
        )
        session.add(source)
        session.flush()
        store_document(session, source, reading(*titles, dated=dated), found)


def reading(*titles: str, dated: datetime) -> ParsedDocument:
    """Make a feed of articles."""
    items = tuple(
        ParsedItem(guid=t, url=f"https://a.example.org/{t.replace(' ', '-')}", link=f"https://a.example.org/{t.replace(' ', '-')}",
             title=t, summary=f"The {t} is a matter of border security.", published=dated, date_basis=DateBasis.PUBLISHED)
        for t in titles
    )  # fmt: skip
    return ParsedDocument(DocumentKind.RSS, items)


def articles(database: Database) -> list[Article]:
    with database.read() as session:
        return list(session.scalars(select(Article)))


def considered(database: Database, name: str) -> set[str]:
    """Name the articles that an edition looked at, chosen or left out."""
    with database.read() as session:
        stories = session.scalars(
            select(EditionStory).join(Edition, Edition.id == EditionStory.edition_id).where(Edition.name == name)
        )
        return {url.rsplit("/", 1)[1] for s in stories for url in s.members}


def approve_now(install: Installation, edition: Edition, now: datetime) -> None:
    with install.database.write() as session:
        row = session.get_one(Edition, edition.id)
        mark = read_current_content_hash(session, row, install.settings)
        sign_approval(session, row, mark, settings=install.settings, keys=KEYS, actor="eve", now=now)


@pytest.mark.takes_turns
def test_the_next_edition_opens_where_the_last_one_closed_and_takes_late_arrivals(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    approve_now(install, first, NOW)
    add(database, "late border news", dated=NOW - timedelta(hours=2), found=NOW + timedelta(days=1))
    add(database, "fresh border news", dated=NOW + timedelta(days=3), found=NOW + timedelta(days=3))
    second = drafted(install, NOW + timedelta(days=7))
    assert (second.opens_at, second.cut_off) == (NOW, NOW + timedelta(days=7))
    assert considered(database, first.name) == {"early-border-news"}
    assert considered(database, second.name) == {"late-border-news", "fresh-border-news"}


def test_a_row_with_a_lower_number_that_is_committed_after_a_draft_is_a_late_arrival(postgresql: Database) -> None:
    install = Installation(WEEKLY, postgresql)
    add(postgresql, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    with postgresql.write() as session:
        other = Source(url="https://b.example.org/feed", name="B", publisher="B Press", topics={})
        session.add(other)
    with postgresql.write() as slow:  # takes its row's number, and commits after the draft
        store_document(slow, slow.merge(other), reading("slow border news", dated=NOW - timedelta(days=1)), NOW)
        add(postgresql, "quick border news", dated=NOW - timedelta(days=1), found=NOW)
        first = drafted(install)
    numbers = {a.title: a.id for a in articles(postgresql)}
    assert numbers["slow border news"] < numbers["quick border news"], "the case that is meant"
    approve_now(install, first, NOW)
    second = drafted(install, NOW + timedelta(days=7))
    assert considered(postgresql, first.name) == {"early-border-news", "quick-border-news"}
    assert considered(postgresql, second.name) == {"slow-border-news"}


@pytest.mark.takes_turns
def test_a_date_that_is_corrected_back_over_a_cut_off_loses_no_article(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    add(database, "hasty border news", dated=NOW + timedelta(minutes=5), found=NOW)
    first = drafted(install)
    approve_now(install, first, NOW)
    add(database, "hasty border news", dated=NOW - timedelta(hours=3), found=NOW + timedelta(hours=1))
    second = drafted(install, NOW + timedelta(days=7))
    assert considered(database, first.name) == {"early-border-news"}
    assert considered(database, second.name) == {"hasty-border-news"}


def test_a_draft_whose_week_has_changed_since_is_not_approved(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    approve_now(install, first, NOW)
    later = NOW + timedelta(days=5)
    add(database, "fresh border news", dated=NOW + timedelta(days=3), found=later)
    second = drafted(install, later)
    with database.write() as session:
        revoke_all_approvals(session, session.get_one(Edition, first.id), actor="eve", now=NOW)
    with pytest.raises(ApprovalError, match="Draft the edition again"):
        approve_now(install, second, later)
    redrafted = drafted(install, later)
    approve_now(install, redrafted, later)
    assert considered(database, redrafted.name) == {"early-border-news", "fresh-border-news"}


@pytest.mark.takes_turns
def test_a_draft_that_never_went_out_gives_its_week_and_its_number_back(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    second = drafted(install, NOW + timedelta(days=5))
    assert first.number == second.number == 1
    assert considered(database, second.name) == {"early-border-news"}
    with pytest.raises(ApprovalError, match="drafted later"):
        approve_now(install, first, NOW)


def test_a_cancelled_edition_gives_its_week_back_and_its_number_only_when_nobody_has_it(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    for planned_at, number in ((None, 1), (NOW, 2)):
        with database.write() as session:
            row = session.get_one(Edition, first.id)
            row.state, row.planned_at = EditionState.CANCELLED, planned_at
        with pytest.raises(DraftError, match="2026-W47 is canceled, with send time"):
            drafted(install)
        weekly.draft_next_edition(install, now=NOW + timedelta(days=5), actor=ADMIN, fetcher=FolderFetcher(SAMPLE))
        with database.read() as session:
            second = session.scalars(select(Edition).where(Edition.name == "2026-W48")).one()
        assert considered(database, "2026-W48") == {"early-border-news"}
        assert second.number == number
        with database.write() as session:
            session.execute(delete(EditionStory).where(EditionStory.edition_id == second.id))
            session.execute(delete(RenderedEditionFragment).where(RenderedEditionFragment.edition_id == second.id))
            session.execute(delete(Edition).where(Edition.id == second.id))


@pytest.mark.takes_turns
def test_a_story_of_the_last_edition_comes_again_with_news_alone_and_links_where_it_stood(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "Border wall at Nogales is closed", dated=NOW - timedelta(days=1), found=NOW)
    first = drafted(install)
    approve_now(install, first, NOW)
    week = NOW + timedelta(days=7)
    add(
        database,
        "Border wall at Nogales reopens: engineers mend Nogales flood damage",
        dated=week - timedelta(days=1),
        found=week,
    )
    add(database, "Nogales: the border wall was closed", dated=NOW - timedelta(hours=1), found=week)  # found late
    second = drafted(install, week)
    (entry,) = (e for s in EditionContent.from_json(second.content).sections for e in s.entries)
    assert (entry.headline, entry.since) == (
        "Border wall at Nogales reopens: engineers mend Nogales flood damage",
        EarlierAppearance("2026-W47", first.number, "Border wall at Nogales is closed", "this report is new."),
    )
    stories = {name: body for kind, name, body in bodies(database) if kind == "html"}
    assert 'href="https://news.example.org/editions/2026-W47"' in stories["section:featured"]


def test_an_official_announcement_of_an_event_is_an_event_until_it_is_past(database: Database) -> None:
    install = Installation(WEEKLY, database)
    held = "The agency will hold a webinar on border security on {}, at 2 p.m. ET."
    with database.write() as session:
        source = Source(url="https://a.example.org/feed", name="A", publisher="A Office", topics={}, primary=True)
        calendar = Source(url="https://b.example.org/feed", name="B", publisher="B", topics={}, section="events")
        session.add_all([source, calendar])
        session.flush()
        listed = ParsedItem(
            guid="1", url="https://b.example.org/1", link="https://b.example.org/1", title="Port night drill",
            starts_at=datetime(2026, 12, 4, 18, tzinfo=UTC),
        )  # fmt: skip
        store_document(session, calendar, ParsedDocument(DocumentKind.ICALENDAR, (listed,)), NOW)
        days = ("December 3, 2026", "November 19, 2026", "December 4, 2026")
        titles = ("Border webinar 0", "Border webinar 1", "Night drill in port: a webinar")
        texts = {title: held.format(day) for title, day in zip(titles, days, strict=True)}
        dated = NOW - timedelta(days=2)
        items = tuple(
            clean_item(
                RawItem(title=title, summary=text, link=f"https://a.example.org/{n}", published=dated.isoformat()),
                ParseContext("https://a.example.org/feed", dated),
            )
            for n, (title, text) in enumerate(texts.items())
        )
        store_document(session, source, ParsedDocument(DocumentKind.RSS, items), NOW)
    sections = EditionContent.from_json(drafted(install).content).sections
    written = {e.headline: (s.kind, e.when and e.when.text, e.details[:1]) for s in sections for e in s.entries}
    assert written["Border webinar 0"] == ("events", "Thursday, December 3, 2 p.m. ET", ("Online",))
    assert written["Border webinar 1"][0] == "featured"  # it was yesterday: no event to announce
    assert written["Port night drill"][0] == "events"
    assert written[titles[2]][0] != "events"  # a calendar lists it


@pytest.mark.takes_turns
def test_too_few_stories_hold_the_edition(database: Database) -> None:
    install = Installation(WEEKLY, database)
    edition = drafted(install)
    assert edition.state == EditionState.INCOMPLETE
    assert edition.held_because
    with pytest.raises(ApprovalError, match="incomplete"):
        approve_now(install, edition, NOW)


@pytest.mark.takes_turns
def test_an_approved_edition_is_not_drafted_over(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    edition = drafted(install)
    approve_now(install, edition, NOW)
    with pytest.raises(DraftError, match="--revoke"):
        drafted(install)


# --- Releases that move ------------------------------------------------------------------------------------


def releasing(database: Database, release: str, timezone: str = "America/New_York") -> Installation:
    file = WEEKLY.file.model_copy(
        update={
            "schedule": ScheduleSettings(draft="thu 17:30", send=release),
            "publication": PublicationSettings(timezone=timezone),
        }
    )
    return Installation(WEEKLY.model_copy(update={"file": file}), database)


def editions(database: Database) -> list[tuple[str, int, datetime]]:
    with database.read() as session:
        return [(e.name, e.number, e.release_at) for e in session.scalars(select(Edition).order_by(Edition.id))]


@pytest.mark.parametrize(
    ("release", "timezone", "hour"),
    [
        ("fri 05:00", "America/New_York", 10),  # earlier
        ("fri 09:30", "America/New_York", 14.5),  # later
        ("fri 06:00", "America/Chicago", 12),
    ],
)
def test_a_release_that_was_moved_after_a_draft_still_has_one_edition(
    database: Database, release: str, timezone: str, hour: float
) -> None:
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    drafted(releasing(database, "fri 06:00"))
    rescheduled = releasing(database, release, timezone)
    drafted(rescheduled, NOW + timedelta(hours=1))
    at = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=hour)
    assert editions(database) == [("2026-W47", 1, at)]
    with database.read() as session:
        approve_now(rescheduled, session.scalars(select(Edition)).one(), NOW + timedelta(hours=1))


def test_a_release_that_is_moved_into_another_week_takes_the_name_of_that(database: Database) -> None:
    drafted(releasing(database, "fri 06:00"))
    drafted(releasing(database, "mon 06:00"))
    assert editions(database) == [("2026-W48", 1, datetime(2026, 11, 23, 11, tzinfo=UTC))]


@pytest.mark.takes_turns
def test_a_release_that_is_moved_after_approval_is_left_alone_and_said(database: Database) -> None:
    install = releasing(database, "fri 06:00")
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    edition = drafted(install)
    approve_now(install, edition, NOW)
    with pytest.raises(DraftError, match="2026-W47 is already approved for Friday, November 20, 06:00 EST"):
        drafted(releasing(database, "fri 05:00"))
    assert len(editions(database)) == 1


@pytest.mark.parametrize(
    ("release", "sunday"),
    [
        ("sun 01:30", datetime(2026, 11, 1, tzinfo=UTC)),  # an hour that comes twice
        ("sun 02:30", datetime(2027, 3, 14, tzinfo=UTC)),  # an hour that does not come
    ],
)
def test_where_the_clock_changes_a_release_has_one_edition(
    one_database: Database, release: str, sunday: datetime
) -> None:
    install = releasing(one_database, release)
    for hours in (*range(-30, -6, 8), *range(-6, 7, 2), *range(10, 40, 10)):
        drafted(install, sunday + timedelta(hours=hours))
    first, second = editions(one_database)
    assert first[2].date() == sunday.date()
    assert timedelta(days=7) - timedelta(hours=1) <= second[2] - first[2] <= timedelta(days=7, hours=1)


# --- Pages that are gone -----------------------------------------------------------------------------------


class Pages:
    """Sites whose pages all stand, but for those that are gone, and those that break."""

    def __init__(self, *, gone: Iterable[str] = (), broken: Iterable[str] = (), body: bytes = b"") -> None:
        self.gone = {f"https://a.example.org/{name}" for name in gone}
        self.broken = {f"https://a.example.org/{name}" for name in broken}
        self.body = body
        self.asked: list[str] = []

    def get(self, url: str, **_more: object) -> FetchResult:
        self.asked.append(url)
        if url in self.gone:
            raise FetchError(url, FetchErrorReason.MISSING, "it is not there", status=404)
        if url in self.broken:
            raise FetchError(url, FetchErrorReason.SERVER, "it fails", status=500)
        return FetchResult(url=url, status=200, body=self.body)

    def may_read(self, _url: str) -> bool:
        return True


def with_pages(install: Installation, pages: Pages, now: datetime = NOW) -> dict[str, str]:
    """Draft, and give the reason of each story that was left out; of one that is in, its section."""
    result = weekly.draft_next_edition(install, now=now, actor=ADMIN, fetcher=pages)
    with install.database.read() as session:
        query = (
            select(EditionStory).join(Edition, Edition.id == EditionStory.edition_id).where(Edition.name == result.name)
        )
        return {s.url.rsplit("/", 1)[1]: s.section or s.reason for s in session.scalars(query)}


@pytest.mark.takes_turns
def test_a_lead_whose_page_is_gone_is_left_out_with_its_reason(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "port security news", "border patrol letter", dated=NOW - timedelta(days=1), found=NOW)
    sections_and_reasons = with_pages(install, Pages(gone=["port-security-news"]))
    assert sections_and_reasons == {"port-security-news": WITHDRAWN_REASON, "border-patrol-letter": "featured"}


@pytest.mark.takes_turns
def test_the_next_article_of_a_story_takes_the_place_of_a_lead_that_is_gone(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "border wall contract awarded", dated=NOW - timedelta(days=1), found=NOW)
    with database.write() as session:
        other = Source(url="https://b.example.org/feed", name="B", publisher="B Press", topics={})
        session.add(other)
        session.flush()
        retold = reading("border wall contract awarded today", dated=NOW - timedelta(hours=30))
        store_document(session, other, retold, NOW)
    assert len(with_pages(install, Pages())) == 1, "it is one story"
    sections_and_reasons = with_pages(install, Pages(gone=["border-wall-contract-awarded-today"]))
    assert sections_and_reasons == {
        "border-wall-contract-awarded-today": WITHDRAWN_REASON,
        "border-wall-contract-awarded": "featured",
    }


@pytest.mark.takes_turns
def test_an_advisory_that_another_has_replaced_is_left_out_until_its_page_stands_again(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "CVE-2026-1111 harlow gate", "border patrol letter", dated=NOW - timedelta(days=1), found=NOW)
    replaced = Pages(body=b"<html><p>This advisory has been superseded by ICSA-26-330-01.</p></html>")
    reason = "superseded by ICSA-26-330-01, according to its page"
    expected = {"CVE-2026-1111-harlow-gate": reason, "border-patrol-letter": "featured"}
    assert with_pages(install, replaced) == expected, "the other is no advisory, whatever its page says"
    assert reason not in with_pages(install, Pages()).values()


def test_the_page_of_an_aggregator_s_lead_names_its_publisher_in_the_same_draft(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "port security news", dated=NOW - timedelta(days=1), found=NOW)
    with database.write() as session:
        session.execute(
            update(Article).values(
                publisher="wire.example", url="https://wire.example/news", link="https://wire.example/news"
            )
        )
    data = b'{"@type": "NewsArticle", "headline": "News", "publisher": {"name": "The Wire"}}'
    page = (
        b'<html><head><script type="application/ld+json">' + data + b"</script></head><body><p>News</p></body></html>"
    )
    weekly.draft_next_edition(install, now=NOW, actor=ADMIN, fetcher=Pages(body=page))
    with database.read() as session:
        content = EditionContent.from_json(session.scalars(select(Edition)).one().content)
    entry = content.sections[0].entries[0]
    assert (entry.source, entry.credit) == ("The Wire", "")


@pytest.mark.takes_turns
def test_a_page_that_fails_stops_no_draft_and_stays_in(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "port security news", "border patrol letter", dated=NOW - timedelta(days=1), found=NOW)
    sections_and_reasons = with_pages(install, Pages(broken=["port-security-news", "border-patrol-letter"]))
    assert set(sections_and_reasons) == {"port-security-news", "border-patrol-letter"}
    assert WITHDRAWN_REASON not in sections_and_reasons.values()


def test_a_page_that_is_back_is_in_the_next_draft_and_each_page_is_asked_once_a_draft(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "port security news", "border patrol letter", dated=NOW - timedelta(days=1), found=NOW)
    with_pages(install, Pages(gone=["port-security-news"]))
    pages = Pages()
    assert WITHDRAWN_REASON not in with_pages(install, pages).values()
    assert sorted(pages.asked) == [
        "https://a.example.org/border-patrol-letter",
        "https://a.example.org/port-security-news",
    ]


def test_a_page_that_was_gone_at_one_edition_and_is_back_has_its_chance_in_the_next(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "port security news", "border patrol letter", dated=NOW - timedelta(days=1), found=NOW)
    with_pages(install, Pages(gone=["port-security-news"]))
    with database.read() as session:
        first = session.scalars(select(Edition)).one()
    approve_now(install, first, NOW)
    assert set(with_pages(install, Pages(), NOW + timedelta(days=6))) == {"port-security-news"}


# --- Approval ------------------------------------------------------------------------------------------------


@pytest.fixture
def approved(database: Database) -> tuple[Installation, int]:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    edition = drafted(install)
    approve_now(install, edition, NOW)
    return install, edition.id


@pytest.mark.takes_turns
def test_what_was_approved_is_proved(approved: tuple[Installation, int]) -> None:
    install, number = approved
    with install.database.read() as session:
        row = session.get_one(Edition, number)
        mailable = verify_approval(session, row, settings=install.settings, keys=KEYS)
        assert mailable == read_draft_version(session, row, install.settings)
        assert row.approved_by == "eve"


def test_any_change_of_what_was_approved_is_refused(approved: tuple[Installation, int]) -> None:
    install, number = approved

    def refused(change: Callable[[Approval, list[ApprovedRenderedFragment]], None]) -> None:
        with install.database.read() as session:
            row = session.get_one(Edition, number)
            fragments = list(session.scalars(select(ApprovedRenderedFragment).order_by(ApprovedRenderedFragment.id)))
            change(session.scalars(select(Approval)).one(), fragments)
            with pytest.raises(ApprovalError, match="differs from the approved version"):
                verify_approval(session, row, settings=install.settings, keys=KEYS)

    for part in ("subject", "preheader", "web"):
        refused(lambda version, _, part=part: setattr(version, "statement", version.statement | {part: "other"}))  # type: ignore[misc]
    refused(lambda version, _: setattr(version, "content_hash", "0" * 64))
    refused(lambda version, _: setattr(version, "version", 2))
    refused(lambda version, _: setattr(version.signatures[0], "actor", "mallory"))
    refused(lambda version, _: setattr(version.signatures[0], "at", NOW - timedelta(hours=1)))
    for place in range(len(bodies(install.database))):
        refused(lambda _, fragments, place=place: setattr(fragments[place], "body", "other"))  # type: ignore[misc]


def test_what_is_sent_is_the_version_whatever_becomes_of_the_draft(approved: tuple[Installation, int]) -> None:
    install, number = approved
    with install.database.write() as session:
        row = session.get_one(Edition, number)
        before = verify_approval(session, row, settings=install.settings, keys=KEYS)
        assert before == read_draft_version(session, row, install.settings)
        row.subject, row.preheader = "Another subject", "Another line"
        session.execute(update(RenderedEditionFragment).values(body="other"))
        assert verify_approval(session, row, settings=install.settings, keys=KEYS) == before
        assert read_mailable_edition(session, row, install.settings) == before


@pytest.mark.parametrize("part", ["number", "name", "release_at"])
def test_a_version_of_another_release_or_number_is_not_sent(approved: tuple[Installation, int], part: str) -> None:
    install, number = approved
    with install.database.write() as session:
        row = session.get_one(Edition, number)
        changed = {"number": row.number + 1, "name": "2026-W50", "release_at": row.release_at + timedelta(days=1)}
        setattr(row, part, changed[part])
        with pytest.raises(ApprovalError, match=f"the {part.replace('release_at', 'send time')} changed"):
            verify_approval(session, row, settings=install.settings, keys=KEYS)
        assert find_last_unrevoked_approval(session, row) is None


@pytest.mark.takes_turns
def test_another_sender_or_base_address_voids_the_approval(approved: tuple[Installation, int]) -> None:
    install, number = approved
    sender = install.settings.file.sender.model_copy(update={"address": "other@news.example.org"})
    file = install.settings.file.model_copy(update={"sender": sender})
    for settings, says in (
        (install.settings.model_copy(update={"file": file}), "the sender changed"),
        (
            install.settings.model_copy(update={"base_url": "https://elsewhere.example.org"}),
            "DIGEST_BASE_URL is now http",
        ),
    ):
        with (
            install.database.read() as session,
            pytest.raises(ApprovalError, match=f"differs from the approved version .*{says}"),
        ):
            verify_approval(session, session.get_one(Edition, number), settings=settings, keys=KEYS)


@pytest.mark.takes_turns
def test_an_approval_written_into_the_database_by_hand_is_no_approval(approved: tuple[Installation, int]) -> None:
    install, number = approved
    with install.database.read() as session, pytest.raises(ApprovalError, match="differs from the approved version"):
        verify_approval(
            session, session.get_one(Edition, number), settings=install.settings, keys=KeyRing.from_seed(b"others")
        )


@pytest.mark.takes_turns
def test_approvals_hang_on_the_approval_key_and_not_on_the_session_key(approved: tuple[Installation, int]) -> None:
    install, number = approved
    stranger = KeyRing.from_seed(b"others")
    without_session = KeyRing([*(k for k in KEYS.all if k.kind != "session"), stranger.current("session")])
    without_approval = KeyRing([*(k for k in KEYS.all if k.kind != "approval"), stranger.current("approval")])
    with install.database.read() as session:
        edition = session.get_one(Edition, number)
        verify_approval(session, edition, settings=install.settings, keys=without_session)
        with pytest.raises(ApprovalError, match="differs from the approved version"):
            verify_approval(session, edition, settings=install.settings, keys=without_approval)


def test_a_mark_that_was_looked_at_before_a_change_approves_nothing(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    edition = drafted(install)
    with database.write() as session:
        row = session.get_one(Edition, edition.id)
        seen = read_current_content_hash(session, row, WEEKLY)
        row.subject = "Changed meanwhile"
        now = read_current_content_hash(session, row, WEEKLY)
    for mark in (seen, "", now[:7], now[:63], now[:16]):
        with (
            database.write() as session,
            pytest.raises(ApprovalError, match="Review the edition again before you approve it"),
        ):
            sign_approval(
                session, session.get_one(Edition, edition.id), mark, settings=WEEKLY, keys=KEYS, actor="eve", now=NOW
            )


@pytest.mark.takes_turns
def test_the_short_mark_cannot_be_searched_for_without_the_key_and_names_the_last_edit(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    edition = drafted(install)
    with database.write() as session:
        row = session.get_one(Edition, edition.id)
        seen = read_draft_approval_code(session, row, WEEKLY, KEYS)
        strange = read_draft_approval_code(session, row, WEEKLY, KeyRing.from_seed(b"others"))
        assert len(seen) == len(strange) == 16
        assert len({seen, strange, read_current_content_hash(session, row, WEEKLY)[:16]}) == 3
        note = {"kind": "undo", "target": "1", "value": {}, "actor": "staff 1", "at": NOW}
        session.add(EditionEdit(edition_id=row.id, seq=1, **note))
    with database.write() as session, pytest.raises(ApprovalError, match="has changed"):
        sign_approval(
            session, session.get_one(Edition, edition.id), seen, settings=WEEKLY, keys=KEYS, actor="eve", now=NOW
        )
    with database.write() as session:
        row = session.get_one(Edition, edition.id)
        mark = read_draft_approval_code(session, row, WEEKLY, KEYS)
        sign_approval(session, row, mark.upper(), settings=WEEKLY, keys=KEYS, actor="eve", now=NOW)
        assert row.state == EditionState.APPROVED


def test_an_approval_can_be_taken_back_until_sending_begins(approved: tuple[Installation, int]) -> None:
    install, number = approved
    with install.database.write() as session:
        revoke_all_approvals(session, session.get_one(Edition, number), actor="eve", now=NOW)
    with install.database.write() as session:
        row = session.get_one(Edition, number)
        assert (row.state, row.approved_at) == (EditionState.DRAFT, None)
        row.state = EditionState.SENDING
        with pytest.raises(ApprovalError, match="no approval to revoke"):
            revoke_all_approvals(session, row, actor="eve", now=NOW)


def test_an_approval_is_taken_back_or_sent_but_never_both(postgresql: Database, tmp_path: Path) -> None:
    settings = WEEKLY.model_copy(update={"home": tmp_path})
    install = Installation(settings, postgresql)
    add(postgresql, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    edition = drafted(install)
    approve_now(install, edition, NOW)
    outcomes: list[str] = []

    def send() -> None:
        try:
            edition_sending.run_edition(
                postgresql, edition.name, OutboxProvider(tmp_path / "out"), KEYS, settings, clock=lambda: NOW
            )
            outcomes.append("sent")
        except edition_sending.SendError as exc:
            outcomes.append(str(exc))

    sender = threading.Thread(target=send)
    with postgresql.write() as session:
        revoke_all_approvals(session, session.get_one(Edition, edition.id), actor="eve", now=NOW)
        sender.start()
        sender.join(timeout=0.5)
        assert outcomes == [], "it waits for what is being decided"
    sender.join()
    assert outcomes == [f"{edition.name} is a draft. Only approved editions can be sent. Approve the edition first."]
    with postgresql.read() as session:
        assert session.get_one(Edition, edition.id).state == EditionState.DRAFT
