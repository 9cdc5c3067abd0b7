"""One edition from its approval to its correction, in a real browser, by keyboard and on a simulated clock."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from playwright.sync_api import Browser, Page, expect
from pydantic import SecretStr
from sqlalchemy import update

import scheduler
from digest.app.demo.sample_week import SAMPLE_NOW
from digest.app.jobs import JobContext
from digest.installation.opened_installation import Installation
from digest.settings import ApprovalSettings
from digest.store.audit import record_audit
from digest.store.delivery_models import StaffMember
from digest.store.engine import open_database
from digest.store.models import Edition
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import add_subscriber
from tests.browser import faulty_pages, follow, page_faults, press_by_keyboard, sign_in, write_by_keyboard
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import RELEASE, Clock
from tests.row_keys import change_rows
from tests.run_database import HomeDatabases
from tests.web.conftest import sample_evidence
from tests.web.desk.sample_week import COLLEAGUES, EDITORS, SampleWeek
from tests.web.desk.test_desk_in_browser import LIKE_ROWS

pytestmark = pytest.mark.chromium

NINE = datetime(2026, 11, 20, 14, tzinfo=UTC)
AFTERWARDS = datetime(2026, 11, 20, 17, tzinfo=UTC)
SUBSCRIBERS = {
    "all": Preferences(),
    "text": Preferences(text_only=True),
    "without": Preferences(omit=frozenset({"featured"})),
    "leaver": Preferences(),
    "uncertain": Preferences(),
    "nine": Preferences(hour=9, zone="America/New_York"),
}
WIDTHS = (1440, 768, 360)
RIGHT = "What was right from the start"


def mail_address(subscriber: str) -> str:
    return f"{subscriber}@readers.example"


class DroppingHandler(RecordingHandler):
    """Takes every message, and hangs up instead of an answer after the first one of the uncertain reader."""

    has_dropped = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        reply = await super().handle_DATA(server, session, envelope)
        if envelope.rcpt_tos == [mail_address("uncertain")] and not self.has_dropped:
            self.has_dropped = True
            assert server.transport
            server.transport.close()
        return reply


@dataclass(frozen=True)
class SignedInNow:
    """Signs colleagues in at the moment of the clock."""

    served: "ServedWeek"

    def session_cookie(self, editor: str) -> tuple[str, str]:
        return self.served.week.session_cookie(editor, self.served.clock.now)


@dataclass
class ServedWeek:
    """The sample's week as it is served, its readers' numbers, and what a mail server got of it."""

    week: SampleWeek
    address: str
    clock: Clock
    numbers: dict[str, int]
    mail: DroppingHandler

    @property
    def edition(self) -> str:
        """Where the edition's page is."""
        return self.address + self.week.path

    def turn_clock(self, moment: datetime) -> None:
        """Turn the clock on, and do what the timetable does in its next tick."""
        self.clock.now = moment
        context = JobContext(self.week.installation, self.clock)
        scheduler.run_in_order(context, "plan_corrections", "send_corrections")
        scheduler.send_due_editions(context, scheduler.EditionSendBackoff())

    def leave(self, subscriber: str) -> None:
        install = self.week.installation
        with install.database.write() as session:
            log = UnsubscribeLog(install.settings.left_log, install.keys)
            unsubscribe_person(session, log, self.numbers[subscriber], method="page", now=self.clock.now)

    def ring_alarm(self) -> None:
        """Let the product have paused the edition itself."""
        reason = "2 of 5 addresses don't exist. Check where the list comes from."
        with self.week.installation.database.write() as session:
            session.execute(update(Edition).values(paused_because=reason))
            record_audit(session, "paused", self.week.name, {"because": reason}, actor="digest", now=self.clock.now)

    def received(self, *, subject: str = "") -> list[str]:
        """Name the readers who got a message with these words in its subject, once a message."""
        subscribers = []
        for _, (recipient,), octets in self.mail.messages:
            message = message_from_bytes(octets, policy=policy.default)
            assert isinstance(message, EmailMessage)
            subscriber, _, domain = recipient.partition("@")
            if subject in str(message["Subject"]) and domain == "readers.example":
                subscribers.append(subscriber)
        return sorted(subscribers)


