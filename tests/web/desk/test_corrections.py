"""An error in a sent edition: corrected in the archive, carried forward, and emailed to exactly those who got it."""

import html
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from email import message_from_bytes, policy
from itertools import pairwise
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from digest.app.approval import correction_emails
from digest.app.approval.correction_emails import CorrectionEmailOverview
from digest.app.approval.recipient_counts import (
    COUNT_LIFETIME,
    CorrectionWithRecipientCount,
    RecipientCount,
    RecipientCountCache,
)
from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionError, CorrectionForm
from digest.app.jobs import JobContext, run_job
from digest.app.sending import background_tasks
from digest.cli import digest
from digest.deliver.plan.correction_plan import read_recipient_batches
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import run_edition
from digest.edition.approval import approved_versions as approval
from digest.edition.archive.corrections import load_correction_blocks
from digest.edition.content.corrected_content import correct_content, correct_entry, correct_repeated_text
from digest.edition.content.edition_content import EditionContent, EditionSection, EntryDate, SectionEntry
from digest.edition.edition_queries import find_edition
from digest.edition.rendering.corrected_copy import DisplayedCorrection, insert_corrections
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import load_settings
from digest.store.correction_models import Correction
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import add_subscriber
from subscribers.subscriber_language import ENGLISH
from tests.actors import EDITOR
from tests.conftest import WAIT_TIMEOUT
from tests.moments import DRAFTING as NOW
from tests.web.conftest import sample_evidence, store_edition
from tests.web.desk.sample_week import SampleWeek

NAME = "2026-W47"
LATER = NOW + timedelta(days=3)
MAPS = "https://fema.example/2026-W47"
WRONG = "New flood maps move 41,000 homes into the high-risk zone"
RIGHT = "New flood maps move 4,100 homes into the high-risk zone"
NOTE = "We gave ten times as many homes."
FORM = CorrectionForm(MAPS, "headline", RIGHT, NOTE)
SUBSCRIBERS = ("text", "without", "gone", "uncertain", "refused", "back", "out-since", "leaves-late")


def address(name: str) -> str:
    return f"{name}@readers.example"


@pytest.fixture
def sent(world: Any) -> Any:
    """Give an edition that went to nine readers: one had left Featured out, one is uncertain, one was refused."""
    world.edition()
    install, numbers = world.install, {"ada": world.ada}
    without = Preferences(omit=frozenset({"featured"}))
    chosen = {"text": Preferences(text_only=True, short=True), "without": without, "back": without}
    with world.database.write() as session:
        for name in SUBSCRIBERS:
            added = add_subscriber(session, install.keys, address(name), evidence=sample_evidence(), now=NOW)
            numbers[name] = added.number
            if name in chosen:
                change_preferences(session, added.number, chosen[name], NOW)
        edition = find_edition(session, NAME)
        mark = approval.read_current_content_hash(session, edition, install.settings)
        approval.sign_approval(
            session, edition, mark, settings=install.settings, keys=install.keys, actor="staff 1", now=NOW
        )
    provider = open_provider(install.settings)
    run_edition(install.database, NAME, provider, install.keys, install.settings, clock=lambda: NOW)
    states = {"uncertain": DeliveryState.UNCERTAIN, "refused": DeliveryState.REFUSED}
    with world.database.write() as session:
        for name, state in states.items():
            session.execute(update(Delivery).where(Delivery.person == numbers[name]).values(state=state))
        change_preferences(session, numbers["back"], Preferences(), NOW + timedelta(days=1))
        change_preferences(session, numbers["out-since"], without, NOW + timedelta(days=1))
        late = add_subscriber(session, install.keys, address("late"), evidence=sample_evidence(), now=NOW)
        numbers["late"] = late.number
    leave(world, numbers["gone"])
    return SentEdition(world, numbers)


class SentEdition:
    """A world with an edition that went out, and its readers' numbers by name."""

    def __init__(self, world: Any, numbers: dict[str, int]) -> None:
        self.world, self.numbers = world, numbers
        self.install = world.install

    def correct(self, form: CorrectionForm = FORM) -> Correction:
        return corrections.correct_story(self.install, NAME, form, actor=EDITOR, now=LATER)

    def mailed(self) -> list[Any]:
        """Hand over what is due; give the corrections that arrived."""
        background_tasks.send_due_corrections(self.install, clock=lambda: LATER)
        folder = self.install.settings.outbox_folder / "notice"
        mails = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in sorted(folder.glob("*.eml"))]
        return [mail for mail in mails if str(mail["Subject"]).startswith("Correction to No. 147")]


