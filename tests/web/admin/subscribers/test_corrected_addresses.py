"""An admin corrects an address: its new owner confirms, the old one can stop it, and no one who unsubscribed is emailed."""

import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, update

from digest.app.subscribers import subscriber_actions
from digest.app.subscribers.subscriber_actions import CorrectionRefusedError
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.store.models import AuditEntry
from subscribers.address import read_address
from subscribers.consent import audience, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import ConsentKind, PersonState
from subscribers.store.signup_models import StoredAddressChange
from subscribers.transfer.exports import DataController, ExportRecipient, build_person_record, export_list
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text
from tests.subscribers.pages.test_my_data import ADA, Inbox, at
from tests.subscribers.pages.test_stopped_address_change import address_of, read_link, state_of
from tests.web.admin.subscribers.test_restored_subscribers import events_of
from tests.web.conftest import sample_evidence
from tests.web.forms import post_form

DAY = timedelta(days=1)
DANA = Actor("staff 41", Role.ADMIN, ActionEntryPoint.DESK, NOW + 30 * DAY)
NEW = "ada@newjob.example"


def correct(world: Any, address: str = NEW, now: datetime = NOW) -> None:
    subscriber_actions.request_address_correction(world.install, DANA, world.ada, address, "new job", now=now)


def bounce(world: Any, now: datetime = NOW) -> None:
    said = DeliveryFeedbackReport(world.ada, DeliveryFeedbackKind.BOUNCED, now, "provider", {})
    with world.database.write() as session:
        apply_feedback_to_person(session, world.install.keys, said, now=now)


def log_of(world: Any) -> UnsubscribeLog:
    return UnsubscribeLog(world.install.settings.left_log, world.install.keys)


def may_be_emailed(world: Any) -> bool:
    with world.database.read() as session:
        return audience.may_email_person(session, world.ada)


def test_the_new_address_counts_once_its_owner_agrees(both: Any) -> None:
    inbox = Inbox(both)
    correct(both)
    mails = {str(mail["To"]): mail for mail in inbox.new()}
    assert set(mails) == {ADA, NEW}
    texts = {to: " ".join(plain_text(mail).split()) for to, mail in mails.items()}
    assert all("The HLS.Today team was asked to send the newsletter to" in text for text in texts.values())
    assert address_of(both) == ADA
    link = read_link(mails[NEW])
    page = both.client.get(link).text
    assert "and you agree to this text:" in page
    assert both.install.settings.file.publication.name in page
    both.client.post(link)
    assert (address_of(both), state_of(both), may_be_emailed(both)) == (NEW, PersonState.SUBSCRIBED, True)
    changed, agreed = events_of(both)[-2:]
    assert (changed.kind, agreed.kind) == (ConsentKind.ADDRESS_CHANGED, ConsentKind.CONFIRMED)
    asked = {"actor": "reader", "method": "link to the new address", "reason": "new job", "requested_by": "staff 41"}
    assert json.loads(changed.body) == asked
    body = json.loads(agreed.body)
    assert {name: body[name] for name in asked} == asked
    assert body["wording"] in unescape(page)
    assert at(both, NOW + DAY).post(read_link(mails[ADA])).status_code == 200, "the old address undoes it"
    assert (address_of(both), state_of(both)) == (ADA, PersonState.SUBSCRIBED)
    assert [entry.kind for entry in log_of(both).read()] == ["left", "undone", "left", "undone"]


def exported_consents(world: Any) -> list[tuple[str, ...]]:
    """Return the consent that an export and the person's own record show of each subscriber."""
    text, keys = io.StringIO(newline=""), world.install.keys
    export_list(world.database, keys, text, ExportRecipient("us", "test"), now=NOW)
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    with world.database.read() as session:
        record = build_person_record(session, keys, world.ada, controller=DataController("", "", "", ""), now=NOW)
    assert record is not None
    processing = record["pii_processing"]
    shown = [str(processing["language"]), str(processing["purposes"][0]["collection_method"])]
    return [(row["consent_at"], row["consent_method"], row["consent_text"], *shown) for row in rows]


def test_a_consent_to_a_wrong_address_is_not_the_subscribers(both: Any) -> None:
    before = exported_consents(both)
    inbox = Inbox(both)
    correct(both)
    links = {str(mail["To"]): read_link(mail) for mail in inbox.new()}
    both.client.post(links[NEW])
    assert "link to the new address" in str(exported_consents(both))
    at(both, NOW + DAY).post(links[ADA])
    assert address_of(both) == ADA
    assert exported_consents(both) == before


