"""The pages in a real browser: checked by axe, without scripts, on a phone, and with an editor's clicks."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import delete, select

from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.engine import open_database
from digest.store.models import Edition, EditionState, Source, SourceHealth
from digest.web.desk.edition.previews import PREVIEW_MODES
from digest.web.server import open_page_server
from subscribers.address import read_address
from subscribers.consent.preferences import Preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.link_tokens import make_link_token
from subscribers.lifecycle import address_change, my_data, preference_changes, undo, unsubscribe
from subscribers.mail_requests import MailRequest
from subscribers.signup.manual_signup import add_subscriber
from subscribers.signup.rate_limits import SignupLimits
from subscribers.store import one_time_tokens
from subscribers.store.models import Person, PersonState
from subscribers.store.signup_models import OneTimeToken, SignupMail
from tests import browser as browser_helpers
from tests.browser import SCHEMES, axe_report, excess_width, faulty_pages, follow, page_faults, show_views, sign_in
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.run_database import HomeDatabases
from tests.web.conftest import ADA_ADDRESS, sample_evidence

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases, build_world: Any
) -> Iterator[tuple[Any, str]]:
    """Serve an installation with a draft, editions that went out, sources of every health."""
    home = tmp_path_factory.mktemp("served")
    database = open_database(home_databases.create(home))
    world = build_world(database, home)
    world.edition(name="2026-W45", number=145, state=EditionState.SENT, release_at=RELEASE - timedelta(14))
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    world.edition()
    with database.write() as session:
        bo = add_subscriber(session, world.install.keys, "bo@county.example", evidence=sample_evidence(), now=NOW)
        unsubscribe_log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
        unsubscribe.unsubscribe_person(session, unsubscribe_log, bo.number, method="page", now=NOW)
        session.add_all(sources())
        session.add(
            Delivery(
                id="d1",
                purpose="edition:2026-W46",
                person=world.ada,
                state=DeliveryState.ACCEPTED,
                due_at=RELEASE,
                next_try_at=RELEASE,
            )
        )
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        yield world, f"http://127.0.0.1:{serving.port}"
    database.close()


def sources() -> list[Source]:
    return [
        Source(
            url=f"https://{health}.example/a/rather/long/address/of/a/feed/that/does/not/want/to/break.xml",
            name=f"The {health.value} gazette",
            publisher="Gazette",
            topics={},
            health=health,
            failures=9,
            failing_since=RELEASE - timedelta(9),
            message="the publisher denied access (403); ask them to allow the user agent",
            good_at=RELEASE - timedelta(10),
        )
        for health in SourceHealth
    ]


SIGNED_OUT_PATHS = ["/desk/sign-in", "/desk/link/unknown", "/staff/unknown"]


def paths(world: Any) -> list[str]:
    desk = [f"/desk/?view={v.key}" for v in PREVIEW_MODES] + [
        "/desk/?tab=stories",
        "/desk/?tab=preview",
        "/desk/?q=nothing",
    ]
    desk += ["/desk/editions/2026-W46", "/desk/editions/2026-W47/approve", "/desk/editions/2026-W46/approve"]
    desk += [
        "/desk/editions/2026-W47/test",
        "/desk/sources",
        "/desk/sent",
        "/desk/security",
        "/desk/security/passkeys/add",
        "/desk/editions/none",
        "/desk/preview/2026-W47/inbox",
    ]
    subscribers = [
        "/",
        "/editions/2026-W46",
        "/subscribe",
        "/contact",
        "/privacy",
        "/nothing",
        "/u/unknown",
        f"/u/{world.token('leave')}",
    ]
    subscribers += [f"/preferences/{world.token('preferences')}", f"/u/{world.token('test leave')}"]
    subscribers += [f"/u/{world.token('leave')}/pause", *mailed_links(world)]
    with world.database.write() as session:
        bo = session.scalars(select(Person.number).where(Person.state == PersonState.WITHDRAWN)).one()
        subscribers += [f"/u/{world.token('leave', bo)}", f"/undo/{undo.issue_undo_token(session, bo, now=NOW)}"]
    outdated = make_link_token(world.install.keys, world.ada, "preferences", 9, address=ADA_ADDRESS)
    return [*subscribers, f"/preferences/{outdated}", f"/u/{world.token('leave', 4711)}", *desk]


def mailed_links(world: Any) -> list[str]:
    """Give the pages behind the links that are mailed to an owner alone, open and run out."""
    kept: list[str] = []

    def queue(_session: Any, note: MailRequest) -> None:
        kept.extend([note.context["token"]] if "token" in note.context else [])

    with world.database.write() as session:
        session.execute(delete(OneTimeToken))
        session.execute(delete(SignupMail))
        my_data.request_data_link(session, world.ada, queue, now=NOW)
        address = read_address("new@elsewhere.example")
        address_change.request_address_change(
            session, world.install.keys, world.ada, address, queue, SignupLimits(), now=NOW
        )
        others = Preferences(text_only=not session.get_one(Person, world.ada).choices)
        preference_changes.save_preferences_by_link(session, world.ada, others, queue, now=NOW)
        purposes: tuple[one_time_tokens.OneTimePurpose, ...] = ("my data", "change address", "restore choices")
        kept += [one_time_tokens.issue_token(session, p, world.ada, now=NOW, expires_at=NOW) for p in purposes]
        session.execute(
            delete(StaffMember).where(StaffMember.email.in_(("kim@newsroom.example", "sam@news.example.org")))
        )
        session.add(
            StaffMember(
                email="kim@newsroom.example", role="editor", added_at=NOW, added_by="terminal:eve", proven_at=NOW
            )
        )
        sam = staff.add_staff_member(
            session, read_address("sam@news.example.org"), "admin", queue, actor="test", now=NOW
        )
        kept += [
            one_time_tokens.issue_token(session, staff.PROOF_PURPOSE, None, now=NOW, expires_at=NOW, serial=str(sam.id))
        ]
    data, stop, move, restore, old_data, old_move, old_restore, proving, old_proving = kept
    return [
        f"/my-data/{data}",
        f"/my-data/{data}/erase",
        f"/address/{move}",
        f"/address/stop/{stop}",
        f"/restore/{restore}",
        f"/restore/{old_restore}",
        f"/my-data/{old_data}",
        f"/address/{old_move}",
        f"/staff/{proving}",
        f"/staff/{old_proving}",
    ]


@dataclass
class PageEar:
    """What the pages of a tab have asked for, and what its console has said, but that something is not or no longer there."""

    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def listen_to(self, page: Page) -> None:
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))

    def faults(self, address: str) -> list[str]:
        """Return what was asked of anybody else, and what the console said: of a broken policy, above all."""
        elsewhere = [url for url in self.asked if not url.startswith(address)]
        return [*elsewhere, *(text for text in self.said if "404" not in text and "410" not in text)]


@pytest.mark.parametrize("quarter", range(4))
def test_axe_finds_nothing_none_scrolls_sideways_asks_elsewhere_or_breaks_its_own_policy(
    browser: Browser, served: tuple[Any, str], quarter: int
) -> None:
    world, address = served
    context, ear = browser.new_context(), PageEar()
    page, without_images = context.new_page(), context.new_page()
    ear.listen_to(page)
    found = faulty_pages(page, address, SIGNED_OUT_PATHS[quarter::4], widths=(1440, 390))
    sign_in(context, world, address, "admin")
    for path in paths(world)[quarter::4]:
        tab = without_images if "noimages" in path else page  # there the pictures are to be refused
        # Its rows stand in each view of the edition's page as they stand in the first.
        fewer = "" if path == f"/desk/?view={PREVIEW_MODES[0].key}" else "li.row, li.tale"
        found |= faulty_pages(tab, address, [path], widths=(1440, 390), fewer=fewer)
        wide = [excess_width(tab) for _ in show_views(tab, (320, 761, 1181), ["light"])]
        found |= {f"{path}, in other widths": fault for fault in wide if fault}
    page.goto(f"{address}/editions/2026-W46/as-sent")
    assert found == {}
    assert ear.faults(address) == []
    assert any("/media/" in url for url in ear.asked)
    assert {c["name"] for c in context.cookies()} == {"__Host-desk", "__Host-desk-form"}
    context.close()


def answers(world: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the path and the form of every button that a reader can press, each after those before it."""
    leave, preferences = f"/u/{world.token('leave')}", f"/preferences/{world.token('preferences')}"
    data, erase, move, _, restore, old_restore, *_ = mailed_links(world)
    yield preferences, {"section": "featured", "hour": "6", "zone": "UTC", "frequency": "monthly"}
    yield preferences, {}
    yield preferences, {"section": "featured", "hour": "6", "zone": "nowhere"}
    yield f"{preferences}/my-data", {}
    yield "/contact", {}
    yield "/contact", {"message": "Hello", "email": "nobody"}
    yield "/contact", {"message": "Hello"}
    yield f"{leave}/pause", {}
    yield f"{leave}/pause", {"length": "4w"}
    yield f"{leave}/undo", {}
    yield f"{data}/record", {}
    yield f"{data}/renew-links", {}
    yield preferences, {"section": "featured"}
    yield f"{leave}/pause", {"length": "4w"}
    yield f"{data}/address", {"email": "nobody"}
    yield f"{data}/address", {"email": "another@elsewhere.example"}
    yield move, {}
    yield restore, {}
    yield restore, {}
    yield old_restore, {}
    yield leave, {"from": "page"}
    with world.database.write() as session:
        undo_token = undo.issue_undo_token(session, world.ada, now=NOW)
    yield f"/undo/{undo_token}", {}
    yield f"/undo/{undo_token}", {}
    yield leave, {}
    yield f"{leave}/undo", {}
    yield f"/undo/{undo_token}", {}
    yield preferences, {"section": "featured"}
    yield erase, {}
    yield erase, {}
    yield f"{leave}/undo", {}


