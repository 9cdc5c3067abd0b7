"""The sample's edition as email and web page in a browser: its size, its narrowest lines, and its print."""

from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from digest.deliver.compose.variants import compose_sample_message
from digest.edition.approval.approved_versions import read_draft_version
from digest.store.models import Edition, EditionState
from digest.web.app import create_app
from digest.web.server import open_page_server
from tests.browser import excess_width
from tests.moments import Clock
from tests.tools import look_measures
from tests.tools.shown_mail import ShownMail
from tests.web.conftest import sign_as_sent
from tests.web.desk.sample_week import SampleWeek

MOST_WEB_BYTES, MOST_MAIL_BYTES = 150_000, 60_000
NARROWEST = 195  # CSS pixels: a phone of 390 at 200%
HALF_NARROW = 240

pytestmark = pytest.mark.chromium


@pytest.fixture
def mail(week: SampleWeek) -> str:
    """Send the week's edition; give the HTML of its email as a subscriber gets it."""
    settings = week.installation.settings
    with week.installation.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        edition.state = EditionState.SENT
        sign_as_sent(session, edition, week.installation)
        message = compose_sample_message(read_draft_version(session, edition, settings), edition, settings)
    html = message_from_bytes(message, policy=policy.default).get_body(("html",))
    assert html is not None
    return str(html.get_content()).replace("\r\n", "\n")


@pytest.fixture
def web_page(week: SampleWeek, clock: Clock, mail: str, browser: Browser) -> Iterator[tuple[Page, str]]:
    """Give a page, and the URL of the web edition."""
    assert mail
    clock.now += timedelta(days=2)
    app = create_app(week.installation, clock=clock)
    context = browser.new_context(viewport={"width": 390, "height": 844})
    with open_page_server(app, "127.0.0.1", 0) as serving:
        yield context.new_page(), f"http://127.0.0.1:{serving.port}/editions/{week.name}"
    context.close()


@pytest.mark.parametrize("width", [390, 600, 1000])
def test_a_first_visit_loads_at_most_150_kb(web_page: tuple[Page, str], width: int) -> None:
    page, url = web_page
    page.set_viewport_size({"width": width, "height": 844})
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - Playwright marks what it calls
    page.goto(url, wait_until="networkidle")
    loaded = {answer.url.rpartition("/")[2][:12]: len(answer.body()) for answer in answers}
    kinds = {answer.headers["content-type"].partition(";")[0] for answer in answers}
    assert {"text/html", "text/css", "image/jpeg"} <= kinds
    assert sum(loaded.values()) <= MOST_WEB_BYTES, loaded


def test_the_email_weighs_at_most_60_kb(mail: str) -> None:
    assert len(mail.encode()) <= MOST_MAIL_BYTES


def test_narrow_lines_break_no_word_and_begin_with_no_dot(
    web_page: tuple[Page, str], browser: Browser, mail: str
) -> None:
    page, url = web_page
    page.goto(url)
    for width in (NARROWEST, HALF_NARROW, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert look_measures.find_line_faults(page) == ([], []), f"web, {width}"
        assert not excess_width(page)
        with ShownMail(browser, mail, width=width) as shown:
            assert look_measures.find_line_faults(shown.page) == ([], []), f"email, {width}"
            assert not excess_width(shown.page)


def test_broken_words_and_leading_dots_are_found(browser: Browser) -> None:
    html = '<p style="width:80px;font:16px serif;overflow-wrap:anywhere">departments-wide incomprehensibly a<br>· b</p>'
    with ShownMail(browser, html, width=390) as shown:
        assert look_measures.find_line_faults(shown.page).broken_words == ["incomprehensibly"]
        assert len(look_measures.find_line_faults(shown.page).leading_dots) == 1


def test_print_has_the_news_in_one_column_in_ink_on_paper_with_its_links(web_page: tuple[Page, str]) -> None:
    page, url = web_page
    page.goto(url)
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 720, "height": 960})
    expect(page.locator(".noprint, .turn, .get, .top nav, .foot nav").locator("visible=true")).to_have_count(0)
    colors = page.evaluate("(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))")
    assert colors == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    written = page.evaluate("getComputedStyle(document.querySelector('.srcs a'), '::after').content")
    assert written.startswith('" "') or "https://" in written
    assert not excess_width(page)
