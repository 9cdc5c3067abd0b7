"""The team: invited, verified, signed in by a button, and removed, by command, email, and page."""

import json
import re
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from digest.app.accounts.sign_in import make_sign_in_link
from digest.app.sending import send_control as sending
from digest.cli import digest
from digest.deliver.send.notices import notice_queue
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail, StaffMember
from digest.store.models import AuditEntry, Edition, EditionState
from digest.store.staff import StaffError
from digest.web.app import create_app
from subscribers.address import read_address
from subscribers.store.models import Base
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text, read_folder, send_notices
from tests.web.forms import hidden_fields

SAM = "sam.okafor@newsroom.example"
LINK = re.compile(r"https://news\.example\.org(/staff/[A-Za-z0-9_-]{22}\b\S*)")


def add(world: Any, email: str = SAM, role: staff.StaffRole = "editor", now: datetime = NOW) -> int:
    queue = notice_queue.make_notice_queue(world.install.keys, world.install.settings, lambda: now)
    with world.database.write() as session:
        return staff.add_staff_member(session, read_address(email), role, queue, actor="terminal:eve", now=now).id


def mail_again(world: Any, now: datetime = NOW) -> None:
    queue = notice_queue.make_notice_queue(world.install.keys, world.install.settings, lambda: now)
    with world.database.write() as session:
        member = staff.find_staff_member(session, SAM)
        assert member
        staff.queue_verification_link(session, member, queue, now=now)


def remove(world: Any) -> None:
    with world.database.write() as session:
        member = staff.find_staff_member(session, SAM)
        assert member
        staff.remove_staff_member(session, member, actor="terminal:eve", now=NOW)


def member(world: Any) -> StaffMember:
    with world.database.read() as session:
        found: StaffMember = session.scalars(select(StaffMember).order_by(StaffMember.id.desc())).first()
        return found


def mails(world: Any, now: datetime = NOW) -> list[EmailMessage]:
    return send_notices(world.install, now=now)


def link_of(message: EmailMessage) -> str:
    (found,) = LINK.findall(plain_text(message))
    return str(found)


def at(world: Any, moment: datetime) -> Any:
    return create_app(world.install, clock=lambda: moment).test_client()


def audits(world: Any) -> list[tuple[str, str, str]]:
    with world.database.read() as session:
        return [(a.actor, a.act, a.subject) for a in session.scalars(select(AuditEntry).order_by(AuditEntry.id))]


def press(client: Any, path: str) -> Any:
    """Press the button of an invitation's page."""
    return client.post(path, data=hidden_fields(client.get(path).text))


