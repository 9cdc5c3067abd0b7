"""Whole weeks on a simulated clock, with changes to daylight saving time: drafts, reminders, deadlines, and sends.

The clock goes forward in New York on Sunday, March 14, 2027; the edition's release is on Friday, March 19, at 6 a.m., 10:00 UTC.
"""

import email
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email import policy
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

import scheduler
from digest.app import jobs
from digest.app.approval import deadlines, edition_approval, final_check
from digest.app.calendar import releases as calendar
from digest.app.doctor.attention import list_attention_sentences
from digest.app.editing import changes as editing
from digest.app.editing.edit_application import EditForm
from digest.app.editions import drafting as editions
from digest.app.jobs import JobContext
from digest.app.sending import send_control as sending
from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParsedItem
from digest.collect.fetch.fetcher import FolderFetcher
from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult
from digest.edition.approval.approved_versions import read_current_content_hash
from digest.edition.calendar.release_calendar import DeadlineDecision, decide_at_deadline
from digest.edition.editing.edits import EditionField
from digest.edition.edition_queries import make_release_slot_key
from digest.installation.audited_actions import SCHEDULER
from digest.installation.opened_installation import Installation
from digest.settings import (
    PublicationSettings,
    ScheduleSettings,
    SelectionSettings,
    SenderSettings,
    Settings,
    SettingsFileContent,
)
from digest.settings.publication import DeadlineRule
from digest.store import schedule_slots
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState, Source
from digest.timetable import JobSlot
from subscribers.crypto.keys import KeyRing
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from tests.actors import ADMIN, EDITOR
from tests.app.editing.test_changes import agreed
from tests.collect.stored_documents import store_document
from tests.conftest import ROOT
from tests.sent_emails import plain_text, read_email

SATURDAY = datetime(2027, 3, 13, 14, tzinfo=UTC)
STEP = timedelta(hours=2)
LONG_STEP = timedelta(hours=8)  # until a day before where a test goes to
RELEASE = datetime(2027, 3, 19, 10, tzinfo=UTC)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
SUMMARIES = {
    "Border tunnel found under a market hall": "Agents sealed a passage of ninety meters near the crossing.",
    "Hospital network recovers from ransomware": "Nurses wrote on paper for three days until servers came back.",
    "Coast Guard drill closes the harbor": "Tugs and helicopters practiced a tanker fire off the breakwater.",
}
EARLY, FRESH, LATE = SUMMARIES
EDITOR_ADDRESS = "dana@newsroom.example"


def page_address(title: str) -> str:
    return f"https://a.example.org/{title.replace(' ', '-')}"


class FetcherWithoutPage(FolderFetcher):
    """The bundled sample, and a page that is gone."""

    gone = ""

    def get(self, url: str, **asked: Any) -> FetchResult:
        if url == self.gone:
            raise FetchError(url, FetchErrorReason.MISSING, "is not there", status=404)
        return super().get(url, **asked)

    def may_read(self, url: str) -> bool:
        return url == self.gone or super().may_read(url)


