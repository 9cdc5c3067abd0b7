"""The role that each action of `digest.app` requires. The test finds the actions automatically.

A new act without a row fails, and so does a row without an act. Which pages are whose is the law of `digest.web.auth.route_rules`.
"""

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text

import digest.app
import digest.installation
from digest.app.accounts.sign_in import SignedInStaff
from digest.app.editing.corrections import CorrectionForm
from digest.app.editing.edit_application import EditForm
from digest.app.subscribers.uploads import ListUploads
from digest.deliver.control.set_aside_domains import SetAsideDecision
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution
from digest.edition.content.edition_content import LabeledBlock
from digest.installation import copied_installation_guard
from digest.installation.audited_actions import ActionEntryPoint, Actor, NotPermittedError, Role
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import Database
from digest.store.models import AuditEntry
from subscribers.address import Address, read_address
from subscribers.crypto.keys import KeyRing
from subscribers.store.models import Base
from tests.moments import DRAFTING as NOW
from tests.web.conftest import store_edition, web_settings

EMAIL = "sam@news.example.org"
OTHER_DATABASE = "sqlite:////nowhere/other.db"
NOBODY = cast("Role", "reader")  # a role that is none of ours, and may do nothing

# The acts of each module by the role that they take; an admin may do what an editor may.
TAKES_ADMIN = {
    "accounts.sign_in": "email_sign_in_link make_sign_in_link",
    "subscribers.address_searches": "AddressSearches.begin",
    "alerts.alert_notifications": "send_test_alert",
    "upkeep.audit_log": "check_audit_log export_audit_log find_audit_name_by_email iterate_audit_log view_audit_log",
    "sending.background_tasks": "process_inbound_mail",
    "upkeep.background_backups": "BackgroundBackups.begin BackgroundBackups.view",
    "upkeep.backups": "back_up_into_folder require_restore_permission create_backup",
    "subscribers.consent_texts": "view_consent_texts",
    "upkeep.database_changes": "move_installation_to_database",
    "sending.delivery_views": "list_uncertain_ids_without_report view_deliveries view_delivery_recipients",
    "demo.demo_year": "add_demo_year",
    "sending.uploaded_logs": "UploadedLogs.examine",
    "subscribers.growth": "view_list_growth",
    "doctor.health_reports": "DoctorRunner.begin",
    "installation.sending_pause": "pause_all_sending resume_all_sending",
    "upkeep.nightly_steps": "seal_ledger",
    "upkeep.keys": "list_keys encrypt_key_file restore_keys rotate_key decrypt_key_file",
    "subscribers.import_undo": "begin_preview begin_undo preview_undo undo_import",
    "subscribers.list_transfers": "abandon_import ask_unverified_people count_import_people count_unverified_people export_list find_finished_import import_list list_unfinished_imports pull_suppressions rehearse_import view_imports",
    "settings.brand_images": "replace_brand_images store_brand_image",
    "settings.custom_templates": "copy_shipped_templates",
    "subscribers.subscriber_actions": "add_person allow_signup_again count_people_by_state erase_subscriber find_person renew_person_links suppress_address verify_ledger request_address_correction withdraw_address_correction restore_subscriber unsubscribe_by_admin",
    "site.processing_record": "view_processing_record",
    "subscribers.data_requests": "send_data_link create_data_answer",
    "subscribers.subscriber_preferences": "change_subscriber_preferences view_subscriber_preferences",
    "subscribers.subscriber_records": "can_be_restored require_subscriber reveal_addresses view_subscriber_record",
    "subscribers.suppression_lists": "adopt_suppression_list begin_suppression_step export_suppression_list receive_suppression_file rehearse_suppression_adoption",
    "subscribers.subscriber_views": "count_exportable make_domain_filter_hash view_subscriber_list",
    "sending.send_control": "cancel_edition send_edition",
    "settings.setting_changes": "change_sections change_settings preview_schedule view_settings",
    "setup.completion": "require_setup_permission",
    "subscribers.inactivity_questions": "ask_inactive_subscribers count_inactive_subscribers",
    "sources.configured_sources": "add_source_with_details add_source change_source import_opml import_uploaded_opml remove_source follow_moved_source undo_url_change",
    "accounts.staff": "add_staff_member change_staff_role count_refused_sign_ins end_staff_sessions list_staff_members read_staff_role send_address_verification_link remove_staff_member reset_staff_sign_in view_staff",
    "sending.refusal_actions": "send_refused_again suppress_refused",
    "sending.uncertain_delivery_actions": "resolve_by_log resolve_uncertain",
    "subscribers.uploads": "ListUploads.begin ListUploads.find ListUploads.list_all ListUploads.receive ListUploads.remove ListUploads.stop stream_row_outcomes stream_rejected_rows",
}
TAKES_EDITOR = {
    "accounts.sign_in": "email_own_sign_in_link email_own_verification_link",
    "accounts.own_account": "add_own_passkey change_own_display_name end_other_sessions end_own_session remove_own_passkey rename_own_passkey replace_recovery_codes set_password",
    "approval.approval_overviews": "mark_note_done reinstate_last_approval send_back_edition",
    "calendar.releases": "add_release move_release restore_release skip_release",
    "editing.breaking_news_drafts": "draft_breaking_news",
    "sending.breaking_news": "request_send_now",
    "editing.clipboard": "copy_story_to_clipboard copy_text_to_clipboard remove_clipboard_item remove_text_from_clipboard",
    "approval.correction_emails": "approve_correction_email request_correction_email",
    "editing.corrections": "correct_story",
    "editing.edit_application": "apply_edit_decided_from_state apply_edit apply_current_settings_to_draft",
    "editing.edit_history": "restore_past_state redo_own_last_undo undo_edit undo_own_last_edit",
    "editing.changes": "choose_lead_article set_story_topic drop_stories keep_stories_apart keep_stories_for_next_edition merge_stories move_story pin_story place_stories add_supporting_stories remove_labeled_block restore_story split_story save_labeled_block set_edition_text set_editor_note add_written_story set_story_text",
    "editing.edition_images": "change_image_description fetch_missing_images hide_image remove_block_image reset_image set_block_image use_article_image upload_image",
    "approval.edition_approval": "approve_edition revoke_approval",
    "editions.drafting": "collect_articles draft_next_edition",
    "approval.final_check": "recheck_articles",
    "sources.past_editions": "import_past_editions",
    "editing.presence": "set_single_key_shortcuts",
    "sending.send_control": "pause_edition resume_edition send_test_email",
    "sending.set_aside_domains": "decide_set_aside_domains",
    "sending.refusal_actions": "acknowledge_refusals",
    "sources.source_overview": "view_source",
    "sources.configured_sources": "list_sources",
    "editing.story_fetch": "fetch_story",
}
WITHOUT_ROLE = {
    **dict.fromkeys(
        (
            "accounts.own_account.view_own_account",
            "accounts.own_account.acknowledge_failed_sign_ins",
            "accounts.own_account.begin_authenticator_setup",
            "accounts.own_account.read_unconfirmed_secret",
            "accounts.own_account.make_own_totp_uri",
            "accounts.own_account.begin_passkey_registration",
            "accounts.sign_in.reauthenticate_by_password",
            "accounts.sign_in.make_passkey_challenge",
            "accounts.sign_in.reauthenticate_by_passkey",
            "accounts.sign_in.sign_out",
            "accounts.sign_in.require_current_password",
            "subscribers.address_searches.AddressSearches.find",
            "sending.uploaded_logs.UploadedLogs.find",
            "editing.clipboard.list_clipboard_items",
            "editing.presence.record_presence",
            "editing.presence.list_colleagues",
            "editing.presence.end_presence",
            "subscribers.subscriber_records.find_revealed_addresses",
            "accounts.staff.find_entered_staff_name",
        ),
        "it shows or changes what is the actor's own, or what they have just asked for",
    ),
    **dict.fromkeys(
        (
            "sending.sending_view.view_sending",
            "sending.refusal_actions.read_refusals",
            "sending.refusal_actions.read_chosen_refusals",
        ),
        "everyone who signs in may see it; admins also see the names of small providers",
    ),
    "upkeep.backups.restore_backup": "no installation is open meanwhile: backups.check_may_restore asks before",
    "setup.completion.apply_setup_plan": "it asks setup.completion.require_setup_permission, of whom it finds once there is an installation",
    "upkeep.database_changes.upgrade_installation": "staff cannot be looked up before: whoever can run it sits at the terminal",
    "demo.demo_year.add_demo_people": "the demo's own people, taken in by subscribers.list_transfers.import_list, which asks",
    "sending.uploaded_logs.UploadedLogs.resolve": "of a log that UploadedLogs.examine kept, by sending.send_control.uncertain_delivery_actions.resolve_by_log; both ask",
    "editions.drafting.redraft_without_withdrawn_articles": "it looks whether there is a reason, and asks editions.drafting.draft_next_edition",
    "approval.final_check.check_before_sending": "it looks whether there is a reason, and asks approval.final_check.recheck_articles",
    "subscribers.suppression_lists.run_suppression_step": "the child's part of begin_suppression_step, by rehearse_suppression_adoption and adopt_suppression_list, which ask",
    "subscribers.uploads.run_upload_step": "the child's part of uploads.ListUploads.begin, by subscribers.list_transfers.rehearse_import and import_list, which ask",
}


