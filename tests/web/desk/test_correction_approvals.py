"""A correction's email goes to subscribers once someone other than its author has approved exactly its text."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from html import unescape
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Executable, delete, select, update

from digest.app.approval import correction_emails
from digest.app.editing import corrections
from digest.app.editing.corrections import CorrectionError, CorrectionForm
from digest.app.jobs import JobContext, run_job
from digest.app.sending import background_tasks
from digest.cli import digest
from digest.deliver.send.notices import notice_queue
from digest.edition.archive.corrections import load_correction_blocks
from digest.edition.edition_queries import find_edition
from digest.installation import sending_pause
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role, make_terminal_actor
from digest.installation.opened_installation import Installation, open_installation
from digest.settings import ApprovalSettings, load_settings
from digest.store.approval_models import Approval
from digest.store.audit import record_audit
from digest.store.correction_models import Correction, CorrectionSignature
from digest.store.delivery_models import StaffMember
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.mail_requests import MailRequest
from subscribers.subscriber_language import ENGLISH
from tests.row_keys import change_rows
from tests.web.conftest import store_edition
from tests.web.desk.sample_week import SampleWeek
from tests.web.desk.test_corrections import (
    FORM,
    LATER,
    MAPS,
    NAME,
    NOTE,
    RIGHT,
    WRONG,
    SentEdition,
    approve_email,
    sent,
)
from tests.web.forms import form_token

__all__ = ["sent"]
DANA, PRIYA, SAM = (Actor(f"staff {number}", Role.EDITOR, ActionEntryPoint.DESK) for number in (1, 2, 3))
EVIL = "See https://evil.example/ for the maps"


def hire(install: Installation, *names: str) -> None:
    with install.database.write() as session:
        for name in names:
            member = StaffMember(
                email=f"{name}@news.example.org", name=name.title(), role="editor", added_at=LATER, added_by="t", proven_at=LATER
            )  # fmt: skip
            session.add(member)
            session.flush()


def correct(install: Installation, actor: Actor = DANA) -> Correction:
    return corrections.correct_story(install, NAME, FORM, actor=actor, now=LATER)


def request(install: Installation, number: int, actor: Actor = DANA) -> None:
    correction_emails.request_correction_email(install, NAME, number, actor=actor, now=LATER)


def plan(install: Installation) -> object:
    return run_job(JobContext(install, lambda: LATER), "plan_corrections")


def wants_two(install: Installation) -> Installation:
    file = install.settings.file.model_copy(update={"approval": ApprovalSettings(approvers=2)})
    return Installation(install.settings.model_copy(update={"file": file}), install.database)


def audit_rows(install: Installation) -> list[tuple[str, str]]:
    with install.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act.contains("correct")).order_by(AuditEntry.id))
        return [(row.act, row.actor) for row in rows]


def test_authors_alone_cannot_email_their_correction(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    made = correct(sent.install)
    assert RIGHT in sent.world.client.get(f"/editions/{NAME}").text, "the archive is corrected at once"
    request(sent.install, made.seq)
    assert plan(sent.install) == ""
    with pytest.raises(CorrectionError, match="You wrote what still needs approval"):
        approve_email(sent.install, made.seq, DANA)
    assert plan(sent.install) == ""
    assert sent.mailed() == []


def test_a_colleague_approves_exactly_the_text_and_then_it_is_emailed_once(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    made = correct(sent.install)
    request(sent.install, made.seq)
    for mark in ("", "0123456", "0" * 64):
        with pytest.raises(CorrectionError, match="changed after you opened the page"):
            correction_emails.approve_correction_email(sent.install, NAME, made.seq, mark, actor=PRIYA, now=LATER)
    assert approve_email(sent.install, made.seq, PRIYA).is_approved
    assert plan(sent.install) == "5 corrections queued"
    assert len(sent.mailed()) == 5
    assert approve_email(sent.install, made.seq, PRIYA).is_approved
    assert plan(sent.install) == ""
    assert [row for row in audit_rows(sent.install) if not row[0].startswith("failed")] == [
        ("corrected", DANA.name),
        ("correction email requested", DANA.name),
        ("correction email approved", PRIYA.name),
    ]


def test_two_approvers_are_two_people_other_than_the_author(sent: Any) -> None:
    hire(sent.install, "dana", "priya", "sam")
    two = wants_two(sent.install)
    made = correct(two)
    assert approve_email(two, made.seq, PRIYA).rule.missing == 1
    assert plan(two) == ""
    for actor, why in ((PRIYA, "already approved"), (DANA, "You wrote"), (make_terminal_actor("eve"), "--as EMAIL")):
        with pytest.raises(CorrectionError, match=why):
            approve_email(two, made.seq, actor)
    # A setting that changes meanwhile makes the first signature one on something else.
    assert correction_emails.read_correction_email(sent.install, NAME, made.seq).rule.signed == ()
    assert approve_email(two, made.seq, SAM).is_approved
    assert plan(two) == "5 corrections queued"


def test_an_only_editor_emails_alone_and_is_told_why(sent: Any) -> None:
    hire(sent.install, "dana")
    made = correct(sent.install)
    said = correction_emails.read_correction_email(sent.install, NAME, made.seq).describe(DANA.name)
    assert said[0].startswith("You're the only editor, so you can approve your own text")
    assert approve_email(sent.install, made.seq, DANA).is_approved
    assert plan(sent.install) == "5 corrections queued"
    with sent.world.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "correction email approved")).one()
        assert (row.detail["alone"], row.detail["missing"]) == (True, 0)


def test_a_terminal_without_a_name_cannot_approve_what_an_editor_wrote(sent: Any) -> None:
    hire(sent.install, "dana", "priya", "sam")
    made = correct(sent.install)
    with pytest.raises(CorrectionError, match="--as EMAIL"):
        approve_email(sent.install, made.seq, make_terminal_actor("eve"))
    # What such a terminal wrote could be either signer's.
    unnamed = corrections.correct_story(
        sent.install, NAME, replace(FORM, becomes="Maps"), actor=make_terminal_actor("e"), now=LATER
    )
    assert not approve_email(sent.install, unnamed.seq, DANA).is_approved
    assert approve_email(sent.install, unnamed.seq, PRIYA).is_approved


TAMPERED: dict[str, Callable[[], Executable]] = {
    "the text": lambda: update(Correction).values(becomes=EVIL),
    "the sentence": lambda: update(Correction).values(note=EVIL),
    "the headline": lambda: update(Correction).values(headline=EVIL),
    "the name under it": lambda: update(Correction).values(signed=EVIL),
    "whom it reaches": lambda: update(Correction).values(section="events"),
    "the author": lambda: update(Correction).values(actor="staff 9"),
    "the signer": lambda: update(CorrectionSignature).values(actor="staff 3"),
    "the signature": lambda: delete(CorrectionSignature),
    "the record": lambda: update(Correction).values(mail_statement=None),
}
PROVEN_BY_SIGNATURES = {"the signer", "the signature", "the record"}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_after_it_was_approved_is_not_emailed_until_someone_approves_it_again(
    sent: Any, what: str
) -> None:
    hire(sent.install, "dana", "priya", "sam")
    made = correct(sent.install)
    approve_email(sent.install, made.seq, PRIYA)
    with sent.world.database.write() as session:
        session.execute(TAMPERED[what]())
    assert re.match(
        rf"Correction 1 of {NAME} wasn't emailed: .*(?:[Tt]hen approve it|Approve the correction again)\.",
        str(plan(sent.install)),
    )
    assert sent.mailed() == []
    assert audit_rows(sent.install)[-1] == ("correction email refused", "scheduler")
    assert plan(sent.install) == "", "it is refused once"
    if what not in PROVEN_BY_SIGNATURES:
        with pytest.raises(CorrectionError, match=r"changed outside this program\. Correct the story again"):
            approve_email(sent.install, made.seq, PRIYA)
        made = correct(sent.install)
    assert approve_email(sent.install, made.seq, PRIYA).is_approved
    assert "corrections queued" in str(plan(sent.install))


def remove(install: Installation, number: int, at: datetime) -> None:
    with install.database.write() as session:
        change_rows(session, StaffMember, StaffMember.id == number, removed_at=at)


def test_removing_the_colleague_before_the_correction_does_not_make_its_author_the_only_editor(sent: Any) -> None:
    """The colleague is invited again afterward: what they'd have approved must not be out by then."""
    hire(sent.install, "dana", "priya")
    with sent.install.database.write() as session:
        record_audit(session, "approve", NAME, {}, actor=PRIYA.name, now=LATER - timedelta(days=30))
    remove(sent.install, 2, LATER - timedelta(minutes=5))
    made = correct(sent.install)
    with pytest.raises(CorrectionError, match="You wrote what still needs approval"):
        approve_email(sent.install, made.seq, DANA)
    remove(sent.install, 2, LATER - timedelta(days=8))
    assert approve_email(sent.install, made.seq, DANA).is_approved, "who has worked alone for a week is alone"