@dataclass
class SimulatedWeek:
    """An installation whose timetable runs by a clock that the test turns."""

    install: Installation
    fetcher: FetcherWithoutPage
    now: datetime = SATURDAY

    def clock(self) -> datetime:
        return self.now

    def run_until(self, moment: datetime) -> None:
        """Turn the clock on, and do at each step what the timetable owes."""
        context = JobContext(self.install, self.clock)
        backoff = scheduler.EditionSendBackoff()
        while self.now < moment:
            step = LONG_STEP if moment - self.now > timedelta(days=1) else STEP
            self.now = min(self.now + step, moment)
            jobs.follow_schedule(context)
            for job in jobs.CALENDAR_JOBS:
                for slot in jobs.find_due_slots(context, job, scheduler.read_schedule_rules(self.install)[job]):
                    if job == "draft":
                        self.draft(slot)
                    else:
                        jobs.run_slot(context, slot)
            for name in final_check.find_due_checks(self.install, now=self.now):
                final_check.recheck_articles(
                    self.install, name, actor=SCHEDULER, clock=self.clock, fetcher=self.fetcher
                )
            scheduler.send_due_editions(context, backoff)
        jobs.send_due_transactional_emails(context)

    def draft(self, slot: JobSlot) -> None:
        """Draft as the timetable does, without the network."""
        assert schedule_slots.claim_slot(self.install.database, slot, JobContext(self.install).owner, self.now)
        name = editions.draft_next_edition(self.install, now=self.now, actor=EDITOR, fetcher=self.fetcher).name
        schedule_slots.complete_slot(self.install.database, slot, name, self.now)

    def publish(self, title: str) -> None:
        """Publish an article an hour before now."""
        with self.install.database.write() as session:
            source = session.scalars(select(Source)).one()
            url = page_address(title)
            item = ParsedItem(
                guid=title,
                url=url,
                link=url,
                title=title,
                summary=SUMMARIES[title],
                published=self.now - timedelta(hours=1),
                date_basis=DateBasis.PUBLISHED,
            )
            store_document(session, source, ParsedDocument(DocumentKind.RSS, (item,)), self.now)

    def approve(self, name: str) -> None:
        with self.install.database.read() as session:
            edition = session.scalars(select(Edition).where(Edition.name == name)).one()
            mark = read_current_content_hash(session, edition, self.install.settings)
        edition_approval.approve_edition(self.install, name, mark, actor=ADMIN, now=self.now)

    def write_subject(self, name: str, text: str) -> None:
        form = agreed(self.install, EditForm(name, EDITOR, self.now))
        editing.set_edition_text(self.install, form, EditionField.SUBJECT, text)

    @property
    def states(self) -> dict[str, EditionState]:
        with self.install.database.read() as session:
            editions_since = select(Edition).where(Edition.release_at > SATURDAY).order_by(Edition.release_at)
            return {e.name: e.state for e in session.scalars(editions_since)}

    @property
    def headlines(self) -> dict[str, list[str]]:
        """What each edition says, in order."""
        with self.install.database.read() as session:
            editions_since = select(Edition).where(Edition.release_at > SATURDAY).order_by(Edition.release_at)
            return {
                e.name: [entry["headline"] for section in e.content["sections"] for entry in section["entries"]]
                for e in session.scalars(editions_since)
            }

    def mails(self, folder: str) -> list[str]:
        """Give the subjects of what was handed over: `edition` or `notice`, the latter to the editor alone."""
        messages = [
            email.message_from_bytes(file.read_bytes(), policy=policy.default)
            for file in sorted((self.install.settings.home / "outbox").rglob("*.eml"))
            if folder in file.parts
        ]
        wanted = EDITOR_ADDRESS if folder == "notice" else "reader@county.example"
        assert {str(message["To"]) for message in messages} <= {wanted}
        return sorted(str(message["Subject"]) for message in messages)

    def outlook(self) -> list[str]:
        with self.install.database.read() as session:
            return list_attention_sentences(session, self.now, self.install.settings.file)


@pytest.fixture
def start_week(one_database: Database, tmp_path: Path) -> Callable[..., SimulatedWeek]:
    """Give a function that sets up the installation with a rule for the deadline."""
    return make_start(one_database, tmp_path)


@pytest.fixture
def start_week_on_both(database: Database, tmp_path: Path) -> Callable[..., SimulatedWeek]:
    """Give the same on each database, for the weeks in which the most happens."""
    return make_start(database, tmp_path)


def make_start(database: Database, home: Path) -> Callable[..., SimulatedWeek]:
    def start(rule: DeadlineRule = "wait") -> SimulatedWeek:
        settings = Settings(
            file=SettingsFileContent(
                publication=PublicationSettings(first_number=147),
                sender=SenderSettings(postal_address="1 Test Street"),
                select=SelectionSettings(minimum=1),
                schedule=ScheduleSettings(at_deadline=rule),
            ),
            home=home,
            base_url="https://news.example.org",
            mail_url=SecretStr("outbox:"),
        )
        KeyRing.create(settings.key_file)
        install = Installation(settings, database)
        with database.write() as session:
            evidence = ConsentEvidence("Yes.", "1", "en", "hls.today", "form", "Eve", SATURDAY - WEEK)
            add_subscriber(session, install.keys, "reader@county.example", evidence=evidence, now=SATURDAY - WEEK)
            session.add(Source(url="https://a.example.org/feed", name="A", publisher="A Press", topics={}))
            session.add(sent_edition())
            member = StaffMember(email=EDITOR_ADDRESS, name="Dana", role="editor", added_by="test")
            member.added_at = member.proven_at = SATURDAY
            session.add(member)
        schedule_slots.find_or_record_schedule_start(database, SATURDAY)
        fetcher = FetcherWithoutPage(ROOT / "digest" / "sample")
        week = SimulatedWeek(install, fetcher)
        week.publish(EARLY)
        return week

    return start


StartWeek = Callable[..., SimulatedWeek]


