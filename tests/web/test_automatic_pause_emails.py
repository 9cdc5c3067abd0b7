"""If a stop rule pauses an edition, the team is emailed once. If a person pauses it, no one is."""

from datetime import timedelta
from typing import Any

from digest.app.sending import send_control as sending
from digest.app.sending.automatic_pause_emails import email_automatic_pauses
from digest.app.sending.background_tasks import send_due_transactional_emails
from digest.deliver.control import edition_control
from digest.store.models import EditionState
from tests.actors import EDITOR
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text, read_email
from tests.web.conftest import MEMBERS

NAME = "2026-W47"


def ring(world: Any, reason: str, minutes: int) -> None:
    with world.database.write() as session:
        edition_control.pause_automatically(session, NAME, reason, now=NOW + timedelta(minutes=minutes))


def mails(world: Any) -> list[str]:
    send_due_transactional_emails(world.install, clock=lambda: NOW + timedelta(hours=1))
    return [file.read_text() for file in sorted((world.install.settings.outbox_folder / "notice").glob("*.eml"))]


def test_each_alarm_is_mailed_to_the_staff_once_and_the_page_says_so(both: Any) -> None:
    both.edition(state=EditionState.SENDING)
    both.session_cookie("editor")
    both.session_cookie("admin")
    assert email_automatic_pauses(both.install, now=NOW) == 0
    ring(both, "38 of 412 addresses don't exist. Check where the list comes from.", 1)
    assert email_automatic_pauses(both.install, now=NOW) == 1
    assert email_automatic_pauses(both.install, now=NOW) == 0
    told = mails(both)
    assert sorted(address for address in MEMBERS.values() if any(f"To: {address}" in mail for mail in told)) == sorted(
        MEMBERS.values()
    )
    assert "38 of 412 addresses don’t exist." in plain_text(read_email(told[0].encode()))
    assert f"https://news.example.org/desk/editions/{NAME}/sending" in told[0].replace("=\n", "")
    assert "2 team members were emailed about the stop rule." in both.desk.get(f"/desk/editions/{NAME}/sending").text
    sending.resume_edition(both.install, NAME, actor=EDITOR, now=NOW + timedelta(minutes=2))
    assert email_automatic_pauses(both.install, now=NOW) == 0
    ring(both, "3 of 500 subscribers reported the email as spam.", 3)
    assert email_automatic_pauses(both.install, now=NOW) == 1
    assert len(mails(both)) == 4


def test_what_a_person_paused_is_no_alarm(world: Any) -> None:
    world.edition(state=EditionState.SENDING)
    sending.pause_edition(world.install, NAME, reason="a wrong date", actor=EDITOR, now=NOW)
    assert email_automatic_pauses(world.install, now=NOW) == 0


def test_without_a_proven_address_on_the_staff_it_goes_to_the_editors_own(world: Any) -> None:
    world.edition(state=EditionState.SENDING)
    ring(world, "3 of 500 subscribers reported the email as spam.", 1)
    assert email_automatic_pauses(world.install, now=NOW) == 1
    (told,) = mails(world)
    assert f"To: {world.install.settings.file.sender.reply_to}" in told