def approve_email(install: Installation, number: int, actor: Actor = EDITOR) -> CorrectionEmailOverview:
    """Approve the email of a correction as it is now."""
    mark = correction_emails.read_correction_email(install, NAME, number).content_hash
    return correction_emails.approve_correction_email(install, NAME, number, mark, actor=actor, now=LATER)


def leave(world: Any, number: int) -> None:
    with world.database.write() as session:
        log = UnsubscribeLog(world.install.settings.left_log, world.install.keys)
        unsubscribe_person(session, log, number, method="page", now=LATER)


def recipients(mails: Sequence[Any]) -> list[str]:
    return sorted(str(mail["To"]).partition("@")[0] for mail in mails)


def test_who_got_the_error_of_a_large_edition_is_counted_while_the_page_renews_itself(sent: SentEdition) -> None:
    made, go_on, app = sent.correct(), threading.Event(), sent.world.app
    counts = RecipientCountCache(max_at_once=len(SUBSCRIBERS), pause=lambda: go_on.wait(WAIT_TIMEOUT))
    app.extensions["digest"] = replace(app.extensions["digest"], recipient_counts=counts)
    client, path = sent.world.desk, f"/desk/editions/{NAME}/corrections/{made.seq}"
    counting = client.get(path)
    assert counting.headers["Refresh"] == "1"
    assert "Counting the subscribers who received the error" in counting.text
    assert "Email the correction" not in counting.text
    begun = counts.find_or_begin(sent.install, NAME, made.seq, now=NOW).count
    go_on.set()
    assert begun.thread is not None
    begun.thread.join(WAIT_TIMEOUT)
    done = client.get(path)
    assert "Refresh" not in done.headers
    assert "Email the correction to 5 subscribers" in done.text
    assert begun.audience == correction_emails.count_correction_recipients(sent.install, NAME, made.seq)
    leave(sent.world, sent.numbers["leaves-late"])
    assert "Email the correction to 5 subscribers" in client.get(path).text, "it is kept for ten minutes"
    again = counts.find_or_begin(sent.install, NAME, made.seq, now=NOW + COUNT_LIFETIME).count
    assert again.thread is not None
    again.thread.join(WAIT_TIMEOUT)
    assert (begun.audience.recipients, again.audience.recipients) == (5, 4)


