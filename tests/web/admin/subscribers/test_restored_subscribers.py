"""An admin restores a subscriber whom they unsubscribed by mistake."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select

from digest.app.sending import background_tasks
from digest.app.subscribers import subscriber_actions
from digest.app.subscribers.subscriber_actions import NotRestorableError
from digest.deliver.retention.delivery_disclosures import erase_from_deliveries
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.store.delivery_models import Delivery
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.unsubscribe_log_merge import merge_unsubscribe_log
from subscribers.store.models import ConsentEvent, ConsentKind, Person, PersonState
from subscribers.transfer.exports import ExportRecipient, export_list
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_my_data import ADA, Inbox
from tests.web.forms import post_form

DAY = timedelta(days=1)
DANA = Actor("staff 41", Role.ADMIN, ActionEntryPoint.DESK, NOW + 30 * DAY)
SAM = Actor("staff 42", Role.ADMIN, ActionEntryPoint.DESK, NOW + 30 * DAY)


def unsubscribe(world: Any, actor: Actor = DANA, now: Any = NOW) -> None:
    subscriber_actions.unsubscribe_by_admin(world.install, actor, world.ada, "asked by phone", now=now)


def restore(world: Any, actor: Actor = DANA, now: Any = NOW + DAY) -> None:
    subscriber_actions.restore_subscriber(world.install, actor, world.ada, "wrong person", now=now)


def person_of(world: Any) -> Person:
    with world.database.read() as session:
        row: Person = session.get_one(Person, world.ada)
        return row


def events_of(world: Any) -> list[ConsentEvent]:
    with world.database.read() as session:
        mine = select(ConsentEvent).where(ConsentEvent.person == world.ada)
        return list(session.scalars(mine.order_by(ConsentEvent.seq)))


def kinds_in_log(world: Any) -> list[str]:
    return [entry.kind for entry in UnsubscribeLog(world.install.settings.left_log, world.install.keys).read()]


def test_restoring_puts_everything_back_and_the_person_is_told(both: Any) -> None:
    chosen = Preferences(text_only=True, hour=9, zone="America/New_York")
    with both.database.write() as session:
        change_preferences(session, both.ada, chosen, NOW - DAY, method="link in a mail")
    unsubscribe(both)
    restore(both, now=NOW + 7 * DAY - timedelta(minutes=1))
    person = person_of(both)
    assert (person.state, Preferences.from_stored(person.choices)) == (PersonState.SUBSCRIBED, chosen)
    left, restored = events_of(both)[-2:]
    assert (left.kind, restored.kind) == (ConsentKind.WITHDRAWN, ConsentKind.RESTORED)
    assert json.loads(left.body) == {"actor": "staff 41", "method": "admin: asked by phone"}
    assert json.loads(restored.body) == {"actor": "staff 41", "method": "admin: wrong person", "undoes": left.seq}
    assert kinds_in_log(both) == ["left", "undone"]
    mails = [mail for mail in Inbox(both).new(NOW + 7 * DAY) if mail["To"] == ADA]
    assert [mail["Subject"] for mail in mails] == ["Your subscription to HLS.Today is restored"]
    assert "our team unsubscribed this address from HLS.Today by mistake" in " ".join(plain_text(mails[0]).split())
    assert mails[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert both.client.post(f"/u/{both.token('leave')}").status_code == 200
    assert person_of(both).state is PersonState.WITHDRAWN
    with pytest.raises(NotRestorableError):
        restore(both, now=NOW + 7 * DAY)


def press_leave(world: Any) -> None:
    assert world.client.post(f"/u/{world.token('leave')}").status_code == 200


def report(kind: DeliveryFeedbackKind) -> Callable[[Any], None]:
    def apply(world: Any) -> None:
        said = DeliveryFeedbackReport(world.ada, kind, NOW + timedelta(hours=1), "provider", {})
        with world.database.write() as session:
            apply_feedback_to_person(session, world.install.keys, said, now=NOW + timedelta(hours=1))

    return apply


def erase(world: Any) -> None:
    subscriber_actions.erase_subscriber(world.install, DANA, world.ada, "asked", now=NOW)


def suppress(world: Any) -> None:
    subscriber_actions.suppress_address(world.install, DANA, world.ada, "asked", now=NOW)


def restore_and_unsubscribe_again(world: Any) -> None:
    restore(world, now=NOW + timedelta(hours=1))
    unsubscribe(world, now=NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    "meanwhile",
    [
        press_leave,
        *map(report, DeliveryFeedbackKind),
        erase,
        suppress,
        restore_and_unsubscribe_again,
    ],
)
def test_nothing_but_the_admins_own_slip_is_undone(both: Any, meanwhile: Callable[[Any], None]) -> None:
    unsubscribe(both)
    meanwhile(both)
    state, events, logged = person_of(both).state, len(events_of(both)), kinds_in_log(both)
    with pytest.raises(NotRestorableError):
        restore(both)
    assert (person_of(both).state, len(events_of(both)), kinds_in_log(both)) == (state, events, logged)
    assert state is not PersonState.SUBSCRIBED


@pytest.mark.parametrize(
    ("actor", "now"), [(SAM, NOW + DAY), (DANA, NOW + 7 * DAY)], ids=["another admin", "after seven days"]
)
def test_nobody_else_and_not_later(both: Any, actor: Actor, now: Any) -> None:
    unsubscribe(both)
    with pytest.raises(NotRestorableError):
        restore(both, actor, now)
    assert person_of(both).state is PersonState.WITHDRAWN


def test_a_person_who_left_by_themselves_is_not_restored(both: Any) -> None:
    press_leave(both)
    unsubscribe(both)
    with pytest.raises(NotRestorableError):
        restore(both)


def test_their_own_unsubscribing_is_recorded_once_and_takes_nothing_back(both: Any) -> None:
    unsubscribe(both)
    press_leave(both)
    press_leave(both)
    assert [event.kind for event in events_of(both)][-2:] == [ConsentKind.WITHDRAWN, ConsentKind.WITHDRAWN_AGAIN]
    assert "/undo" not in both.client.get(f"/u/{both.token('leave')}").text, "what an admin did, no link takes back"


def test_a_complaint_about_an_earlier_email_still_counts_after_restoring(both: Any) -> None:
    unsubscribe(both)
    restore(both)
    report(DeliveryFeedbackKind.COMPLAINED)(both)
    assert person_of(both).state is PersonState.SUPPRESSED


def test_a_copy_from_before_agrees_once_it_is_restored(both: Any) -> None:
    unsubscribe(both)
    restore(both)
    log = UnsubscribeLog(both.install.settings.left_log, both.install.keys)
    with both.database.write() as session:  # the copy of the day before knows of neither
        session.query(ConsentEvent).filter(ConsentEvent.seq > 1).delete()
        first = session.scalars(select(ConsentEvent)).one()
        session.get_one(Person, both.ada).chain_head = first.hash
        merge_unsubscribe_log(
            session, log, both.install.keys, forget_elsewhere=erase_from_deliveries, now=NOW + 2 * DAY
        )
    assert person_of(both).state is PersonState.SUBSCRIBED


def test_the_record_offers_it_to_the_admin_who_did_it(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    assert "Restore subscriber" not in admin.get(record).text
    post_form(admin, f"{record}/leave", reason="asked by phone")
    page = admin.get(record).text
    assert "You unsubscribed this person on Nov. 19, 2026, 5:30 p.m. ET. Wrong person?" in page
    assert f'href="{record}/restore"' in page
    asked = admin.get(f"{record}/restore").text
    assert "You can’t undo this, but you can unsubscribe them again." in asked
    answer = post_form(admin, f"{record}/restore", reason="wrong person")
    page = admin.get(answer.headers["Location"]).text
    assert "This person is subscribed again" in page
    assert "Reason: wrong person (entered by an admin)" in page
    assert "Restore subscriber" not in page
    again = post_form(admin, f"{record}/restore", reason="wrong person")
    assert again.status_code == 409
    assert "This subscription can’t be restored" in unescape(again.text)


def test_the_form_says_beforehand_if_it_is_final(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    assert "You can undo this once" in admin.get(f"{record}/leave").text
    left = post_form(admin, f"{record}/leave", reason="asked by phone")
    assert "unsubscribed. You can’t undo this" not in admin.get(left.headers["Location"]).text
    post_form(admin, f"{record}/restore", reason="wrong person")
    asked = admin.get(f"{record}/leave").text
    assert "You can undo this" not in asked
    assert "You can’t undo this" in asked
    left = post_form(admin, f"{record}/leave", reason="asked again")
    page = admin.get(left.headers["Location"]).text
    assert "This person is unsubscribed. You can’t undo this" in page
    assert "Restore subscriber" not in page


def test_what_was_agreed_to_is_exported_as_before(both: Any) -> None:
    before = export_rows(both)
    assert "Send me the weekly mail." in before
    unsubscribe(both)
    restore(both)
    assert export_rows(both) == before


def export_rows(world: Any) -> str:
    file = io.StringIO(newline="")
    export_list(world.database, world.install.keys, file, ExportRecipient("us", "moving"), now=NOW)
    return file.getvalue()


def test_the_email_waits_in_the_actions_own_transaction(both: Any) -> None:
    unsubscribe(both)
    restore(both)
    background_tasks.send_due_transactional_emails(both.install, clock=lambda: NOW + DAY)
    with both.database.read() as session:
        purposes = session.scalars(select(Delivery.purpose).where(Delivery.person == both.ada)).all()
    assert [purpose.partition(":")[0] for purpose in purposes] == ["restored"]