def sent_edition() -> Edition:
    """Make the edition of the week before: without one the first looks back a week and no further."""
    moment = RELEASE - WEEK
    return Edition(
        slot=make_release_slot_key(moment),
        name="2027-W10",
        number=146,
        state=EditionState.SENT,
        opens_at=moment - WEEK,
        cut_off=moment - timedelta(hours=12),
        release_at=moment,
        drafted_at=moment - timedelta(hours=12),
        content={},
    )


def test_an_edition_that_nobody_approves_waits_and_goes_as_soon_as_somebody_does(start_week: StartWeek) -> None:
    week = start_week("wait")
    week.run_until(RELEASE + 2 * STEP)
    assert week.states == {"2027-W11": EditionState.DRAFT}
    assert week.mails("notice") == [
        "Approve No. 147 by Thursday, March 18, 8 p.m. ET",
        "No. 147 is waiting for approval",
    ]
    assert any(sentence.startswith("No. 147 wasn't approved by its deadline (Thursday") for sentence in week.outlook())
    week.approve("2027-W11")
    week.run_until(week.now + STEP)
    assert week.states == {"2027-W11": EditionState.SENT}
    assert len(week.mails("edition")) == 1


def test_an_edition_that_nobody_approves_is_skipped_and_its_week_goes_into_the_next(start_week: StartWeek) -> None:
    week = start_week("skip")
    week.run_until(RELEASE + STEP)
    assert week.states == {"2027-W11": EditionState.CANCELLED}
    assert "No. 147 was skipped because it wasn’t approved" in week.mails("notice")
    week.run_until(RELEASE + WEEK - timedelta(hours=12))
    week.approve("2027-W12")
    week.run_until(RELEASE + WEEK)
    assert week.states == {"2027-W11": EditionState.CANCELLED, "2027-W12": EditionState.SENT}
    assert len(week.mails("edition")) == 1


def test_the_last_approved_version_goes_out_where_what_was_changed_since_is_not_approved(
    start_week_on_both: StartWeek,
) -> None:
    week = start_week_on_both("send-last-approved")
    week.run_until(RELEASE - timedelta(hours=12))
    week.write_subject("2027-W11", "As it was approved")
    week.approve("2027-W11")
    week.write_subject("2027-W11", "Changed since")
    assert week.states == {"2027-W11": EditionState.DRAFT}
    week.run_until(RELEASE - timedelta(hours=10))
    assert week.states == {"2027-W11": EditionState.APPROVED}
    with week.install.database.read() as session:
        assert session.scalars(select(Edition.subject).where(Edition.number == 147)).all() == ["As it was approved"]
    week.run_until(RELEASE)
    assert week.states == {"2027-W11": EditionState.SENT}
    assert week.mails("edition") == ["As it was approved"]
    assert "The last approved version of No. 147 will be sent" in week.mails("notice")


def test_a_version_that_was_taken_back_never_goes_out(start_week: StartWeek) -> None:
    week = start_week("send-last-approved")
    week.run_until(RELEASE - timedelta(hours=12))
    week.approve("2027-W11")
    edition_approval.revoke_approval(week.install, "2027-W11", actor=EDITOR, now=week.now)
    week.run_until(RELEASE + STEP)
    assert week.states == {"2027-W11": EditionState.DRAFT}
    assert week.mails("edition") == []


def test_a_version_that_can_be_sent_no_more_keeps_the_draft_as_it_is_and_the_editors_read_why(
    start_week: StartWeek,
) -> None:
    week = start_week("send-last-approved")
    week.run_until(RELEASE - timedelta(hours=12))
    week.write_subject("2027-W11", "As it was approved")
    week.approve("2027-W11")
    week.write_subject("2027-W11", "Changed since")
    settings = week.install.settings
    sender = settings.file.sender.model_copy(update={"reply_to": "others@news.example.org"})
    file = settings.file.model_copy(update={"sender": sender})
    week.install = Installation(settings.model_copy(update={"file": file}), week.install.database)
    week.run_until(RELEASE + STEP)
    assert week.states == {"2027-W11": EditionState.DRAFT}
    assert week.mails("edition") == []
    assert "No. 147 is waiting for approval" in week.mails("notice")
    with week.install.database.read() as session:
        assert session.scalars(select(Edition.subject).where(Edition.name == "2027-W11")).one() == "Changed since"
        assert not [act for act in session.scalars(select(AuditEntry.act)) if act.startswith("failed")]
    notices = [
        plain_text(read_email(path.read_bytes())) for path in (settings.home / "outbox" / "notice").glob("*.eml")
    ]
    assert any("last approved version can’t be sent instead" in " ".join(notice.split()) for notice in notices)


