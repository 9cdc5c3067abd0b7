"""An edition with refusals, for editors: how it's listed, the reasons, acknowledging, and sending again."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import select, update

from digest.app.sending.refusal_actions import find_provider_contact
from digest.deliver.send.claims.send_progress import ProgressWriter
from digest.deliver.send.refusals.refused_deliveries import group_refusals
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from digest.web.server import open_page_server
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import Person, PersonState
from tests.browser import faulty_pages, follow, sign_in, write_by_keyboard
from tests.html_judge import find_html_faults
from tests.moments import DRAFTING as NOW
from tests.web.conftest import sample_evidence
from tests.web.forms import fetch_token, hidden_fields

NAME = "2026-W47"
PATH = f"/desk/editions/{NAME}"
BLOCKED, FULL, GONE = "550 5.7.1 not on the list", "552 5.2.2 mailbox full", "550 5.1.1 no such user"


@pytest.fixture
def refused(both: Any) -> Any:
    """Give an edition with refusals, once on SQLite and once on PostgreSQL."""
    return add_refusals(both)


def add_refusals(both: Any) -> Any:
    """Add an edition that was sent to 20: 8 were refused for the reputation, 2 had a full mailbox, and 1 had none."""
    both.edition(state=EditionState.SENT)
    keys = both.install.keys
    tag = make_domain_tag(keys, Address("x", "gmail.com"))
    outcomes = [(BLOCKED, "policy")] * 8 + [(FULL, "soft")] * 2 + [(GONE, "no mailbox")] + [("", "")] * 9
    with both.database.write() as session:
        session.execute(update(Edition).values(planned=20, planned_at=NOW, sent_at=NOW, refusals=10))
        for place, (reply, cause) in enumerate(outcomes):
            person = add_subscriber(session, keys, f"r{place}@gmail.com", evidence=sample_evidence(), now=NOW).number
            state = DeliveryState.REFUSED if reply else DeliveryState.ACCEPTED
            row = Delivery(id=f"d{place:025d}", purpose=f"edition:{NAME}", person=person, state=state, reply=reply)
            row.due_at = row.next_try_at = row.handed_at = NOW
            row.domain_tag, row.transport = tag, "smtp"
            session.add(row)
            session.flush()
            if cause:
                said = {"kind": "bounced", "cause": cause, "at": NOW, "received_at": NOW, "detail": {}}
                session.add(StoredDeliveryEvent(delivery=row.id, fingerprint=row.id, **said))
    return both


def post(client: Any, path: str, **fields: str) -> Any:
    return client.post(path, data=fetch_token(client, f"{PATH}/sending") | fields)


def states(world: Any) -> list[DeliveryState]:
    with world.database.read() as session:
        return list(session.scalars(select(Delivery.state).order_by(Delivery.id)))


def edition(world: Any) -> Edition:
    with world.database.read() as session:
        row: Edition = session.scalars(select(Edition)).one()
    return row


def test_a_groups_question_reads_the_refusals_of_its_provider_alone(refused: Any) -> None:
    with refused.database.write() as session:
        tags = session.scalars(select(Delivery.domain_tag)).all()
        session.execute(update(Delivery).where(Delivery.reply == GONE).values(domain_tag="f" * 32))
        groups = group_refusals(session, NAME, f"reputation-{str(tags[0])[:12]}")
        assert {(group.tag, group.reply) for group in groups} == {(tags[0], BLOCKED), (tags[0], FULL)}
        for chosen in ("all", "no mailbox", "no mailbox-"):
            assert len(group_refusals(session, NAME, chosen)) == 3
    page = refused.signed_in_client("admin").get(f"{PATH}/refused/no%20mailbox-{'f' * 12}/suppress").text
    assert "<h1>Suppress 1 address?</h1>" in page


@pytest.mark.parametrize("path", ["/desk/sent", PATH, f"{PATH}/sending"])
def test_the_edition_is_sent_with_refusals_wherever_its_state_is_shown(refused: Any, path: str) -> None:
    shown = re.findall(
        r'<span class="pill bad"[^>]*>([^<]*)<', refused.desk.get(path).text.replace("pill  bad", "pill bad")
    )
    assert shown == ["Sent with refusals"]


def test_its_page_gives_each_reason_with_a_reply_and_a_next_step(refused: Any) -> None:
    page = refused.signed_in_client("admin").get(f"{PATH}/sending").text
    assert "<h1>Sent, with 11 refusals</h1>" in page
    assert "9 of 20 emails were accepted." in page
    assert "10 of the 11 refusals need a decision. The other addresses don’t exist" in page
    section = page[page.index('id="refused"') :]
    rows = re.findall(
        r'<th scope="row">([^<]+)</th><td><b>([^<]+)</b> <small>“([^”]+)”.*?data-label="Emails"><a href="[^"]+">(\d+)<',
        section,
    )
    assert rows == [
        ("gmail.com", "Blocked by policy or reputation", BLOCKED, "8"),
        ("gmail.com", "Mailbox full", FULL, "2"),
        ("gmail.com", "No such mailbox", GONE, "1"),
    ]
    assert re.findall(r">((?:Send again to|Suppress) [^<]+)<", section) == [
        "Send again to 8…",
        "Suppress 2…",
        "Suppress 1…",
    ]
    assert section.count("To stop emailing them now, suppress them.") == 2, "beside each of these buttons"
    assert "don’t need to do anything" not in section
    assert "suppress them." not in refused.desk.get(f"{PATH}/sending").text, "an editor has no such button"
    assert "Most were refused by gmail.com: blocked by policy or reputation." in page
    contact = re.findall(r'href="([^"]+)"[^>]*>(Ask [^<]+)<', section)
    assert contact == [
        ("https://support.google.com/mail/contact/gmail_bulk_sender_escalation", "Ask gmail.com to unblock you")
    ]
    assert "was sent with 10 refusals that need a decision" in refused.desk.get("/desk/").text, "every page says it"


def test_an_editor_acknowledges_the_number_that_the_page_showed(refused: Any) -> None:
    editor, path = refused.desk, f"{PATH}/refusals"
    assert hidden_fields(editor.get(f"{PATH}/sending").text)["refusals"] == "10"
    for stale in ("9", ""):
        answer = post(editor, path, refusals=stale)
        assert answer.status_code == 409
    assert edition(refused).has_refusals
    assert post(editor, path, refusals="10").status_code == 303
    page = editor.get(f"{PATH}/sending").text
    assert "<h1>9 of 20 accepted</h1>" in page
    assert re.search(r"acknowledged 10 refusals", page)
    assert "refusals" not in editor.get("/desk/").text
    with refused.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "refusals acknowledged")).one()
    assert (row.actor, row.detail) == ("staff 1", {"refused": 10})


def test_only_an_admin_sends_again(refused: Any) -> None:
    page = refused.desk.get(f"{PATH}/sending").text
    assert "Send again to" not in page
    assert "an admin can send again" in page
    assert "Suppress" not in page
    assert "/admin/" not in page
    for path in (f"{PATH}/refused/all", f"{PATH}/refused/reputation", f"{PATH}/refused/full%20mailbox/suppress"):
        assert refused.desk.get(path).status_code == 403
        assert post(refused.desk, path, recipients="8", reason="fixed").status_code == 403
    assert states(refused).count(DeliveryState.REFUSED) == 11


def test_sending_again_asks_first_with_the_number_of_people_and_takes_a_reason(refused: Any) -> None:
    admin = refused.signed_in_client("admin")
    (path,) = set(re.findall(r'href="([^"]+/refused/reputation-\w+)"', admin.get(f"{PATH}/sending").text))
    with refused.database.write() as session:
        session.execute(
            update(Person)
            .where(Person.number == session.get_one(Delivery, f"d{0:025d}").person)
            .values(state=PersonState.WITHDRAWN)
        )
    page = admin.get(path).text
    assert "<h1>Send No. 147 again to 7 subscribers?</h1>" in page
    assert "no one gets the edition twice" in page
    offer = f"Automatic sending is off, so emails that you send again wait until an admin sends them with <code>digest send {NAME}<"
    deliveries = f"/admin/deliveries?edition={NAME}"
    recipients = f"/admin/deliveries/{NAME}/recipients?group={path.rpartition('/')[2]}"
    for path_with_offer in (deliveries, recipients, f"{PATH}/sending"):
        assert offer in admin.get(path_with_offer).text
    assert offer not in refused.desk.get(f"{PATH}/sending").text
    assert (
        f"Automatic sending is off, so these emails wait until an admin sends them with <code>digest send {NAME}<"
        in page
    )
    fields = hidden_fields(page)
    assert fields["recipients"] == "7"
    assert "Check the field" in post(admin, path, recipients="7", reason="").text
    assert post(admin, path, recipients="7", reason="ada@example.org").status_code == 400
    changed = post(admin, path, recipients="8", reason="unblocked")
    assert (changed.status_code, "changed from 8 to 7" in changed.text) == (409, True)
    assert states(refused).count(DeliveryState.WAITING) == 0
    assert post(admin, path, recipients="7", reason="unblocked").headers["Location"] == f"{PATH}/sending"
    assert states(refused).count(DeliveryState.WAITING) == 7
    assert states(refused).count(DeliveryState.REFUSED) == 4
    assert edition(refused).state is EditionState.SENDING
    page = admin.get(f"{PATH}/sending").text
    assert "sent 7 refused emails again: unblocked" in page
    assert f"7 emails will be sent again once an admin runs “digest send {NAME}”, because automatic" in page
    with refused.database.write() as session:
        ProgressWriter(NAME, NOW - timedelta(hours=2)).write_progress(
            session, 20, NOW - timedelta(hours=1), running=False
        )
    assert "<small>waits until an admin sends the rest, because automatic sending is off</small>" in (
        refused.desk.get("/desk/sent").text
    )
    again = admin.get(path).text
    assert "There’s nothing to send again" in again
    assert post(admin, path, recipients="7", reason="unblocked").status_code == 409


def test_a_canceled_edition_offers_nothing(refused: Any) -> None:
    admin = refused.signed_in_client("admin")
    with refused.database.write() as session:
        session.execute(update(Edition).values(state=EditionState.CANCELLED))
    page = admin.get(f"{PATH}/sending").text
    assert "Send again to" not in page
    assert "Acknowledge" not in page
    answer = post(admin, f"{PATH}/refused/all", recipients="8", reason="unblocked")
    assert (answer.status_code, "is canceled" in answer.text) == (409, True)


def test_one_word_is_used_for_what_was_refused(refused: Any) -> None:
    admin = refused.signed_in_client("admin")
    for path in ("/admin/deliveries", "/desk/sent", f"{PATH}/sending"):
        page = admin.get(path).text
        assert "efused" in page
        assert "ejected" not in page


def test_suppressing_asks_first_and_takes_a_reason(refused: Any) -> None:
    admin = refused.signed_in_client("admin")
    links = re.findall(r'href="([^"]+/suppress)"', admin.get(f"{PATH}/sending").text)
    page = admin.get(links[0]).text
    assert "<h1>Suppress 2 addresses?</h1>" in page
    assert "You can’t undo this." in page
    assert "; the subscribers can see it" in page
    assert hidden_fields(page)["recipients"] == "2"
    assert post(admin, links[0], recipients="2", reason="").status_code == 400
    assert post(admin, links[0], recipients="3", reason="full for months").status_code == 409
    assert post(admin, links[0], recipients="2", reason="full for months").headers["Location"] == f"{PATH}/sending"
    assert "<p>Suppressed 2 addresses.</p>" in admin.get(f"{PATH}/sending").text
    with refused.database.read() as session:
        suppressed = session.scalars(select(Person.number).where(Person.state == PersonState.SUPPRESSED)).all()
        people = session.scalars(select(Delivery.person).where(Delivery.reply == FULL)).all()
    assert sorted(suppressed) == sorted(people)
    assert "There’s nothing to suppress" in admin.get(links[0]).text
    name, value = refused.session_cookie("admin", fresh_at=NOW - timedelta(days=1))
    admin.set_cookie(name, value, domain="localhost")
    assert "/confirm" in admin.get(links[1]).location, (
        "addresses are suppressed by someone who just confirmed who they are"
    )


def test_suppressing_from_the_deliveries_leads_back_there_and_leaves_nothing_to_do(refused: Any) -> None:
    admin = refused.signed_in_client("admin")
    deliveries = f"/admin/deliveries?edition={NAME}"
    assert "You can wait." in admin.get(deliveries).text
    (path, *_) = re.findall(r'href="([^"]+/suppress[^"]*)"', admin.get(deliveries).text)
    question = admin.get(path).text
    assert f'<a href="{deliveries}">Cancel</a>' in question
    assert re.findall(r'aria-current="page">([^<]+)<', question) == ["Admin", "Deliveries"]
    assert post(admin, path, recipients="2", reason="full for months").headers["Location"] == deliveries
    page = admin.get(deliveries).text
    assert "<p>Suppressed 2 addresses.</p>" in page
    assert "2 addresses are suppressed. There’s nothing left to do." in page
    assert "You can wait." not in page
    log = admin.get("/admin/audit").text
    assert re.search(r"suppressed addresses after <b>edition 2026-W47</b> was refused\.", log)
    assert re.search(r"Addresses: 2, subscribers: \d+ and \d+</small>", log)


def test_an_unnamed_provider_is_not_said_to_be_asked(refused: Any) -> None:
    with refused.database.write() as session:
        session.execute(update(Delivery).values(domain_tag="f" * 32))
    page = refused.desk.get(f"{PATH}/sending").text
    assert "An unnamed provider can’t be asked to unblock you." in page
    assert "Ask the provider to unblock you" not in page


def test_refusals_of_erased_people_are_said_of_no_provider(refused: Any) -> None:
    with refused.database.write() as session:
        session.execute(update(Delivery).values(person=None, domain_tag=None))
    page = refused.desk.get(f"{PATH}/sending").text
    assert "9 of 20 emails were accepted. The last email" in page
    assert '<th scope="row">Erased subscribers</th>' in page


@pytest.mark.parametrize(
    ("domain", "contact"),
    [
        ("googlemail.com", "https://support.google.com/mail/contact/gmail_bulk_sender_escalation"),
        ("example.org", "mailto:postmaster@example.org"),
        ("", ""),
    ],
)
def test_every_provider_with_a_name_can_be_asked(domain: str, contact: str) -> None:
    assert find_provider_contact(domain) == contact


@pytest.mark.node
def test_the_judge_of_html_finds_nothing_on_its_pages(world: Any, tmp_path: Path) -> None:
    admin = add_refusals(world).signed_in_client("admin")
    refused = f"{PATH}/refused"
    paths = (f"{PATH}/sending", f"{refused}/all", f"{refused}/nothing", f"{refused}/all/suppress")
    pages = {path: admin.get(path).text for path in paths}
    assert find_html_faults(pages, tmp_path, "html-validate-desk.json") == ""


@pytest.mark.chromium
def test_an_admin_sends_again_on_a_phone(browser: Browser, world: Any) -> None:
    add_refusals(world)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": 390, "height": 844})
        sign_in(context, world, address, "admin")
        page = context.new_page()
        paths = [f"{PATH}/sending", f"{PATH}/refused/all", f"{PATH}/refused/all/suppress"]
        assert faulty_pages(page, address, paths, widths=(390, 1440)) == {}
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{address}{PATH}/sending")
        again = page.get_by_role("link", name="Send again to 8…").first
        assert (again.bounding_box() or {"height": 0})["height"] >= 44
        follow(again)
        write_by_keyboard(page.get_by_label("Reason"), "unblocked")
        follow(page.get_by_role("button", name="Send again to 8 subscribers"))
        expect(page.get_by_role("status").first).to_have_text("Sending")
        context.close()
