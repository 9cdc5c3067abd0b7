"""Images of an edition in a real browser: dropped, pasted, or chosen, shown immediately, with a focus point and description."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, Page, Route, expect

from digest.app.approval import edition_approval
from digest.app.editions.edition_status import read_edition_status
from digest.web.server import open_page_server
from tests.actors import EDITOR
from tests.browser import follow, page_faults, sign_in, tab_to, write_by_keyboard
from tests.web.desk.sample_week import SampleWeek, later

pytestmark = pytest.mark.chromium

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SPOT = (0.75, 0.25)  # of the picture below, as fractions of it
# Gives the file that a page's script is told of, as a drop or a paste would.
TRANSFER = """(target, [kind, body, type]) => {
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0)), transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "crane", { type }));
  const told = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  return !target.dispatchEvent(told);
}"""


KEEP_WORDS = """hint => {
  hint.words = [];
  new MutationObserver(() => hint.words.push(hint.textContent)).observe(hint, { childList: true });
}"""


def png() -> bytes:
    """Draw a tall picture whose spot a crop loses, unless it is the focus point."""
    image = Image.new("RGB", (600, 1200), "white")
    ImageDraw.Draw(image).circle((600 * SPOT[0], 1200 * SPOT[1]), 60, fill="black")
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@dataclass(frozen=True)
class ServedWeek:
    """A copy of the week as it is served, and a browser for it."""

    week: SampleWeek
    address: str
    browser: Browser

    def open(self, viewport: dict[str, int], place: int = 0, *, scripted: bool = True) -> Page:
        """Open a featured story's form as Dana."""
        context = self.browser.new_context(viewport=viewport, java_script_enabled=scripted)  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
        sign_in(context, self.week, self.address, "dana")
        page = context.new_page()
        anchor = self.week.anchors("featured")[place]
        page.goto(f"{self.address}{self.week.path}?open={anchor}&tab=edition#{anchor}")
        return page

    def image(self, place: int = 0) -> dict[str, object]:
        """Give a featured story's picture."""
        picture = self.week.entry("featured", place)["picture"]
        assert isinstance(picture, dict)
        return picture

    def crop(self, place: int = 0) -> Image.Image:
        """Give what subscribers see of it."""
        answer = self.week.client().get(f"/media/{self.image(place)['hash']}")
        return Image.open(io.BytesIO(answer.data)).convert("L")


@pytest.fixture
def served(week: SampleWeek, browser: Browser) -> Iterator[ServedWeek]:
    week.app.config["WTF_CSRF_ENABLED"] = True
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield ServedWeek(week, f"http://127.0.0.1:{serving.port}", browser)
    for context in browser.contexts:
        context.close()


def form_of(page: Page) -> Locator:
    return page.locator("li.st.sel form[data-saves]")


def give(target: Locator, kind: str, body: bytes, content_type: str = "image/png") -> bool:
    """Drop or paste a file; say whether the page took it."""
    taken = target.evaluate(TRANSFER, [kind, base64.b64encode(body).decode(), content_type])
    return bool(taken)


def open_fold(page: Page) -> None:
    page.locator("li.st.sel details.sub2 > summary").filter(has_text=re.compile("^Image")).click()


def expect_saved(page: Page) -> None:
    expect(page.locator("#unsaved")).to_have_text("")
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))


