"""Guarded actions: people confirm their identity first, and all other admins get an email, whatever the settings."""

import io
import re
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from digest.app.accounts import own_account, sign_in, staff
from digest.app.doctor.attention import list_attention_findings
from digest.app.sending import background_tasks
from digest.app.settings.setting_changes import LISTED_CHANGES
from digest.app.subscribers import (
    address_searches,
    data_requests,
    list_transfers,
    subscriber_actions,
    subscriber_records,
)
from digest.app.upkeep import background_backups, keys, nightly_steps
from digest.deliver.control import installation_hold
from digest.installation import copied_installation_guard, guarded_action_notices, sending_pause
from digest.installation.audited_actions import (
    CONFIRMATION_LIFETIME,
    SCHEDULER,
    ActionEntryPoint,
    Actor,
    ConfirmationRequiredError,
    Role,
)
from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry
from digest.store.staff import StaffError, require_staff_member
from subscribers.address import read_address
from subscribers.store.keyed_row_seals import RowSealKeys
from subscribers.transfer.exports import ExportRecipient
from tests.actors import ADMIN
from tests.app.test_guarded_areas import list_actions
from tests.deliver.smtp_servers import run_smtp_server
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text, send_notices
from tests.subscribers.pages.test_my_data import at
from tests.web.admin.conftest import SETTINGS as SETTINGS_TEXT
from tests.web.admin.settings.test_setting_pages import submit, write_section_fields
from tests.web.conftest import ADA_ADDRESS, MEMBERS
from tests.web.forms import hidden_fields, post_form

OTHER_ADMIN = "bo@newsroom.example"
STALE = NOW - timedelta(minutes=20)
SETTINGS = {
    "the consent text": ("consent", {"text": "Yes, {name} may write to me on Fridays."}, "Consent: Consent text"),
    "reply_to": ("sender", {"reply_to": "elsewhere@example.com"}, "Sender: Reply to"),
    "proxies": ("limits", {"proxies": "1"}, "Limits: Proxies in front of the pages"),
    "the backup folder": ("backup", {"folder": "/backups/elsewhere"}, "Backups: Folder"),
    "alerts": ("alerts", {"mail": "off"}, "Alerts: Send alerts to"),
    "the release days": ("schedule", {"send-day": "thu", "send-clock": "07:15"}, "Schedule: Send time"),
    "what an unapproved edition does": (
        "schedule",
        {"at_deadline": "send-last-approved"},
        "Schedule: If it isn’t approved in time",
    ),
    "a section's title": ("sections", {"0.title": "Verify your account"}, "Sections: Title"),
    "the text in every footer": ("publication", {"about": "Verify your account."}, "Publication: About"),
    "the look": ("branding", {"accent": "#114488"}, "Branding: Links and buttons"),
}


@pytest.fixture
def filed(world: Any, tmp_path: Path, move_settings_to_file: Any) -> Any:
    return move_settings_to_file(world, tmp_path)


def add_admin(world: Any, email: str = OTHER_ADMIN) -> None:
    with world.database.write() as session:
        session.add(StaffMember(email=email, role="admin", added_at=NOW, added_by="terminal:eve", proven_at=NOW))


def admin_client(world: Any, fresh_at: Any = NOW) -> Any:
    client = world.client
    client.set_cookie(*world.session_cookie("admin", fresh_at=fresh_at))
    return client


def press_pause(client: Any, act: str = "hold") -> Any:
    page = client.get("/admin/deliveries").text
    fields = hidden_fields(page)
    reason = re.search(r'name="reason" value="([^"]+)"', page)
    return client.post(f"/admin/deliveries/{act}", data=fields | {"reason": reason[1] if reason else "mistake"})


def sent_emails(world: Any) -> list[EmailMessage]:
    return send_notices(world.install, Delivery.purpose.like("guard:%"), now=NOW)


def text_of(email: EmailMessage) -> str:
    return " ".join(plain_text(email).split())


def actions(world: Any) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(AuditEntry.act).order_by(AuditEntry.id)))


