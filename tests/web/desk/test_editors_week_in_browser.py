"""An editor's week, from the invitation to the email, in a real browser and by keyboard alone.

Nothing is clicked, filled or given the focus by a script: every place is reached by Tab or by a key of the desk.
Choosing a file is the one thing that the browser's own dialog does.
"""

import io
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pyotp
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from pydantic import SecretStr
from pytest_httpserver import HTTPServer

import scheduler
from digest.app.accounts.sign_in import make_sign_in_link
from digest.app.demo.sample_week import SAMPLE_NOW
from digest.app.jobs import JobContext
from digest.app.sending import background_tasks
from digest.deliver.send.staff_test import NOTICE_HTML, TEST_NOTICE
from digest.edition.editing.edits import EditKind
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import StaffMember
from digest.store.engine import open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from tests.actors import ADMIN
from tests.browser import (
    TABS_AT_MOST,
    choose_by_keyboard,
    page_faults,
    press_by_keyboard,
    select_by_keyboard,
    tab_to,
    tick_by_keyboard,
    write_by_keyboard,
    write_day_by_keyboard,
)
from tests.conftest import reserve_port
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import RELEASE, Clock
from tests.row_keys import change_rows
from tests.run_database import HomeDatabases
from tests.sent_emails import read_email
from tests.web.conftest import sample_evidence
from tests.web.desk.sample_week import EDITORS, SampleWeek
from tests.web.staff_ways import PASSWORD, add_authenticator, find_invitations, read_app_secret, sign_in_by_keyboard

pytestmark = pytest.mark.chromium

KIM, LOU = "kim.vega@news.example.org", "lou.marsh@news.example.org"
SUBSCRIBER = "reader@readers.example"
WORDS_OF_THE_WEEK = (
    "Ninety plants change their password",
    "The agency names nobody, and asks for a call by Friday.",
    "We asked the agency for the list.",
    "it is the one that readers can act on today.",
    "The words of Kim",
    "Deckhands drill on the real stairs",
    "The line trains on board from December.",
    "We are looking for a second pair of eyes",
    "Locks for the doors you forgot",
    "Anvil & Sons",
)
WIDTHS = (1440, 768, 360)
FOUND_PAGE = """<html lang="en"><head><title>Ferry deckhands get the drill they asked for</title>
<meta property="og:description" content="Crews train on the real stairs from now on."></head><body><article>
<h1>Ferry deckhands get the drill they asked for</h1><time datetime="2026-11-18T09:00:00Z">Nov 18</time>
<p>{}</p></article></body></html>""".format("Crews train on the real stairs from now on, said the line. " * 12)


@dataclass
class Newsroom:
    """A served installation, whose address is a name as passkeys ask for, and what its mail server got."""

    week: SampleWeek
    base: str
    clock: Clock
    mail: RecordingHandler
    server: ExitStack
    faults: dict[str, str] = field(default_factory=dict)  # what axe found, by the state of a page
    complaints: list[str] = field(default_factory=list)  # of the pages' scripts

    @property
    def edition(self) -> str:
        return self.base + self.week.path

    def serve(self, mail_url: str) -> None:
        """Start the installation, or start it again, with what `DIGEST_MAIL_URL` says; sessions outlive it."""
        self.server.close()
        old = self.week.installation
        settings = old.settings.model_copy(update={"mail_url": SecretStr(mail_url)})
        installation = Installation(settings, old.database)
        self.week = SampleWeek(installation, create_app(installation, clock=self.clock), self.week.name)
        port = urlsplit(self.base).port
        assert port is not None
        self.server.enter_context(open_page_server(self.week.app, "127.0.0.1", port))

    def open_browser(self, browser: Browser) -> Page:
        """Open a browser of somebody who is nobody here yet."""
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def invitations(self) -> dict[str, str]:
        """Hand over what waits, and give the path of each invitation that the mail server got."""
        background_tasks.send_due_transactional_emails(self.week.installation, clock=self.clock)
        return find_invitations(octets for _, _, octets in self.mail.messages)

    def look_at(self, page: Page, state: str) -> None:
        """Look at a state of a page that no other test meets: in three widths, light and dark."""
        again = page.viewport_size
        assert again is not None
        if faults := page_faults(page, widths=WIDTHS):
            self.faults[state] = faults
        page.set_viewport_size(again)
        page.emulate_media(color_scheme="light")