def test_the_old_address_stops_it_before(both: Any) -> None:
    inbox = Inbox(both)
    correct(both)
    links = {str(mail["To"]): read_link(mail) for mail in inbox.new()}
    assert both.client.post(links[ADA]).status_code == 200
    assert both.client.post(links[NEW]).status_code == 410
    assert address_of(both) == ADA


def test_a_dead_mailbox_gets_no_email_and_its_subscriber_is_back_by_the_new_one(both: Any) -> None:
    inbox = Inbox(both)
    bounce(both)
    correct(both, now=NOW + DAY)
    (mail,) = inbox.new(NOW + DAY)
    assert mail["To"] == NEW
    assert not may_be_emailed(both)
    confirmed = at(both, NOW + 2 * DAY).post(read_link(mail))
    assert "Your address has changed" in confirmed.text
    assert (address_of(both), state_of(both), may_be_emailed(both)) == (NEW, PersonState.SUBSCRIBED, True)
    with both.database.read() as session:
        assert suppression.find_suppression(session, both.install.keys, read_address(ADA)) is not None


def leave(world: Any) -> None:
    with world.database.write() as session:
        unsubscribe_person(session, log_of(world), world.ada, method="page", now=NOW)


def leave_and_bounce(world: Any) -> None:
    leave(world)
    bounce(world, NOW + timedelta(hours=1))


def complain(world: Any) -> None:
    said = DeliveryFeedbackReport(world.ada, DeliveryFeedbackKind.COMPLAINED, NOW, "provider", {})
    with world.database.write() as session:
        apply_feedback_to_person(session, world.install.keys, said, now=NOW)


def bounce_and_complain(world: Any) -> None:
    bounce(world)
    complain(world)


def suppress_by_admin(world: Any) -> None:
    subscriber_actions.suppress_address(world.install, DANA, world.ada, "asked", now=NOW)


def let_another_have_it(world: Any) -> None:
    with world.database.write() as session:
        add_subscriber(session, world.install.keys, NEW, evidence=sample_evidence(), now=NOW)


def let_another_have_left(world: Any) -> None:
    with world.database.write() as session:
        other = add_subscriber(session, world.install.keys, NEW, evidence=sample_evidence(), now=NOW)
        unsubscribe_person(session, log_of(world), other.number, method="page", now=NOW)


def let_another_have_complained(world: Any) -> None:
    with world.database.write() as session:
        suppression.suppress_address(
            *(session, world.install.keys, read_address(NEW)),
            reason="complained",
            actor="provider",
            now=NOW,
            unsubscribe_log=log_of(world),
        )


REFUSED: list[Callable[[Any], None]] = [
    leave,
    leave_and_bounce,
    complain,
    bounce_and_complain,
    suppress_by_admin,
    let_another_have_it,
    let_another_have_left,
    let_another_have_complained,
]


@pytest.mark.parametrize("before", REFUSED)
def test_nobody_who_left_is_emailed_and_no_consent_goes_to_another(both: Any, before: Callable[[Any], None]) -> None:
    before(both)
    events = len(events_of(both))
    with pytest.raises(CorrectionRefusedError):
        correct(both, now=NOW + DAY)
    assert Inbox(both).new(NOW + DAY) == []
    assert (address_of(both) in {ADA, ""}, len(events_of(both))) == (True, events)


@pytest.mark.parametrize("meanwhile", REFUSED)
def test_what_happens_before_the_confirmation_ends_it(both: Any, meanwhile: Callable[[Any], None]) -> None:
    inbox = Inbox(both)
    correct(both)
    (link,) = [read_link(mail) for mail in inbox.new() if mail["To"] == NEW]
    meanwhile(both)
    state = state_of(both)
    assert at(both, NOW + DAY).post(link).status_code in (409, 410)
    assert (state_of(both), address_of(both) in {ADA, ""}) == (state, True)


def test_admins_can_request_three_a_week_and_mailboxes_have_their_limit(both: Any) -> None:
    for hours in range(3):
        correct(both, f"ada{hours}@newjob.example", NOW + timedelta(hours=hours))
    with pytest.raises(CorrectionRefusedError, match="The limit on emails"):
        correct(both, "ada4@newjob.example", NOW + timedelta(hours=4))