@pytest.mark.parametrize("what", SETTINGS)
def test_a_guarded_setting_takes_a_confirmation_and_tells_the_other_admins(
    filed: Any, tmp_path: Path, what: str
) -> None:
    table, fields, name = SETTINGS[what]
    fields = write_section_fields(filed) | fields if table == "sections" else fields
    add_admin(filed)
    file, stale = tmp_path / "digest.toml", admin_client(filed, STALE)
    before = file.read_text("utf-8")
    refused = submit(stale, table, **fields)
    assert (refused.status_code, refused.location) == (303, f"/desk/confirm?next=/admin/settings/{table}")
    assert file.read_text("utf-8") == before
    assert actions(filed) == ["refused: settings changed"]
    assert sent_emails(filed) == []
    assert submit(admin_client(filed), table, **fields).status_code == 303
    assert file.read_text("utf-8") != before
    (email,) = sent_emails(filed)
    assert (email["To"], email["Subject"]) == (OTHER_ADMIN, f"team member 2 changed settings under {name}")
    text = text_of(email)
    assert "on the website, on November 19, 2026" in text
    assert MEMBERS["admin"] not in email.as_string()
    assert "elsewhere@example.com" not in text


def test_a_setting_that_weakens_nothing_takes_no_confirmation(filed: Any) -> None:
    add_admin(filed)
    stale = admin_client(filed, STALE)
    assert "saved=1" in submit(stale, "publication", tagline="All the news").location
    assert "saved=1" in submit(stale, "sections", **write_section_fields(filed) | {"0.most": "3"}).location
    assert "saved=1" not in submit(stale, "sender", name="HLS.Today").location, "it was so before"
    assert sent_emails(filed) == []


def test_pausing_takes_a_confirmation_and_its_own_email_leaves_all_the_same(world: Any) -> None:
    add_admin(world)
    refused = press_pause(admin_client(world, STALE))
    assert (refused.status_code, refused.location) == (303, "/desk/confirm?next=/admin/deliveries")
    with world.database.read() as session:
        assert installation_hold.read_current_hold(session) is None
    press_pause(admin_client(world))
    with world.database.read() as session:
        assert installation_hold.read_current_hold(session) is not None
    (email,) = sent_emails(world)
    assert (email["To"], email["Subject"]) == (OTHER_ADMIN, "team member 2 paused all sending")
    press_pause(admin_client(world), "release")
    assert [str(each["Subject"]) for each in sent_emails(world)][-1:] != []
    assert {str(each["Subject"]) for each in sent_emails(world)} == {
        "team member 2 paused all sending",
        "team member 2 resumed sending",
    }


def queued(world: Any, kind: str = "guard") -> list[str]:
    with world.database.read() as session:
        query = (
            select(Delivery.purpose).where(Delivery.purpose.like(f"{kind}:%")).order_by(Delivery.due_at, Delivery.id)
        )
        return list(session.scalars(query))


def test_a_sole_admin_is_told_too_and_alerts_that_are_off_change_nothing(filed: Any) -> None:
    admin = admin_client(filed)
    submit(admin, "alerts", mail="off")
    submit(admin, "sender", reply_to="elsewhere@example.com")
    assert {(email["To"], str(email["Subject"])) for email in sent_emails(filed)} == {
        (MEMBERS["admin"], "team member 1 changed settings under Alerts: Send alerts to"),
        (MEMBERS["admin"], "team member 1 changed settings under Sender: Reply to"),
    }


def test_an_admin_who_is_removed_is_told_of_it_and_of_what_came_before(world: Any) -> None:
    world.session_cookie("admin")
    add_admin(world)
    install, ann = world.install, world.name_member(MEMBERS["admin"])
    actor = Actor(ann, Role.ADMIN, ActionEntryPoint.DESK, NOW)
    sending_pause.pause_all_sending(install, reason="", actor=actor, now=NOW)
    staff.remove_staff_member(install, actor, read_address(OTHER_ADMIN), now=NOW)
    assert {(email["To"], str(email["Subject"])) for email in sent_emails(world)} == {
        (OTHER_ADMIN, "team member 1 paused all sending"),
        (OTHER_ADMIN, "team member 1 removed team member 2"),
    }


