"""From a WordPress site to an approval: private articles are left out of drafts, and other editions report them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from digest.app import jobs
from digest.app.approval import edition_approval
from digest.app.doctor.attention import list_attention_sentences
from digest.app.editing import changes as editing
from digest.app.editing.edit_application import EditForm
from digest.app.editions import drafting as editions
from digest.app.editions import edition_checks
from digest.app.editions.edition_status import read_edition_status
from digest.app.jobs import JobContext
from digest.collect.fetch.fetcher import HttpFetcher, build_user_agent
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.edits import EditionField
from digest.installation.opened_installation import Installation
from digest.settings import SourceSettings, UsageLimitSettings
from digest.store.engine import Database
from digest.store.models import Article, Edition, Source
from subscribers.crypto.keys import KeyRing
from tests.actors import ADMIN, EDITOR
from tests.conftest import WAIT_TIMEOUT
from tests.edition.drafting.test_drafts import WEEKLY
from tests.moments import MONDAY_NOON as NOW
from tests.wordpress_site import WordPress

LATER = NOW + timedelta(hours=3)
GONE = "Visitors can't read “News /drill/” anymore: it's password-protected. Remove the story. If its page is public again, draft the edition again."
LIMITS = UsageLimitSettings(allow_networks=["127.0.0.0/8"], fetch_timeout=WAIT_TIMEOUT)


class Desk:
    """An installation whose own site is a WordPress on loopback."""

    def __init__(self, database: Database, home: Path, site: WordPress, fetcher: HttpFetcher) -> None:
        own = SourceSettings(url=site.url("/wp-json/wp/v2/posts"), name="Own", publisher="Own", own=True)
        publication = WEEKLY.file.publication.model_copy(update={"site": site.url("/")})
        file = WEEKLY.file.model_copy(update={"sources": [own], "limits": LIMITS, "publication": publication})
        settings = WEEKLY.model_copy(update={"file": file, "home": home})
        KeyRing.create(settings.key_file)
        self.install, self.fetcher = Installation(settings, database), fetcher

    def collect(self, now: datetime) -> None:
        editions.collect_articles(self.install, actor=ADMIN, now=now, fetcher=self.fetcher, force=True)

    def draft(self, now: datetime) -> None:
        editions.draft_next_edition(self.install, actor=ADMIN, now=now, fetcher=self.fetcher)

    def collect_and_draft(self, now: datetime) -> None:
        self.collect(now)
        self.draft(now)

    def approve(self, now: datetime) -> None:
        mark = read_edition_status(self.install, "current", now=now).content_hash
        edition_approval.approve_edition(self.install, "current", mark, actor=EDITOR, now=now, fetcher=self.fetcher)

    def headlines(self) -> set[str]:
        with self.install.database.read() as session:
            content = EditionContent.from_json(session.scalars(select(Edition)).one().content)
        return set(content.linked_articles.values())

    def attention(self, now: datetime) -> list[str]:
        with self.install.database.read() as session:
            return [said for said in list_attention_sentences(session, now) if "visitors" in said]

    def errors(self, now: datetime) -> list[str]:
        """Give what preflight finds without a visit to the site, of what a visitor can read."""
        return [
            f.sentence for f in edition_checks.check_edition(self.install, "current", now=now) if f.rule == "withdrawn"
        ]


@pytest.fixture
def site(httpserver: HTTPServer) -> WordPress:
    return WordPress(httpserver)


@pytest.fixture
def desk(database: Database, tmp_path: Path, site: WordPress) -> Iterator[Desk]:
    with HttpFetcher(LIMITS, build_user_agent("https://news.example.org/")) as fetcher:
        yield Desk(database, tmp_path, site, fetcher)


@pytest.mark.takes_turns
def test_a_post_protected_later_leaves_the_draft_and_comes_back(desk: Desk, site: WordPress) -> None:
    desk.collect_and_draft(NOW)
    assert desk.headlines() == {"News /drill/", "News /flood/"}
    site.protected = {"/drill/"}
    desk.collect(LATER)
    assert desk.errors(LATER) == [GONE]
    desk.draft(LATER)
    assert (desk.headlines(), desk.errors(LATER)) == ({"News /flood/"}, [])
    site.protected = set()
    desk.collect_and_draft(LATER)
    assert desk.headlines() == {"News /drill/", "News /flood/"}


def test_another_feed_that_lists_the_post_later_does_not_bring_it_back(desk: Desk, site: WordPress) -> None:
    desk.collect_and_draft(NOW)
    site.protected = {"/drill/"}
    desk.collect(LATER)
    with desk.install.database.write() as session:
        other = Source(url="https://feeds.example/rss", name="Other", publisher="Other", section="news", topics={})
        listed = session.scalars(select(Article).where(Article.link == site.url("/drill/"))).one()
        values = {
            c.name: getattr(listed, c.name) for c in Article.__table__.columns if c.name not in {"id", "source_id"}
        }
        session.add(Article(**values | {"source": other, "withdrawn_at": None, "title": "A teaser"}))
    site.protected, site.is_cached = set(), True
    assert desk.errors(LATER) == [GONE]
    desk.draft(LATER)
    assert (desk.headlines(), desk.errors(LATER)) == ({"News /flood/"}, [])


@pytest.mark.takes_turns
def test_the_timetable_drafts_an_edition_again_that_nobody_edited(desk: Desk, site: WordPress) -> None:
    context = JobContext(desk.install, lambda: LATER)
    desk.collect_and_draft(NOW)
    assert "drafted again" not in jobs.collect(context)
    site.protected = {"/drill/"}
    assert jobs.collect(context).endswith("2026-W47 drafted again without withdrawn articles")
    assert desk.headlines() == {"News /flood/"}
    assert "drafted again" not in jobs.collect(context)
    editing.set_edition_text(desk.install, EditForm("current", EDITOR, NOW), EditionField.INTRO, "Good morning.")
    site.protected = {"/flood/"}
    assert "drafted again" not in jobs.collect(context)
    assert desk.headlines() == {"News /flood/"}


@pytest.mark.takes_turns
def test_a_page_that_no_list_speaks_of_is_found_when_the_edition_is_drafted(desk: Desk, site: WordPress) -> None:
    desk.collect(NOW)
    site.protected = {"/drill/"}  # after the visit
    desk.draft(NOW)
    assert desk.headlines() == {"News /flood/"}


def test_an_edited_draft_keeps_it_for_an_editor_to_remove_and_is_not_approved_until_then(
    desk: Desk, site: WordPress
) -> None:
    desk.collect_and_draft(NOW)
    form = EditForm("current", EDITOR, NOW)
    editing.set_edition_text(desk.install, form, EditionField.INTRO, "Good morning.")
    site.protected = {"/drill/"}
    desk.collect_and_draft(LATER)
    assert desk.headlines() == {"News /drill/", "News /flood/"}
    assert desk.errors(LATER) == [GONE]
    with pytest.raises(ApprovalError, match="withdrawn: Visitors can't read “News /drill/” anymore"):
        desk.approve(LATER)
    editing.drop_stories(desk.install, EditForm("current", EDITOR, LATER), site.url("/drill/"))
    assert (desk.headlines(), desk.errors(LATER)) == ({"News /flood/"}, [])


@pytest.mark.takes_turns
def test_an_approved_edition_says_that_visitors_cannot_read_a_story_anymore(desk: Desk, site: WordPress) -> None:
    desk.collect_and_draft(NOW)
    desk.approve(NOW)
    assert desk.attention(NOW) == []
    site.protected = {"/drill/"}
    desk.collect(LATER)
    (said,) = desk.attention(LATER)
    assert "visitors can't read an article anymore: “News /drill/” (it's password-protected). Remove it" in said
    assert desk.errors(LATER) == [GONE]
