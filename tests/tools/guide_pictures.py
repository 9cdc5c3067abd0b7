"""Take the screenshots for docs/first-edition.md and docs/editors.md: the sample's week, from its draft to its correction.

Time stands still but where a scene moves it on, so that the same program gives the same pictures.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from digest.app.demo.sample_week import SAMPLE_NOW
from digest.app.editing import changes as editing
from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionForm
from digest.app.editing.edit_application import EditForm
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.edition.editing.edits import EditionField, StoryField
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.store import staff
from digest.store.engine import Database, migrate_schema, open_database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.signup.manual_signup import add_subscriber
from tests.browser import follow, sign_in
from tests.moments import Clock
from tests.web.conftest import sample_evidence
from tests.web.desk.sample_week import BASE_URL, EDITORS, SampleWeek, build_sample_week, later

MAX_BYTES = 120_000
MARGIN = 20  # pixels around what begins at a heading
WIDE = {"width": 1440, "height": 900}
TALL = {"width": 1440, "height": 1700}
SUBSCRIBER_COUNT = 240
MAILS_A_MINUTE = (6, 19, 24, 23, 25, 22, 24)
INTRO = "Two notices this week ask for the same plain thing: know what is plugged in."


@dataclass(frozen=True)
class ImageDesk:
    """The served week, who is signed in, and where its pictures go."""

    week: SampleWeek
    address: str
    clock: Clock
    browser: Browser
    folder: Path

    @contextmanager
    def open_page(self, path: str, editor: str = "dana", **options: Any) -> Iterator[Page]:
        """Open a page as an editor, in a browser of its own whose clock is the desk's."""
        context = self.browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce"} | options)
        if editor:
            sign_in(context, self.week, self.address, editor)
        context.clock.install(time=self.clock())
        page = context.new_page()
        page.goto(self.address + path, wait_until="networkidle")
        yield page
        context.close()

    def form(self, editor: str) -> EditForm:
        """Return the form of an edit that an editor makes now, who agrees to lose an approval."""
        with self.week.installation.database.read() as session:
            member = staff.require_staff_member(session, EDITORS[editor])
        actor = Actor(staff.staff_actor(member), Role.EDITOR, ActionEntryPoint.DESK)
        return EditForm(self.week.name, actor, self.clock(), supersedes=self.week.state.approval)

    def featured(self, position: int) -> str:
        """Give the address of a featured story."""
        return str(self.week.state.arrangement.sections["featured"][position].url)

    def wait(self, **duration: float) -> None:
        """Let time pass."""
        self.clock.now += timedelta(**duration)

    def take(
        self, name: str, page: Page, first: str = "html", *, to: str = "", margin: int = 0, height: int = 0
    ) -> None:
        """Save a picture from the top of what `first` finds to the end of `to`, so many pixels high at most."""
        clip = _measure_clip(page, (first, to or first), margin)
        if height:
            clip["height"] = min(clip["height"], height)
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled")))
        left, top = round(clip["x"]), round(clip["y"])
        box = (left, top, left + round(clip["width"]), top + round(clip["height"]))
        save_image(picture.crop(box), self.folder / name)


