"""Breaking news in a real browser: drafted, approved, and sent by pointer on a phone, by keyboard on a desktop, as axe sees it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import select

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.store.models import Edition
from digest.web.server import open_page_server
from tests.actors import EDITOR
from tests.browser import faulty_pages, follow, press_by_keyboard, sign_in, tick_by_keyboard
from tests.web.desk.sample_week import SampleWeek, later
from tests.web.desk.sending.test_breaking_news_pages import PATH, add_recipients

pytestmark = pytest.mark.chromium

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
NEWS = "/desk/editions/2026-W47-2"


@pytest.fixture
def served(week: SampleWeek) -> Iterator[tuple[SampleWeek, str]]:
    """Serve a copy of the week, with the forms' tokens as in life, and three people who get breaking news."""
    add_recipients(week)
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield week, f"http://127.0.0.1:{serving.port}"


def open_page(
    browser: Browser, served: tuple[SampleWeek, str], editor: str, size: dict[str, int]
) -> tuple[BrowserContext, Page]:
    week, address = served
    context = browser.new_context(viewport=size)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
    sign_in(context, week, address, editor)
    return context, context.new_page()


def was_requested(week: SampleWeek) -> bool:
    with week.installation.database.read() as session:
        return session.scalars(select(Edition).where(Edition.name == "2026-W47-2")).one().send_requested_at is not None


def test_it_is_drafted_approved_and_sent_by_pointer_on_a_phone(
    browser: Browser, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    dana, page = open_page(browser, served, "dana", PHONE)
    page.goto(f"{address}/desk/calendar")
    follow(page.get_by_role("link", name="Breaking news"))
    page.get_by_role("checkbox").nth(1).check()
    follow(page.get_by_role("button", name="Draft breaking news"))
    page.goto(f"{address}{NEWS}/send-now")
    button = page.get_by_role("button", name="Send now to 3 subscribers")
    expect(button).to_be_disabled()
    assert faulty_pages(page, address, [PATH, f"{NEWS}/send-now?renew=no", f"{NEWS}/sending"], widths=(390, 1440)) == {}

    sam, review = open_page(browser, served, "sam", PHONE)
    review.goto(f"{address}{NEWS}/approve")
    follow(review.get_by_role("button", name="Approve"))
    expect(review).to_have_url(f"{address}{NEWS}/send-now")
    expect(review.get_by_role("heading", level=1)).to_have_text("Send to 3 subscribers now?")
    final = review.get_by_role("button", name="Send now to 3 subscribers")
    # Both are in sight at the foot of the first screen.
    expect(final).to_be_in_viewport()
    expect(review.get_by_text("It can\u2019t be recalled.")).to_be_in_viewport()
    assert faulty_pages(review, address, [f"{NEWS}/send-now"], widths=(390, 1440)) == {}
    review.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert not was_requested(week)
    follow(review.get_by_role("button", name="Send now to 3 subscribers"))
    expect(review).to_have_url(f"{address}{NEWS}/sending")
    assert was_requested(week)
    dana.close()
    sam.close()


def test_it_is_drafted_approved_and_sent_by_keyboard_alone(browser: Browser, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    dana, page = open_page(browser, served, "dana", DESKTOP)
    page.goto(f"{address}/desk/calendar")
    press_by_keyboard(page.get_by_role("link", name="Breaking news"))
    tick_by_keyboard(page.get_by_role("checkbox").nth(1))
    press_by_keyboard(page.get_by_role("button", name="Draft breaking news"))
    expect(page).to_have_url(f"{address}{NEWS}")

    sam, review = open_page(browser, served, "sam", DESKTOP)
    review.goto(f"{address}{NEWS}")
    press_by_keyboard(review.get_by_role("link", name="Review and approve"))
    press_by_keyboard(review.get_by_role("button", name="Approve"))
    press_by_keyboard(review.get_by_role("button", name="Send now to 3 subscribers"))
    expect(review).to_have_url(f"{address}{NEWS}/sending")
    assert was_requested(week)
    dana.close()
    sam.close()


def test_the_page_that_waits_shows_the_email_and_learns_of_an_approval(
    browser: Browser, served: tuple[SampleWeek, str]
) -> None:
    week, address = served
    dana, page = open_page(browser, served, "dana", DESKTOP)
    page.goto(address + PATH)
    page.get_by_role("checkbox").nth(1).check()
    follow(page.get_by_role("button", name="Draft breaking news"))
    page.goto(f"{address}{NEWS}/send-now")
    expect(page.frame_locator("iframe").get_by_text("Turn off breaking news")).to_have_count(1)
    button = page.get_by_role("button", name="Send now to 3 subscribers")
    expect(button).to_be_disabled()
    mark = read_edition_status(week.installation, "2026-W47-2", now=later()).content_hash
    edition_approval.approve_edition(week.installation, "2026-W47-2", mark, actor=EDITOR, now=later())
    expect(button).to_be_enabled()
    dana.close()