@pytest.fixture
def newsroom(
    drafted_week: tuple[SampleWeek, Path], home_databases: HomeDatabases, tmp_path: Path, clock: Clock
) -> Iterator[Newsroom]:
    """Serve the sample's week with a reader and a mail server; Sam is its admin."""
    drafted, prepared = drafted_week
    home = tmp_path / "week"
    shutil.copytree(prepared, home)
    database = open_database(home_databases.copy(prepared, home))
    mail, old = RecordingHandler(), drafted.installation.settings
    with run_smtp_server(mail) as smtp, reserve_port() as port:
        base = f"http://localhost:{port}"
        # The page of the story that is added by its address is on loopback.
        limits = old.file.limits.model_copy(update={"allow_networks": ["127.0.0.0/8"]})
        schedule = old.file.schedule.model_copy(update={"final_check_minutes": 0})
        file = old.file.model_copy(update={"limits": limits, "schedule": schedule})
        settings = old.model_copy(update={"home": home, "file": file, "base_url": base})
        installation = Installation(settings, database)
        with database.write() as session:
            change_rows(session, StaffMember, StaffMember.email == EDITORS["sam"], role="admin")
            add_subscriber(session, installation.keys, SUBSCRIBER, evidence=sample_evidence(), now=SAMPLE_NOW)
        with ExitStack() as server:
            newsroom = Newsroom(replace(drafted, installation=installation), base, clock, mail, server)
            newsroom.serve(f"smtp://127.0.0.1:{smtp}?connections=1&starttls=off")
            yield newsroom
    database.close()


# --- what a hand does on a keyboard --------------------------------------------------------------------------


def write_here(field: Locator, text: str) -> None:
    """Write over what stands in the field that has the focus."""
    expect(field).to_be_focused()
    field.page.keyboard.press("ControlOrMeta+A")
    field.page.keyboard.type(text)


def select_here(choices: Locator, label: str) -> None:
    """Choose of the list that has the focus, by typing what a choice begins with."""
    expect(choices).to_be_focused()
    choices.page.keyboard.type(label)
    expect(choices.locator("option:checked")).to_have_text(re.compile(rf"^{re.escape(label)}"))


def open_by_keyboard(summary: Locator) -> None:
    """Reach what something is folded under, and unfold it, unless what's to be checked in it unfolded it."""
    tab_to(summary)
    if not summary.evaluate("summary => summary.parentElement.open"):
        summary.page.keyboard.press("Enter")


def go_by_keys(page: Page, *keys: str) -> None:
    """Press keys of the desk that lead to another page."""
    with page.expect_navigation():
        for key in keys:
            page.keyboard.press(key)


# Which of the two keys leads to a row from where the keyboard is: from no row J leads to the first one.
KEY_TOWARDS = """row => document.activeElement === row ? "" :
  document.activeElement.compareDocumentPosition(row) & Node.DOCUMENT_POSITION_PRECEDING ? "k" : "j\""""


def go_to_row(page: Page, anchor: str) -> Locator:
    """Go from story to story of the edition until the keyboard is on one."""
    row = page.locator(f"#{anchor}")
    for _ in range(TABS_AT_MOST):
        key = row.evaluate(KEY_TOWARDS)
        if not key:
            return row
        page.keyboard.press(key)
    raise AssertionError(f"J and K do not lead to {anchor}")


def begin_at_the_top(page: Page) -> None:
    """Begin at the top of the edition's page."""
    go_by_keys(page, "g", "e")


def expect_saved(page: Page) -> None:
    """Expect that nothing typed is unsaved."""
    expect(page.locator("#unsaved")).to_be_empty()
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))


