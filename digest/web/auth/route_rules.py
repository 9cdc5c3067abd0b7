"""The access rules of all routes, by endpoint.

The application doesn't start unless every route has a rule.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from digest.installation.audited_actions import Role


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The role required by a route, or None.

    `fresh` requires a sign-in within the last 15 minutes. `max_bytes` is the maximum length of a
    form with a file, or None for the usual limit.
    """

    role: Role | None
    fresh: bool = False
    max_bytes: int | None = None


MAX_IMAGE_BYTES = 12_000_000  # the size of a camera's images, which are re-encoded to at most 200 KB
# The size of a list of two million subscribers with evidence, or of a mail server's logs.
MAX_LIST_BYTES = 512 * 1024 * 1024
MAX_OPML_BYTES = 2_000_000

PUBLIC = AccessRule(None)
# Only the token in the path is required, so anyone who has the email can use it.
LINK = AccessRule(None)
# The signature of a provider is required.
SIGNED = AccessRule(None)
# A token is required, or the request must come from this machine.
PROVED = AccessRule(None)
EDITOR = AccessRule(Role.EDITOR)
EDITOR_FRESH = AccessRule(Role.EDITOR, fresh=True)
EDITOR_IMAGE = AccessRule(Role.EDITOR, max_bytes=MAX_IMAGE_BYTES)
ADMIN = AccessRule(Role.ADMIN)
ADMIN_BRAND_IMAGES = AccessRule(Role.ADMIN, max_bytes=2 * MAX_IMAGE_BYTES)
ADMIN_OPML = AccessRule(Role.ADMIN, max_bytes=MAX_OPML_BYTES)
# These are required before addresses of subscribers are shown or transferred.
ADMIN_FRESH = AccessRule(Role.ADMIN, fresh=True)
ADMIN_LIST = AccessRule(Role.ADMIN, fresh=True, max_bytes=MAX_LIST_BYTES)

