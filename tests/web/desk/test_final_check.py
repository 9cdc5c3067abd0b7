"""The pre-send check visits every article right before the send time, with the real fetcher, and editors see the result."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pytest_httpserver import HTTPServer
from sqlalchemy import select, update

import scheduler
from digest.app.approval import final_check
from digest.app.doctor.attention import list_attention_sentences
from digest.app.jobs import JobContext
from digest.app.sending import background_tasks
from digest.app.sending import send_control as sending
from digest.cli import digest
from digest.collect.fetch.fetcher import HttpFetcher, build_user_agent
from digest.deliver.control.article_recheck_results import REPEAT_AFTER, needs_article_check_before_send
from digest.installation.opened_installation import Installation
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import Delivery
from digest.store.models import AuditEntry, Edition, EditionState, RenderedEditionFragment
from tests.actors import EDITOR
from tests.moments import RELEASE
from tests.sent_emails import read_email

SOON = RELEASE - timedelta(minutes=20)
NAME = "2026-W47"
GONE = "/cbp.example/2026-W47"


def loopback() -> HttpFetcher:
    return HttpFetcher(
        UsageLimitSettings(allow_networks=["127.0.0.0/8"]), build_user_agent("https://news.example.org/")
    )


@pytest.fixture
def approved(world: Any, httpserver: HTTPServer) -> Any:
    """Give an approved edition whose articles stand on a server of the test; every page of it is there."""
    world.edition(state=EditionState.APPROVED)
    world.session_cookie("editor")
    httpserver.expect_request("/robots.txt").respond_with_data("User-agent: *\nDisallow: /aspr.example")
    with world.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        edition.content = json.loads(move_articles(json.dumps(edition.content), httpserver.url_for("/")))
        edition.approved_at = RELEASE - timedelta(hours=10)
        for fragment in session.scalars(select(RenderedEditionFragment)):
            fragment.body = move_articles(fragment.body, httpserver.url_for("/"))
    return world


def move_articles(text: str, server: str) -> str:
    """Let every article stand on the test's server."""
    return re.sub(r"https://(\w+\.example/)", rf"{server}\1", text)


def look(world: Any, at: datetime = SOON) -> Any:
    return final_check.recheck_articles(world.install, NAME, actor=EDITOR, clock=lambda: at, fetcher=loopback())


def answer_everything(httpserver: HTTPServer, *, but: dict[str, int]) -> None:
    for path, status in but.items():
        httpserver.expect_request(path).respond_with_data("", status)
    for host in (*CRANES, *ROWS):
        if f"/{host}" not in but:
            httpserver.expect_request(f"/{host}").respond_with_data("here")


CRANES = tuple(f"{name}.example/2026-W47/cranes" for name in ("cisa", "reuters", "ap"))
ROWS = tuple(f"{name}.example/2026-W47" for name in ("fema", "cbp", "aspr", "events", "sam"))


def edition_of(world: Any) -> Edition:
    with world.database.read() as session:
        found: Edition = session.scalars(select(Edition).where(Edition.name == NAME)).one()
        return found


def mails(world: Any) -> int:
    with world.database.read() as session:
        return len(session.scalars(select(Delivery).where(Delivery.purpose.startswith("gone:"))).all())


def test_a_gone_article_stops_the_release_and_the_editors_are_told_once(approved: Any, httpserver: HTTPServer) -> None:
    answer_everything(httpserver, but={GONE: 404, "/fema.example/2026-W47": 503})
    assert final_check.find_due_checks(approved.install, now=SOON - timedelta(seconds=1)) == []
    assert final_check.find_due_checks(approved.install, now=SOON) == [NAME]
    found = look(approved)
    assert [(finding.headline, finding.what) for finding in found.gone] == [
        ("Two land crossings open a second face-matching lane", "404")
    ]
    # A page that fails stops nothing, and one that robots.txt disallows is not asked for.
    assert [finding.url.rpartition("/")[0][-12:] for finding in found.unanswered] == ["fema.example", "aspr.example"]
    assert not [1 for request, _ in httpserver.log if "aspr" in request.path]
    assert "visitors can't read an article anymore: “Two land crossings" in edition_of(approved).paused_because
    scheduler.send_due_editions(JobContext(approved.install, lambda: RELEASE), scheduler.EditionSendBackoff())
    assert edition_of(approved).state is EditionState.APPROVED
    with approved.database.read() as session:
        (sentence,) = list_attention_sentences(session, RELEASE)
    assert "Remove it and approve the edition again" in sentence
    page = approved.desk.get(f"/desk/editions/{NAME}/sending").text
    assert "<h1>No. 147 isn\u2019t being sent</h1>" in page
    assert "The pre-send check of all articles found 1 gone and 2 not responding." in page
    assert final_check.find_due_checks(approved.install, now=RELEASE - timedelta(minutes=11)) == []
    look(approved, SOON + REPEAT_AFTER)
    assert mails(approved) == 1
    (told,) = send_mails(approved)
    assert "Two land crossings open a second face-matching lane (404)" in told
    assert "The edition is paused." in told
    assert "Visitors can no longer read this article:" in " ".join(told.split())
    assert read_email(told.encode())["Subject"] == "No. 147 is paused because visitors can’t read an article"


def send_mails(world: Any) -> list[str]:
    background_tasks.send_due_transactional_emails(world.install, clock=lambda: RELEASE)
    folder = world.install.settings.outbox_folder / "notice"
    return [file.read_text() for file in sorted(folder.glob("*.eml"))]