def button(page: Page | Locator, name: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("button", name=name)


def link(page: Page | Locator, name: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("link", name=name)


# --- the week ------------------------------------------------------------------------------------------------


def test_two_editors_are_invited_and_make_an_edition_by_keyboard_alone(
    browser: Browser, newsroom: Newsroom, httpserver: HTTPServer
) -> None:
    sam, kim, lou = (newsroom.open_browser(browser) for _ in range(3))
    invite(newsroom, sam)
    come_by_passkey(newsroom, kim)
    come_by_password(newsroom, lou)
    arrange(newsroom, kim)
    write_a_story(newsroom, kim)
    write_the_head(newsroom, kim)
    add_by_address(newsroom, kim, httpserver)
    upload_a_picture(newsroom, kim)
    merge_split_and_put_under(newsroom, kim)
    write_a_block(newsroom, kim)
    preview_every_way(newsroom, kim)
    write_the_same(newsroom, kim, lou)
    bring_back(newsroom, lou)
    send_a_test(newsroom, kim)
    approve(newsroom, sam)
    assert newsroom.faults == {}
    assert newsroom.complaints == []
    receive(newsroom)
    for page in (sam, kim, lou):
        page.context.close()


def invite(newsroom: Newsroom, sam: Page) -> None:
    """The admin invites two editors on the page for it; the mail server gets a link for each."""
    sam.goto(make_sign_in_link(newsroom.week.installation, ADMIN, EDITORS["sam"], now=newsroom.clock.now))
    press_by_keyboard(button(sam, "Sign in"))
    # The redirect keeps the fragment of the skip link, so Tab would begin in the middle of a long page.
    sam.goto(f"{newsroom.base}/desk/")
    press_by_keyboard(link(sam, "Admin"))
    press_by_keyboard(link(sam, "Team"))
    for address in (KIM, LOU):
        invite_by_keyboard(sam, address)
    assert set(newsroom.invitations()) == {KIM, LOU}


def invite_by_keyboard(admin: Page, address: str) -> None:
    name = address.partition(".")[0].capitalize()
    write_by_keyboard(admin.get_by_label("Email"), address)
    write_by_keyboard(admin.get_by_label("Name"), name)
    choose_by_keyboard(admin.get_by_label("Editor", exact=True))
    press_by_keyboard(button(admin, "Send invitation"))
    expect(admin.get_by_role("row", name=name)).to_contain_text("Not accepted")


def come_by_passkey(newsroom: Newsroom, kim: Page) -> None:
    """Kim's link signs in once, her passkey from then on."""
    kim.goto(newsroom.base + newsroom.invitations()[KIM])
    make_and_use_passkey(kim)
    expect(kim).to_have_url(f"{newsroom.base}/desk/")


def make_and_use_passkey(page: Page) -> None:
    """Prove the address by an invitation's page, make a passkey, leave, and come back by it."""
    add_authenticator(page)
    press_by_keyboard(button(page, "Verify address and sign in"))
    press_by_keyboard(link(page, "add a passkey or a password"))
    press_by_keyboard(link(page, "Add a passkey"))
    write_by_keyboard(page.get_by_label("Name"), "Laptop at the desk")
    press_by_keyboard(button(page, "Create a passkey"))
    expect(page.get_by_role("rowheader", name="Laptop at the desk")).to_be_visible()
    press_by_keyboard(button(page, "Sign out").first)
    press_by_keyboard(button(page, "Use a passkey"))


def come_by_password(newsroom: Newsroom, lou: Page) -> None:
    """Lou chooses a password and codes, and signs in by them."""
    lou.goto(newsroom.base + newsroom.invitations()[LOU])
    press_by_keyboard(button(lou, "Verify address and sign in"))
    press_by_keyboard(link(lou, "add a passkey or a password"))
    press_by_keyboard(button(lou, "Set up"))
    write_by_keyboard(lou.get_by_label("New password"), PASSWORD)
    open_by_keyboard(lou.get_by_text("Enter the key instead"))
    secret = read_app_secret(lou)
    write_by_keyboard(lou.get_by_label("Code from the app"), pyotp.TOTP(secret).at(newsroom.clock.now))
    press_by_keyboard(button(lou, "Set up"))
    press_by_keyboard(link(lou, "Continue to sign-in settings"))
    press_by_keyboard(button(lou, "Sign out").first)
    newsroom.clock.now += timedelta(minutes=1)
    sign_in_by_keyboard(lou, LOU.upper(), secret, newsroom.clock.now)
    expect(lou).to_have_url(f"{newsroom.base}/desk/")


def arrange(newsroom: Newsroom, kim: Page) -> None:
    """Feature a story of the list, pin, drop and bring back, move to another section, choose the leading one; undo and redo."""
    week, featured = newsroom.week, kim.locator("ol[data-section=featured] > li h3")
    first, second, third, *_ = week.headlines("featured")
    # The one that is featured: searched for, and put second.
    kim.keyboard.press("/")
    kim.keyboard.type("mooring lines")
    go_by_keys(kim, "Enter")
    listed = kim.locator("li.cand").filter(has_text="mooring lines part")
    tab_to(link(listed, re.compile("mooring lines part")))
    headline = listed.locator("h3").inner_text()
    kim.keyboard.press("Shift+A")
    asked = kim.get_by_role("dialog", name="Move this story")
    select_here(asked.get_by_label("Move to"), "Featured")
    write_by_keyboard(asked.get_by_label("place"), "2")
    kim.keyboard.press("Enter")
    expect(featured.nth(1)).to_have_text(headline)
    assert week.headlines("featured")[:3] == [first, headline, second]
    # The third leads; the second is pinned where it is then.
    begin_at_the_top(kim)
    anchors = week.anchors("featured")
    go_to_row(kim, anchors[2])
    kim.keyboard.press("l")
    expect(featured.nth(0)).to_have_text(second)
    kim.keyboard.press("j")
    kim.keyboard.press("j")
    kim.keyboard.press("p")
    expect(kim.locator(f"#{anchors[1]}")).to_contain_text("Pinned.")
    assert week.headlines("featured")[:3] == [second, first, headline]
    # Dropped, and brought back by the button below its section.
    kim.keyboard.press("j")
    kim.keyboard.press("x")
    expect(kim.locator("#removed")).to_contain_text(third)
    assert third not in week.headlines("featured")
    tab_to(button(kim, re.compile(f"^Restore story.*{re.escape(third)}")))
    kim.keyboard.press("Enter")
    expect(featured.nth(3)).to_have_text(third)
    # Undo and redo, which name it.
    kim.keyboard.press("z")
    expect(featured.nth(3)).not_to_have_text(third)
    kim.keyboard.press("Shift+Z")
    expect(featured.nth(3)).to_have_text(third)
    assert week.headlines("featured")[:4] == [second, first, headline, third]
    # Into another section, at a place.
    last = week.anchors("featured")[-1]
    moved = week.headlines("featured")[-1]
    go_to_row(kim, last)
    kim.keyboard.press("m")
    select_here(asked.get_by_label("Move to"), "Topics")
    write_by_keyboard(asked.get_by_label("place"), "1")
    kim.keyboard.press("Enter")
    expect(kim.locator("ol[data-section=topics] h3").first).to_have_text(moved)
    kim.keyboard.press("Alt+ArrowDown")
    expect(kim.locator("ol[data-section=topics] > li h3").first).not_to_have_text(moved)
    expect(kim.locator("#saved")).to_have_text(re.compile("^Saved "))
    assert moved in week.headlines("topics")[1:]


def write_a_story(newsroom: Newsroom, kim: Page) -> None:
    """Headline, summary, topic, kicker, why it leads and a note: each is saved on leaving it, and stands in the preview."""
    week = newsroom.week
    lead, topic = week.anchors("featured")[0], "Cybersecurity"
    go_to_row(kim, lead)
    go_by_keys(kim, "e")
    row = kim.locator("li.st.sel")
    write_here(row.get_by_label("Headline"), "Ninety plants change their password")
    write_by_keyboard(row.get_by_label("Summary"), "The agency names nobody, and asks for a call by Friday.")
    expect(row.locator(".lab em").nth(1)).to_have_text(re.compile("^11 of 40 words"))
    expect(row.locator("[data-fresh=headline]")).to_contain_text("Original headline (HLS.Today):")
    expect(kim.frame_locator(".frame iframe").get_by_text("Ninety plants change").first).to_be_visible()
    select_by_keyboard(row.locator("select[name=topic]"), topic)
    write_by_keyboard(row.get_by_label("Kicker"), "Water")
    write_by_keyboard(row.get_by_label("Why it leads"), "it is the one that readers can act on today.")
    write_by_keyboard(row.get_by_label(re.compile("note under the story")), "We asked the agency for the list.")
    go_by_keys(kim, "Control+Enter")
    # The keyboard stays where it was.
    expect(kim.locator(f"#{lead}")).to_be_focused()
    entry = week.entry("featured", 0)
    assert (entry["headline"], entry["kicker"], entry["note"]) == (
        "Ninety plants change their password",
        "Water",
        "We asked the agency for the list.",
    )
    assert (entry["summary"], entry["why"]) == (
        "The agency names nobody, and asks for a call by Friday.",
        "it is the one that readers can act on today.",
    )
    assert week.state.arrangement.sections["featured"][0].placed.scored.topic == topic


def write_the_head(newsroom: Newsroom, kim: Page) -> None:
    """Subject, preheader and intro, which one key leads to."""
    go_by_keys(kim, "s")
    write_here(kim.get_by_label("Subject"), "Ninety plants, one password")
    write_by_keyboard(kim.get_by_label("Preheader"), "And a drill on real stairs")
    write_by_keyboard(kim.get_by_label("Intro"), "This week is about **doors** that were left open.")
    go_by_keys(kim, "Control+Enter")
    expect(kim.locator(".mailhead")).to_contain_text("Ninety plants, one password")
    expect(kim.locator(".mailhead")).to_contain_text("And a drill on real stairs")
    expect(kim.locator(".mailhead")).to_contain_text("doors")


def add_by_address(newsroom: Newsroom, kim: Page, httpserver: HTTPServer) -> None:
    """A story by its address, corrected before it is added; where nothing can be read the page says so; one that is written."""
    week = newsroom.week
    httpserver.expect_request("/robots.txt").respond_with_data("")
    httpserver.expect_request("/nothing").respond_with_data("", 404)
    httpserver.expect_request("/deckhands").respond_with_data(FOUND_PAGE, content_type="text/html")
    address = kim.locator("#own-url")
    kim.keyboard.press("n")
    write_here(address, httpserver.url_for("/nothing"))
    go_by_keys(kim, "Enter")
    expect(kim.locator("main")).to_contain_text("write the story yourself")
    newsroom.look_at(kim, "nothing found")
    # What was typed stays in its field, to be corrected.
    expect(address).to_be_focused()
    expect(address).to_have_value(httpserver.url_for("/nothing"))
    write_here(address, httpserver.url_for("/deckhands"))
    go_by_keys(kim, "Enter")
    expect(kim.get_by_role("heading", level=1)).to_have_text("Add this story")
    expect(kim.get_by_label("Headline")).to_have_value("Ferry deckhands get the drill they asked for")
    newsroom.look_at(kim, "found")
    write_by_keyboard(kim.get_by_label("Headline"), "Deckhands drill on the real stairs")
    write_by_keyboard(kim.get_by_label("Summary"), "The line trains on board from December.")
    write_by_keyboard(kim.get_by_label("Publisher"), "Ferry Line")
    select_by_keyboard(kim.get_by_label("Section"), "Featured")
    press_by_keyboard(button(kim, "Add story"))
    expect(kim.locator("ol[data-section=featured]")).to_contain_text("Deckhands drill on the real stairs")
    added = next(e for e in week.entries("featured") if e["headline"] == "Deckhands drill on the real stairs")
    assert (added["url"], added["source"], added["summary"]) == (
        httpserver.url_for("/deckhands"),
        "Ferry Line",
        "The line trains on board from December.",
    )
    # Found again, it is known.
    kim.keyboard.press("n")
    write_here(address, httpserver.url_for("/deckhands"))
    go_by_keys(kim, "Enter")
    expect(kim.get_by_role("heading", level=1)).to_have_text("This story is already in the list")
    press_by_keyboard(link(kim, "Go to the story"))
    kim.keyboard.press("n")
    open_by_keyboard(kim.get_by_text("Write a story"))
    own = kim.locator("#own details form")
    write_by_keyboard(own.get_by_label("Headline"), "We are looking for a second pair of eyes")
    write_by_keyboard(own.get_by_label("Summary"), "Write to the desk.")
    select_by_keyboard(own.get_by_label("Section"), "Featured")
    press_by_keyboard(button(own, "Add story"))
    assert "We are looking for a second pair of eyes" in week.headlines("featured")


def upload_a_picture(newsroom: Newsroom, kim: Page) -> None:
    """Another picture for the lead, with description and credit."""
    lead = newsroom.week.anchors("featured")[0]
    go_to_row(kim, lead)
    go_by_keys(kim, "e")
    row = kim.locator("li.st.sel")
    open_by_keyboard(row.locator(f"#picture-{lead} > summary"))
    chooser = tab_to(row.get_by_label("Image to upload"))
    chooser.set_input_files({"name": "rings.png", "mimeType": "image/png", "buffer": draw_rings()})
    expect(row.get_by_role("radio", name="Uploaded image")).to_be_checked()
    write_by_keyboard(row.get_by_label("Description"), "Two grey rings")
    write_by_keyboard(row.get_by_label("Credit"), "Drawing: Kim Vega")
    kim.keyboard.press("Control+Enter")
    expect(kim.locator("li.st.sel")).to_have_count(0)
    picture = newsroom.week.entry("featured", 0)["picture"]
    assert (picture["alt"], picture["credit"]) == ("Two grey rings", "Drawing: Kim Vega")


def draw_rings() -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((800, 450)).save(out, "PNG")
    return out.getvalue()


def list_articles(week: SampleWeek, section: str, position: int) -> tuple[str, ...]:
    """Name the articles that tell a story, by their addresses."""
    return tuple(a.url for a in week.state.arrangement.sections[section][position].original.story.members)


def merge_split_and_put_under(newsroom: Newsroom, kim: Page) -> None:
    """Two stories become one, one becomes two, and one stands under another."""
    week = newsroom.week
    topics = week.anchors("topics")
    gone, stays = week.headlines("topics")[2], week.headlines("topics")[0]
    before = len(list_articles(week, "topics", 0))
    go_to_row(kim, topics[0])
    go_by_keys(kim, "Shift+M")
    panel = kim.locator(f"#{topics[0]} .move")
    expect(panel.locator("#asked")).to_be_focused()
    kim.keyboard.type(gone)
    expect(panel.locator("#choices label").first).to_contain_text(gone)
    kim.keyboard.press("ArrowDown")
    press_by_keyboard(button(panel, "Merge stories"))
    expect(panel).to_have_count(0)
    expect_saved(kim)
    assert gone not in week.headlines("topics")
    assert week.headlines("topics")[0] == stays
    articles = list_articles(week, "topics", 0)
    assert len(articles) > before
    # One of its articles is taken out again, as a story of its own.
    expect(kim.locator(f"#{topics[0]}")).to_be_focused()
    go_by_keys(kim, "e")
    row = kim.locator("li.st.sel")
    # The lead article is right above the headline, which has the focus.
    kim.keyboard.press("Shift+Tab")
    expect(row.get_by_text(re.compile("articles in this story"))).to_be_focused()
    kim.keyboard.press("Enter")
    tick_by_keyboard(row.locator("input[name=article]").last)
    press_by_keyboard(button(row, "Split off selected articles"))
    expect(row.get_by_role("status")).to_contain_text("Split off 1 article from ")
    assert list_articles(week, "topics", 0) == articles[:-1]
    assert week.state.arrangement.name_target(articles[-1]) == articles[-1]
    # And one under another.
    go_by_keys(kim, "Escape")
    under = week.headlines("topics")[1]
    go_to_row(kim, week.anchors("topics")[1])
    go_by_keys(kim, "u")
    expect(kim.locator("#asked")).to_be_focused()
    kim.keyboard.type(week.headlines("featured")[1])
    expect(kim.locator("#choices label")).to_have_count(1)
    kim.keyboard.press("Enter")
    expect(kim.locator("#choices :checked")).to_be_focused()
    kim.keyboard.press("Enter")
    main = kim.locator("ol[data-section=featured] > li").nth(1)
    expect(main).to_contain_text(f"Related: {under}")
    expect(kim.locator("ol[data-section=topics] > li").nth(1)).to_be_focused()
    assert under not in week.headlines("topics")


def write_a_block(newsroom: Newsroom, kim: Page) -> None:
    """A sponsor's block, labelled, with the days between which it runs."""
    kim.keyboard.press("b")
    form = kim.locator("form[data-blank]:focus-within")
    select_here(form.get_by_label("Label"), "Sponsor")
    write_by_keyboard(form.get_by_label("Sponsor or organization"), "Anvil & Sons")
    write_by_keyboard(form.get_by_label("Headline"), "Locks for the doors you forgot")
    write_by_keyboard(form.get_by_label("Text"), "Fitted in a week.")
    write_by_keyboard(form.get_by_label("Link"), "https://anvil.example/locks")
    write_day_by_keyboard(form.get_by_label("First day"), date(2026, 11, 19))
    write_day_by_keyboard(form.get_by_label("Last day"), date(2026, 11, 30))
    press_by_keyboard(form.get_by_role("button", name="Save block"))
    expect(kim.locator("#saved")).to_contain_text("Saved")
    expect(kim.locator("#unsaved")).to_have_text("")
    expect(kim.locator("#edition")).to_contain_text("Locks for the doors you forgot")
    (block,) = [b for b in newsroom.week.state.arrangement.blocks if b.name == "Anvil & Sons"]
    assert (str(block.first_day), str(block.last_day)) == ("2026-11-19", "2026-11-30")


def preview_every_way(newsroom: Newsroom, kim: Page) -> None:
    """Six views by their keys, without a section, and as it is read aloud."""
    frame, mail = kim.locator("#preview .frame"), kim.frame_locator("#preview iframe")
    for key, view in zip("234561", ("wide", "dark", "noimages", "text", "inbox", "phone"), strict=True):
        kim.keyboard.press(key)
        expect(frame).to_have_class(f"frame {view}")
        shown = "Ninety plants, one password" if view == "inbox" else re.compile("Ninety plants change", re.IGNORECASE)
        expect(mail.get_by_text(shown).first).to_be_visible()
    expect(mail.get_by_role("heading", name="Topics")).to_be_visible()
    kim.keyboard.press("v")
    expect(link(kim.locator(".seg"), "Phone")).to_be_focused()
    open_by_keyboard(kim.locator("#reader > summary"))
    tick_by_keyboard(kim.get_by_role("checkbox", name="Topics"))
    press_by_keyboard(button(kim, "Update preview"))
    expect(kim.locator("#reader > summary")).to_have_text("Without Topics")
    expect(mail.get_by_role("heading", name="Topics")).to_have_count(0)
    kim.keyboard.press("v")
    press_by_keyboard(link(kim, "Screen reader order"))
    aloud = kim.locator("ol.aloud")
    expect(aloud).to_contain_text("Ninety plants change their password")
    expect(aloud).to_contain_text("Two grey rings")
    press_by_keyboard(link(kim, "Back to the edition"))


def write_the_same(newsroom: Newsroom, kim: Page, lou: Page) -> None:
    """Both write the headline of one story; who comes second sees both, chooses, and both stand in the history."""
    anchor = newsroom.week.anchors("featured")[1]
    begin_at_the_top(lou)
    for page in (kim, lou):
        go_to_row(page, anchor)
        go_by_keys(page, "e")
    write_here(kim.locator("li.st.sel").get_by_label("Headline"), "The words of Kim")
    kim.keyboard.press("Tab")
    expect_saved(kim)
    write_here(lou.locator("li.st.sel").get_by_label("Headline"), "The words of Lou")
    go_by_keys(lou, "Tab")
    expect(lou.get_by_role("heading", level=1)).to_have_text("Two versions of one headline")
    for words in ("The words of Kim", "The words of Lou"):
        expect(lou.locator(".vs")).to_contain_text(words)
    assert newsroom.week.headlines("featured")[1] == "The words of Kim"
    newsroom.look_at(lou, "conflict")
    press_by_keyboard(button(lou, "Use my version"))
    assert newsroom.week.headlines("featured")[1] == "The words of Lou"
    written = [e.value.get("text") for e in newsroom.week.state.edits if e.kind == EditKind.TEXT]
    assert written[-2:] == ["The words of Kim", "The words of Lou"]


def bring_back(newsroom: Newsroom, lou: Page) -> None:
    """Look at the moment before one's own last act, and bring it back."""
    go_by_keys(lou, "Escape")
    go_by_keys(lou, "g", "h")
    before = lou.locator(".acts-of-day li").filter(has_text="Kim wrote the headline").first
    press_by_keyboard(link(before, re.compile("^View ")))
    expect(lou.frame_locator("#moment iframe").get_by_text("The words of Kim").first).to_be_visible()
    press_by_keyboard(button(lou, re.compile("^Restore")))
    assert newsroom.week.headlines("featured")[1] == "The words of Kim"


def send_a_test(newsroom: Newsroom, kim: Page) -> None:
    """The edition as it stands, to oneself: a real mail server gets it."""
    newsroom.mail.messages.clear()
    go_by_keys(kim, "Escape")
    go_by_keys(kim, "g", "s")
    press_by_keyboard(button(kim, "Send the test"))
    expect(kim.get_by_role("row", name=KIM)).to_contain_text("Accepted")
    newsroom.look_at(kim, "test sent")
    assert [to for _, (to,), _ in newsroom.mail.messages] == [KIM]
    press_by_keyboard(link(kim, "Back to the edition"))


def approve(newsroom: Newsroom, sam: Page) -> None:
    """The admin, who wrote nothing, approves. Where links lead to this machine, email to readers is only written into files."""
    newsroom.serve("outbox:")
    sam.goto(f"{newsroom.base}{newsroom.week.path}")
    approve_by_keyboard(sam)


def approve_by_keyboard(page: Page) -> None:
    go_by_keys(page, "g", "r")
    expect(page.locator(".approval .list .bad")).to_have_text([])
    # Past the mail that the page shows: each of its links takes the focus.
    tab_to(link(page, "Skip to your decision"))
    page.keyboard.press("Enter")
    press_by_keyboard(button(page, "Approve No. 147"))
    expect(page.locator(".head .pill")).to_have_text("Approved")


def receive(newsroom: Newsroom) -> None:
    """The reader gets what the editors saw, word for word what the test was but for what is their own."""
    installation = newsroom.week.installation
    newsroom.clock.now = RELEASE
    scheduler.send_due_editions(JobContext(installation, newsroom.clock), scheduler.EditionSendBackoff())
    mails = [read_email(file.read_bytes()) for file in installation.settings.outbox_folder.glob("**/*.eml")]
    (mail,) = [mail for mail in mails if mail["To"] == SUBSCRIBER]
    assert mail["Subject"] == "Ninety plants, one password"
    html, text = (read_part(mail, kind, newsroom.base) for kind in ("html", "plain"))
    for part in (html, text):
        assert [words for words in WORDS_OF_THE_WEEK if words not in part] == []
        assert "The words of Lou" not in part
    assert "And a drill on real stairs" in html
    assert 'alt="Two grey rings"' in html
    assert "Drawing: Kim Vega" in html
    assert "<strong>doors</strong>" in html
    tested = next(octets for _, (to,), octets in newsroom.mail.messages if to == KIM)
    assert read_email(tested)["Subject"] == f"[Test] {mail['Subject']}"
    tested_parts = [read_part(read_email(tested), kind, newsroom.base) for kind in ("html", "plain")]
    assert [part.count(TEST_NOTICE) for part in tested_parts] == [1, 1]
    notices = [" ".join(NOTICE_HTML.split()) + " ", f" {TEST_NOTICE}"]
    assert [part.replace(notice, "") for part, notice in zip(tested_parts, notices, strict=True)] == [html, text]


def read_part(mail: EmailMessage, kind: str, base: str) -> str:
    """Return a part of a mail, without what is each reader's own in it: their links to us, their address, and when they asked for it."""
    part = mail.get_body((kind,))
    assert part is not None
    plain = re.sub(rf"{base}/[^\s\"'<>]*", "OURS", " ".join(unescape(str(part.get_content())).split()))
    asked = re.sub(r"You signed up for this weekly email on .*?\.(?=[ <]|$)", "ASKED", plain)
    return asked.replace(str(mail["To"]), "READER")