def test_a_moved_an_extra_and_a_skipped_edition_each_go_their_whole_way(start_week_on_both: StartWeek) -> None:
    week = start_week_on_both()
    install = week.install
    calendar.add_release(install, date(2027, 3, 16), time(12), actor=EDITOR, now=week.now)
    calendar.move_release(install, RELEASE, date(2027, 3, 18), time(6), actor=EDITOR, now=week.now)
    calendar.skip_release(install, RELEASE + WEEK, actor=EDITOR, now=week.now)
    week.run_until(datetime(2027, 3, 15, 22, tzinfo=UTC))
    week.approve("2027-W11-2")
    week.run_until(datetime(2027, 3, 16, 16, tzinfo=UTC))
    assert week.states == {"2027-W11-2": EditionState.SENT}
    week.publish(FRESH)
    week.run_until(datetime(2027, 3, 17, 22, tzinfo=UTC))
    week.approve("2027-W11")
    week.run_until(datetime(2027, 3, 18, 10, tzinfo=UTC))
    assert week.states == {"2027-W11-2": EditionState.SENT, "2027-W11": EditionState.SENT}
    week.publish(LATE)
    week.run_until(RELEASE + 2 * WEEK - timedelta(hours=12))
    week.approve("2027-W13")
    week.run_until(RELEASE + 2 * WEEK)
    assert week.states == dict.fromkeys(["2027-W11-2", "2027-W11", "2027-W13"], EditionState.SENT)
    assert week.headlines == {"2027-W11-2": [EARLY], "2027-W11": [FRESH], "2027-W13": [LATE]}
    with install.database.read() as session:
        numbers = select(Edition.number).where(Edition.release_at > SATURDAY).order_by(Edition.release_at)
        assert session.scalars(numbers).all() == [147, 148, 149]


def test_a_gone_article_keeps_the_week_from_going_until_it_is_taken_out_and_approved_again(
    start_week: StartWeek,
) -> None:
    week = start_week("skip")
    week.publish(FRESH)
    week.run_until(RELEASE - timedelta(hours=12))
    week.approve("2027-W11")
    week.fetcher.gone = page_address(EARLY)
    week.run_until(RELEASE + STEP)
    assert week.states == {"2027-W11": EditionState.APPROVED}
    assert week.mails("edition") == []
    assert week.mails("notice") == ["No. 147 is paused because visitors can’t read an article"]
    assert any("Remove it and approve the edition again" in sentence for sentence in week.outlook())
    form = agreed(week.install, EditForm("2027-W11", EDITOR, week.now))
    editing.drop_stories(week.install, form, page_address(EARLY))
    assert week.states == {"2027-W11": EditionState.DRAFT}
    assert not any("read an article anymore" in sentence for sentence in week.outlook())
    week.approve("2027-W11")
    assert sending.find_pending_sends(week.install, now=week.now).ready_to_send == ()
    week.run_until(week.now + STEP)
    assert week.states == {"2027-W11": EditionState.SENT}
    assert week.headlines["2027-W11"] == [FRESH]
    assert len(week.mails("edition")) == 1


@pytest.mark.parametrize(
    ("begins", "ends", "title"),
    [
        pytest.param(RELEASE - 12 * HOUR, RELEASE + HOUR, "No. 147 is waiting for approval", id="over the send time"),
        pytest.param(RELEASE - 12 * HOUR, RELEASE + 30 * HOUR, "No. 147 wasn’t sent", id="a day longer"),
        pytest.param(
            RELEASE - 30 * HOUR, RELEASE + HOUR, "Nothing was sent Friday, March 19, 6 a.m. ET", id="no draft"
        ),
    ],
)
def test_editors_hear_once_of_an_edition_that_an_outage_kept_from_its_deadline_and_send_time(
    start_week_on_both: StartWeek, begins: datetime, ends: datetime, title: str
) -> None:
    week = start_week_on_both("wait")
    week.run_until(begins)
    week.now = ends
    week.run_until(ends + 2 * STEP)
    assert week.mails("notice") == [title]
    assert week.mails("edition") == []


def change_send_time(week: SimulatedWeek, send: str, **values: Any) -> None:
    settings = week.install.settings
    schedule = settings.file.schedule.model_copy(update={"send": send, **values})
    file = settings.file.model_copy(update={"schedule": schedule})
    week.install = Installation(settings.model_copy(update={"file": file}), week.install.database)


def find_draft(week: SimulatedWeek) -> Edition:
    with week.install.database.read() as session:
        return session.scalars(select(Edition).where(Edition.number == 147)).one()


