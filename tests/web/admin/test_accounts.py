"""The team page for admins: invitations, roles, links, and removals, and an invited editor's first day."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from digest.app.accounts.attempt_limits import SignInRefusedError
from digest.app.accounts.sign_in import make_sign_in_link, sign_in_by_password
from digest.app.accounts.visitor import Visitor
from digest.installation.audited_actions import CONFIRMATION_LIFETIME
from digest.store import staff
from digest.store.account_models import Passkey, StaffSession
from digest.store.delivery_models import Delivery, StaffMember
from digest.store.models import AuditEntry
from digest.web.app import create_app
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.row_keys import change_rows
from tests.sent_emails import send_notices
from tests.web.forms import fetch_token, hidden_fields

SAM = "sam.okafor@newsroom.example"


def invite(client: Any, email: str = SAM, **fields: str) -> Any:
    return client.post("/admin/staff", data=fetch_token(client) | {"email": email, "role": "editor"} | fields)


def member(world: Any, email: str = SAM) -> StaffMember:
    with world.database.read() as session:
        return staff.require_staff_member(session, email)


def test_an_admin_invites_an_editor_who_signs_in_by_the_mail(world: Any) -> None:
    admin = world.signed_in_client("admin")
    invited = invite(admin, "Sam.Okafor@Newsroom.example", name=" Sam\tOkafor ")
    assert "An invitation to Sam Okafor is on its way." in admin.get(invited.headers["Location"]).text
    page = admin.get("/admin/staff").text
    assert ("Sam Okafor" in page, "Nov. 19, 2026<small>by ann" in page) == (True, True)
    (mail,) = [mail for mail in send_notices(world.install, now=NOW, by=Delivery.due_at) if mail["To"] == SAM]
    assert (str(mail["To"]), str(mail["Subject"])) == (SAM, "You’re invited to the HLS.Today team")
    body = mail.get_body(("plain",))
    assert body is not None
    (path,) = re.findall(r"https://news\.example\.org(/staff/[\w-]{22})", body.get_content())
    editor = world.client
    answer = editor.post(path, data=hidden_fields(editor.get(path).text))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/")
    assert "add a passkey or a password</a> within 15 minutes" in editor.get("/desk/").text
    page = editor.get("/desk/security").text
    assert "your link no longer works." in page
    assert "isn’t verified yet" not in page
    assert member(world).proven_at == NOW
    assert editor.get("/admin/staff").status_code == 403
    with world.database.read() as session:
        acts = session.execute(
            select(AuditEntry.actor, AuditEntry.act, AuditEntry.subject).order_by(AuditEntry.id)
        ).all()
    assert [tuple(row) for row in acts] == [
        ("staff 1", "staff added", "staff 2"),
        ("staff 2", "staff address proven", "staff 2"),
        ("staff 2", "signed in", "staff 2"),
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"email": "nobody"}, "The address has no @"),
        ({"email": ""}, "no @"),
        ({"name": "x" * 61}, "too long for a name"),
        ({"email": "ann@newsroom.example"}, "already has this address"),
    ],
)
def test_what_is_no_invitation_is_refused_with_the_reason(world: Any, fields: dict[str, str], why: str) -> None:
    admin = world.signed_in_client("admin")
    answer = invite(admin, **({"email": SAM} | fields))
    assert answer.status_code == 400
    assert why in answer.text
    assert send_notices(world.install, now=NOW, by=Delivery.due_at) == []


@pytest.mark.parametrize("role", ["", "system", "owner", "Editor"])
def test_no_other_role_can_be_given(world: Any, role: str) -> None:
    admin = world.signed_in_client("admin")
    assert invite(admin, role=role).status_code == 400
    world.session_cookie()
    number = member(world, "eve@newsroom.example").id
    answer = admin.post(f"/admin/staff/{number}/role", data=fetch_token(admin) | {"role": role})
    assert (answer.status_code, member(world, "eve@newsroom.example").role) == (400, "editor")


def test_admins_see_how_many_sign_ins_were_refused(world: Any) -> None:
    world.session_cookie("editor")  # so that Eve is on the staff
    admin = world.signed_in_client("admin")
    assert "Rejected sign-ins in the last 24 hours: 0." in admin.get("/admin/staff").text
    for email in ("eve@newsroom.example", "nobody@newsroom.example"):
        with pytest.raises(SignInRefusedError):
            sign_in_by_password(world.install, email, "x", "0", Visitor("8.8.4.9", "Firefox"), now=NOW)
    shown = "Rejected sign-ins in the last 24 hours: 2 (1 for unknown addresses)."
    assert shown in admin.get("/admin/staff").text


def test_another_role_is_confirmed_first_and_the_sign_in_page_says_why_they_are_there(world: Any) -> None:
    admin, editor = world.signed_in_client("admin"), world.desk
    number = member(world, "eve@newsroom.example").id
    page = admin.get(f"/admin/staff/{number}").text
    assert f'action="/admin/staff/{number}/role"' not in page
    assert f'href="/admin/staff/{number}/role"' in page
    page = admin.get(f"/admin/staff/{number}/role").text
    assert "They’ll be able to see and change subscribers, settings, and the team." in page
    assert "They have no passkey or password" in page
    assert member(world, "eve@newsroom.example").role == "editor"
    assert admin.post(f"/admin/staff/{number}/role", data=hidden_fields(page)).status_code == 303
    assert member(world, "eve@newsroom.example").role == "admin"
    assert "You’ve been signed out." in editor.get("/desk/", follow_redirects=True).text
    assert "You’ve been signed out." not in world.client.get("/desk/sign-in").text


def test_another_role_ends_the_sessions_and_a_removal_closes_the_desk(world: Any) -> None:
    admin, editor = world.signed_in_client("admin"), world.desk
    number = member(world, "eve@newsroom.example").id
    page = admin.post(
        f"/admin/staff/{number}/role", data=fetch_token(admin) | {"role": "admin"}, follow_redirects=True
    ).text
    assert "is now an admin</b>" in page
    assert editor.get("/desk/").status_code == 303
    editor = world.desk
    assert editor.get("/admin/staff").status_code == 200
    removed = admin.post(f"/admin/staff/{number}/removal", data=fetch_token(admin) | {"number": str(number)})
    assert f"Team member {number} was removed" in admin.get(removed.headers["Location"]).text
    assert editor.get("/desk/").status_code == 303
    assert "eve@" not in admin.get("/admin/staff").text


def test_an_admin_withdraws_an_invitation_that_nobody_accepted(world: Any) -> None:
    admin = world.signed_in_client("admin")
    invite(admin)
    number, path = member(world).id, emailed_link(world, SAM, "You’re invited")
    for page in ("/admin/staff", f"/admin/staff/{number}"):
        assert f'href="/admin/staff/{number}/removal">Withdraw invitation…' in admin.get(page).text
    assert re.search(r"<h1>\d team members?, 1 invited</h1>", admin.get("/admin/staff").text)
    shown = admin.get(f"/admin/staff/{number}").text
    for words in ("signed out", "Email a sign-in link", "End all sessions", "Reset sign-in"):
        assert words not in shown
    asked = admin.get(f"/admin/staff/{number}/removal").text
    assert f"<h1>Withdraw the invitation of {SAM}</h1>" in asked
    answer = admin.post(f"/admin/staff/{number}/removal", data=hidden_fields(asked))
    page = admin.get(answer.location).text
    assert (f"The invitation of team member {number} was withdrawn." in page, SAM in page) == (True, False)
    assert "withdrew the invitation of" in admin.get("/admin/audit").text
    invitee = world.client
    assert "no longer works" in invitee.get(path).text


def test_another_role_in_an_invitation_emails_a_new_one_and_is_told_as_such(world: Any) -> None:
    admin = world.signed_in_client("admin")
    prove(world, "ann@newsroom.example")  # the only admin, who's emailed about their own actions
    invite(admin, name="Sam Okafor")
    number, path = member(world).id, emailed_link(world, SAM, "as an editor")
    page = admin.get(f"/admin/staff/{number}/role").text
    assert "<h1>Change the invitation of Sam Okafor to admin</h1>" in page
    changed = admin.post(f"/admin/staff/{number}/role", data=hidden_fields(page), follow_redirects=True).text
    assert "A new invitation is on its way" in changed
    told = [str(mail["Subject"]) for mail in send_notices(world.install, now=NOW) if mail["To"] != SAM]
    assert (
        sum(f"changed the invitation of Sam Okafor (team member {number}) to admin" in subject for subject in told) == 1
    )
    invitee = world.client
    assert "no longer works" in invitee.get(path).text
    with world.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "staff invitation changed")).one()
    assert (row.subject, row.detail) == (f"staff {number}", {"role": "admin", "before": "editor"})
    log = re.sub(r"\s*<[^>]+>\s*", " ", admin.get("/admin/audit").text)
    assert re.search(r"invited Sam Okafor \(team member \d\) to the team", log)
    assert re.search(r"changed the invitation of Sam Okafor \(team member \d\)", log)


def test_an_invitation_that_was_accepted_is_not_offered_to_be_withdrawn(world: Any) -> None:
    admin = world.signed_in_client("admin")
    invite(admin)
    number, path = member(world).id, emailed_link(world, SAM, "You’re invited")
    invitee = world.client
    invitee.post(path, data=hidden_fields(invitee.get(path).text))
    for page in ("/admin/staff", f"/admin/staff/{number}", f"/admin/staff/{number}/removal"):
        assert "Withdraw invitation" not in admin.get(page).text


def test_an_admin_ends_a_colleagues_sessions_and_leaves_the_ways_to_sign_in(world: Any) -> None:
    admin, editor, phone = world.signed_in_client("admin"), world.desk, world.desk
    number = member(world, "eve@newsroom.example").id
    with world.database.write() as session:
        session.add(Passkey(staff=number, credential=b"c", public_key=b"p", sign_count=0, name="One", made_at=NOW))
    path = f"/admin/staff/{number}/sessions"
    assert editor.post(path, data=fetch_token(admin)).status_code in {400, 403}
    page = admin.post(path, data=fetch_token(admin), follow_redirects=True).text
    assert ("is signed out everywhere" in page, "2 sessions ended" in page, "1 passkey" in page) == (True, True, True)
    assert re.search(r"Email verified on [^.]+, 2026\.\s+Sign-in methods: 1 passkey\.", page)
    assert [client.get("/desk/").status_code for client in (editor, phone, admin)] == [303, 303, 200]
    with world.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "staff signed out")).one()
    assert (row.subject, row.detail) == (f"staff {number}", {"sessions": 2})


def emailed_link(world: Any, email: str, opens: str) -> str:
    (mail,) = [
        mail
        for mail in send_notices(world.install, now=NOW, by=Delivery.due_at)
        if mail["To"] == email and opens in f"{mail['Subject']} {mail.as_string()}"
    ]
    body, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert body is not None
    assert page is not None
    for words in ("You asked us", "An admin asked us", "everywhere"):
        assert (words in body.get_content()) == (words in page.get_content())
    (path,) = re.findall(r"https://news\.example\.org(/[\w/]+/[\w-]{22})", body.get_content())
    return str(path)


def prove(world: Any, email: str) -> None:
    with world.database.write() as session:
        staff.require_staff_member(session, email).proven_at = NOW


@pytest.mark.parametrize("act", ["reset", "link"])
def test_a_sign_in_link_goes_to_the_members_proven_address_and_is_never_shown(world: Any, act: str) -> None:
    admin, editor = world.signed_in_client("admin"), world.desk
    number = member(world, "eve@newsroom.example").id
    prove(world, "eve@newsroom.example")
    with world.database.write() as session:
        session.add(Passkey(staff=number, credential=b"c", public_key=b"p", sign_count=0, name="One", made_at=NOW))
    assert "1 passkey" in admin.get("/admin/staff").text
    answer = admin.post(f"/admin/staff/{number}/{act}", data=fetch_token(admin) | {"number": str(number)})
    assert answer.status_code == 303  # so that reloading the page emails no other link
    page = admin.get(answer.headers["Location"])
    assert (page.status_code, "/desk/link/" in page.text) == (200, False)
    assert "A sign-in link is on its way to" in page.text
    with world.database.read() as session:
        assert len(session.scalars(select(Passkey)).all()) == (0 if act == "reset" else 1)
    assert editor.get("/desk/").status_code == (303 if act == "reset" else 200)
    path = emailed_link(world, "eve@newsroom.example", "/desk/link/")
    again = world.client
    assert again.post(path, data=hidden_fields(again.get(path).text)).status_code == 303
    assert again.get("/desk/security").status_code == 200


def test_the_member_concerned_is_warned_of_a_link_too(world: Any) -> None:
    admin = world.signed_in_client("admin")
    world.session_cookie()
    number = member(world, "eve@newsroom.example").id
    prove(world, "eve@newsroom.example")
    admin.post(f"/admin/staff/{number}/link", data=fetch_token(admin))
    warned = [
        mail
        for mail in send_notices(world.install, now=NOW, by=Delivery.due_at)
        if mail["To"] == "eve@newsroom.example" and "emailed" in str(mail["Subject"])
    ]
    assert [str(mail["Subject"]) for mail in warned] == [
        f"team member 1 emailed a sign-in link to team member {number}"
    ]
    body = warned[0].get_body(("plain",))
    assert body is not None
    assert "This change affects your own account." in body.get_content()
    assert "/admin/" not in body.get_content()


@pytest.mark.parametrize("act", ["reset", "link"])
def test_a_member_who_never_proved_the_address_gets_the_invitation_again(world: Any, act: str) -> None:
    admin = world.signed_in_client("admin")
    invite(admin)
    number = member(world).id
    form = fetch_token(admin) | {"number": str(number)}
    page = admin.post(f"/admin/staff/{number}/{act}", data=form, follow_redirects=True)
    assert ("A new invitation is on its way" in page.text, "/desk/link/" in page.text) == (True, False)
    assert emailed_link(world, SAM, "You’re invited").startswith("/staff/")


@pytest.mark.parametrize("act", ["role", "sessions", "reset", "removal"])
def test_nobody_changes_their_own_place(world: Any, act: str) -> None:
    admin = world.signed_in_client("admin")
    number = member(world, "ann@newsroom.example").id
    answer = admin.post(f"/admin/staff/{number}/{act}", data=fetch_token(admin) | {"role": "editor"})
    assert (answer.status_code, "Ask another admin" in answer.text) == (409, True)
    assert member(world, "ann@newsroom.example").role == "admin"
    assert admin.get("/admin/staff").status_code == 200


@pytest.mark.parametrize(("act", "title"), [("reset", "Reset sign-in for"), ("removal", "Remove")])
def test_a_grave_act_on_a_member_has_its_page_and_wants_their_number(world: Any, act: str, title: str) -> None:
    admin, editor = world.signed_in_client("admin"), world.desk
    number = member(world, "eve@newsroom.example").id
    path = f"/admin/staff/{number}/{act}"
    assert f'href="{path}"' in admin.get(f"/admin/staff/{number}").text
    assert f"<h1>{title} " in admin.get(path).text
    for typed in ("", f"{number}0"):
        answer = admin.post(path, data=fetch_token(admin) | {"number": typed})
        assert (answer.status_code, f"Type {number} to confirm." in answer.text) == (400, True)
    assert (editor.get("/desk/").status_code, member(world, "eve@newsroom.example").role) == (200, "editor")
    assert admin.get(f"/admin/staff/99/{act}").status_code == 404


def test_what_changes_the_staff_asks_for_a_fresh_sign_in_and_leads_back(world: Any) -> None:
    name, value = world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME)
    admin = world.client
    admin.set_cookie(name, value)
    answer = invite(admin, back="/admin/staff")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/confirm?next=/admin/staff")
    with world.database.read() as session:
        assert len(session.scalars(select(StaffMember)).all()) == 1
        assert session.scalars(select(StaffSession.fresh_at)).one() == NOW - timedelta(minutes=15)


def stale_client(world: Any) -> Any:
    """Return an editor's client whose sign-in is too old for guarded pages, and who signed in by link."""
    client = world.client
    client.set_cookie(*world.session_cookie(fresh_at=NOW - CONFIRMATION_LIFETIME))
    return client