def test_the_button_behind_the_mailed_link_proves_the_address_and_signs_in_and_looking_does_not(both: Any) -> None:
    add(both, "Sam.Okafor@Newsroom.example")
    (mail,) = mails(both)
    assert str(mail["To"]) == SAM
    assert mail["List-Unsubscribe"] is None
    path = link_of(mail)
    before = both.dump()
    for method in ("GET", "HEAD", "OPTIONS"):
        assert both.client.open(path, method=method).status_code == 200
    page = both.client.get(path).text
    assert "s•••@newsroom.example was invited to the team as an" in page
    assert "as an editor" in page
    assert SAM not in page
    assert both.dump() == before
    client = both.client
    answer = press(client, path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/")
    assert client.get("/desk/").status_code == 200
    assert member(both).proven_at == NOW
    again = both.client
    assert "Your address is verified" in again.get(path).text
    later = press_anyhow(at(both, NOW + timedelta(days=1)), path)
    assert (later.status_code, member(both).proven_at) == (200, NOW), "twice is once"
    assert press_anyhow(again, path).status_code == 200
    assert again.get("/desk/").status_code == 303, "the second press signs nobody in"
    assert audits(both) == [
        ("terminal:eve", "staff added", "staff 1"),
        ("staff 1", "staff address proven", "staff 1"),
        ("staff 1", "signed in", "staff 1"),
    ]


def test_an_invitation_is_taken_with_the_pages_own_form_alone(both: Any) -> None:
    add(both)
    path = link_of(mails(both)[0])
    assert both.client.post(path).status_code == 400
    assert member(both).proven_at is None


def press_anyhow(client: Any, path: str) -> Any:
    """Send what the button would, on a page that shows none."""
    return client.post(path, data=hidden_fields(client.get("/desk/sign-in").text))


def test_a_link_that_ran_out_was_replaced_or_is_a_former_members_proves_nothing(both: Any) -> None:
    add(both)
    (first,) = mails(both)
    mail_again(both)
    (_, second) = mails(both, NOW + timedelta(minutes=1))
    replaced = press_anyhow(both.client, link_of(first))
    assert (replaced.status_code, "no longer works" in replaced.text) == (410, True)
    late = at(both, NOW + staff.PROOF_LINK_LIFETIME)
    assert late.get(link_of(second)).status_code == 410
    assert press_anyhow(late, link_of(second)).status_code == 410
    remove(both)
    assert press_anyhow(both.client, link_of(second)).status_code == 410
    assert member(both).proven_at is None
    unknown = press_anyhow(both.client, "/staff/" + "A" * 22)
    assert (unknown.status_code, "Link not found" in unknown.text) == (404, True)


def test_another_pages_token_is_none_for_the_staff(world: Any) -> None:
    for purpose in ("leave", "preferences", "test leave"):
        assert press_anyhow(world.client, f"/staff/{world.token(purpose)}").status_code == 404


def test_who_is_removed_before_the_mail_went_out_gets_none(both: Any) -> None:
    add(both)
    remove(both)
    assert mails(both) == []
    with both.database.read() as session:
        assert session.scalars(select(Delivery.state)).all() == [DeliveryState.WITHDRAWN]
        assert session.scalars(select(QueuedNoticeEmail)).all() == []


def test_who_comes_back_gets_another_number_and_proves_the_address_anew(both: Any) -> None:
    number = add(both)
    press(both.client, link_of(mails(both)[0]))
    remove(both)
    assert add(both, role="admin", now=NOW + timedelta(days=9)) == number + 1
    found = member(both)
    assert (found.role, found.proven_at, found.removed_at) == ("admin", None, None)


def test_nobody_is_added_twice_and_nobody_proves_twice(both: Any) -> None:
    add(both)
    with pytest.raises(StaffError, match="Team member 1 already has this address and is an editor") as caught:
        add(both, SAM.upper())
    assert "sam" not in str(caught.value).lower()
    press(both.client, link_of(mails(both)[0]))
    with pytest.raises(StaffError, match="verified the address on 2026-11-19"):
        mail_again(both)


def test_a_members_address_stands_in_the_staff_table_and_in_no_other(both: Any) -> None:
    add(both)
    mail_again(both)
    press(both.client, link_of(mails(both)[-1]))
    assert {name for name, rows in both.dump().items() if "okafor" in repr(rows).lower()} == {"staff"}
    remove(both)
    assert {name for name, rows in both.dump().items() if "okafor" in repr(rows).lower()} == set()
    with both.database.read() as session:
        assert session.scalars(select(StaffMember.email)).all() == ["staff 1"]
    sealed = Base.metadata.tables["notice"].c.ciphertext
    with both.database.read() as session:
        assert all(b"okafor" not in row for row in session.scalars(select(sealed)))


@pytest.fixture
def run(world: Any) -> Any:
    url = world.database.engine.url.render_as_string(hide_password=False)
    env = {"DIGEST_HOME": str(world.install.settings.home), "DIGEST_DATABASE_URL": url}

    def run(*words: str, typed: str = "") -> Result:
        return CliRunner(env=env).invoke(digest, list(words), input=typed)

    return run


def test_the_commands_add_list_and_remove(run: Any, world: Any) -> None:
    assert "There are no team members yet" in run("staff", "list").output
    added = run("staff", "add", "-", "--role", "admin", typed=f"{SAM}\n")
    assert added.exit_code == 0
    assert added.output.startswith("Added team member 1 (admin). 'digest serve' or hls-scheduler emails the link")
    again = run("staff", "add", SAM, "--role", "editor")
    assert (again.exit_code, "already has this address and is an admin" in again.output) == (1, True)
    (listed,) = json.loads(run("staff", "list", "--json").output)
    assert (listed["number"], listed["email"], listed["role"], listed["proven_at"]) == (1, SAM, "admin", None)
    listed_in_words = run("staff", "list").output
    assert "not yet" in listed_in_words
    assert "Rejected sign-ins in the last 24 hours: 0." in listed_in_words
    assert run("staff", "verify", SAM).exit_code == 0
    assert run("staff", "remove", SAM).output == "Removed team member 1.\n"
    unknown = run("staff", "remove", SAM)
    assert (unknown.exit_code, "No team member has this address" in unknown.output) == (1, True)
    assert json.loads(run("staff", "list", "--json").output) == []
    assert "removed 2026-" in run("staff", "list", "--all").output
    assert [row["email"] for row in json.loads(run("staff", "list", "--all", "--json").output)] == [""]
    assert [act for _, act, _ in audits(world)] == [
        *(
            "staff added",
            "failed: staff added",
            "staff link mailed",
            "staff invitation withdrawn",
            "failed: staff removed",
        )
    ]


def test_who_is_named_with_as_must_be_on_the_staff_and_stands_in_the_audit_log_by_number(run: Any, world: Any) -> None:
    act = ("staff", "add", "new@newsroom.example", "--role", "editor")
    for _ in ("with nobody on the staff", "with somebody else there"):
        refused = run("--as", SAM, *act)
        assert refused.exit_code == 2
        assert "No team member has the address in --as" in refused.output
        assert "okafor" not in refused.output
        run("staff", "add", "other@newsroom.example", "--role", "editor")
    assert json.loads(run("staff", "list", "--json").output)[0]["email"] == "other@newsroom.example"
    run("staff", "add", SAM, "--role", "admin")
    assert run("--as", SAM.upper(), *act).exit_code == 0
    assert audits(world)[-1] == ("staff 2", "staff added", "staff 3")
    run("staff", "remove", SAM)
    assert run("--as", SAM, "staff", "verify", "new@newsroom.example").exit_code == 2


@pytest.fixture
def proven(both: Any) -> Any:
    """Give a world with a draft, and Sam on the staff with a proven address."""
    both.edition()
    add(both)
    press(both.client, link_of(mails(both)[0]))
    return both


def signed_in(world: Any) -> Any:
    """Give a client that is signed in as Sam."""
    client = world.client
    url = make_sign_in_link(world.install, ADMIN, SAM, now=NOW)
    assert press(client, urlsplit(url).path).status_code == 303
    return client


def in_outbox(world: Any) -> list[EmailMessage]:
    return read_folder(world.install.settings.outbox_folder / "test")


def test_the_desk_says_to_whom_a_test_goes_and_its_button_sends_it(proven: Any) -> None:
    client = signed_in(proven)
    path = "/desk/editions/2026-W47/test"
    assert f'href="{path}"' in client.get("/desk/").text
    before = proven.dump()
    page = client.get(path).text
    assert (f"{SAM}, you" in page, ">Send the test<" in page) == (True, True)
    assert proven.dump() == before
    answer = client.post(path, data=hidden_fields(page) | {"to": chosen_in(page)})
    assert answer.status_code == 303
    shown = client.get(answer.location).text
    assert "The test was saved to a file" in shown
    assert re.search(rf"{SAM}</th><td><span class=\"pill ok\">Saved", shown)
    (mail,) = in_outbox(proven)
    assert str(mail["To"]) == SAM
    with proven.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.DRAFT
    assert audits(proven)[-1] == ("staff 1", "test", "2026-W47")


def chosen_in(page: str) -> list[str]:
    return re.findall(r'name="to" value="(\d+)" checked', page)


def test_a_test_goes_to_oneself_unless_colleagues_are_chosen(proven: Any) -> None:
    with proven.database.write() as session:
        session.add(
            StaffMember(email="kim@newsroom.example", role="admin", added_at=NOW, proven_at=NOW, added_by="a test")
        )
    client, path = signed_in(proven), "/desk/editions/2026-W47/test"
    page = client.get(path).text
    assert "kim@newsroom.example, admin" in page
    own = chosen_in(page)
    everybody = re.findall(r'name="to" value="(\d+)"', page)
    assert (len(own), len(everybody)) == (1, 2)
    nobody = client.post(path, data=hidden_fields(page) | {"to": ["999"]})
    assert (nobody.status_code, "No recipients were selected" in nobody.text) == (409, True)
    assert in_outbox(proven) == []
    client.post(path, data=hidden_fields(page) | {"to": own})
    assert [str(mail["To"]) for mail in in_outbox(proven)] == [SAM]
    both = client.get(client.post(path, data=hidden_fields(page) | {"to": everybody}).location).text
    assert sorted(str(mail["To"]) for mail in in_outbox(proven)) == ["kim@newsroom.example", SAM, SAM]
    assert chosen_in(both) == everybody, "once more goes to the same"
    assert "The test was saved" not in client.get(f"{path}?sent=00000000").text


def test_a_form_from_elsewhere_sends_no_test(proven: Any) -> None:
    client = signed_in(proven)
    before = proven.dump()
    answer = client.post("/desk/editions/2026-W47/test", data={"csrf_token": "made up"})
    assert answer.status_code == 400
    assert proven.dump() == before
    assert in_outbox(proven) == []


def test_with_nobody_to_test_with_the_desk_says_how_to_come_by_somebody(world: Any) -> None:
    world.edition()
    client = world.desk
    with world.database.write() as session:
        session.scalars(select(StaffMember)).one().proven_at = None
    page = client.get("/desk/editions/2026-W47/test").text
    assert ("Email me a link to verify my address" in page, "Send the test" in page) == (True, False)
    answer = client.post("/desk/editions/2026-W47/test", data=hidden_fields(page))
    assert (answer.status_code, "there aren\u2019t any yet" in answer.text) == (409, True)


def test_an_editor_without_a_verified_address_gets_a_link_on_the_page_of_the_test(world: Any) -> None:
    world.edition()
    add(world)
    client, path = signed_in(world), "/desk/editions/2026-W47/test"
    form = {**hidden_fields(client.get(path).text)}
    assert client.post(f"{path}/address", data=form).status_code == 303
    assert "as the newest file in <code>outbox/notice</code>. Open it" in client.get(path).text
    (mail,) = mails(world)  # the invitation is withdrawn
    assert str(mail["Subject"]) == "Verify your address for HLS.Today"
    assert "VERIFY YOUR ADDRESS" in plain_text(mail)
    page = client.get(link_of(mail)).text
    assert ("<h1>Verify your address</h1>" in page, "invited" in page) == (True, False)
    pressed = press(client, link_of(mail))
    assert (pressed.status_code, pressed.headers["Location"]) == (303, path)
    shown = client.get(path).text
    assert ("Your address is verified. You can send the test now." in shown, "add a passkey" in shown) == (True, False)
    again = client.post(f"{path}/address", data=hidden_fields(client.get(path).text))
    assert (again.status_code, "verified the address on" in again.text) == (409, True)
    sent = client.post(path, data=hidden_fields(client.get(path).text) | {"to": chosen_in(client.get(path).text)})
    shown = client.get(sent.location).text
    (file,) = (world.install.settings.outbox_folder / "test").iterdir()
    assert ("The test was saved to a file" in shown, f"test/{file.name} in the outbox folder" in shown) == (True, True)


def test_every_link_of_a_test_says_that_it_was_one_and_does_nothing(proven: Any) -> None:
    sending.send_test_email(proven.install, "2026-W47", actor=ADMIN, clock=lambda: NOW)
    (mail,) = in_outbox(proven)
    leave = urlsplit(str(mail["List-Unsubscribe"]).strip("<>")).path
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    paths = set(re.findall(r"https://news\.example\.org(/(?:u|preferences)/[A-Za-z0-9_-]{22})", text))
    assert leave in paths
    assert len(paths) == 2
    before = proven.dump()
    one_click = proven.client.post(leave, data={"List-Unsubscribe": "One-Click"})
    assert (one_click.status_code, "This was a test email" in one_click.text) == (200, True)
    acts = [("/pause", {"length": "4w"}), ("/undo", {}), ("", {}), ("/my-data", {})]
    for path in paths:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert proven.client.open(path, method=method).status_code == 200
        for act, form in acts:
            answer = proven.client.post(path + act, data=form)
            assert answer.status_code == 404 or "This was a test email" in answer.text
    assert proven.dump() == before
    assert not proven.install.settings.left_log.exists()


def test_the_command_sends_a_test_and_says_what_came_of_it(run: Any, world: Any) -> None:
    world.edition()
    nobody = run("send", "current", "--test")
    assert (nobody.exit_code, "No one on the team has verified their address yet" in nobody.output) == (2, True)
    add(world)
    press(world.client, link_of(mails(world)[0]))
    sent = run("--as", SAM, "send", "current", "--test", "--to", SAM)
    assert sent.exit_code == 0, sent.output
    assert re.search(rf"^  {re.escape(SAM)} +accepted: test/\w+\.eml in the outbox folder$", sent.output, re.MULTILINE)
    assert audits(world)[-1] == ("staff 1", "test", "2026-W47")
    unknown = run("send", "current", "--test", "--to", "ada@reader.example")
    assert (unknown.exit_code, "doesn't belong to a team member" in unknown.output) == (2, True)
    assert "ada@" not in unknown.output
    alone = run("send", "current", "--to", SAM)
    assert (alone.exit_code, "--to works only with --test" in alone.output) == (2, True)
    assert len(in_outbox(world)) == 1