def test_axe_finds_nothing_on_what_a_button_is_answered_with(
    browser: Browser, one_database: Any, tmp_path: Path, build_world: Any
) -> None:
    world = build_world(one_database, tmp_path)
    context = browser.new_context()
    page = context.new_page()
    found, statuses = {}, []
    for place, (path, form) in enumerate(answers(world)):
        answer = world.client.post(path, data=form)
        statuses.append(answer.status_code)
        html = re.sub(r'<link rel="stylesheet" href="/style/([^"]+)">', sheet(world), answer.text)
        page.set_content(html)
        if faults := page_faults(page, widths=(320,)):
            found[place, path] = faults
    context.close()
    assert found == {}
    assert set(statuses) == {200, 400, 410}


def sheet(world: Any) -> Callable[[re.Match[str]], str]:
    """Put a style sheet where a page links to it: an answer that is shown alone has no server behind it."""
    return lambda link: f"<style>{world.client.get(f'/style/{link[1]}').text}</style>"


def test_axe_finds_a_planted_fault(browser: Browser, served: tuple[Any, str]) -> None:
    world, address = served
    context = browser.new_context()
    sign_in(context, world, address, "admin")
    page = context.new_page()
    page.goto(f"{address}/desk/editions/2026-W47")
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    assert "color-contrast" in axe_report(page)
    context.close()