def test_the_page_asks_for_an_address_and_a_reason(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    assert f'href="{record}/correct"' in admin.get(record).text
    asked = admin.get(f"{record}/correct").text
    assert "The old address is emailed right away, unless it bounced, with a link that stops the correction." in asked
    for form, words in (
        ({"address": "nobody", "reason": "new job"}, "The address has no @"),
        ({"address": NEW, "reason": ""}, "The reason is missing"),
        ({"address": ADA, "reason": "new job"}, "This is already the subscriber’s address."),
    ):
        refused = post_form(admin, f"{record}/correct", **form)
        assert (refused.status_code, words in unescape(refused.text)) == (400, True)
        assert f'value="{form["address"]}"' in refused.text, "only the answer to the admin's own POST repeats it"
        assert refused.headers["Cache-Control"] == "no-store"
        assert form["address"] not in admin.get(f"{record}/correct").text
    answer = post_form(admin, f"{record}/correct", address=NEW, reason="new job")
    assert "The new address will get an email." in admin.get(answer.headers["Location"]).text
    with both.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "address correction requested")).all()
        assert [(row.subject, "new job" in str(row.detail)) for row in rows] == [(f"person {both.ada}", True)]
    (link,) = [read_link(mail) for mail in Inbox(both).new() if mail["To"] == NEW]
    both.client.post(link)
    page = admin.get(record).text
    assert "Reason: new job. Requested by: " in page
    assert NEW not in page


def test_the_pages_say_which_admins_are_emailed(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    pages = [admin.get(f"{record}/correct").text, admin.get(f"{record}/restore").text]
    for page, when in zip(pages, ("when you correct it.", "when you restore them."), strict=True):
        assert ("the other admins" in page, f"get an email {when}" in page) == (False, True)


def test_a_correction_that_waits_is_shown_and_can_be_withdrawn(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    assert f'href="{record}/withdraw"' not in admin.get(record).text
    inbox = Inbox(both)
    correct(both)
    links = {str(mail["To"]): read_link(mail) for mail in inbox.new() if mail["To"] in (ADA, NEW)}
    page = unescape(admin.get(record).text)
    assert "A new address is waiting to be confirmed." in page
    assert "(“new job”)" in page
    assert NEW not in page
    assert "To check it, show the address." in page
    post_form(admin, f"{record}/address", why="The subscriber asked")
    assert f"A new address is waiting to be confirmed: {NEW}." in admin.get(record).text
    assert NEW not in admin.get(f"{record}?address=hidden").text
    done = post_form(admin, f"{record}/withdraw", reason="misheard")
    assert done.headers["Location"] == record
    page = admin.get(record).text
    assert "The address correction was withdrawn." in page
    assert f'href="{record}/withdraw"' not in page
    assert both.client.post(links[NEW]).status_code == 410
    assert both.client.get(links[ADA]).status_code == 410
    assert address_of(both) == ADA
    again = post_form(admin, f"{record}/withdraw", reason="misheard")
    assert again.headers["Location"] == record
    assert "The address correction was withdrawn." not in admin.get(record).text
    correct(both, now=NOW + DAY)
    assert NEW in {str(mail["To"]) for mail in inbox.new(NOW + DAY)}, "another correction can follow"


def test_withdrawing_a_correction_leaves_a_change_of_before_undoable(both: Any) -> None:
    inbox = Inbox(both)
    correct(both)
    first = {str(mail["To"]): read_link(mail) for mail in inbox.new()}
    both.client.post(first[NEW])
    correct(both, "ada@other.example", NOW + timedelta(hours=1))
    admin = both.signed_in_client("admin")
    post_form(admin, f"/admin/readers/{both.ada}/withdraw", reason="misheard")
    assert both.client.post(first[ADA]).status_code == 200
    assert address_of(both) == ADA


def test_a_damaged_correction_leaves_the_record_usable_and_can_be_withdrawn(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    correct(both)
    with both.database.write() as session:
        session.execute(update(StoredAddressChange).values(ciphertext=b"damaged"))
    page = unescape(admin.get(record).text)
    assert "but it can’t be read." in page
    assert f'href="{record}/erase"' in page
    post_form(admin, f"{record}/withdraw", reason="misheard")
    assert "The address correction was withdrawn." in admin.get(record).text
    assert f'href="{record}/withdraw"' not in admin.get(record).text
