"""Breaking news in a real browser: drafted, approved, and sent on a phone and a desktop, by pointer and by keyboard, checked by axe."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from sqlalchemy import select

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.app.sending import send_control as sending
from digest.installation.audited_actions import SCHEDULER
from digest.store.models import Edition
from digest.web.server import open_page_server
from tests.actors import EDITOR
from tests.browser import faulty_pages, follow, press_by_keyboard, sign_in, tick_by_keyboard
from tests.web.desk.sample_week import SampleWeek, later
from tests.web.desk.sending.test_breaking_news_pages import PATH, add_recipients

pytestmark = pytest.mark.chromium

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
WIDTHS = (390, 1440)
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


@dataclass(frozen=True)
class Hand:
    """A way to use a page: by pointer or by keyboard."""

    press: Callable[[Locator], None]
    tick: Callable[[Locator], None]


HANDS = {"pointer": Hand(follow, lambda box: box.check()), "keyboard": Hand(press_by_keyboard, tick_by_keyboard)}


@pytest.mark.parametrize(
    ("size", "hand"),
    [(PHONE, HANDS["pointer"]), (DESKTOP, HANDS["keyboard"])],
    ids=["phone-pointer", "desktop-keyboard"],
)
def test_one_editor_drafts_it_and_another_approves_and_sends_it(
    browser: Browser, served: tuple[SampleWeek, str], hand: Hand, size: dict[str, int]
) -> None:
    week, address = served
    dana, page = open_page(browser, served, "dana", size)
    page.goto(f"{address}/desk/calendar")
    hand.press(page.get_by_role("link", name="Breaking news"))
    hand.tick(page.get_by_role("checkbox").nth(1))
    hand.press(page.get_by_role("button", name="Draft breaking news"))
    expect(page).to_have_url(re.compile(f"{NEWS}(#.*)?$"))

    # Any page of the desk leads the colleague to its review.
    sam, review = open_page(browser, served, "sam", size)
    review.goto(f"{address}/desk/sources")
    hand.press(review.locator(".attention").get_by_role("link"))
    expect(review).to_have_url(re.compile(f"{NEWS}/approve(#.*)?$"))
    hand.press(review.get_by_role("button", name="Approve"))
    expect(review).to_have_url(re.compile(f"{NEWS}(#.*)?$"))
    expect(review.get_by_role("link", name="Revoke").filter(visible=True)).to_have_count(1)
    hand.press(review.get_by_role("link", name="Send now…"))
    expect(review).to_have_url(re.compile(f"{NEWS}/send-now(#.*)?$"))
    expect(review.get_by_role("heading", level=1)).to_have_text("Send to 3 subscribers now?")
    final = review.get_by_role("button", name="Send now to 3 subscribers")
    if size == PHONE:  # both are in sight on the first screen
        expect(final).to_be_in_viewport()
        expect(review.get_by_text("Breaking news can\u2019t be recalled.")).to_be_in_viewport()
    assert not was_requested(week)
    hand.press(final)
    expect(review).to_have_url(re.compile(f"{NEWS}/sending(#.*)?$"))
    assert was_requested(week)
    sending.send_edition(week.installation, "2026-W47-2", actor=SCHEDULER, clock=later)
    expect(review.get_by_role("heading", level=1)).to_have_text("3 of 3 accepted")
    dana.close()
    sam.close()


def test_axe_finds_nothing_on_its_pages(browser: Browser, served: tuple[SampleWeek, str]) -> None:
    week, address = served
    dana, page = open_page(browser, served, "dana", DESKTOP)
    assert faulty_pages(page, address, [PATH], widths=WIDTHS) == {}
    page.get_by_role("checkbox").nth(1).check()
    follow(page.get_by_role("button", name="Draft breaking news"))
    pages = [PATH, "/desk/sources", f"{NEWS}/send-now?renew=no", f"{NEWS}/sending"]
    assert faulty_pages(page, address, pages, widths=WIDTHS) == {}
    mark = read_edition_status(week.installation, "2026-W47-2", now=later()).content_hash
    edition_approval.approve_edition(week.installation, "2026-W47-2", mark, actor=EDITOR, now=later())
    assert faulty_pages(page, address, [f"{NEWS}/send-now"], widths=WIDTHS) == {}
    dana.close()


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