KNOWN_PAGE = """<!doctype html><html lang="en"><title>Views</title><style>
@media (prefers-color-scheme: dark) and (max-width: 500px) { .late { color: #777; background: #888 } }
</style><main><h1>Views</h1><p>Words</p>"""


@pytest.mark.parametrize(
    ("change", "looks", "faults"),
    [
        ("<p>Other words</p><p>And more", 1, []),
        ("<p class='late'>Words", 4, ["390 pixels, dark"]),
        (
            "<p style='color: #eee'>Words",
            4,
            [f"{width} pixels, {scheme}" for width in (390, 1440) for scheme in SCHEMES],
        ),
    ],
)
def test_a_page_is_looked_at_in_every_view_if_it_has_a_new_kind_of_element(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, change: str, looks: int, faults: list[str]
) -> None:
    page, looked = browser.new_page(), Counter[str]()

    def count_look(*given: Any) -> str:
        looked["look"] += 1
        return axe_report(*given)

    page.set_content(KNOWN_PAGE)
    assert page_faults(page, widths=(390, 1440)) == ""
    page.set_content(KNOWN_PAGE.replace("<p>Words", change))
    monkeypatch.setattr(browser_helpers, "axe_report", count_look)
    found = page_faults(page, widths=(390, 1440))
    page.close()
    assert looked.total() == looks
    assert re.findall(r"^\d+ pixels, \w+", found, flags=re.MULTILINE) == faults