def _measure_clip(page: Page, selectors: tuple[str, str], margin: int) -> dict[str, float]:
    found = [page.locator(selector).first.bounding_box() for selector in selectors]
    boxes = [box for box in found if box]
    assert len(boxes) == len(selectors), f"{selectors[0]} or {selectors[1]} is not on the page"
    left, top = (max(0, min(box[side] for box in boxes) - margin) for side in ("x", "y"))
    right = min(max(box["x"] + box["width"] for box in boxes) + margin, WIDE["width"])
    bottom = max(box["y"] + box["height"] for box in boxes) + margin
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def save_image(picture: Image.Image, file: Path) -> None:
    """Save a picture with as many colours as fit into 120 KB."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for colours in (200, 128, 64, 32):
        picture.convert("RGB").quantize(colours).save(file, optimize=True)
        if file.stat().st_size <= MAX_BYTES:
            return
    raise ValueError(f"{file.name} has {file.stat().st_size:,} bytes, even in 32 colours: crop it.")


def take_guide_pictures(browser: Browser, home: Path, folder: Path) -> None:
    """Serve the sample's week from `home`, and take a picture of each task into `folder`."""
    database = open_database(f"sqlite:///{home / 'digest.db'}")
    migrate_schema(database)
    drafted, clock = build_sample_week(database, home), Clock(later())
    app = create_app(drafted.installation, clock=clock)
    _add_subscribers(drafted, database)
    with open_page_server(app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        desk = ImageDesk(SampleWeek(drafted.installation, app, drafted.name), address, clock, browser, folder)
        for scene in (_arrange, _write, _meet_a_colleague, _plan, _decide, _send, _correct):
            scene(desk)
    database.close()


def _add_subscribers(week: SampleWeek, database: Database) -> None:
    with database.write() as session:
        for number in range(SUBSCRIBER_COUNT):
            add_subscriber(
                session,
                week.installation.keys,
                f"reader{number}@county.example",
                evidence=sample_evidence(),
                now=SAMPLE_NOW - timedelta(days=100),
            )


def _arrange(desk: ImageDesk) -> None:
    with desk.open_page("/desk/sign-in", editor="") as page:
        # Passkeys work at the installation's own address alone: the page is shown as if it came from there.
        page.route(f"{BASE_URL}/**", lambda route: _answer_from(desk.address, route))
        page.goto(f"{BASE_URL}/desk/sign-in", wait_until="networkidle")
        expect(page.get_by_role("button", name="Use a passkey")).to_be_enabled()
        desk.take("sign-in.png", page, "main h1", to="main details.help", margin=MARGIN)
    with desk.open_page(desk.week.path) as page:
        desk.take("edition.png", page, "body", height=WIDE["height"])
        desk.take("deadline.png", page, ".head")


def _answer_from(address: str, route: Route) -> None:
    route.fulfill(response=route.fetch(url=route.request.url.replace(BASE_URL, address)))


def _write(desk: ImageDesk) -> None:
    installation = desk.week.installation
    desk.wait(minutes=6)
    editing.move_story(installation, desk.form("dana"), desk.featured(1), steps=-1)
    desk.wait(minutes=4)
    editing.set_story_text(
        installation,
        desk.form("dana"),
        desk.featured(1),
        StoryField.HEADLINE,
        "Check every crane modem within ten days",
    )
    desk.wait(minutes=5)
    editing.set_edition_text(installation, desk.form("sam"), EditionField.INTRO, INTRO)
    desk.wait(minutes=2)
    with desk.open_page(f"{desk.week.path}?open={desk.week.anchors('featured')[1]}", viewport=TALL) as page:
        desk.take("story.png", page, "li.st.sel .fields", height=WIDE["height"])
    with desk.open_page(desk.week.path) as page:
        desk.take("preview.png", page, "section.view")
    with desk.open_page(f"{desk.week.path}/history") as page:
        desk.take("history.png", page, "main .body", height=640)


def _meet_a_colleague(desk: ImageDesk) -> None:
    anchor = desk.week.anchors("featured")[1]
    with desk.open_page(f"{desk.week.path}?open={anchor}", java_script_enabled=False) as page:
        editing.set_story_text(
            desk.week.installation,
            desk.form("sam"),
            desk.featured(1),
            StoryField.HEADLINE,
            "Ports get ten days to check crane modems",
        )
        desk.wait(minutes=3)
        page.locator("li.st.sel [name=headline]").fill("Ten days for every crane modem")
        follow(page.get_by_role("button", name="Save and close"))
        desk.take("two-versions.png", page, "main .body")


def _plan(desk: ImageDesk) -> None:
    release = "2026-11-27T11:00:00%2B00:00"
    with desk.open_page(f"/desk/calendar?ask=move&release={release}&day=2026-11-25&clock=06:00") as page:
        desk.take("calendar.png", page, "main h1", to="table.calendar", margin=MARGIN)


def _decide(desk: ImageDesk) -> None:
    review = f"{desk.week.path}/approve"
    _approve(desk, review)
    desk.wait(minutes=5)
    text = INTRO.replace("this week", "from Washington")
    editing.set_edition_text(desk.week.installation, desk.form("dana"), EditionField.INTRO, text)
    desk.wait(minutes=2)
    with desk.open_page(review, "sam", viewport=TALL) as page:
        desk.take("approve.png", page, "main h1", to="aside.beside", margin=MARGIN)
        page.get_by_label("What should change").fill("Only one of the two is from Washington. Please say so.")
        follow(page.get_by_role("button", name="Send back with note"))
    desk.wait(minutes=3)
    with desk.open_page(desk.week.path) as page:
        desk.take("sent-back.png", page, ".sent-back", to=".head")
        follow(page.get_by_role("button", name="Mark as done"))
    # The text that was approved: its approval applies again.
    editing.set_edition_text(desk.week.installation, desk.form("dana"), EditionField.INTRO, INTRO)


def _approve(desk: ImageDesk, review: str) -> None:
    """Approve what each of the two wrote, by the other."""
    for editor in ("dana", "sam"):
        with desk.open_page(review, editor) as page:
            follow(page.get_by_role("button", name=re.compile("^Approve ")))


def _send(desk: ImageDesk) -> None:
    desk.clock.now = datetime.fromisoformat("2026-11-20T11:00:00+00:00")
    for mails in MAILS_A_MINUTE:
        desk.wait(minutes=1)
        _hand_over(desk, mails)
    with desk.open_page(f"{desk.week.path}/sending?renew=no") as page:
        expect(page.locator("h1")).to_contain_text("done")
        desk.take("going-out.png", page, "main .head", to=".half")
    _hand_over(desk, None)


def _hand_over(desk: ImageDesk, limit: int | None) -> None:
    installation = desk.week.installation
    run_edition(
        installation.database,
        desk.week.name,
        open_provider(installation.settings),
        installation.keys,
        installation.settings,
        clock=desk.clock,
        limit=limit,
    )


def _correct(desk: ImageDesk) -> None:
    desk.wait(hours=5)
    form = CorrectionForm(
        desk.featured(1),
        "headline",
        "Ports get twelve days to list crane modems",
        "The list is due on November 30: in twelve days, not ten.",
    )
    corrections.correct_story(
        desk.week.installation, desk.week.name, form, actor=desk.form("dana").actor, now=desk.clock()
    )
    with desk.open_page(f"{desk.week.path}/corrections/1") as page:
        desk.take("correction.png", page, "main .body", height=800)