@pytest.mark.parametrize(("viewport", "kind"), [(WIDE, "drop"), (PHONE, "paste")], ids=["wide", "phone"])
def test_an_image_is_given_seen_at_once_described_and_saved(
    served: ServedWeek, viewport: dict[str, int], kind: str
) -> None:
    page = served.open(viewport)
    form, alt = form_of(page), form_of(page).locator("[name=alt]")
    headline = form.get_by_label(re.compile("^Headline"))
    headline.fill("Cranes")
    if kind == "drop":
        assert give(form, "dragover", png())
        expect(form).to_have_class(re.compile("dropping"))
    assert give(form if kind == "drop" else headline, kind, png())
    # It's there before anything is sent, with the field that it still needs, and the page is no longer than its window.
    if viewport == WIDE:
        assert page.evaluate("document.documentElement.scrollHeight") == viewport["height"]
    expect(form.locator(".image canvas")).to_be_visible()
    expect(form).not_to_have_class(re.compile("dropping"))
    expect(alt).to_be_focused()
    expect(alt).to_have_value("")
    expect(page.locator("#unsaved")).to_have_text(re.compile("image file of Featured 1"))
    before = served.image()["hash"]
    ring = form.get_by_role("button", name=re.compile("^Focus point: 50% from the left, 40% from the top"))
    box = ring.bounding_box()
    assert box is not None
    ring.click(position={"x": box["width"] * SPOT[0], "y": box["height"] * SPOT[1]})
    expect(
        form.get_by_role("button", name=re.compile("^Focus point: 75% from the left, 25% from the top"))
    ).to_have_count(1)
    assert served.image()["hash"] == before, "nothing is sent without a description"
    alt.fill("A crane at dusk")
    alt.press("Tab")
    expect_saved(page)
    expect(form.locator(".image canvas")).to_have_count(0)
    expect(form.locator(".image .shown")).to_be_visible()
    expect(form.locator(".image .shown")).to_have_attribute("alt", "A crane at dusk")
    image, crop = served.image(), served.crop()
    assert (image["alt"], image["focus"]) == ("A crane at dusk", list(SPOT))
    assert crop.getpixel((crop.width * 3 // 4, crop.height // 4)) < 50  # type: ignore[operator]  # grey, so one number
    assert served.week.headlines("featured")[0] == "Cranes"
    # What is written next is about the same image.
    form.get_by_label(re.compile("^Credit")).fill("Port of Ellery")
    form.get_by_label(re.compile("^Credit")).press("Tab")
    expect_saved(page)
    assert served.image() == image | {"credit": "Port of Ellery"}
    assert page_faults(page) == ""


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_focus_point_is_set_by_keys_alone(served: ServedWeek, viewport: Any) -> None:
    page = served.open(viewport)
    form, thumb = form_of(page), page.locator("li.st.sel img.thumb")
    summary = page.locator("li.st.sel details.sub2 > summary").filter(has_text=re.compile("^Image"))
    tab_to(summary)
    page.keyboard.press("Enter")
    before, row_image = served.image(), thumb.get_attribute("src")
    tab_to(form.get_by_role("button", name=re.compile("^Focus point: 50% from the left, 40% from the top")))
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    moved = form.get_by_role("button", name=re.compile("^Focus point: 46% from the left, 48% from the top"))
    expect(moved).to_be_focused()
    expect(form.locator("circle").first).to_have_attribute("cx", "46%")
    # Which crops are made isn't asked for at each key.
    expect_saved(page)
    assert served.image() == before | {"focus": [0.46, 0.48]}
    assert len(served.week.state.edits) == 1
    for _ in range(12):
        page.keyboard.press("Shift+ArrowRight")
    expect(form.get_by_role("button", name=re.compile("^Focus point: 100% from the left"))).to_be_focused()
    expect_saved(page)
    page.reload()
    expect(form.locator("[name=focus-x]")).to_have_value("100")
    expect(thumb).not_to_have_attribute("src", str(row_image))  # the row shows the crop around the point
    assert page_faults(page) == ""


def test_only_a_tap_or_the_dot_moves_the_focus_point(served: ServedWeek) -> None:
    page = served.open(PHONE)
    form = form_of(page)
    give(form, "drop", png())
    expect(form.locator(".image canvas")).to_be_visible()
    form.locator(".ring").evaluate("ring => ring.scrollIntoView({ block: 'center' })")
    box = form.locator(".ring").bounding_box()
    assert box is not None
    left, top, width, height = box["x"], box["y"], box["width"], box["height"]
    points = [form.locator(f"[name={name}]") for name in ("focus-x", "focus-y")]
    before = [point.input_value() for point in points]
    page.mouse.click(left + width * 0.9, top + height * 0.8, button="right")
    page.mouse.move(left + width * 0.9, top + height * 0.9)
    page.mouse.down()
    page.mouse.move(left + width * 0.9, top + height * 0.7, steps=4)
    page.mouse.up()
    for point, value in zip(points, before, strict=True):
        expect(point).to_have_value(value)
    page.mouse.click(left + width * 0.5, top + height * 0.8)
    expect(points[1]).to_have_value("80")
    page.mouse.down()
    page.mouse.move(left + width * 0.5, top + height * 0.25, steps=4)
    page.mouse.up()
    expect(points[0]).to_have_value("50")
    expect(points[1]).to_have_value("25")
    # What the point says can be read and typed beside it.
    expect(points[0]).to_be_visible()


def test_a_file_is_chosen_by_keys_alone_and_save_and_close_sends_it(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form = form_of(page)
    tab_to(page.locator("li.st.sel details.sub2 > summary").filter(has_text=re.compile("^Image")))
    page.keyboard.press("Enter")
    field = tab_to(form.get_by_label("Image to upload"))
    field.set_input_files({"name": "crane.png", "mimeType": "image/png", "buffer": png()})
    expect(form.locator(".image canvas")).to_be_visible()
    expect(field).to_be_focused()
    write_by_keyboard(form.locator("[name=alt]"), "A crane")
    page.keyboard.press("Control+Enter")
    expect(page.locator("li.st.sel")).to_have_count(0)
    assert served.image()["alt"] == "A crane"
    (edit,) = served.week.state.edits
    assert edit.kind == "picture"


def test_words_that_are_written_while_an_image_is_sent_are_saved_with_it(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form, held = form_of(page), list[Route]()
    page.route("**/story/*", lambda route: route.continue_() if held else held.append(route))
    give(form, "drop", png())
    form.locator("[name=alt]").fill("A crane")
    form.locator("[name=alt]").press("Tab")
    expect(form.locator("[name=credit]")).to_be_focused()
    page.keyboard.type("Port of Ellery")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#unsaved")).to_contain_text("credit of Featured 1")
    held[0].continue_()
    expect(page.locator("li.st.sel")).to_have_count(0)
    assert (served.image()["alt"], served.image()["credit"]) == ("A crane", "Port of Ellery")


def test_an_image_that_was_saved_is_the_current_one_at_once(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form = form_of(page)
    give(form, "drop", png())
    form.locator("[name=alt]").fill("A crane")
    # The page around the form is brought up to date later.
    page.route(
        re.compile(r"/desk/editions/[^/]+(\?.*)?$"),
        lambda route: None if route.request.method == "GET" else route.fallback(),
    )
    form.locator("[name=alt]").press("Enter")
    expect_saved(page)
    expect(form.get_by_role("radio", name="Current image")).to_be_checked()
    expect(form.get_by_role("radio", name="No image")).not_to_be_checked()
    expect(page.locator("#unsaved")).to_be_empty()


def test_a_refused_image_says_why_in_place_and_what_was_typed_stays(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form, alt = form_of(page), form_of(page).locator("[name=alt]")
    told = form.locator(".fld").filter(has=page.locator("input[type=file]")).locator(".lab em")
    told.evaluate(KEEP_WORDS)
    give(form, "drop", b"not an image at all")
    expect(told).to_have_text("This browser can’t show the file. You can still upload it")
    alt.fill("A crane")
    alt.press("Tab")
    expect(told).to_contain_text("Not saved. This image can’t be used: the file can’t be read as an image.")
    expect(page.locator("#saved")).to_contain_text("Not saved: This image can’t be used")
    expect(alt).to_have_value("A crane")
    assert "100% uploaded" in told.evaluate("hint => hint.words")
    assert served.week.state.edits == ()
    assert page_faults(page) == ""
    # A text isn't an image, and a file beside a form doesn't replace the page.
    assert give(form, "drop", b"words", "text/plain")
    expect(told).to_have_text("This file isn’t an image")
    assert give(page.locator("#preview"), "drop", png())
    give(form, "drop", png())
    expect(form.locator(".image canvas")).to_be_visible()
    follow_by_save(page)
    assert served.image()["alt"] == "A crane"


def follow_by_save(page: Page) -> None:
    form_of(page).locator("[name=alt]").fill("A crane")
    form_of(page).get_by_role("button", name="Save", exact=True).click()
    expect_saved(page)


def test_a_file_that_is_too_large_or_meets_no_server_stays_chosen(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form, alt = form_of(page), form_of(page).locator("[name=alt]")
    give(form, "drop", png() + bytes(13_000_000))
    alt.fill("A crane")
    alt.press("Tab")
    told = form.locator(".fld").filter(has=page.locator("input[type=file]")).locator(".lab em")
    expect(told).to_contain_text("Not saved. The file is too large")
    give(form, "drop", png())
    page.route("**/story/*", lambda route: route.abort())
    alt.fill("A crane at dawn")
    alt.press("Tab")
    expect(page.locator("#saved")).to_contain_text("Not saved because the server doesn’t respond")
    page.unroute("**/story/*")
    assert served.week.state.edits == ()
    form.get_by_role("button", name="Save", exact=True).click()
    expect_saved(page)
    assert served.image()["alt"] == "A crane at dawn"


def test_an_image_of_an_approved_edition_is_asked_about_first(served: ServedWeek) -> None:
    week, now = served.week, later()
    mark = read_edition_status(week.installation, week.name, now=now).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=now)
    page = served.open(WIDE)
    form, alt = form_of(page), form_of(page).locator("[name=alt]")
    give(form, "drop", png())
    alt.fill("A crane")
    page.locator("#edition").focus()
    dialog = page.get_by_role("dialog", name="This revokes the approval")
    dialog.get_by_role("button", name="Cancel").click()
    assert week.state.approved
    form.get_by_role("button", name="Save", exact=True).click()
    dialog.get_by_role("button", name="Change and revoke approval").click()
    expect_saved(page)
    assert (served.image()["alt"], week.state.approved) == ("A crane", False)


def test_two_who_change_one_image_are_shown_both(served: ServedWeek) -> None:
    page = served.open(WIDE)
    form, alt = form_of(page), form_of(page).locator("[name=alt]")
    give(form, "drop", png())
    alt.fill("A crane")
    anchor, sam = served.week.anchors("featured")[0], served.week.client("sam")
    served.week.app.config["WTF_CSRF_ENABLED"] = False
    sam.post(f"{served.week.path}/story/{anchor}", data={"seq": "0", "picture": "none"})
    served.week.app.config["WTF_CSRF_ENABLED"] = True
    alt.press("Tab")
    expect(page.locator("#saved")).to_contain_text("Not saved: Two versions of one image. Select “Save” to continue")
    follow(form.get_by_role("button", name="Save", exact=True))
    expect(page.locator("h1")).to_have_text("Two versions of one image")


def test_without_scripts_a_file_and_two_numbers_do_the_same(served: ServedWeek) -> None:
    page = served.open(PHONE, scripted=False)
    form = form_of(page)
    open_fold(page)
    expect(form.locator(".ring")).to_be_hidden()
    form.get_by_label("Image to upload").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": png()})
    form.locator("[name=alt]").fill("A crane")
    form.get_by_label(re.compile("^Horizontal focus")).fill("75")
    form.get_by_label(re.compile("^Vertical focus")).fill("25")
    follow(form.get_by_role("button", name="Save and close"))
    assert (served.image()["alt"], served.image()["focus"]) == ("A crane", list(SPOT))


ROWS = "rows => rows.map((row) => [row.getBoundingClientRect().top, row.getBoundingClientRect().height])"


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_rows_have_their_place_before_their_images_come(served: ServedWeek, viewport: dict[str, int]) -> None:
    anchor = served.week.anchors("featured")[1]
    fields = {"seq": "0", "picture": "shown", "alt": "A low spot", "focus-x": "50", "focus-y": "90"}
    served.week.app.config["WTF_CSRF_ENABLED"] = False
    assert served.week.client().post(f"{served.week.path}/story/{anchor}", data=fields).status_code == 303
    page = served.browser.new_context(viewport=viewport).new_page()  # type: ignore[arg-type]  # a mapping of the shape that Playwright asks for
    sign_in(page.context, served.week, served.address, "dana")
    page.route("**/media/*", lambda route: route.abort())
    address = f"{served.address}{served.week.path}?tab=edition"
    page.goto(address)
    rows, images = page.locator("#edition li.st"), page.locator("ol[data-section=featured] img.thumb")
    expect(images.nth(1)).to_have_attribute("alt", "A low spot")
    expect(images.nth(1)).to_have_class("thumb low")
    expect(images.nth(1)).to_have_css("object-position", "50% 100%")
    without = rows.evaluate_all(ROWS)
    page.unroute("**/media/*")
    page.goto(address)
    expect(images.nth(1)).to_have_js_property("naturalWidth", 240)
    assert rows.evaluate_all(ROWS) == without


def test_a_refused_image_of_a_new_block_is_replaced_by_another(served: ServedWeek) -> None:
    page = served.open(WIDE)
    page.locator("#new-block").click()
    form = page.locator("details.block form[data-saves]")
    action = form.get_attribute("action")
    form = page.locator(f"form[action='{action}']")
    give(form, "drop", b"not an image at all")
    form.locator("input[name=headline]:not([type=hidden])").fill("Pumps that start")
    form.locator("[name=alt]").fill("A pump")
    follow(form.get_by_role("button", name="Save block"))
    # The block is there, and its form says why its image isn't.
    expect(form.locator("[role=alert]")).to_contain_text("The image wasn’t saved. This image can’t be used")
    expect(page.locator("#desk")).to_have_attribute("data-seq", "1")
    assert give(form, "drop", png())
    form.locator("[name=alt]").fill("A red pump")
    form.locator("[name=alt]").press("Tab")
    expect_saved(page)
    block = served.week.state.arrangement.find_block(str(action).rpartition("/")[2])
    assert block is not None
    assert (block.headline, block.picture and block.picture.alt) == ("Pumps that start", "A red pump")


def test_a_sponsored_block_takes_an_image_as_a_story_does(served: ServedWeek) -> None:
    page = served.open(WIDE)
    page.locator("a.block").first.click()
    form = page.locator("details.block").locator("form[data-saves]")
    assert give(form, "drop", png())
    expect(form.locator(".image canvas")).to_be_visible()
    expect(form.locator("[name=alt]")).to_be_focused()
    form.locator("[name=alt]").fill("A pump")
    form.locator("[name=alt]").press("Tab")
    expect_saved(page)
    expect(form.locator(".image .shown")).to_have_attribute("alt", "A pump")
    (picture,) = [block.picture for block in served.week.state.arrangement.blocks if block.picture]
    assert picture.alt == "A pump"
    expect(page.frame_locator("#preview iframe").get_by_role("img", name="A pump")).to_have_count(1)
    assert page_faults(page) == ""
