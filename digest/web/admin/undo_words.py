"""Texts that tell admins, before each action, whether it can be undone. If one is missing, the app doesn't start."""

from collections.abc import Iterable, Mapping

from werkzeug.routing import Rule

NOTHING = ""  # for what only reads, or deletes or changes nothing that anyone would want back
_FOR_GOOD = "You can’t undo this."
_MAIL = "You can’t undo this, because emails can’t be recalled."
_FILE = "You can’t undo this, but you can upload the file again."
_SETTINGS = "You can undo this: the earlier values stay under “Recent changes.”"
_CHANGED = "You can undo this by changing it back."

# By endpoint; by the part of the path that names the action where an endpoint has several.
UNDO_WORDS: Mapping[str, str | Mapping[str, str]] = {
    "admin.abandon_import": _FILE,
    "admin.add_subscriber": "You can’t undo this. You can unsubscribe them later, but the record stays.",
    "admin.answer_data_request": dict.fromkeys(("html", "json", "csv", "portable"), "You can’t undo a download.")
    | {"mail": "You can’t recall the email."},
    "admin.ask_inactive_subscribers": _MAIL,
    "admin.ask_unverified_people": _MAIL,
    "admin.back_up_now": NOTHING,
    "admin.begin_search": NOTHING,
    "admin.change_member": {
        "role": "You can change the role back.",
        "invitation": "You can’t unsend an email, but its link stops working if you withdraw the invitation.",
        "link": "Sending an invitation or a link can’t be undone, but resetting sign-in ends every link.",
        "sessions": "Ending sessions can’t be undone, but the team member can sign in again.",
        "reset": "You can’t undo this. The team member has to set up signing in again.",
        "removal": "You can’t undo this, but you can invite them again.",
    },
    "admin.change_settings": _SETTINGS,
    "admin.change_subscriber": {
        "leave": "You can undo this once, for seven days, unless the subscriber unsubscribes, reports spam, bounces, "
        "or is erased in the meantime. Other admins can’t undo it.",
        "leave for good": "You can’t undo this, because they were restored in the last seven days, or have given no "
        "consent that still counts.",
        "restore": "You can’t undo this, but you can unsubscribe them again.",
        "stop": "You can’t undo this: even then, they have to sign up again.",
        "links": _FOR_GOOD,
        "withdraw": "You can’t undo this, but you can correct the address again.",
        "erase": _FOR_GOOD,
    },
    "admin.correct_address": "Until then, you can withdraw the correction or replace it with another. The old "
    "address is emailed right away, unless it bounced, with a link that stops the correction. For seven days after the "
    "correction takes effect, only that link can undo it.",
    "admin.count_inactive_subscribers": NOTHING,
    "admin.download_rejected_rows": NOTHING,
    "admin.download_row_outcomes": NOTHING,
    "admin.export_audit_log": NOTHING,
    "admin.export_list": "You can’t undo a download.",
    "admin.export_suppression_list": "You can’t undo a download.",
    "admin.filter_subscribers": NOTHING,
    "admin.find_subscriber": NOTHING,
    "admin.follow_moved_source": "You can undo this on the source’s page.",
    "admin.invite_member": "You can undo this by withdrawing the invitation, or by removing the team member "
    "once it’s accepted.",
    "admin.open_subscriber": NOTHING,
    "admin.pause_or_resume_all": {
        "hold": "You can undo a pause by resuming.",
        "release": "You can pause again, but emails sent until then can’t be recalled.",
    },
    "admin.preview_new_source": NOTHING,
    "admin.probe_source": NOTHING,
    "admin.remove_suppression": "You can’t undo this. If the owner signs up again, you can suppress the address again.",
    "admin.remove_suppression_upload": _FILE,
    "admin.remove_upload": _FILE,
    "admin.replace_brand_images": _SETTINGS,
    "admin.resend_unreported": _MAIL,
    "admin.resolve_deliveries_by_mail_log": _FOR_GOOD,
    "admin.resolve_uncertain_deliveries": _FOR_GOOD,
    "admin.resolve_uncertain_notices": _FOR_GOOD,
    "admin.reveal_found_addresses": _FOR_GOOD,
    "admin.run_suppression_step": {"try": NOTHING, "commit": _FOR_GOOD},
    "admin.run_upload_step": {"try": NOTHING, "commit": "You can undo the import for seven days."},
    "admin.send_alert_test": NOTHING,
    "admin.show_address": "You can’t undo this: subscribers can see that their address was shown.",
    "admin.show_recipient_addresses": _FOR_GOOD,
    "admin.start_health_check": NOTHING,
    "admin.stop_search": NOTHING,
    "admin.stop_suppression_step": NOTHING,
    "admin.stop_upload": NOTHING,
    "admin.submit_audit_check": NOTHING,
    "admin.submit_new_source": "You can undo this by removing the source.",
    "admin.submit_preferences": "You can also undo the change on the subscriber’s record.",
    "admin.submit_source_changes": _CHANGED,
    "admin.submit_source_removal": "You can’t undo this, but you can add the source again.",
    "admin.undo_import": "You can’t undo this. To add the people back, import the file again.",
    "admin.undo_source_move": _CHANGED,
    "admin.upload_list": NOTHING,
    "admin.upload_mail_log": NOTHING,
    "admin.upload_opml": "You can undo this by removing the sources one by one.",
    "admin.upload_suppression_file": NOTHING,
}


def find_undo_words(endpoint: str, act: str = "") -> str:
    """Return an action's text about undoing it, or "" if there's nothing to undo."""
    words = UNDO_WORDS[endpoint]
    return words if isinstance(words, str) else words[act]


def check_undo_words(rules: Iterable[Rule]) -> None:
    """Check that every form on admin pages has words, and that no others do.

    Raises:
        ValueError: words are missing, or there are words for a form that doesn't exist.
    """
    posted = {rule.endpoint for rule in rules if "POST" in (rule.methods or ()) and rule.endpoint.startswith("admin.")}
    if wrong := sorted(posted ^ UNDO_WORDS.keys()):
        raise ValueError(f"digest/web/admin/undo_words.py and the admin pages differ in {', '.join(wrong)}")