ROUTE_RULES = {
    "archive.index": PUBLIC,
    "archive.edition": PUBLIC,
    "archive.editions": PUBLIC,
    "archive.json_feed": PUBLIC,
    "archive.robots": PUBLIC,
    "archive.search": PUBLIC,
    "archive.site_map": PUBLIC,
    "archive.topic": PUBLIC,
    "archive.topic_feed": PUBLIC,
    "archive.topics": PUBLIC,
    "archive.edition_as_sent": PUBLIC,
    "archive.icon": PUBLIC,
    "archive.small_icon": PUBLIC,
    "archive.touch_icon": PUBLIC,
    "archive.serve_edition_dates_calendar": PUBLIC,
    "archive.serve_deadline_and_event_calendar": PUBLIC,
    "archive.feed": PUBLIC,
    "archive.image_file": PUBLIC,
    "archive.style_sheet": PUBLIC,
    "archive.script_file": PUBLIC,
    "health.report_liveness": PUBLIC,
    "health.report_readiness": PUBLIC,
    "health.report_metrics": PROVED,
    "hooks.receive_events": SIGNED,
    "subscribers.privacy": PUBLIC,
    "subscribers.contact": PUBLIC,
    "subscribers.write_to_the_editors": PUBLIC,
    "subscribers.show_preferences": LINK,
    "subscribers.save_preferences": LINK,
    "subscribers.show_preferences_again": LINK,
    "subscribers.email_my_data_link": LINK,
    "signup.show_confirmation_again": LINK,
    "signup.save_first_preferences": LINK,
    "signup.ask_to_stay": LINK,
    "signup.stay_now": LINK,
    "subscribers.ask_to_turn_off_breaking_news": LINK,
    "subscribers.turn_off_breaking_news": LINK,
    "subscribers.ask_to_restore": LINK,
    "subscribers.restore_now": LINK,
    "subscribers.my_data": LINK,
    "subscribers.show_my_record": LINK,
    "subscribers.download_my_data": LINK,
    "subscribers.download_portable_copy": LINK,
    "subscribers.ask_to_erase": LINK,
    "subscribers.erase_now": LINK,
    "subscribers.renew_my_links": LINK,
    "subscribers.request_address_change": LINK,
    "subscribers.ask_to_confirm_address_change": LINK,
    "subscribers.confirm_address_change": LINK,
    "subscribers.ask_to_stop_address_change": LINK,
    "subscribers.stop_address_change": LINK,
    "subscribers.ask_to_leave": LINK,
    "subscribers.leave_now": LINK,
    "subscribers.ask_to_pause": LINK,
    "subscribers.pause_now": LINK,
    "subscribers.show_unsubscribed_state": LINK,
    "subscribers.mail_undo_link": LINK,
    "subscribers.ask_to_undo": LINK,
    "subscribers.undo_now": LINK,
    "signup.subscribe": PUBLIC,
    "signup.submit_signup": PUBLIC,
    "signup.lost_link": PUBLIC,
    "signup.request_lost_link": PUBLIC,
    "signup.show_confirmation": LINK,
    "signup.submit_confirmation": LINK,
    "auth.show_sign_in": PUBLIC,
    "auth.submit_password": PUBLIC,
    "auth.submit_passkey_sign_in": PUBLIC,
    "auth.show_sign_in_link": LINK,
    "auth.submit_sign_in_link": LINK,
    "auth.show_invitation": LINK,
    "auth.submit_invitation": LINK,
    "auth.show_identity_confirmation": EDITOR,
    "auth.show_kept_form": EDITOR_FRESH,
    "auth.discard_kept_form": EDITOR,
    "auth.confirm_identity_by_password": EDITOR,
    "auth.confirm_identity_by_passkey": EDITOR,
    "auth.request_sign_in_link": EDITOR,
    "auth.show_own_account": EDITOR,
    "auth.submit_name": EDITOR,
    "auth.mark_failed_sign_ins_as_seen": EDITOR,
    "auth.end_session": EDITOR,
    "auth.end_other_sessions": EDITOR,
    "auth.begin_authenticator_setup": EDITOR_FRESH,
    "auth.show_password_form": EDITOR_FRESH,
    "auth.submit_new_password": EDITOR_FRESH,
    "auth.draw_authenticator_qr_code": EDITOR_FRESH,
    "auth.make_new_recovery_codes": EDITOR_FRESH,
    "auth.show_passkey_form": EDITOR_FRESH,
    "auth.submit_passkey": EDITOR_FRESH,
    "auth.show_passkey": EDITOR,
    "auth.rename_passkey": EDITOR,
    "auth.remove_passkey": EDITOR_FRESH,
    "auth.sign_out": EDITOR,
    "admin.show_gdpr_processing_record": ADMIN,
    "admin.show_audit_log": ADMIN,
    "admin.submit_audit_check": ADMIN,
    "admin.show_audit_export_form": ADMIN_FRESH,
    "admin.export_audit_log": ADMIN_FRESH,
    "admin.show_export_form": ADMIN_FRESH,
    "admin.export_list": ADMIN_FRESH,
    "admin.show_permission_form": ADMIN_FRESH,
    "admin.ask_unverified_people": ADMIN_FRESH,
    "admin.show_inactive_form": ADMIN_FRESH,
    "admin.count_inactive_subscribers": ADMIN_FRESH,
    "admin.ask_inactive_subscribers": ADMIN_FRESH,
    "admin.show_suppression_form": ADMIN_FRESH,
    "admin.remove_suppression": ADMIN_FRESH,
    "admin.show_suppression_lists": ADMIN,
    "admin.export_suppression_list": ADMIN_FRESH,
    "admin.upload_suppression_file": ADMIN_LIST,
    "admin.show_suppression_upload": ADMIN,
    "admin.run_suppression_step": ADMIN_FRESH,
    "admin.stop_suppression_step": ADMIN,
    "admin.remove_suppression_upload": ADMIN,
    "admin.list_imports": ADMIN,
    "admin.upload_list": ADMIN_LIST,
    "admin.show_upload": ADMIN,
    "admin.run_upload_step": ADMIN_FRESH,
    "admin.stop_upload": ADMIN,
    "admin.remove_upload": ADMIN,
    "admin.show_import_undo": ADMIN,
    "admin.undo_import": ADMIN_FRESH,
    "admin.download_rejected_rows": ADMIN_FRESH,
    "admin.download_row_outcomes": ADMIN_FRESH,
    "admin.abandon_import": ADMIN_FRESH,
    "admin.list_staff": ADMIN,
    "admin.invite_member": ADMIN_FRESH,
    "admin.show_member": ADMIN,
    "admin.change_member": ADMIN_FRESH,
    "admin.confirm_account_action": ADMIN_FRESH,
    "admin.show_growth": ADMIN,
    "admin.show_health_report": ADMIN,
    "admin.start_health_check": ADMIN,
    "admin.show_source": ADMIN,
    "admin.submit_source_changes": ADMIN,
    "admin.confirm_moved_source": ADMIN,
    "admin.follow_moved_source": ADMIN,
    "admin.undo_source_move": ADMIN,
    "admin.probe_source": ADMIN,
    "admin.confirm_source_removal": ADMIN,
    "admin.submit_source_removal": ADMIN,
    "admin.show_add_source_form": ADMIN,
    "admin.preview_new_source": ADMIN,
    "admin.submit_new_source": ADMIN,
    "admin.upload_opml": ADMIN_OPML,
    "admin.download_opml": ADMIN,
    "admin.redirect_to_first_page": ADMIN,
    "admin.redirect_to_first_table": ADMIN,
    "admin.show_settings": ADMIN,
    "admin.show_signup_embed_code": ADMIN,
    "admin.change_settings": ADMIN,
    "admin.replace_brand_images": ADMIN_BRAND_IMAGES,
    "admin.send_alert_test": ADMIN,
    "admin.back_up_now": ADMIN,
    "corrections.show_corrections": EDITOR,
    "corrections.submit_correction": EDITOR,
    "corrections.show_correction_recipients": EDITOR,
    "corrections.show_correction_email": EDITOR,
    "corrections.email_correction": EDITOR,
    "admin.list_subscribers": ADMIN,
    "admin.filter_subscribers": ADMIN,
    "admin.open_subscriber": ADMIN,
    "admin.find_subscriber": ADMIN_FRESH,
    "admin.list_deliveries": ADMIN,
    "admin.list_delivery_recipients": ADMIN,
    "admin.show_recipient_addresses": ADMIN_FRESH,
    "admin.resolve_uncertain_deliveries": ADMIN,
    "admin.resolve_uncertain_notices": ADMIN,
    "admin.resend_unreported": ADMIN,
    "admin.upload_mail_log": ADMIN_LIST,
    "admin.show_log_evidence": ADMIN,
    "admin.resolve_deliveries_by_mail_log": ADMIN_FRESH,
    "admin.pause_or_resume_all": ADMIN,
    "admin.begin_search": ADMIN_FRESH,
    "admin.show_search": ADMIN,
    "admin.stop_search": ADMIN,
    "admin.reveal_found_addresses": ADMIN_FRESH,
    "admin.show_subscriber": ADMIN,
    "admin.show_address_correction_form": ADMIN_FRESH,
    "admin.correct_address": ADMIN_FRESH,
    "admin.show_preferences_form": ADMIN_FRESH,
    "admin.submit_preferences": ADMIN_FRESH,
    "admin.ask_address_access_reason": ADMIN_FRESH,
    "admin.show_address": ADMIN_FRESH,
    "admin.confirm_subscriber_action": ADMIN_FRESH,
    "admin.change_subscriber": ADMIN_FRESH,
    "admin.show_data_request_options": ADMIN_FRESH,
    "admin.answer_data_request": ADMIN_FRESH,
    "admin.show_add_subscriber_form": ADMIN_FRESH,
    "admin.add_subscriber": ADMIN_FRESH,
    "desk.index": EDITOR,
    "desk.edition": EDITOR,
    "desk.show_edition_preview_frame": EDITOR,
    "desk.show_review_page": EDITOR,
    "desk.check_links": EDITOR,
    "desk.submit_approval": EDITOR,
    "desk.revoke_approval": EDITOR,
    "desk.pause_or_resume": EDITOR,
    "desk.show_sources": EDITOR,
    "desk.list_sent_editions": EDITOR,
    "desk.show_test_email_form": EDITOR,
    "desk.submit_test_mail": EDITOR,
    "desk.email_address_verification_link": EDITOR,
    "approvals.mark_note_done": EDITOR,
    "approvals.ask_before_revoking": EDITOR,
    "approvals.send_back": EDITOR,
    "approvals.show_version": EDITOR,
    "approvals.show_version_mail": EDITOR,
    "approvals.update_draft_to_current_settings": EDITOR,
    "calendar.show_calendar": EDITOR,
    "calendar.change_calendar": EDITOR,
    "calendar.preview_move": EDITOR,
    "editing.perform_desk_action": EDITOR,
    "editing.choose_lead_article": EDITOR,
    "editing.save_block": EDITOR_IMAGE,
    "editing.save_subject_and_intro": EDITOR,
    "editing.save_story": EDITOR_IMAGE,
    "gallery.show_email_gallery": EDITOR,
    "gallery.show_sample_email": EDITOR,
    "gallery.show_sample_email_frame": EDITOR,
    "history.show_history": EDITOR,
    "history.show_past_state": EDITOR,
    "history.undo_edit": EDITOR,
    "history.restore_past_state": EDITOR,
    "live.record_presence": EDITOR,
    "live.show_keyboard_shortcuts": EDITOR,
    "live.set_single_key_shortcuts": EDITOR,
    "previews.show_preview": EDITOR,
    "breaking_news.show_breaking_news": EDITOR,
    "breaking_news.draft_breaking_news": EDITOR,
    "breaking_news.ask_before_sending_now": EDITOR,
    "breaking_news.send_now": EDITOR,
    "sending.show_sending": EDITOR,
    "sending.acknowledge_refusals": EDITOR,
    "sending.ask_before_resending": ADMIN,
    "sending.send_refused_again": ADMIN,
    "sending.ask_before_suppressing": ADMIN_FRESH,
    "sending.suppress_refused": ADMIN_FRESH,
    "sending.cancel_sending": ADMIN,
    "sending.send_set_aside_emails": EDITOR,
    "sending.drop_set_aside_emails": ADMIN,
    "sending.pause_or_resume_all": ADMIN,
    "stories.add_story": EDITOR,
    "stories.update_clipboard": EDITOR,
    "stories.show_story_found_at_url": EDITOR,
}


def check_route_rules(endpoints: Iterable[str]) -> None:
    """Raise an error unless every route has a rule and every rule has a route.

    Raises:
        ValueError: a rule or a route is missing; the message lists the missing ones.
    """
    endpoint_names = set(endpoints)
    if unruled := sorted(endpoint_names - ROUTE_RULES.keys()):
        raise ValueError(f"digest/web/auth/route_rules.py has no rule for {', '.join(unruled)}")
    if unrouted := sorted(ROUTE_RULES.keys() - endpoint_names):
        raise ValueError(
            f"digest/web/auth/route_rules.py has a rule for a route that doesn't exist: {', '.join(unrouted)}"
        )