@pytest.fixture
def served(
    drafted_week: tuple[SampleWeek, Path], home_databases: HomeDatabases, tmp_path: Path, clock: Clock
) -> Iterator[ServedWeek]:
    """Serve the sample's week where two have to approve, with its readers; Priya edits, Dana approves, Sam too as an admin."""
    drafted, prepared = drafted_week
    home = tmp_path / "week"
    shutil.copytree(prepared, home)
    database = open_database(home_databases.copy(prepared, home))
    mail = DroppingHandler()
    with run_smtp_server(mail) as port:
        old = drafted.installation.settings
        schedule = old.file.schedule.model_copy(update={"final_check_minutes": 0})
        file = old.file.model_copy(update={"approval": ApprovalSettings(approvers=2), "schedule": schedule})
        url = SecretStr(f"smtp://127.0.0.1:{port}?connections=1&starttls=off")
        installation = Installation(old.model_copy(update={"home": home, "file": file, "mail_url": url}), database)
        numbers = {}
        with database.write() as session:
            change_rows(session, StaffMember, StaffMember.email == EDITORS["sam"], role="admin")
            priya = StaffMember(email=COLLEAGUES["priya"], name="Priya", role="editor", added_by="test")
            priya.added_at = priya.proven_at = SAMPLE_NOW
            session.add(priya)
            for subscriber, preferences in SUBSCRIBERS.items():
                added = add_subscriber(
                    session, installation.keys, mail_address(subscriber), evidence=sample_evidence(), now=SAMPLE_NOW
                )
                numbers[subscriber] = added.number
                change_preferences(session, added.number, preferences, SAMPLE_NOW)
        week = SampleWeek(installation, create_app(installation, clock=clock), drafted.name)
        with open_page_server(week.app, "127.0.0.1", 0) as serving:
            yield ServedWeek(week, f"http://127.0.0.1:{serving.port}", clock, numbers, mail)
    database.close()


def open_desk(browser: Browser, served: ServedWeek, editor: str, *, scripts: bool = False) -> Page:
    """Open a browser of a colleague."""
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": 1440, "height": 900})
    sign_in(context, served.week, served.address, editor)
    return context.new_page()


# Tabs: each link of the mail that the page frames is one.
PAST_THE_MAIL = 200


def write_intro(page: Page, edition: str, text: str) -> None:
    """Write the intro of the mail, as an editor does without scripts."""
    page.goto(f"{edition}?open=head#head")
    write_by_keyboard(page.get_by_label("Intro"), text)
    press_by_keyboard(page.get_by_role("button", name="Save and close"))


def approve(page: Page, edition: str, badge: str) -> None:
    """Press the button of the approve page, and expect how the edition stands then."""
    page.goto(f"{edition}/approve")
    press_by_keyboard(page.get_by_role("button", name="Approve No. 147"), within=PAST_THE_MAIL)
    expect(page.locator(".head .pill")).to_have_text(badge)


def test_an_edition_is_approved_voided_sent_back_approved_by_two_released_paused_and_corrected(
    browser: Browser, served: ServedWeek
) -> None:
    dana, sam, priya = (open_desk(browser, served, editor) for editor in ("dana", "sam", "priya"))
    looking = open_desk(browser, served, "sam", scripts=True)
    approve_after_a_word_and_a_note(served, dana, sam, priya, looking)
    let_it_go_with_a_pause(served, sam=looking)
    correct_it_for_those_who_got_the_error(served, dana, (sam, priya), looking)
    for page in (dana, sam, priya, looking):
        page.context.close()


def approve_after_a_word_and_a_note(served: ServedWeek, dana: Page, sam: Page, priya: Page, looking: Page) -> None:
    """Two approve; a word voids it, the page says why; a note stops it; two approve again."""
    edition, path = served.edition, served.week.path
    write_intro(priya, edition, "Radios were out for eleven hours.")
    approve(dana, edition, "1 of 2 approved")
    approve(sam, edition, "Approved")

    write_intro(priya, edition, "Radios were out for twelve hours.")
    expect(priya.get_by_role("heading", level=1)).to_have_text("The edition is approved")
    press_by_keyboard(priya.get_by_role("button", name="Save and revoke approval"))
    dana.goto(edition)
    expect(dana.locator(".head .pill")).to_have_text("Approval revoked")
    expect(dana.locator(".void")).to_contain_text("no longer apply. Priya wrote the intro, Nov. 19, 5:35 p.m.")
    follow(dana.get_by_role("link", name="See what changed"))
    expect(dana.locator(".says")).to_contain_text("1 change.")
    expect(dana.locator(".chg del")).to_have_text("eleven")
    expect(dana.locator(".chg ins")).to_have_text("twelve")
    follow(dana.get_by_role("link", name="Compare both versions side by side"))
    expect(dana.frame_locator("iframe").first.get_by_text("eleven hours")).to_be_visible()
    expect(dana.frame_locator("iframe").last.get_by_text("twelve hours")).to_be_visible()

    sam.goto(f"{edition}/approve")
    write_by_keyboard(sam.get_by_label("What should change"), "Twelve, says who?", within=PAST_THE_MAIL)
    press_by_keyboard(sam.get_by_role("button", name="Send back with note"))
    expect(sam.locator(".sent-back")).to_contain_text("Sam sent this back")
    stood = [path, f"{path}/approve", f"{path}/versions/1", f"{path}/history"]
    assert faulty_pages(looking, served.address, stood, widths=WIDTHS, fewer=LIKE_ROWS) == {}
    dana.goto(f"{edition}/approve")
    expect(dana.get_by_role("button", name="Approve No. 147")).to_be_disabled()
    press_by_keyboard(dana.get_by_role("button", name="Mark as done"))
    expect(dana.locator(".sent-back")).to_have_count(0)

    approve(dana, edition, "1 of 2 approved")
    approve(sam, edition, "Approved")