class EndingCount:
    """A count that ends between the first look at it and the next, and the counts that it stands for."""

    def __init__(self, counted: CorrectionWithRecipientCount) -> None:
        self.counted, self.looks = counted, 0

    def find_or_begin(self, *_: object, **__: object) -> CorrectionWithRecipientCount:
        return replace(self.counted, count=cast("RecipientCount", self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.counted.count, name)

    @property
    def is_done(self) -> bool:
        self.looks += 1
        return self.looks > 1


def test_a_count_that_ends_while_its_page_is_made_is_looked_at_once_more(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    made = corrections.correct_story(world.install, NAME, FORM, actor=EDITOR, now=LATER)
    count = EndingCount(RecipientCountCache().find_or_begin(world.install, NAME, made.seq, now=NOW))
    world.app.extensions["digest"] = replace(world.app.extensions["digest"], recipient_counts=count)
    path = f"/desk/editions/{NAME}/corrections/{made.seq}"
    page = world.desk.get(path)
    assert ("Counting the subscribers who received the error" in page.text, page.headers.get("Refresh")) == (True, "1")
    page = world.desk.get(path)
    assert ("0 subscribers received the error" in page.text, page.headers.get("Refresh")) == (True, None)


def test_exactly_those_who_got_the_error_get_the_correction_once(sent: SentEdition) -> None:
    made = sent.correct()
    got = correction_emails.count_correction_recipients(sent.install, NAME, made.seq)
    # Ada, text, gone, out-since and leaves-late had the story for certain; "without" and "back" had no Featured.
    assert (got.accepted, got.uncertain, got.gone, got.spared, got.recipients) == (5, 1, 1, 2, 5)
    approve_email(sent.install, made.seq)
    context = JobContext(sent.install, lambda: LATER)
    assert run_job(context, "plan_corrections") == "5 corrections queued"
    leave(sent.world, sent.numbers["leaves-late"])
    mails = sent.mailed()
    assert recipients(mails) == ["ada.lovelace", "out-since", "text", "uncertain"]
    for mail in mails:
        text = mail.get_body(("plain",)).get_content()
        assert WRONG in re.sub(r"\s+", " ", text)
        assert RIGHT in re.sub(r"\s+", " ", text)
        assert NOTE in text
        assert "November 22, 2026" in text
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    # Asked again, by another editor or after a crash: nobody gets it twice.
    approve_email(sent.install, made.seq)
    with sent.world.database.write() as session:
        session.execute(update(Correction).values(mail_planned_at=None))
    assert run_job(context, "plan_corrections") == ""
    assert len(sent.mailed()) == 4
    with sent.world.database.read() as session:
        states = session.scalars(select(Delivery.state).where(Delivery.purpose == f"correction:{made.id}")).all()
        of_edition = select(AuditEntry.act).where(AuditEntry.subject == NAME).order_by(AuditEntry.id)
        acts = session.scalars(of_edition).all()
    assert sorted(states) == ["accepted"] * 4 + ["withdrawn"]
    assert [act for act in acts if act.startswith("correct")] == ["corrected", "correction email approved"]


def test_a_subscriber_of_the_five_minute_edition_gets_what_stood_in_it_corrected(sent: SentEdition) -> None:
    """Its lines are headlines: the summary of a story that does not lead was in the full edition alone."""
    summary = sent.correct(CorrectionForm(MAPS, "summary", "The change is large.", NOTE))
    headline = sent.correct()
    reached = {}
    for made in (summary, headline):
        with sent.install.database.read() as session:
            edition = find_edition(session, NAME)
            pages = list(
                read_recipient_batches(
                    sent.install.database, session.get_one(Correction, made.id), edition, sent.install.settings
                )
            )
        reached[made.field] = {number for page in pages for number in page.recipients}
    assert reached["headline"] - reached["summary"] == {sent.numbers["text"]}


def test_in_the_archive_the_old_text_is_struck_dated_and_signed_and_the_approved_copy_is_as_it_was(
    sent: SentEdition,
) -> None:
    before = sent.world.client.get(f"/editions/{NAME}").text
    with sent.world.database.read() as session:
        approved_web = (
            approval.read_mailable_edition(session, find_edition(session, NAME), sent.install.settings).join("web").text
        )
    sent.correct()
    page = sent.world.client.get(f"/editions/{NAME}").text
    assert (
        page.count(f"<del>{WRONG}</del> <ins>{RIGHT}</ins>") == 3
    )  # in the list at the top, on the first screen, and where it stands
    assert "This edition has 1 correction." in page
    assert f"Corrected November 22, 2026, HLS.Today. {NOTE}" in page
    assert before.count("<h3") == page.count("<h3")
    assert 'href="https://fema.example/2026-W47"' in page
    with sent.world.database.read() as session:
        edition = find_edition(session, NAME)
        assert approval.read_mailable_edition(session, edition, sent.install.settings).join("web").text == approved_web
    again = CorrectionForm(MAPS, "headline", "New flood maps move 4,200 homes", "It was 4,200.")
    assert sent.correct(again).was == RIGHT
    page = sent.world.client.get(f"/editions/{NAME}").text
    assert "This edition has 2 corrections." in page
    assert f"<del>{WRONG}</del>" in page


CRANES, EXERCISE = "https://cisa.example/2026-W47/cranes", "https://events.example/2026-W47"
LEAD, RIGHT_LEAD = (f"Ports get {days} days to check the remote links on their cranes" for days in ("ten", "fifty"))
CUT_LEAD, RIGHT_CUT = "Ports get ten days to check the remote links…", "Ports get fifty days to check the remote…"
DATED = "orrected November 22, 2026"


def test_wherever_a_corrected_text_is_shown_it_is_the_right_one_and_dated(world: Any) -> None:
    store_edition(world.install, state=EditionState.SENT, subject=CUT_LEAD)

    def look(path: str) -> str:
        return html.unescape(world.client.get(path).text)

    lists = ("/", "/editions", "/search?q=ports+cranes", "/topics/maritime", "/topics/maritime.atom")
    assert [path for path in lists if "ten days" not in look(path) or DATED in look(path)] == []
    for url, text in ((CRANES, RIGHT_LEAD), (EXERCISE, "Port resilience exercise, closed to observers")):
        form = CorrectionForm(url, "headline", text, "It was wrong.")
        corrections.correct_story(world.install, NAME, form, actor=EDITOR, now=LATER)
    for path in lists:
        page = look(path)
        assert (path, "ten days" in page, "fifty days" in page, DATED in page) == (path, False, True, True)
    home = look("/")
    assert home.count(f"C{DATED}") == 4, "the newest edition, its lead, its event among the dates, its line in the list"
    title = f"{RIGHT_CUT} (c{DATED})"
    assert f"<title>{title}</title>" in look("/feed.atom")
    assert [item["title"] for item in world.client.get("/feed.json").json["items"]] == [title]
    page = look(f"/editions/{NAME}")
    head = page[: page.index("</head>")]
    assert f"<title>Ports get fifty days to check the… (c{DATED})</title>" in head, "in 70 characters"
    assert f'<meta property="og:title" content="{RIGHT_LEAD} (c{DATED})">' in head
    data = json.loads(re.findall(r"ld\+json\">(.*?)</script>", head)[0])["@graph"][0]
    assert (data["name"], data["hasPart"][0]["name"]) == (title, RIGHT_LEAD)
    # The picture that other sites show is drawn anew.
    assert 'property="og:image:width" content="1200"' in head
    for calendar in ("/calendar.ics", f"/editions/{NAME}.ics"):
        dates = look(calendar).replace("\r\n ", "").replace("\\,", ",")
        assert "SUMMARY:Port resilience exercise, closed to observers" in dates
        assert f"C{DATED}" in dates


@pytest.mark.parametrize(("day", "due_day"), [("November 30", date(2026, 11, 30)), ("December 5", None)])
def test_a_corrected_text_takes_its_deadline_along(day: str, due_day: date | None) -> None:
    was = "Ports must list modems by November 30."
    due = EntryDate("deadline", date(2026, 11, 30), "Monday, November 30", "Deadline")
    entry = SectionEntry("Ports must act", MAPS, summary=f"{was} Then, cranes must be checked.", due=due)
    text = f"Ports must list all modems by {day}."
    made = Correction(url=MAPS, section="featured", field="summary", was=entry.summary, becomes=text, at=LATER)
    corrected = correct_entry(entry, [made])
    assert (corrected.due.day if corrected.due else None) == due_day


def test_a_correction_reads_on_in_every_section_and_after_another_one() -> None:
    texts = ("Nine of ten ports closed", "Eight of ten ports closed", "Seven ports closed")
    made = [
        Correction(url=MAPS, section="featured", field="headline", was=was, becomes=becomes, at=LATER)
        for was, becomes in pairwise(texts)
    ]
    twice = (SectionEntry(texts[0], MAPS), SectionEntry("Another title", MAPS), SectionEntry(texts[0], CRANES))
    sections = tuple(EditionSection(key, "featured", key, "", twice) for key in ("featured", "most-read"))
    content = EditionContent(
        NAME, 147, texts[0], "Also: Nine of ten ports…", "Friday", 1, "", "", sections, released_on=date(2026, 11, 20)
    )
    now = correct_content(content, made)
    assert (now.subject, now.preheader) == (texts[2], "Also: Seven ports…")
    read = [[entry.headline for entry in section.entries] for section in now.sections]
    assert read == [[texts[2], "Another title", texts[0]]] * 2
    assert correct_repeated_text("Nine…", texts[0], texts[1]) == "Nine…", "too little to tell it by"


def test_the_feed_says_that_an_edition_was_corrected(sent: SentEdition) -> None:
    namespace = {"a": "http://www.w3.org/2005/Atom"}

    def feed() -> Any:
        return ET.fromstring(sent.world.client.get("/feed.atom").data)

    before = feed().find("a:entry", namespace)
    sent.correct()
    after = feed()
    entry = after.find("a:entry", namespace)
    assert entry.findtext("a:id", "", namespace) == before.findtext("a:id", "", namespace)
    assert entry.findtext("a:updated", "", namespace) == f"{LATER:%Y-%m-%dT%H:%M:%SZ}"
    assert after.findtext("a:updated", "", namespace) == f"{LATER:%Y-%m-%dT%H:%M:%SZ}"
    said = entry.findtext("a:summary", "", namespace)
    assert said.startswith("Corrected November 22, 2026,")
    assert f"we wrote “{WRONG}”; it should have read “{RIGHT}.” {NOTE}" in said


def test_a_correction_is_signed_by_the_name_that_its_editor_gave_and_never_by_an_address(world: Any) -> None:
    world.edition(state=EditionState.SENT)
    world.session_cookie("editor")
    with world.database.read() as session:
        eve = session.scalars(select(StaffMember)).one()
    actor = Actor(f"staff {eve.id}", Role.EDITOR, ActionEntryPoint.DESK)
    unnamed = corrections.correct_story(world.install, NAME, FORM, actor=actor, now=LATER)
    assert unnamed.signed == "HLS.Today"
    with world.database.write() as session:
        session.execute(update(StaffMember).values(name="Eve Okafor"))
    again = CorrectionForm(MAPS, "headline", "New flood maps move 4,200 homes", NOTE)
    assert corrections.correct_story(world.install, NAME, again, actor=actor, now=LATER).signed == "Eve Okafor"
    page = world.client.get(f"/editions/{NAME}").text
    assert f"Corrected November 22, 2026, Eve Okafor. {NOTE}" in page
    assert "eve@" not in page


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (CorrectionForm("https://nowhere.example/", "headline", "x", NOTE), "has no story with the link"),
        (CorrectionForm(MAPS, "headline", WRONG, NOTE), "empty or unchanged"),
        (CorrectionForm(MAPS, "headline", "  ", NOTE), "is empty"),
        (CorrectionForm(MAPS, "headline", RIGHT, ""), "Say what was wrong"),
    ],
)
def test_nothing_is_corrected_silently_or_to_nothing(world: Any, form: CorrectionForm, why: str) -> None:
    world.edition(state=EditionState.SENT)
    with pytest.raises(CorrectionError, match=why):
        corrections.correct_story(world.install, NAME, form, actor=EDITOR, now=LATER)
    with world.database.read() as session:
        assert session.scalars(select(Correction)).all() == []