def test_a_planted_fault_is_found_in_the_only_view_that_has_it(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(
        """<!doctype html><html lang="en"><title>Views</title><main><h1>Views</h1></main><style>
        @media (prefers-color-scheme: dark) and (max-width: 500px) { h1 { color: #777; background: #888 } }
        @media (min-width: 800px) and (max-width: 1000px) { h1 { width: 1200px } }
        </style>"""
    )
    assert page_faults(page, widths=(1440, 600)) == ""
    faults = page_faults(page, widths=(1440, 900, 390))
    assert re.findall(r"^\d+ pixels, \w+", faults, flags=re.MULTILINE) == [
        "900 pixels, light",
        "900 pixels, dark",
        "390 pixels, dark",
    ]
    assert "color-contrast" in faults
    assert faults.count("It is 12") == 2
    page.close()


@pytest.fixture
def without_scripts(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    yield context
    context.close()


def test_a_subscriber_chooses_and_leaves_without_scripts_on_a_phone(
    without_scripts: BrowserContext, one_database: Any, tmp_path: Path, build_world: Any
) -> None:
    world = build_world(one_database, tmp_path)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page = without_scripts.new_page()
        page.goto(f"http://127.0.0.1:{serving.port}/preferences/{world.token('preferences')}")
        page.get_by_role("checkbox", name="Events").uncheck()
        page.get_by_label("Text only").check()
        follow(page.get_by_role("button", name="Save preferences"))
        expect(page.get_by_role("status")).to_contain_text("as text only.")
        expect(page.get_by_role("checkbox", name="Events")).not_to_be_checked()
        follow(page.get_by_role("link", name="Unsubscribe"))
        follow(page.get_by_role("button", name="Unsubscribe"))
        expect(page.get_by_role("status")).to_contain_text("We won’t send you any more editions")
        assert without_scripts.cookies() == []
    with world.database.read() as session:
        ada = session.get(Person, world.ada)
        assert ada is not None
        assert ada.state == PersonState.WITHDRAWN


def test_a_subscriber_has_their_record_shown_and_prints_it(
    without_scripts: BrowserContext, one_database: Any, tmp_path: Path, build_world: Any
) -> None:
    world = build_world(one_database, tmp_path)
    said: list[str] = []
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page = without_scripts.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"http://127.0.0.1:{serving.port}{mailed_links(world)[0]}")
        follow(page.get_by_role("button", name="Show all my data"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Your data record")
        expect(page.locator("main")).to_contain_text("ada.lovelace@analytical.example")
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["x"] == 16, "its own style is not allowed by its policy"
        page.emulate_media(media="print")
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["x"] == 0
        page.emulate_media(media="screen")
        if page.context.browser and page.context.browser.browser_type.name == "chromium":
            assert page.pdf(format="A4").startswith(b"%PDF")
    assert [text for text in said if "404" not in text] == []  # a browser asks for a favicon


@pytest.mark.usefixtures("stored_as_composed")
def test_an_editor_looks_at_a_draft_and_approves_it_without_scripts(
    without_scripts: BrowserContext, one_database: Any, tmp_path: Path, build_world: Any
) -> None:
    world = build_world(one_database, tmp_path)
    world.edition()
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page = without_scripts.new_page()
        sign_in(without_scripts, world, f"http://127.0.0.1:{serving.port}")
        page.goto(f"http://127.0.0.1:{serving.port}/desk/")
        follow(page.get_by_role("link", name="Stories"))
        follow(page.get_by_role("link", name=re.compile("^Unused")))
        expect(page.locator(".pool")).to_contain_text("It was in 2026-W46.")
        follow(page.get_by_role("link", name="Preview"))
        follow(page.get_by_role("link", name="Dark"))
        expect(page.frame_locator("iframe").get_by_role("heading", level=1)).to_be_visible()
        follow(page.get_by_role("link", name="Review and approve").last)
        expect(page.locator("main")).to_contain_text("No. 147 will be sent to 1 subscriber on")
        follow(page.get_by_role("button", name="Approve No. 147"))
        expect(page.locator(".pill").first).to_have_text("Approved")
    with world.database.read() as session:
        assert session.scalar(select(Edition.state)) == EditionState.APPROVED


def test_the_desk_is_used_by_keyboard_alone(browser: Browser, served: tuple[Any, str]) -> None:
    world, address = served
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    sign_in(context, world, address)
    page = context.new_page()
    page.goto(f"{address}/desk/editions/2026-W47")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    assert skip.evaluate("e => e === document.activeElement")
    box = skip.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.innerText || document.activeElement.name || ''").strip())
    assert "Review and approve" in names
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"
    context.close()


def test_a_page_that_renews_itself_stops_where_a_button_or_a_link_is_followed(
    browser: Browser, one_database: Any, tmp_path: Path, build_world: Any
) -> None:
    """To load it anew then would be not to follow it."""
    world = build_world(one_database, tmp_path)
    path = f"/desk/editions/{world.edition(state=EditionState.APPROVED)}/sending"
    asked: list[str] = []
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context()
        sign_in(context, world, address)
        page = context.new_page()
        page.clock.install()  # the page's clock: moved on instead of waited for
        page.goto(address + path)
        with page.expect_response(address + path):
            page.clock.fast_forward(4_000)
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate("dispatchEvent(new Event('beforeunload'))")
        page.clock.fast_forward(4_000)
        page.evaluate("fetch('/healthz').then((answer) => answer.text())")
        assert asked == [f"{address}/healthz"]
        context.close()