def let_it_go_with_a_pause(served: ServedWeek, sam: Page) -> None:
    """The clock releases it; it is paused, resumed, and stopped with everything else, on a page that renews itself."""
    heading = sam.locator("h1")
    sam.set_viewport_size({"width": 1440, "height": 900})
    sam.goto(f"{served.edition}/sending")
    expect(heading).to_have_text("No. 147 will be sent to 6 subscribers")
    served.turn_clock(RELEASE - timedelta(minutes=1))
    assert served.received() == []
    served.turn_clock(RELEASE)
    expect(heading).to_have_text("5 of 6 done")
    expect(sam.locator(".key")).to_contain_text("1 with unknown status")
    assert served.received() == ["all", "leaver", "text", "uncertain", "without"]
    expect(sam.locator("#rate")).to_contain_text("5 in the last minute")
    sam.get_by_text("Show as a table").click()
    expect(sam.locator("#minutes td.r")).to_have_text("5")
    assert not page_faults(sam, widths=WIDTHS)
    press_by_keyboard(sam.get_by_role("button", name="Pause sending"))
    expect(heading).to_have_text("Paused: 5 of 6 done")
    assert not page_faults(sam, widths=WIDTHS)
    served.ring_alarm()
    sam.reload()
    expect(heading).to_have_text("Sending paused automatically")
    assert not page_faults(sam, widths=WIDTHS)
    served.turn_clock(NINE)
    assert len(served.received()) == 5
    press_by_keyboard(sam.get_by_role("button", name="Resume sending"))
    expect(heading).to_have_text("5 of 6 done")
    # Days have gone by since Sam signed in: who stops everything says who they are.
    sign_in(sam.context, SignedInNow(served), served.address, "sam")
    press_by_keyboard(sam.get_by_role("button", name="Pause all sending"))
    expect(heading).to_have_text("All sending is paused")
    served.turn_clock(NINE)
    assert len(served.received()) == 5
    press_by_keyboard(sam.get_by_role("button", name="Resume all sending"))
    expect(heading).to_have_text("5 of 6 done")
    served.turn_clock(NINE)
    # The page renews itself until it is over.
    expect(heading).to_have_text("5 of 6 accepted")
    expect(sam.get_by_text("Stop updating")).to_have_count(0)
    assert served.received() == sorted(SUBSCRIBERS)
    assert not page_faults(sam, widths=WIDTHS)


def correct_it_for_those_who_got_the_error(
    served: ServedWeek, dana: Page, colleagues: tuple[Page, Page], looking: Page
) -> None:
    """Correct a story; once two colleagues approved it, exactly those who got the error get the correction, each once."""
    # The preview line, which readers without Featured have too, names the first two.
    path, story = f"{served.week.path}/corrections", served.week.entry("featured", 2)
    wrong = story["headline"]
    served.clock.now = AFTERWARDS
    served.leave("leaver")
    dana.goto(served.address + path)
    follow(dana.get_by_role("link", name=wrong))
    expect(dana.get_by_label("Headline")).to_have_value(wrong)
    write_by_keyboard(dana.get_by_label("Headline"), RIGHT)
    write_by_keyboard(dana.get_by_label("Explanation"), "We had it the wrong way round.")
    press_by_keyboard(dana.get_by_role("button", name="Correct the archive"))
    expect(dana.locator("h1")).to_have_text("6 subscribers received the error")
    asked = [path, f"{path}?{urlencode({'story': story['url']})}", f"{path}/1", f"/editions/{served.week.name}"]
    expect(dana.frame_locator("iframe").get_by_text(RIGHT, exact=True)).to_be_visible()
    assert faulty_pages(looking, served.address, asked, widths=WIDTHS) == {}
    press_by_keyboard(dana.get_by_role("button", name="Request the email to 5 subscribers"))
    expect(dana.locator("#email")).to_contain_text("Waiting for approval")
    for colleague, button in zip(colleagues, ("Approve the email", "Approve and email the correction"), strict=True):
        served.turn_clock(AFTERWARDS)
        assert served.received(subject="Correction to No. 147") == []
        colleague.goto(f"{served.address}{path}/1")
        press_by_keyboard(colleague.get_by_role("button", name=f"{button} to 5 subscribers"))
    expect(colleagues[-1].locator("h1")).to_have_text("The correction was approved")
    for _ in range(2):  # asked of again, the timetable mails nobody twice
        served.turn_clock(AFTERWARDS)
        assert served.received(subject="Correction to No. 147") == ["all", "nine", "text", "uncertain", "without"]
    dana.goto(f"{served.address}/editions/{served.week.name}")
    expect(dana.locator("h3").filter(has_text=RIGHT).locator("del")).to_have_text(wrong)