def test_a_draft_is_edited_and_what_still_goes_out_is_not_mailed_about(world: Any) -> None:
    world.edition()
    with pytest.raises(CorrectionError, match="Edit the story in the edition instead"):
        corrections.correct_story(world.install, NAME, FORM, actor=EDITOR, now=LATER)
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENDING))
    made = corrections.correct_story(world.install, NAME, FORM, actor=EDITOR, now=LATER)
    with pytest.raises(CorrectionError, match="still being sent"):
        approve_email(world.install, made.seq)


def test_the_refusal_for_a_canceled_edition_has_no_remedy(world: Any) -> None:
    world.edition(state=EditionState.CANCELLED)
    with pytest.raises(CorrectionError) as refused:
        corrections.correct_story(world.install, NAME, FORM, actor=EDITOR, now=LATER)
    assert str(refused.value) == f"{NAME} is canceled. Only sent editions can be corrected."


def test_an_editor_corrects_and_mails_at_the_desk(sent: SentEdition) -> None:
    client, path = sent.world.desk, f"/desk/editions/{NAME}/corrections"
    with sent.world.database.write() as session:
        edition = find_edition(session, NAME)
        # What was sent counts, whatever the draft says since.
        edition.content = edition.content | {"sections": []}
    page = client.get(path).text
    assert "Choose a story" in page
    page = client.get(path, query_string={"story": MAPS}).text
    assert f'name="becomes" rows="3" required>{WRONG}</textarea>' in page
    summary = client.get(path, query_string={"story": MAPS, "field": "summary"}).text
    assert "Correct the headline instead" in summary
    assert f"required>{WRONG}</textarea>" not in summary
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)) | {"story": MAPS}
    refused = client.post(path, data=fields | {"field": "headline", "becomes": WRONG, "note": NOTE})
    assert refused.status_code == 422
    assert "empty or unchanged" in refused.text
    answer = client.post(path, data=fields | {"field": "headline", "becomes": RIGHT, "note": NOTE})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{path}/1")
    page = client.get(f"{path}/1").text
    assert "6 subscribers received the error" in page
    assert "move <del>41,000</del> <ins>4,100</ins> homes" in page, "only the change is marked"
    assert "Correction to No. 147" in page
    email = client.get(f"{path}/1/email")
    assert (WRONG in email.text, RIGHT in email.text, NOTE in email.text) == (True, True, True)
    assert "sandbox" in email.headers["Content-Security-Policy"]
    assert "Email the correction to 5 subscribers" in page
    fields["mark"] = re.findall(r'name="mark" value="(\w+)"', page)[0]
    assert client.post(f"{path}/1", data=fields).status_code == 303
    page = client.get(f"{path}/1").text
    assert "The emails are being queued." in page
    assert "Email the correction" not in page
    assert client.get(f"{path}/9").status_code == 404
    assert client.post(f"{path}/9", data=fields).status_code == 404


