"""Links to your own site are opened as a visitor before approval, with the real fetcher, in pages and in the terminal."""

import json
import re
from html import unescape
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import select
from werkzeug import Request, Response

from digest.app.approval import edition_approval
from digest.app.editions import edition_checks
from digest.app.editions.edition_status import read_edition_status
from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, ParsedItem
from digest.collect.texts.urls import canonical_url
from digest.edition.approval.approved_versions import ApprovalError
from digest.installation.opened_installation import Installation
from digest.settings import UsageLimitSettings
from digest.store.models import AuditEntry, Edition, EditionState, RenderedEditionFragment, Source, SourceHealth
from digest.web.app import create_app
from tests.actors import EDITOR
from tests.collect.stored_documents import store_document
from tests.moments import DRAFTING as NOW
from tests.web.conftest import WebSetup

pytestmark = pytest.mark.usefixtures("stored_as_composed")
NAME = "2026-W47"
LEAD = "/cisa.example/2026-W47/cranes"
PUBLIC = Response("<html><body><h1>Ports</h1><p>They got ten days.</p></body></html>", content_type="text/html")
FORM = '<form class="post-password-form"><input name="post_password" type="password"></form>'
PROTECTED = Response(f"<html><body>{FORM}</body></html>", content_type="text/html")
WALL = Response(status=302, headers={"Location": "/wp-login.php?to=x"})
HOME = Response(status=302, headers={"Location": "/"})
SOFT = Response("<html><body><h1>Page not found</h1></body></html>", content_type="text/html")


class OwnSite:
    """The publication's site on loopback: what every page answers, but those of `answers`."""

    def __init__(self, server: HTTPServer) -> None:
        self.server, self.asked = server, list[str]()
        self.answers: dict[str, Response] = {"/robots.txt": Response(status=404)}
        server.expect_request(re.compile(".*")).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        assert "Cookie" not in request.headers
        assert "Authorization" not in request.headers
        return self.answers.get(request.path, PUBLIC)


@pytest.fixture
def site(httpserver: HTTPServer) -> OwnSite:
    return OwnSite(httpserver)


@pytest.fixture
def linking(world: WebSetup, site: OwnSite) -> WebSetup:
    """Give an installation with a draft whose articles are pages of its own site on loopback."""
    server = site.server.url_for("/")
    file = world.install.settings.file
    file = file.model_copy(
        update={
            "publication": file.publication.model_copy(update={"site": server}),
            "limits": UsageLimitSettings(allow_networks=["127.0.0.0/8"]),
        }
    )
    install = Installation(world.install.settings.model_copy(update={"file": file}), world.database)
    world.edition()
    with world.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        edition.content = json.loads(move_articles(json.dumps(edition.content), server))
        for fragment in session.scalars(select(RenderedEditionFragment)):
            fragment.body = move_articles(fragment.body, server)
    app = create_app(install, clock=lambda: NOW)
    app.config["WTF_CSRF_ENABLED"] = False
    return WebSetup(install, app, world.ada)


def move_articles(text: str, server: str) -> str:
    return re.sub(r"https://(\w+\.example/)", rf"{server}\1", text)


def approve(world: WebSetup) -> edition_approval.ApprovalResult:
    mark = read_edition_status(world.install, NAME, now=NOW).content_hash
    return edition_approval.approve_edition(world.install, NAME, mark, actor=EDITOR, now=NOW)


def state_of(world: WebSetup) -> EditionState:
    with world.database.read() as session:
        return session.scalars(select(Edition.state)).one()


def words_of(answer: Any) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PROTECTED, "it's password-protected"),
        (WALL, "it redirects to a sign-in page"),
        (HOME, "it redirects to the front page"),
        (SOFT, "its page shows “not found”"),
        (Response(status=401), "visitors must sign in"),
        (Response(status=404), "the page returned 404"),
        (Response(status=403), "Your site blocked the check"),
    ],
)
def test_an_edition_that_links_what_visitors_cannot_read_is_not_approved(
    linking: WebSetup, site: OwnSite, answer: Response, reason: str
) -> None:
    site.answers[LEAD] = answer
    with pytest.raises(ApprovalError, match=reason) as refused:
        approve(linking)
    assert LEAD in str(refused.value)
    assert state_of(linking) is EditionState.DRAFT