def test_the_terminal_looks_too_before_it_sends_and_once(
    approved: Any, httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_everything(httpserver, but={GONE: 410})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digest.toml").write_text('[limits]\nallow_networks = ["127.0.0.0/8"]\n')
    monkeypatch.setenv("DIGEST_HOME", str(approved.install.settings.home))
    url = approved.database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("DIGEST_DATABASE_URL", url)
    answers = [CliRunner().invoke(digest, ["send", NAME, "--yes"]) for _ in range(2)]
    assert [answer.exit_code for answer in answers] == [2, 2]
    assert [answer.output.count("articles checked again, 1 gone") for answer in answers] == [1, 0]
    assert all("is paused: visitors can't read an article anymore" in answer.output for answer in answers)
    assert mails(approved) == 1


def test_it_goes_on_when_the_article_is_back(approved: Any, httpserver: HTTPServer) -> None:
    answer_everything(httpserver, but={GONE: 410})
    look(approved)
    httpserver.clear()
    answer_everything(httpserver, but={})
    httpserver.expect_request("/robots.txt").respond_with_data("", 404)
    at = SOON + REPEAT_AFTER
    assert final_check.find_due_checks(approved.install, now=at) == [NAME]
    assert look(approved, at).gone == ()
    assert edition_of(approved).paused_at is None
    with approved.database.read() as session:
        acts = [(row.act, row.actor) for row in session.scalars(select(AuditEntry).order_by(AuditEntry.id))]
    assert acts[-2:] == [("looked again", EDITOR.name), ("resumed", "digest")]


def test_an_editor_may_let_it_go_as_it_is_and_is_not_overruled(approved: Any, httpserver: HTTPServer) -> None:
    answer_everything(httpserver, but={GONE: 404})
    look(approved)
    sending.resume_edition(approved.install, NAME, actor=EDITOR, now=SOON)
    assert final_check.find_due_checks(approved.install, now=RELEASE) == []
    look(approved, RELEASE)
    assert edition_of(approved).paused_at is None
    assert sending.find_pending_sends(approved.install, now=RELEASE).ready_to_send == (NAME,)


def test_what_somebody_paused_for_another_reason_stays_paused(approved: Any, httpserver: HTTPServer) -> None:
    answer_everything(httpserver, but={})
    sending.pause_edition(approved.install, NAME, reason="a wrong date", actor=EDITOR, now=SOON)
    look(approved)
    assert edition_of(approved).paused_because == "a wrong date"


def test_a_setting_sends_in_spite_of_it_and_tells(approved: Any, httpserver: HTTPServer) -> None:
    settings = approved.install.settings
    schedule = settings.file.schedule.model_copy(update={"at_gone_article": "send"})
    file = settings.file.model_copy(update={"schedule": schedule})
    lenient = Installation(settings.model_copy(update={"file": file}), approved.database)
    answer_everything(httpserver, but={GONE: 404})
    final_check.recheck_articles(lenient, NAME, actor=EDITOR, clock=lambda: SOON, fetcher=loopback())
    assert edition_of(approved).paused_at is None
    (told,) = send_mails(approved)
    assert "The edition will still be sent" in told


def test_nothing_goes_before_it_was_looked_at_as_it_was_approved(approved: Any, httpserver: HTTPServer) -> None:
    answer_everything(httpserver, but={})
    assert sending.find_pending_sends(approved.install, now=RELEASE).ready_to_send == ()
    look(approved)
    assert sending.find_pending_sends(approved.install, now=RELEASE).ready_to_send == (NAME,)
    with approved.database.write() as session:
        session.execute(update(Edition).values(approved_at=RELEASE))
    assert sending.find_pending_sends(approved.install, now=RELEASE).ready_to_send == ()
    with approved.database.read() as session:
        assert not needs_article_check_before_send(session, edition_of(approved), minutes=0, now=RELEASE)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            '<form class="post-password-form"><input name="post_password" type="password"></form>',
            "it's password-protected",
        ),
        ("<h1>Page not found</h1>", "its page shows “not found”"),
    ],
)
def test_a_page_that_visitors_cannot_read_anymore_stops_the_release(
    approved: Any, httpserver: HTTPServer, body: str, words: str
) -> None:
    page = f"<html><body>{body}</body></html>"
    httpserver.expect_oneshot_request(GONE).respond_with_data(page, content_type="text/html")
    answer_everything(httpserver, but={})
    assert [(finding.url.rpartition("/")[0][-11:], finding.what) for finding in look(approved).gone] == [
        ("cbp.example", words)
    ]
    assert words in edition_of(approved).paused_because


def test_without_a_network_the_release_does_not_wait(approved: Any, httpserver: HTTPServer) -> None:
    httpserver.clear()
    with approved.database.write() as session:
        for fragment in session.scalars(select(RenderedEditionFragment)):
            fragment.body = re.sub(r"http://(localhost|127\.0\.0\.1)", "http://192.0.2.1", fragment.body)
    found = final_check.recheck_articles(approved.install, NAME, actor=EDITOR, clock=lambda: SOON)
    assert found is not None
    assert (found.gone, len(found.unanswered)) == ((), found.checked_count)
    assert sending.find_pending_sends(approved.install, now=RELEASE).ready_to_send == (NAME,)


def test_what_goes_out_is_looked_at_and_not_what_an_editor_has_changed_since(
    approved: Any, httpserver: HTTPServer
) -> None:
    answer_everything(httpserver, but={GONE: 404})
    with approved.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        edition.content = edition.content | {"sections": []}
    assert [finding.url.rpartition("/")[0][-11:] for finding in look(approved).gone] == ["cbp.example"]