def test_the_next_edition_carries_it_once_whether_drafted_before_or_after(week: SampleWeek) -> None:
    install = week.installation
    with install.database.read() as session:
        release = find_edition(session, week.name).release_at
    before = "2026-W46"
    url = "https://fema.example/2026-W46"
    store_edition(install, name=before, number=146, state=EditionState.SENT, release_at=release - timedelta(days=7))
    form = CorrectionForm(url, "headline", RIGHT, NOTE, is_carried=True)
    at = release - timedelta(hours=12)
    made = corrections.correct_story(install, before, form, actor=EDITOR, now=at)
    blocks = week.state.arrangement.blocks
    assert [(block.id, block.kind) for block in blocks if block.kind == "correction"] == [
        (f"correction-{made.id}", "correction")
    ]
    shown = week.client().get(f"/desk/preview/{week.name}/phone").text
    assert "In No. 146 we wrote" in shown.replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")
    zone = install.settings.file.publication.zone
    with install.database.read() as session:
        # A draft that is made anew has the same block; the edition after it has none.
        ((block, _),) = load_correction_blocks(session, release, install.settings.link_base, zone, ENGLISH)
        assert block == next(b for b in blocks if b.kind == "correction")
    with install.database.write() as session:
        session.execute(update(Edition).where(Edition.name == week.name).values(state=EditionState.SENT))
    with install.database.read() as session:
        after = release + timedelta(days=7)
        assert load_correction_blocks(session, after, install.settings.link_base, zone, ENGLISH) == ()