def request_link(client: Any) -> Any:
    return client.post("/desk/confirm/link", data=fetch_token(client) | {"next": "/desk/security"})


def test_members_without_another_way_to_sign_in_get_a_link_at_their_address_and_set_one_up(world: Any) -> None:
    client = stale_client(world)
    assert "You signed in more than 15 minutes ago" in client.get("/desk/security").text
    setup = client.post("/desk/security/app", data=fetch_token(client))
    page = client.get(setup.headers["Location"]).text
    assert "Email me a sign-in link" in page
    sent = request_link(client)
    assert sent.status_code == 303
    told, reloaded = (client.get(sent.headers["Location"]).text for _ in range(2))
    assert ("It works once, within an hour" in told, "/desk/link/" in told) == (True, False)
    assert "Email me a sign-in link" in reloaded
    path = emailed_link(world, "eve@newsroom.example", "/desk/link/")
    answer = client.post(path, data=hidden_fields(client.get(path).text))
    assert answer.headers["Location"] == "/desk/security", "the page that was asked for"
    assert client.post("/desk/security/app", data=fetch_token(client)).headers["Location"] == "/desk/security/password"


def test_a_stolen_session_cannot_end_a_link_that_an_admin_made(world: Any) -> None:
    client = stale_client(world)
    path = urlsplit(make_sign_in_link(world.install, ADMIN, "eve@newsroom.example", now=NOW)).path
    assert request_link(client).status_code == 303
    owner = create_app(world.install, clock=lambda: NOW).test_client()
    assert owner.post(path, data=hidden_fields(owner.get(path).text)).headers["Location"] == "/desk/"