@pytest.mark.parametrize("has_proven_address", [True, False])
def test_if_a_sole_admin_changes_who_is_on_the_team_the_whole_team_is_told(
    world: Any, *, has_proven_address: bool
) -> None:
    """Else an admin could add a second address of their own, approve with it, and be the only one who knows."""
    world.session_cookie("admin")
    world.session_cookie()
    install, ann = world.install, world.name_member(MEMBERS["admin"])
    with world.database.write() as session:
        require_staff_member(session, MEMBERS["editor"]).proven_at = NOW
        require_staff_member(session, MEMBERS["admin"]).proven_at = NOW if has_proven_address else None
    actor = Actor(ann, Role.ADMIN, ActionEntryPoint.DESK, NOW)
    staff.add_staff_member(install, actor, read_address("ann.two@newsroom.example"), "editor", now=NOW)
    added = {str(email["To"]): text_of(email) for email in sent_emails(world)}
    own = [MEMBERS["admin"]] if has_proven_address else []
    assert sorted(added) == [*own, MEMBERS["editor"]]
    assert "There’s no other admin to notify, so the whole team gets this email." in added[MEMBERS["editor"]]
    assert "You can’t turn this email off." in added[MEMBERS["editor"]]
    assert "Admins always" not in added[MEMBERS["editor"]]
    assert "/admin/" not in added[MEMBERS["editor"]]
    assert all("/admin/staff" in added[address] for address in own)
    sending_pause.pause_all_sending(install, reason="", actor=actor, now=NOW)
    staff.remove_staff_member(install, actor, read_address(MEMBERS["editor"]), now=NOW)
    told = sorted((str(email["To"]), str(email["Subject"])) for email in sent_emails(world))
    assert [to for to, subject in told if "removed" in subject] == [*own, MEMBERS["editor"]]
    assert [to for to, subject in told if "paused" in subject] == own


def test_from_what_may_be_a_copy_no_exempt_email_leaves(world: Any) -> None:
    add_admin(world)
    install = world.install
    copied_installation_guard.pause_if_copied(world.database, install.settings, now=NOW)
    sending_pause.pause_all_sending(install, reason="a doubt", actor=ADMIN, now=NOW)
    moved = install.settings.model_copy(update={"installation": "another machine"})
    copied_installation_guard.pause_if_copied(world.database, moved, now=NOW)
    with world.database.read() as session:
        found = installation_hold.read_current_hold(session)
    assert found is not None
    assert (found.may_be_copy, "It had already been paused" in found.reason) == (True, True)
    assert sent_emails(world) == []
    assert len(queued(world)) == 1
    sending_pause.resume_all_sending(install, actor=ADMIN, now=NOW)
    assert len(sent_emails(world)) == 2


def test_during_a_pause_only_warnings_and_the_teams_links_leave(world: Any) -> None:
    add_admin(world)
    sending_pause.pause_all_sending(world.install, reason="a doubt", actor=ADMIN, now=NOW)
    staff.add_staff_member(world.install, ADMIN, read_address("sam@newsroom.example"), "admin", now=NOW)
    emails = {str(email["Subject"]): text_of(email) for email in sent_emails(world)}
    assert set(emails) == {
        "eve (at a terminal) paused all sending",
        "eve (at a terminal) invited team member 2 as an admin",
    }
    paused = emails["eve (at a terminal) paused all sending"]
    assert "eve (at a terminal) paused all sending, on November 19, 2026" in paused
    with world.database.read() as session:
        sent = select(Delivery.state).where(Delivery.purpose.like("staff:%"))
        assert session.scalars(sent).one() == DeliveryState.ACCEPTED


def test_the_page_that_asks_to_sign_in_again_names_resuming_and_leads_back(world: Any) -> None:
    stale = admin_client(world, STALE)
    assert press_pause(stale, "release").status_code == 303
    for page, back in (
        ("/admin/deliveries", "/admin/deliveries"),
        (f"/admin/readers/{world.ada}/erase", f"/admin/readers/{world.ada}"),
        ("https://elsewhere.example/", "/desk/"),
    ):
        asked = stale.get("/desk/confirm", query_string={"next": page}).text
        assert f'<a href="{back}">Cancel and go back</a>' in asked, page
    assert "to pause or resume sending" in asked
    with world.database.read() as session:
        refused = session.scalars(select(AuditEntry).where(AuditEntry.act.startswith("refused: ")))
        assert [entry.detail for entry in refused] == [{"needed": "confirmation"}]
    assert "Needed: confirmation" in admin_client(world).get("/admin/audit").text


def test_the_only_admin_gets_a_sign_in_link_to_resume_sending(world: Any) -> None:
    client = admin_client(world)
    assert press_pause(client).status_code == 303
    stale = admin_client(world, STALE)
    page = press_pause(stale, "release")
    assert (page.status_code, "/desk/confirm" in page.location) == (303, True)
    asked = stale.get("/desk/confirm")
    assert "emails wait until" not in asked.text
    stale.post("/desk/confirm/link", data=hidden_fields(asked.text))
    links = send_notices(world.install, Delivery.purpose.like("staff:%"), now=NOW)
    assert [str(email["To"]) for email in links] == [MEMBERS["admin"]]