def test_the_command_corrects_lists_and_asks_before_it_mails(new_home: Any) -> None:
    runner = CliRunner()
    assert runner.invoke(digest, ["init"]).exit_code == 0
    with open_installation(load_settings()) as install:
        store_edition(install, state=EditionState.SENT)
    assert "No corrections yet." in runner.invoke(digest, ["correct", NAME]).output
    words = ["correct", NAME, "--story", MAPS, "--headline", RIGHT]
    refused = runner.invoke(digest, words)
    assert (refused.exit_code, "Say what was wrong" in refused.output) == (1, True)
    made = runner.invoke(digest, [*words, "--note", NOTE])
    assert (made.exit_code, "Correction 1 is in the archive" in made.output) == (0, True)
    assert WRONG in runner.invoke(digest, ["correct", NAME]).output
    asked = runner.invoke(digest, ["correct", NAME, "--mail", "1"], input="n\n")
    assert (asked.exit_code, "Email the correction to 0 subscribers?" in asked.output) == (1, True)
    assert runner.invoke(digest, ["correct", NAME, "--mail", "1", "--yes"]).exit_code == 0
    assert runner.invoke(digest, ["correct", NAME, "--mail", "1", "--yes"]).exit_code == 1


def test_a_text_with_fixed_spaces_is_found_and_its_link_stays() -> None:
    html = (
        '<html><body><div role="main"><table><tr><td><h3><a href="https://a.example/">Ten\u00a0ports &amp; a pier</a></h3>'
        "<p>Other.</p></td></tr></table></div></body></html>"
    )
    shown = DisplayedCorrection(
        "Ten ports & a pier", "Ten ports & a pier", "Nine ports", "One is a pier.", "May 1, Dana"
    )
    page = insert_corrections(html, [shown], ENGLISH)
    assert '<a href="https://a.example/"><del>Ten ports &amp; a pier</del> <ins>Nine ports</ins></a>' in page
    assert "Corrected May 1, Dana. One is a pier.</p><p>Other.</p>" in page
    assert page.index("This edition has 1 correction.") < page.index("<table>")
    assert insert_corrections(html, [], ENGLISH) == html
    # What is nowhere found word by word still stands in the list at the top.
    other = DisplayedCorrection("Ten ports", "never printed", "so it is", "Why.", "May 1, Dana")
    assert "<del>never printed</del> <ins>so it is</ins>" in insert_corrections(html, [other], ENGLISH)