def list_names(table: dict[str, str]) -> set[str]:
    return {f"{module}.{name}" for module, names in table.items() for name in names.split()}


@dataclass(frozen=True)
class StaffWorld:
    """An installation with an edition, and who comes to it with a role."""

    installation: Installation
    edition: str

    def actor(self, role: Role) -> Actor:
        return Actor("staff 9", role, ActionEntryPoint.DESK)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Give every row but the audit log's."""
        with self.installation.database.engine.connect() as connection:
            return {
                name: [tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
                for name in Base.metadata.tables
                if name != "audit"
            }

    def argument(self, name: str, hint: Any, role: Role) -> Any:
        """Make an argument by its name or kind; one that is not known here may not be looked at."""
        by_name: dict[str, Any] = {
            "name": self.edition,
            "edition": self.edition,
            "numbers": (1,),
            "article": {},
            "values": {},
            "password": "four words that nobody guesses",
            "url": OTHER_DATABASE,
            "clock": lambda: NOW,
            "find_actor": lambda _: self.actor(role),
        }
        by_kind: dict[Any, Any] = {
            Installation: self.installation,
            Settings: self.installation.settings,
            Actor: self.actor(role),
            EditForm: EditForm(self.edition, self.actor(role), NOW),
            SignedInStaff: SignedInStaff(9, 9, EMAIL, "", role, NOW),
            Path: self.installation.settings.key_file,  # one that is there
            Address: read_address(EMAIL),
            LabeledBlock: LabeledBlock("a", "sponsor", "A headline"),
            CorrectionForm: CorrectionForm("https://hls.today/a", "summary", "It is so.", "It was not."),
            ListUploads: ListUploads(),
            SetAsideDecision: SetAsideDecision.SEND,
            UncertainResolution: UncertainResolution.ACCEPTED,
            datetime: NOW,
            date: NOW.date(),
            time: time(6),
            int: 1,
            bool: False,
            bytes: b"<opml/>",
            str: EMAIL,
        }
        choices = typing.get_args(hint)
        if typing.get_origin(hint) in {types.UnionType, typing.Union}:
            return None if type(None) in choices else self.argument(name, choices[0], role)
        if typing.get_origin(hint) is Literal:
            return choices[0]
        return by_name.get(name, by_kind.get(hint, Untouched()))


class Untouched:
    """An argument that may not be looked at: the role comes first."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} of an argument was asked for before the role was")


def list_actions() -> dict[str, Callable[..., Any]]:
    """Find the public functions and methods of `digest.app` that are handed who acts."""
    return {name: act for module in _list_modules() for name, act in _list_functions(module) if _takes_actor(act)}


def _list_modules() -> Iterator[types.ModuleType]:
    for package in (digest.app, digest.installation):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name != "digest.installation.audited_actions":  # what acts are made of
                yield importlib.import_module(found.name)


def _list_functions(module: types.ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    place = module.__name__.removeprefix("digest.").removeprefix("app.")
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield f"{place}.{name}", value
        elif inspect.isclass(value):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{place}.{name}.{method}", function


def _takes_actor(act: Callable[..., Any]) -> bool:
    return any(_holds_actor(parameter.annotation) for parameter in inspect.signature(act).parameters.values())


def _holds_actor(hint: Any) -> bool:
    """Whether it is an actor, what holds one, or what finds one."""
    if isinstance(hint, list):
        return any(_holds_actor(part) for part in hint)
    return hint in (Actor, EditForm, SignedInStaff) or any(_holds_actor(part) for part in typing.get_args(hint))


def call(world: StaffWorld, act: Callable[..., Any], role: Role) -> str:
    """Call an act as somebody with a role; give the role that the refusal names, empty where it is not refused."""
    plain, named = [], {}
    for parameter in inspect.signature(act).parameters.values():
        if parameter.name == "self":
            owner = act.__qualname__.partition(".")[0]
            plain.append(getattr(importlib.import_module(act.__module__), owner)())
        elif parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = world.argument(parameter.name, parameter.annotation, role)
        elif parameter.default is parameter.empty:
            plain.append(world.argument(parameter.name, parameter.annotation, role))
    try:
        answer = act(*plain, **named)
        next(answer) if inspect.isgenerator(answer) else None
    except NotPermittedError as exc:
        return str(exc).partition("only an ")[2].partition(" ")[0]
    return ""


@pytest.fixture
def staffed(one_database: Database, tmp_path: Path) -> StaffWorld:
    """Give an installation at home where it is, with an edition, on a database of the run's kind."""
    url = one_database.engine.url.render_as_string(hide_password=False)
    settings = web_settings(tmp_path).model_copy(update={"database_url": url})
    KeyRing.create(settings.key_file)
    copied_installation_guard.pause_if_copied(one_database, settings, now=NOW)
    # A passphrase, for `keys protect`: of a file that has none it is not looked at.
    installation = Installation(settings.model_copy(update={"key_passphrase": SecretStr("a")}), one_database)
    return StaffWorld(installation, store_edition(installation))


def test_every_act_that_is_handed_who_acts_has_a_rule() -> None:
    admin, editor = list_names(TAKES_ADMIN), list_names(TAKES_EDITOR)
    assert not admin & editor
    assert not (admin | editor) & set(WITHOUT_ROLE)
    assert set(list_actions()) == admin | editor | set(WITHOUT_ROLE)


def test_an_act_refuses_who_lacks_its_role_before_it_does_anything(staffed: StaffWorld) -> None:
    acts, before = list_actions(), staffed.dump()
    needed = dict.fromkeys(list_names(TAKES_ADMIN), "admin") | dict.fromkeys(list_names(TAKES_EDITOR), "editor")
    assert {name: call(staffed, acts[name], NOBODY) for name in needed} == needed
    by_editor = {name: call(staffed, acts[name], Role.EDITOR) for name in list_names(TAKES_ADMIN)}
    assert set(by_editor.values()) == {"admin"}
    assert staffed.dump() == before
    with staffed.installation.database.read() as session:
        told = session.scalars(select(AuditEntry.act)).all()
    assert len(told) == len(needed) + len(by_editor)
    assert all(act.startswith("refused: ") for act in told)