def test_an_email_quotes_what_its_correction_recorded_and_no_words_put_into_the_approved_version(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    made = correct(sent.install)
    with sent.install.database.write() as session:
        approval = session.scalars(select(Approval).order_by(Approval.id.desc()).limit(1)).one_or_none()
        owner = approval or session.scalars(select(Edition)).one()
        owner.content = json.loads(json.dumps(owner.content).replace(json.dumps(WRONG)[1:-1], EVIL))
    assert correction_emails.read_correction_email(sent.install, NAME, made.seq).sent == WRONG
    approve_email(sent.install, made.seq, PRIYA)
    plan(sent.install)
    assert len(sent.mailed()) == 5
    assert EVIL not in "".join(map(str, sent.mailed()))


def test_an_author_who_gave_their_correction_to_somebody_else_cannot_approve_its_email(sent: Any) -> None:
    hire(sent.install, "dana", "priya", "sam")
    made = correct(sent.install)
    with sent.world.database.write() as session:
        session.execute(update(Correction).values(actor=PRIYA.name))
    with pytest.raises(CorrectionError, match="changed outside this program"):
        approve_email(sent.install, made.seq, DANA)


def test_a_forged_record_that_asks_for_no_approval_emails_nothing(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    made = correct(sent.install)
    approve_email(sent.install, made.seq, PRIYA)
    with sent.world.database.write() as session:
        row = session.get_one(Correction, made.id)
        row.becomes, row.signatures = EVIL, []
        assert row.mail_statement is not None
        row.mail_statement = row.mail_statement | {"becomes": EVIL, "approvals": 0, "alone": True}
    assert "wasn't emailed" in str(plan(sent.install))
    assert sent.mailed() == []


def welcome(sent: SentEdition, at: datetime) -> str:
    """Email a welcome that's due at a moment, and return its text."""
    facts = {"wording": "Yes.", "where": "hls.today", "asked_at": at.isoformat(), "confirmed_at": at.isoformat()}
    request = MailRequest("welcome", sent.numbers["late"], f"welcome {at}", facts)
    rows = notice_queue.prepare_notices(sent.install.keys, sent.install.settings, [request], at)
    with sent.world.database.write() as session:
        notice_queue.insert_notices(session, rows)
    background_tasks.send_due_transactional_emails(sent.install, clock=lambda: at)
    (file,) = (sent.install.settings.outbox_folder / "notice").glob("*.eml")
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    file.unlink()
    body = mail.get_body(("plain",))
    assert body is not None
    return re.sub(r"\s+", " ", body.get_content())


def test_a_welcome_email_has_no_correction_that_only_its_author_has_seen(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    lead = corrections.view_corrections(sent.install, NAME).stories[0]
    assert lead.headline in welcome(sent, LATER)
    form = CorrectionForm(lead.url, "headline", EVIL, NOTE)
    made = corrections.correct_story(sent.install, NAME, form, actor=DANA, now=LATER)
    text = welcome(sent, LATER + timedelta(minutes=1))
    assert EVIL not in text
    assert lead.headline not in text, "that is known to be wrong"
    assert "Until then".upper() in text, "the other stories are still there"
    approve_email(sent.install, made.seq, PRIYA)
    assert EVIL in welcome(sent, LATER + timedelta(minutes=2))


def test_a_correction_that_is_carried_quotes_what_was_sent_and_not_another_editors_correction(week: SampleWeek) -> None:
    """Its author alone counts as the author of the block."""
    install, before = week.installation, "2026-W46"
    with install.database.read() as session:
        release = find_edition(session, week.name).release_at
    store_edition(install, name=before, number=146, state=EditionState.SENT, release_at=release - timedelta(days=7))
    url, at = f"https://fema.example/{before}", release - timedelta(hours=12)
    corrections.correct_story(install, before, CorrectionForm(url, "headline", EVIL, NOTE), actor=DANA, now=at)
    form = CorrectionForm(url, "headline", RIGHT, NOTE, is_carried=True)
    corrections.correct_story(install, before, form, actor=PRIYA, now=at)
    (block,) = (block for block in week.state.arrangement.blocks if block.kind == "correction")
    zone = install.settings.file.publication.zone
    with install.database.read() as session:
        ((drafted, authors),) = load_correction_blocks(session, release, install.settings.link_base, zone, ENGLISH)
    assert (drafted, authors) == (block, (PRIYA.name,))
    assert EVIL not in block.headline + block.text
    assert WRONG in block.headline


def test_the_pages_say_who_still_has_to_approve_and_name_what_the_button_does(world: Any) -> None:
    store_edition(world.install, state=EditionState.SENDING)
    hire(world.install, "dana", "priya")
    client = world.desk  # the third on the staff
    made = correct(world.install, Actor("staff 3", Role.EDITOR, ActionEntryPoint.DESK))
    path = f"/desk/editions/{NAME}/corrections"
    assert "still being sent" in client.get(f"{path}/{made.seq}").text
    with world.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.SENT))
    page = client.get(f"{path}/{made.seq}").text
    assert "The email has no recipients." in page
    assert "You wrote the correction of “New flood maps" in page
    assert "Dana and Priya can approve this." in page


def test_at_the_desk_the_author_requests_and_a_colleague_approves(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    client = sent.world.desk
    with sent.world.database.read() as session:
        me = session.scalars(select(StaffMember).order_by(StaffMember.id.desc())).first()
    made = correct(sent.install, Actor(f"staff {me.id}", Role.EDITOR, ActionEntryPoint.DESK))
    path = f"/desk/editions/{NAME}/corrections/{made.seq}"
    page = client.get(path).text
    assert "Request the email to 5 subscribers" in page
    assert 'name="mark"' not in page
    token = form_token(page)
    mark = correction_emails.read_correction_email(sent.install, NAME, made.seq).content_hash
    refused = client.post(path, data=token | {"mark": mark})
    assert (refused.status_code, "You wrote what still needs approval" in refused.text) == (409, True)
    assert client.post(path, data=token).status_code == 303
    page = client.get(path).text
    assert "Waiting for approval" in page
    assert "<button" not in page[page.index('id="email"') :]
    assert "Email waiting for approval…" in client.get(path.rpartition("/")[0]).text
    of_dana = corrections.correct_story(sent.install, NAME, replace(FORM, becomes="Maps"), actor=DANA, now=LATER)
    path = f"{path.rpartition('/')[0]}/{of_dana.seq}"
    request(sent.install, of_dana.seq)
    page = client.get(path).text
    assert "Approve and email the correction to 5 subscribers" in page
    assert f'src="{path}/email"' in page
    email = unescape(client.get(f"{path}/email").text)
    assert WRONG in email, "what was sent, of a text that was corrected twice"
    assert ">Maps<" in email
    mark = re.findall(r'name="mark" value="(\w+)"', page)[0]
    assert client.post(path, data=token | {"mark": mark}).status_code == 303
    page = client.get(path).text
    assert "The correction was approved" in page
    assert "Approved by you." in page
    assert plan(sent.install) == "5 corrections queued"


def test_while_all_sending_is_paused_the_page_says_that_the_email_waits(sent: Any) -> None:
    hire(sent.install, "dana", "priya")
    client, made = sent.world.desk, correct(sent.install)
    path = f"/desk/editions/{NAME}/corrections/{made.seq}"
    words = "All sending is paused, so emails wait until an admin resumes sending."
    request(sent.install, made.seq)
    assert words not in client.get(path).text
    sending_pause.pause_all_sending(sent.install, reason="", actor=make_terminal_actor("eve"), now=LATER)
    page = client.get(path).text
    assert ("Approve and email the correction" in page, words in page) == (True, True)
    mark = re.findall(r'name="mark" value="(\w+)"', page)[0]
    assert client.post(path, data=form_token(page) | {"mark": mark}).status_code == 303
    page = client.get(path).text
    assert ("The emails are being queued." in page, words in page) == (True, True)


def test_the_command_requests_for_the_author_and_approves_for_a_colleague(new_home: Any) -> None:
    runner = CliRunner()

    def run(*words: str, who: str = "", answer: str = "") -> Any:
        return runner.invoke(
            digest, [*(("--as", f"{who}@news.example.org") if who else ()), "correct", NAME, *words], input=answer
        )

    assert runner.invoke(digest, ["init"]).exit_code == 0
    with open_installation(load_settings()) as install:
        store_edition(install, state=EditionState.SENT)
        hire(install, "dana", "priya")
    assert run("--story", MAPS, "--headline", RIGHT, "--note", NOTE, who="dana").exit_code == 0
    nameless = run("--mail", "1", answer="n\n")
    assert (nameless.exit_code, "Request the email to 0 subscribers?" in nameless.output) == (1, True)
    asked = run("--mail", "1", "--yes", who="dana")
    assert (asked.exit_code, "The email was requested but not sent. You wrote" in asked.output) == (1, True)
    assert "email waiting for approval" in run().output
    again = run("--mail", "1", "--yes")
    assert (again.exit_code, "--as EMAIL" in again.output) == (1, True)
    approved = run("--mail", "1", who="priya", answer="y\n")
    assert (approved.exit_code, "Email the correction to 0 subscribers? This can't be undone." in approved.output) == (
        0,
        True,
    )
    assert run("--mail", "1", "--yes", who="priya").exit_code == 1
    assert ", emailed:" in run().output