def test_an_edition_whose_links_visitors_can_read_is_approved_once_each_was_opened(
    linking: WebSetup, site: OwnSite
) -> None:
    assert approve(linking).unchecked == ""
    assert state_of(linking) is EditionState.APPROVED
    assert site.asked.count(LEAD) == 1
    assert "/" not in site.asked, "the front page is no article"


def test_links_in_what_editors_wrote_are_opened_too(linking: WebSetup, site: OwnSite) -> None:
    link = site.server.url_for("/members/briefing")
    with linking.database.write() as session:
        for fragment in session.scalars(
            select(RenderedEditionFragment).where(
                RenderedEditionFragment.kind == "html", RenderedEditionFragment.name == "head"
            )
        ):
            fragment.body += f'<p><a href="{link}">our briefing</a></p>'
    site.answers["/members/briefing"] = WALL
    with pytest.raises(ApprovalError, match=f"Visitors can't read {link}: it redirects to a sign-in page"):
        approve(linking)


def test_our_own_pages_are_not_opened_but_an_article_under_the_same_host_is(linking: WebSetup, site: OwnSite) -> None:
    base = site.server.url_for("").rstrip("/")
    install = Installation(linking.install.settings.model_copy(update={"base_url": base}), linking.database)
    world = WebSetup(install, linking.app, linking.ada)
    links = {path: site.server.url_for(path) for path in ("/editions/2026-W46", LEAD)}
    with linking.database.write() as session:
        own = Source(url=f"{base}/feed", name="Own", publisher="Own", own=True, topics={}, health=SourceHealth.GOOD)
        session.add(own)
        session.flush()
        article = ParsedItem(guid="1", url=canonical_url(links[LEAD]), link=links[LEAD], title="Ports")
        store_document(session, own, ParsedDocument(DocumentKind.RSS, (article,)), NOW)
    findings = edition_checks.check_edition(world.install, NAME, own_site=True, now=NOW)
    assert [f for f in findings if f.rule == "own-links"] == []
    assert [path for path in site.asked if path != "/robots.txt"] == [LEAD]


def test_links_that_do_not_answer_are_a_warning_and_the_approval_says_so(linking: WebSetup, site: OwnSite) -> None:
    site.answers[LEAD] = Response(status=503)
    result = approve(linking)
    assert "Couldn't check 1 link to your site" in result.unchecked
    assert state_of(linking) is EditionState.APPROVED
    with linking.database.read() as session:
        detail = session.scalars(select(AuditEntry.detail).where(AuditEntry.act == "approve")).one()
    assert detail["own site"] == "not checked whole"


def test_the_review_page_opens_links_only_when_an_editor_asks(linking: WebSetup, site: OwnSite) -> None:
    desk, path = linking.signed_in_client("editor"), f"/desk/editions/{NAME}"
    site.answers[LEAD] = PROTECTED
    before = linking.dump()
    page = desk.get(f"{path}/approve")
    assert "Check your site" in words_of(page)
    assert site.asked == []
    checked = desk.post(f"{path}/check-links")
    assert checked.status_code == 200
    assert f"{LEAD}): it’s password-protected. Make the page public, or remove the link." in words_of(checked)
    assert re.search(r'<button class="btn go"[^>]* disabled[^>]*>Approve', checked.text)
    assert {t: rows for t, rows in linking.dump().items() if "session" not in t} == {
        t: rows for t, rows in before.items() if "session" not in t
    }
    refused = desk.post(
        f"{path}/approve", data={"mark": read_edition_status(linking.install, NAME, now=NOW).content_hash}
    )
    assert (refused.status_code, "it’s password-protected" in words_of(refused)) == (409, True)


def test_an_approval_with_unchecked_links_leads_to_a_page_that_says_so(linking: WebSetup, site: OwnSite) -> None:
    site.answers[LEAD] = Response(status=503)
    mark = read_edition_status(linking.install, NAME, now=NOW).content_hash
    answer = linking.signed_in_client("editor").post(
        f"/desk/editions/{NAME}/approve", data={"mark": mark}, follow_redirects=True
    )
    assert "You approved this version, but some of your site" in words_of(answer)
