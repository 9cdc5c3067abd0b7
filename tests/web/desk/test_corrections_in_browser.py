"""A sent edition is corrected on a phone, in a real browser: by pointer, checked by axe, and by keyboard alone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, expect

from digest.app.jobs import JobContext, run_job
from digest.web.server import open_page_server
from tests.browser import follow, page_faults, press_by_keyboard, sign_in, write_by_keyboard
from tests.web.desk.test_corrections import LATER, NAME, NOTE, RIGHT, WRONG, SentEdition, sent

__all__ = ["sent"]
pytestmark = pytest.mark.chromium
LABEL_WIDTH = """button => {
  const label = document.createRange();
  label.selectNodeContents(button);
  return label.getBoundingClientRect().width;
}"""


@pytest.mark.parametrize(("press", "write"), [(follow, Locator.fill), (press_by_keyboard, write_by_keyboard)])
def test_a_headline_is_corrected_from_its_current_text_and_its_email_is_seen_before_it_is_sent(
    browser: Browser, sent: SentEdition, press: Callable[[Locator], None], write: Callable[[Locator, str], None]
) -> None:
    faults = []
    with open_page_server(sent.world.app, "127.0.0.1", 0) as serving:
        base = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": 390, "height": 844})
        sign_in(context, sent.world, base)
        page = context.new_page()

        def look() -> None:
            if press is follow:
                faults.append(page_faults(page))

        page.goto(f"{base}/desk/editions/{NAME}/corrections")
        look()
        press(page.get_by_role("link", name=WRONG))
        headline = page.get_by_label("Headline")
        expect(headline).to_have_value(WRONG)
        look()
        write(headline, RIGHT)
        write(page.get_by_label("Explanation"), NOTE)
        press(page.get_by_role("button", name="Correct the archive"))
        heading = page.get_by_role("heading", level=1)
        expect(heading).to_have_text("6 subscribers received the error")
        expect(page.locator(".passages del")).to_have_text("41,000")
        expect(page.locator(".passages ins")).to_have_text("4,100")
        email = page.frame_locator("iframe")
        expect(email.get_by_text(RIGHT, exact=True)).to_be_visible()
        expect(email.get_by_text(NOTE)).to_be_visible()
        look()
        button = page.get_by_role("button", name="Email the correction to 5 subscribers")
        assert button.evaluate(LABEL_WIDTH) <= button.evaluate("button => button.clientWidth") - 20
        press(button)
        expect(heading).to_have_text("The correction was approved")
        look()
    context.close()
    assert "".join(faults) == ""
    assert run_job(JobContext(sent.install, lambda: LATER), "plan_corrections") == "5 corrections queued"