def test_an_action_that_fails_or_is_undone_by_the_database_queues_no_email(world: Any) -> None:
    add_admin(world)
    with pytest.raises(StaffError):
        staff.reset_staff_sign_in(world.install, ADMIN, read_address("nobody@newsroom.example"), now=NOW)
    with pytest.raises(ZeroDivisionError), staff.RESET.transaction(world.install, ADMIN, "staff 1", now=NOW):
        raise ZeroDivisionError
    assert queued(world) == []
    staff.reset_staff_sign_in(world.install, ADMIN, read_address(OTHER_ADMIN), now=NOW)
    assert len(queued(world)) == 1


def test_while_an_installation_is_set_up_nobody_is_emailed(world: Any) -> None:
    for number in range(3):
        staff.add_staff_member(world.install, ADMIN, read_address(f"a{number}@newsroom.example"), "admin", now=NOW)
    assert queued(world) == []


def test_what_the_timetable_does_is_nobodys_action(world: Any) -> None:
    add_admin(world)
    sending_pause.pause_all_sending(world.install, reason="", actor=SCHEDULER, now=NOW)
    assert queued(world) == []


def test_an_emergency_pause_does_not_wait_for_keys(world: Any) -> None:
    add_admin(world)
    # Its own database lends no keys instead of those that are gone.
    bare = Installation(world.install.settings, Database(world.database.engine, row_keys=RowSealKeys()))
    bare.settings.key_file.unlink()
    sending_pause.pause_all_sending(bare, reason="", actor=ADMIN, now=NOW)
    with world.database.read() as session:
        assert installation_hold.read_current_hold(session) is not None
        assert session.scalars(select(AuditEntry.detail)).one() == {"not emailed": "InstallationError"}


def test_the_email_about_a_rotated_key_opens_with_the_keys_that_are_left(world: Any) -> None:
    add_admin(world)
    keys.rotate_key(world.install, ADMIN, "vault", force_new_key=True, now=NOW, progress=lambda *_: None)
    (email,) = sent_emails(world)
    assert str(email["Subject"]).startswith("eve (at a terminal) rotated a key (vault 2-")


def test_when_the_mail_server_is_down_the_email_waits_and_is_tried_again(world: Any) -> None:
    add_admin(world)
    sending_pause.pause_all_sending(world.install, reason="", actor=ADMIN, now=NOW)
    down = world.install.settings.model_copy(update={"mail_url": SecretStr("smtp://127.0.0.1:1?starttls=off")})
    background_tasks.send_due_transactional_emails(Installation(down, world.database), clock=lambda: NOW)
    with world.database.read() as session:
        row = session.scalars(select(Delivery).where(Delivery.purpose.like("guard:%"))).one()
        assert row.state == DeliveryState.WAITING
        assert row.next_try_at > NOW


