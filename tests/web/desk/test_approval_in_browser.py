"""Two colleagues approve in a real browser, without scripts: void by a word, sent back, approved again; and as axe sees it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from digest.app import editing
from digest.app.acts import Actor, Face, Role
from digest.app.editing import EditForm
from digest.app.installation import Installation
from digest.edition.edits import EditionField
from digest.settings import ApprovalSettings
from digest.store import staff
from digest.store.delivery_models import StaffMember
from digest.store.engine import migrate_schema, open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from tests.browser import faulty_pages, follow, sign_in
from tests.web.desk.sample_week import SampleWeek, build_sample_week, later

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SampleWeek, Actor, str]]:
    """Serve the sample's week where two have to approve; Priya edits, Dana and Sam approve."""
    home = tmp_path_factory.mktemp("approving")
    database = open_database(f"sqlite:///{home / 'digest.db'}")
    migrate_schema(database)
    drafted = build_sample_week(database, home)
    priya = StaffMember(
        email="priya@news.example.org",
        name="Priya",
        role="editor",
        added_by="test",
        added_at=later(),
        proven_at=later(),
    )
    with database.write() as session:
        session.add(priya)
        session.flush()
        actor = Actor(staff.staff_actor(priya), Role.EDITOR, Face.DESK)
    old = drafted.installation.settings
    file = old.file.model_copy(update={"approval": ApprovalSettings(approvers=2)})
    installation = Installation(old.model_copy(update={"file": file}), database)
    week = SampleWeek(installation, create_app(installation, clock=later), drafted.name)
    with open_page_server(week.app, "127.0.0.1", 0) as serving:
        yield week, actor, f"http://127.0.0.1:{serving.port}"
    database.close()


def write_intro(week: SampleWeek, actor: Actor, text: str) -> None:
    form = EditForm(week.name, actor, later())
    editing.write_edition_text(week.installation, form, EditionField.INTRO, text)


def approve(page: Page, address: str, badge: str) -> None:
    """Press the button of the approve page, and expect how the edition stands then."""
    page.goto(f"{address}/approve")
    follow(page.get_by_role("button", name="Approve No. 147"))
    expect(page.locator(".head .pill")).to_have_text(badge)


def test_two_approve_a_word_voids_it_a_note_stops_it_and_two_approve_again(
    browser: Browser, served: tuple[SampleWeek, Actor, str]
) -> None:
    week, priya, address = served
    edition = f"{address}{week.path}"
    pages = []
    for editor in ("dana", "sam"):
        context = browser.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
        sign_in(context, week, address, editor)
        pages.append(context.new_page())
    dana, sam = pages

    write_intro(week, priya, "Radios were out for eleven hours.")
    approve(dana, edition, "1 of 2 approved")
    approve(sam, edition, "Approved")

    write_intro(week, priya, "Radios were out for twelve hours.")
    dana.goto(edition)
    expect(dana.locator(".head .pill")).to_have_text("Approval void")
    expect(dana.locator(".void")).to_contain_text("no longer count. Priya wrote the intro, Nov 19, 5:35 p.m.")
    follow(dana.get_by_role("link", name="What changed since"))
    expect(dana.locator(".says")).to_contain_text("One change.")
    expect(dana.locator(".chg del")).to_have_text("eleven")
    expect(dana.locator(".chg ins")).to_have_text("twelve")
    follow(dana.get_by_role("link", name="The whole edition side by side"))
    expect(dana.frame_locator("iframe").first.get_by_text("eleven hours")).to_be_visible()
    expect(dana.frame_locator("iframe").last.get_by_text("twelve hours")).to_be_visible()

    sam.goto(f"{edition}/approve")
    sam.get_by_label("What should change").fill("Twelve, says who?")
    follow(sam.get_by_role("button", name="Send back with this note"))
    expect(sam.locator(".sent-back")).to_contain_text("Sam sent this back")
    looking = browser.new_context()
    sign_in(looking, week, address, "dana")
    stood = [week.path, f"{week.path}/approve", f"{week.path}/versions/1", f"{week.path}/history"]
    assert faulty_pages(looking.new_page(), address, stood, widths=(1440, 768, 360)) == {}
    looking.close()
    dana.goto(f"{edition}/approve")
    expect(dana.get_by_role("button", name="Approve No. 147")).to_be_disabled()
    follow(dana.get_by_role("button", name="Mark as done"))
    expect(dana.locator(".sent-back")).to_have_count(0)

    approve(dana, edition, "1 of 2 approved")
    approve(sam, edition, "Approved")
    for page in pages:
        page.context.close()