@pytest.mark.parametrize("hour", [5, 7])
def test_a_draft_follows_the_schedule_to_another_hour_with_its_changes_and_deadline(
    start_week_on_both: StartWeek, hour: int
) -> None:
    week = start_week_on_both("wait")
    week.run_until(RELEASE - 12 * HOUR)
    week.write_subject("2027-W11", "Written before the schedule changed")
    before = find_draft(week)
    change_send_time(week, f"fri 0{hour}:00")
    week.run_until(week.now + HOUR)
    moved_by = timedelta(hours=hour - 6)
    assert find_draft(week).release_at == RELEASE + moved_by
    assert before.slot != find_draft(week).slot == make_release_slot_key(RELEASE + moved_by)
    assert deadlines.read_deadline(week.install, find_draft(week)) == RELEASE - 10 * HOUR + moved_by
    week.approve("2027-W11")
    week.run_until(RELEASE + 2 * STEP)
    assert week.states == {"2027-W11": EditionState.SENT}
    assert week.mails("edition") == ["Written before the schedule changed"]
    assert not [subject for subject in week.mails("notice") if subject.startswith(("No draft", "Nothing was sent"))]


def test_a_changed_schedule_moves_no_approved_edition_and_editors_hear_of_no_missing_draft(
    start_week_on_both: StartWeek,
) -> None:
    week = start_week_on_both("wait")
    week.run_until(RELEASE - 12 * HOUR)
    week.approve("2027-W11")
    change_send_time(week, "fri 07:00", reminder_hours=[11])
    week.run_until(RELEASE + 2 * STEP)
    assert find_draft(week).release_at == RELEASE
    assert week.states == {"2027-W11": EditionState.SENT}
    assert not [subject for subject in week.mails("notice") if subject.startswith(("No draft", "Nothing was sent"))]


@pytest.mark.parametrize("hour", [5, 7])
def test_a_draft_for_another_hour_of_the_same_day_is_the_draft_of_a_send_time(start_week: StartWeek, hour: int) -> None:
    week = start_week("wait")
    week.run_until(RELEASE - 8 * HOUR)
    change_send_time(week, f"fri 0{hour}:00")
    week.run_until(RELEASE + 2 * STEP)
    assert not [subject for subject in week.mails("notice") if subject.startswith("Nothing was sent")]


@pytest.mark.parametrize(
    ("rule", "unapproved", "has_version", "late", "decision"),
    [
        ("skip", False, True, False, DeadlineDecision.NOTHING),
        ("skip", True, True, False, DeadlineDecision.SKIP),
        ("wait", True, True, False, DeadlineDecision.WAIT),
        ("send-last-approved", True, True, False, DeadlineDecision.SEND_VERSION),
        ("send-last-approved", True, False, False, DeadlineDecision.WAIT),
        ("send-last-approved", True, True, True, DeadlineDecision.MISSED),
        ("wait", False, False, True, DeadlineDecision.NOTHING),
    ],
)
def test_what_a_deadline_decides(
    *, rule: str, unapproved: bool, has_version: bool, late: bool, decision: DeadlineDecision
) -> None:
    now = RELEASE + (timedelta(hours=25) if late else timedelta())
    decided = decide_at_deadline(rule, unapproved=unapproved, has_version=has_version, release_at=RELEASE, now=now)
    assert decided is decision


def test_a_reminder_that_runs_twice_mails_once_and_says_what_is_in_the_edition(start_week: StartWeek) -> None:
    week = start_week("skip")
    week.run_until(RELEASE - timedelta(hours=12))
    intro = "An intro that says what the week held."
    editing.set_edition_text(week.install, EditForm("2027-W11", EDITOR, week.now), EditionField.INTRO, intro)
    week.now = RELEASE - timedelta(hours=11)
    assert [deadlines.remind_editors(week.install, now=week.now) for _ in range(2)] == ["1 reminded", "0 reminded"]
    jobs.send_due_transactional_emails(JobContext(week.install, week.clock))
    (file,) = (week.install.settings.home / "outbox").rglob("*.eml")
    message = email.message_from_bytes(file.read_bytes(), policy=policy.default)
    text = message.get_body(("plain",))
    page = message.get_body(("html",))
    assert text is not None
    assert page is not None
    for body in (text.get_content(), page.get_content()):
        words = " ".join(body.split())
        assert f"1. {EARLY} {SUMMARIES[EARLY]}" in words
        assert f"{intro} FEATURED" in words
        assert "skipped, and its week is added to the next edition" in words
        assert "https://news.example.org/desk/editions/2027-W11" in words
        assert "reader@county.example" not in words