def test_where_a_link_is_the_only_way_no_form_is_promised_to_be_kept(world: Any) -> None:
    admin = world.signed_in_client("admin")
    admin.set_cookie(*world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    page = admin.get(invite(admin, back="/admin/staff").headers["Location"]).text
    assert ("Email me a sign-in link" in page, "Your form is kept" in page) == (True, False)


def test_only_proven_addresses_without_another_way_get_a_link_and_not_endlessly(world: Any) -> None:
    client = stale_client(world)
    with world.database.write() as session:
        change_rows(session, StaffMember, proven_at=None)
    assert "digest staff link" in client.get("/desk/confirm").text
    assert request_link(client).status_code == 409
    prove(world, "eve@newsroom.example")
    assert [request_link(client).status_code for _ in range(4)] == [303, 303, 303, 429]
    with world.database.write() as session:
        number = staff.require_staff_member(session, "eve@newsroom.example").id
        session.add(Passkey(staff=number, credential=b"c", public_key=b"p", sign_count=0, name="One", made_at=NOW))
    later = create_app(world.install, clock=lambda: NOW + timedelta(minutes=11)).test_client()
    later.set_cookie(*world.session_cookie(fresh_at=NOW))
    assert "Email me a sign-in link" not in later.get("/desk/confirm").text
    assert request_link(later).status_code == 409
    assert [str(mail["Subject"]) for mail in send_notices(world.install, now=NOW)] == [
        "Your sign-in link for HLS.Today"
    ]