class PickyRelay:
    """Takes emails from one domain only: refuses others at MAIL, or, with `reads_first`, after the whole message."""

    def __init__(self, *, reads_first: bool) -> None:
        self.reads_first = reads_first
        self.taken: list[EmailMessage] = []

    async def handle_MAIL(  # noqa: N802 - its name
        self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if not self.reads_first and not address.endswith("@news.example.org"):
            return "550 5.7.1 sender domain not allowed for this account"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - its name
        if not envelope.mail_from.endswith("@news.example.org"):
            return "550 5.7.1 sender domain not allowed for this account"
        self.taken.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.mark.parametrize("reads_first", [False, True])
def test_a_changed_sender_cannot_hold_back_the_warning_of_its_own_change_or_later_ones(
    filed: Any, *, reads_first: bool
) -> None:
    add_admin(filed)
    admin, relay = admin_client(filed), PickyRelay(reads_first=reads_first)
    submit(admin, "sender", address="digest@elsewhere.example.com", reply_to="a@elsewhere.example.com")
    assert submit(admin, "consent", text="Yes, {name} may do as it likes.").status_code == 303
    with run_smtp_server(relay) as port:

        def send(now: Any) -> list[str]:
            url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off")
            settings = filed.install.settings.model_copy(update={"mail_url": url})
            for _ in range(4):
                background_tasks.send_due_transactional_emails(
                    Installation(settings, filed.database), clock=lambda: now
                )
            return [str(email["Subject"]) for email in relay.taken]

        assert send(NOW) == ["team member 2 changed settings under Sender: Address, Reply to"]
        (email,) = relay.taken
        assert (str(email["From"]), email["Reply-To"]) == (
            '"HLS.Today" <digest@news.example.org>',
            "editors@news.example.org",
        )
        send(NOW + timedelta(hours=1))
        send(NOW + timedelta(days=5))
        with filed.database.read() as session:
            states = select(Delivery.state).where(
                Delivery.purpose.like("guard:%"), Delivery.state != DeliveryState.ACCEPTED
            )
            assert session.scalars(states).one() == DeliveryState.WAITING
            found = list_attention_findings(session, NOW + timedelta(days=5), filed.install.settings.file)
        assert [finding.sentence for finding in found if finding.kind == "undelivered-warnings"] != []
        submit(admin, "sender", address="digest@news.example.org")
        assert "team member 2 changed settings under Consent: Consent text" in send(NOW + timedelta(days=6)) + send(
            NOW + timedelta(days=7)
        )
        with filed.database.read() as session:
            found = list_attention_findings(session, NOW + timedelta(days=7), filed.install.settings.file)
        assert "undelivered-warnings" not in {finding.kind for finding in found}


def test_actions_on_addresses_are_told_once_a_day_without_an_address(world: Any) -> None:
    add_admin(world)
    install, ada = world.install, world.ada
    world.session_cookie("admin")
    actor = Actor(world.name_member(MEMBERS["admin"]), Role.ADMIN, ActionEntryPoint.DESK, NOW)
    stale = replace(actor, confirmed_at=STALE)
    with pytest.raises(ConfirmationRequiredError):
        data_requests.create_data_answer(install, stale, ada, "json", "a question", now=NOW)
    for _ in range(3):
        data_requests.create_data_answer(install, actor, ada, "json", "a question", now=NOW)
    subscriber_actions.find_person(install, ADMIN, ADA_ADDRESS, now=NOW)
    assert queued(world) == []
    told = [
        guarded_action_notices.queue_address_access_summary(install, NOW + timedelta(hours=hours)) for hours in (1, 2)
    ]
    assert told == ["2 kinds of actions on addresses reported to 2 admins", "no actions on addresses to report"]
    subscriber_actions.find_person(install, ADMIN, ADA_ADDRESS, now=NOW)
    assert guarded_action_notices.queue_address_access_summary(install, NOW + timedelta(hours=3)).endswith(
        "reported today"
    )
    assert sorted(queued(world, "summary")) == ["summary:1-2026-11-19", "summary:2-2026-11-19"]
    assert guarded_action_notices.queue_address_access_summary in nightly_steps.NIGHTLY_STEPS
    background_tasks.send_due_transactional_emails(install, clock=lambda: NOW + timedelta(hours=4))
    files = list((install.settings.outbox_folder / "notice").glob("*.eml"))
    emails = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    assert {email["To"] for email in emails} == {OTHER_ADMIN, MEMBERS["admin"]}
    for email in emails:
        text = text_of(email)
        assert "team member 2 viewed a subscriber’s full record (3 times)" in text
        assert "eve (at a terminal) looked up a subscriber by address" in text
        assert ADA_ADDRESS.partition("@")[0] not in email.as_string()
    next_day = NOW + timedelta(days=1)
    assert guarded_action_notices.queue_address_access_summary(install, next_day).startswith("1 kinds of")


def test_an_email_names_who_acted_without_any_part_of_their_address(world: Any) -> None:
    add_admin(world)
    world.session_cookie("admin")
    name = world.name_member(MEMBERS["admin"])
    with world.database.write() as session:
        require_staff_member(session, MEMBERS["admin"]).name = "Ann ann@newsroom.example"
    sending_pause.pause_all_sending(
        world.install, reason="", actor=Actor(name, Role.ADMIN, ActionEntryPoint.DESK, NOW), now=NOW
    )
    (email,) = sent_emails(world)
    assert str(email["Subject"]) == "Ann <address> (team member 2) paused all sending"


def test_a_settings_page_says_which_changes_are_guarded_before_anything_is_typed(filed: Any) -> None:
    add_admin(filed)
    fresh, stale = admin_client(filed), admin_client(filed, STALE)
    pages = {
        table: fresh.get(f"/admin/settings/{table}").text
        for table in ("readership", "sender", "publication", "schedule")
    }
    assert "All other admins" not in pages["readership"]
    assert "All other admins get an email when one of these settings changes." in pages["sender"]
    assert "get an email when “Name,” “Website,” “About,” or “Language” changes." in pages["publication"]
    assert "“Check every article again,” or “If visitors can’t read an article” changes." in pages["schedule"]
    link = (
        '<a href="/desk/confirm?next=/admin/settings/sender">Confirm your identity</a> to change one of these settings'
    )
    assert link in stale.get("/admin/settings/sender").text
    assert link not in pages["sender"]


def test_no_setting_silences_the_email_about_its_own_change(
    world: Any, tmp_path: Path, move_settings_to_file: Any
) -> None:
    text = SETTINGS_TEXT.replace(
        "[sender]", '[sender]\naddress = "a@news.dom.example"\nreply_to = "b@news.dom.example"'
    )
    world = move_settings_to_file(world, tmp_path, text, DIGEST_MAIL_URL="smtp://mail.dom.example:587")
    admin = admin_client(world)
    for field, silent in (("address", ""), ("reply_to", "editors@news.example.org")):
        refused = submit(admin, "sender", **{field: silent})
        assert (refused.status_code, "With these settings, email" in refused.text) == (400, True), field
    assert submit(admin, "sender", reply_to="c@news.dom.example").status_code == 303


def test_every_guarded_action_is_refused_with_an_old_confirmation_and_leaves_only_that_row(world: Any) -> None:
    add_admin(world)
    old = Actor("staff 1", Role.ADMIN, ActionEntryPoint.DESK, NOW - CONFIRMATION_LIFETIME)
    guarded = [action for action in list_actions() if action.guarded_area.needs_confirmation]
    for action in guarded:
        for frame in (action.transaction, action.steps):
            with pytest.raises(ConfirmationRequiredError), frame(world.install, old, "x", now=NOW):
                raise AssertionError(f"{action.name} went on")
        with pytest.raises(ConfirmationRequiredError):
            action.check_permitted(world.install, replace(old, confirmed_at=None), "x", now=NOW)
    assert actions(world) == [f"refused: {action.name}" for action in guarded for _ in range(3)]
    assert queued(world) == []


def test_what_is_done_at_the_desk_asks_in_app_and_not_only_in_the_route(world: Any) -> None:
    token = world.session_cookie("admin", fresh_at=STALE)[1]
    signed_in = sign_in.find_signed_in_member(world.install, token, now=NOW)
    assert signed_in is not None
    install, actor = world.install, signed_in.actor
    recipient = ExportRecipient("a reason", "us")
    for act in (
        lambda: own_account.replace_recovery_codes(install, signed_in, now=NOW),
        lambda: own_account.add_own_passkey(install, signed_in, "{}", "a key", now=NOW),
        lambda: subscriber_records.reveal_addresses(install, signed_in, [world.ada], "a reason", now=NOW),
        lambda: address_searches.AddressSearches().begin(install, signed_in, "lovelace", "a reason", now=NOW),
        lambda: background_backups.BackgroundBackups().begin(install, actor, passphrase="a" * 12, now=NOW),
        lambda: list_transfers.export_list(install, actor, nullcontext(io.StringIO()), recipient, now=NOW),
        lambda: subscriber_actions.allow_signup_again(install, actor, ADA_ADDRESS, "a reason", now=NOW),
    ):
        with pytest.raises(ConfirmationRequiredError):
            act()
    assert queued(world) == []


@pytest.mark.parametrize("path", ["/admin/readers", "/admin/import", "/admin/readers/suppressions"])
def test_pages_say_why_forms_are_hidden(world: Any, path: str) -> None:
    stale = world.client
    stale.set_cookie(*world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    page = stale.get(path).text
    assert page.count("this requires a sign-in within the last 15 minutes.") == page.count(">Sign in again") > 0


def settings_form(page: str) -> dict[str, str]:
    """Return what the one-line fields of a settings page contain, by name."""
    tags = re.findall(r'<input type="(?:text|time)"[^>]*>|<input [^>]*type="time"[^>]*>', page)
    fields = {name[1]: tag for tag in tags if (name := re.search(r' name="([\w-]+)"', tag))}
    return {name: value[1] for name, tag in fields.items() if (value := re.search(r' value="([^"]*)"', tag))}


@pytest.mark.parametrize(
    ("table", "fields", "affected"),
    [
        ("schedule", {"send-day": "thu", "send-clock": "07:15"}, "when editions are sent"),
        ("schedule", {"send-day": "mon,thu", "send-clock": "06:00"}, "the consent text, and when editions are sent"),
        ("publication", {"name": "Another Weekly"}, "the consent text"),
        ("branding", {"accent": "#114488"}, "the design of emails and pages, and the logo"),
        ("sender", {"reply_to": "elsewhere@example.com"}, "the sender, replies, and links"),
    ],
)
def test_the_email_says_what_a_setting_affects_and_leads_to_a_form_with_the_earlier_values(
    filed: Any, tmp_path: Path, table: str, fields: dict[str, str], affected: str
) -> None:
    add_admin(filed)
    admin, file = admin_client(filed), tmp_path / "digest.toml"
    before = filed.install.settings.file
    assert submit(admin, table, **fields).status_code == 303
    (email,) = sent_emails(filed)
    assert f"This affects {affected}." in text_of(email)
    changed = file.read_text("utf-8")
    (path,) = re.findall(r"Undo the change: https://news\.example\.org(\S+)", text_of(email))
    page = admin.get(path).text
    assert file.read_text("utf-8") == changed
    assert "have the values from before this change" in page
    kept = {name: value for name, value in settings_form(page).items() if name in fields}
    assert kept
    assert (
        submit(admin, table, shown=page, **kept, **{n: "fri" for n in fields if n.endswith("-day")}).status_code == 303
    )
    assert getattr(load_settings(file, {}).file, table) == getattr(before, table)


def test_a_sole_admin_is_told_why_the_email_comes_to_them_and_the_page_says_so(filed: Any) -> None:
    admin = admin_client(filed)
    page = admin.get("/admin/settings/sender").text
    assert "All other admins" not in page
    assert (
        "You’re the only admin with a verified address, so you get an email when one of these settings changes." in page
    )
    submit(admin, "sender", reply_to="elsewhere@example.com")
    (email,) = sent_emails(filed)
    assert (
        "No other admin had a verified address before this change, so you’re getting this email about your own change."
        in text_of(email)
    )
    assert "reset their sign-in" not in text_of(email)


def test_a_sole_admin_is_emailed_about_an_export_at_once_and_it_is_in_the_daily_summary(world: Any) -> None:
    admin = world.signed_in_client("admin")
    path = "/admin/readers/export"
    told = "You’re the only admin with a verified address, so you get an email when you download it."
    assert told in admin.get(path).text
    assert post_form(admin, path, token_page=path, reason="moving house", to="Mail Ltd").status_code == 200
    (email,) = sent_emails(world)
    assert email["To"] == MEMBERS["admin"]
    text = text_of(email)
    for words in (
        "CHECK THIS ACTION",
        "exported the subscriber list",
        "This affects who has copies of subscriber addresses.",
        "you’re getting this email about your own action. If it wasn’t you, someone is signed in as you.",
        "Then undo the action, if possible.",
    ):
        assert words in text
    summary = guarded_action_notices.queue_address_access_summary(world.install, NOW + timedelta(hours=12))
    assert summary == "1 kinds of actions on addresses reported to 1 admins"


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "yesterday"])
def test_a_change_that_never_was_is_not_restored(filed: Any, moment: str) -> None:
    page = admin_client(filed).get("/admin/settings/sender", query_string={"before": moment}).text
    assert "This change isn’t in the audit log" in page


def test_later_changes_do_not_hide_the_one_that_an_email_warned_of(filed: Any) -> None:
    add_admin(filed)
    admin, before = admin_client(filed), filed.install.settings.file.sender.reply_to
    submit(admin, "sender", reply_to="thief@example.com")
    (email,) = sent_emails(filed)
    (path,) = re.findall(r"Undo the change: https://news\.example\.org(\S+)", text_of(email))
    for number in range(LISTED_CHANGES):
        now = NOW + timedelta(minutes=1 + number)
        later = at(filed, now)
        later.set_cookie(*filed.session_cookie("admin", fresh_at=now))
        assert submit(later, "sender", reply_to=f"thief{number}@example.com").status_code == 303
    page = admin.get(path).text
    assert "have the values from before this change" in page
    assert settings_form(page).get("reply_to", "") == before
