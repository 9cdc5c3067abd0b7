"""The suppression list is exported, and another installation's is adopted, in a browser, by pointer and by keyboard."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from pyrage import passphrase as age

from digest.web.server import open_page_server
from subscribers.consent import suppression
from tests.browser import follow, page_faults, press_by_keyboard, sign_in, tab_to, write_by_keyboard
from tests.subscribers.transfer.suppression_files import ADA, PASSPHRASE, encrypt_file, file_of

pytestmark = pytest.mark.chromium
WIDTHS = (390, 1440)


def write(page: Page, way: str, **texts: str) -> None:
    """Fill in fields by their labels, in which underscores are spaces."""
    for label, text in texts.items():
        field = page.get_by_label(label.replace("_", " "), exact=False).first
        if way == "keyboard":
            write_by_keyboard(field, text)
        else:
            field.fill(text)


@pytest.mark.parametrize("way", ["pointer", "keyboard"])
def test_a_suppression_list_is_exported_and_another_adopted(
    browser: Browser, both: Any, tmp_path: Path, way: str
) -> None:
    theirs = encrypt_file(file_of(), tmp_path / "theirs.age")
    press = press_by_keyboard if way == "keyboard" else follow

    def look_at(page: Page, **options: Any) -> str:
        return page_faults(page, widths=WIDTHS, **options) if way == "pointer" else ""

    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context()
        sign_in(context, both, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/readers")
        press(page.get_by_role("link", name="Move the suppression list…"))
        faults = [look_at(page)]
        write(page, way, Reason="moving", Recipient="our new server")
        passphrase, repeated = page.locator("[name=passphrase]"), page.locator("[name=repeated]")
        button = page.get_by_role("button", name="Download encrypted file")
        if way == "keyboard":
            write_by_keyboard(passphrase, PASSPHRASE)
            write_by_keyboard(repeated, PASSPHRASE)
            tab_to(button)
        else:
            passphrase.fill(PASSPHRASE)
            repeated.fill(PASSPHRASE)
        with page.expect_download() as given:
            if way == "keyboard":
                page.keyboard.press("Enter")
            else:
                button.click()
        ours = given.value.path().read_bytes()
        page.get_by_label("File").set_input_files(theirs)
        press(page.get_by_role("button", name="Upload file"))
        faults.append(look_at(page))
        write(page, way, Passphrase_of_the_file=PASSPHRASE)
        press(page.get_by_role("button", name="Start dry run"))
        expect(page.get_by_role("row", name="Bounced, not suppressed here yet")).to_contain_text("1")
        faults.append(look_at(page, in_another_state=True))
        write(page, way, Reason="moved here", Passphrase_of_the_file=PASSPHRASE)
        press(page.get_by_role("button", name="Adopt this list"))
        expect(page.locator(".note.ok")).to_contain_text("The list is adopted.")
        faults.append(look_at(page, in_another_state=True))
        context.close()
    assert faults == [""] * 4
    assert age.decrypt(ours, PASSPHRASE).startswith(b'{"format":"hls-digest suppressions"')
    with both.database.read() as session:
        assert suppression.find_suppression(session, both.install.keys, ADA) is not None
