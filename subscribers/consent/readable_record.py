"""A person's record as a page.

`web/record.html` shows the JSON of `transfer.exports.build_person_record`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from subscribers.consent import ledger
from subscribers.consent.consent_texts import NOT_RECORDED_BY
from subscribers.consent.preferences import Preferences, describe_preference_options, describe_preferences
from subscribers.import_names import PLAIN_LIST
from subscribers.store.models import ConsentEvent
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage, mark_message

# The recorded values that are translated for subscribers.
_PLAIN_VALUES = {
    "email_address": mark_message("email address"),
    "choices": mark_message("preferences"),
    "reader": mark_message("the subscriber"),
}
_IMPORTED_TIMES = frozenset({"asked_at", "agreed_at", "requested_at", "left_at"})
_GRANT_KINDS = frozenset(str(kind) for kind in ledger.GRANT_KINDS)


@dataclass(frozen=True, slots=True)
class PublicationFacts:
    """Facts about the publication to include in the answer to a data request.

    `parts` are the key (`subscribers.part_keys`) and title of each section and topic, and
    `recipients` are sentences. The retention periods for evidence of consent and for records of
    emails are in days. `today` is in the publication's time zone.
    """

    parts: Sequence[tuple[str, str]]
    today: date
    recipients: Sequence[str] = ()
    evidence_days: int = 0
    mail_days: int = 0
    hidden_preferences: Collection[str] = ()


def describe_purposes_and_legal_basis(events: Sequence[ConsentEvent]) -> dict[str, Any]:
    """Return the purposes of processing the address and their legal basis (ISO/IEC TS 27560: pii_processing).

    The language, method, and notice are those of the last consent in `events`, the person's chain in order.
    """
    _, last_consent = ledger.find_last_consent(events) or (None, {})
    purpose = {
        "purpose": mark_message("to send the newsletter by email"),
        "lawful_basis": "consent",
        "pii_information": ["email_address", "choices"],
        "collection_method": last_consent.get("method"),
        "storage": mark_message("encrypted, with a keyed hash for lookup"),
        "retention_period": mark_message("until erased; the address until 30 days after unsubscribing at the latest"),
        "withdrawal_method": mark_message("the unsubscribe link in every edition"),
    }
    return {"privacy_notice": last_consent.get("page"), "language": last_consent.get("language"), "purposes": [purpose]}


def rephrase_import(recorded: str) -> str:
    """Return what an import recorded as its method, page, or consent text, in words for people."""
    if recorded == PLAIN_LIST:
        return "an imported file"
    if recorded.startswith(NOT_RECORDED_BY):
        origin = recorded.removeprefix(NOT_RECORDED_BY)
        return f"a text not included in {'the imported file' if origin == PLAIN_LIST else f'the export from {origin}'}"
    return recorded.removeprefix("import: ").replace(f"according to {PLAIN_LIST}", "according to the imported file")


def describe_method(method: str, language: SubscriberLanguage) -> str:
    """Return a phrase that describes how consent was given or withdrawn.

    Unknown methods, such as that of a list, aren't translated.
    """
    known_methods = {
        "form": language.pgettext("how a consent came about or ended", "form"),
        "double opt-in": language.pgettext("how a consent came about or ended", "link in the confirmation email"),
        "page": language.pgettext("how a consent came about or ended", "page opened from an email"),
        "one-click": language.pgettext("how a consent came about or ended", "one-click"),
        ledger.PERMISSION_METHOD: language.pgettext("how a consent came about or ended", "re-permission email"),
        ledger.SILENCE_METHOD: language.pgettext("how a consent came about or ended", "email to inactive subscribers"),
        ledger.SILENCE_ANSWER_METHOD: language.pgettext(
            "how a consent came about or ended", "answer to our email to inactive subscribers"
        ),
        ledger.NO_ANSWER_METHOD: language.pgettext(
            "how a consent came about or ended", "no answer to our email to inactive subscribers"
        ),
        "link to the new address": language.pgettext("how a consent came about or ended", "link to the new address"),
        ledger.STOPPED_CHANGE_METHOD: language.pgettext("how a consent came about or ended", "link to the old address"),
        "link mailed to the owner": language.pgettext("how a consent came about or ended", "one-time link in an email"),
        "link in a mail": language.pgettext("how a consent came about or ended", "preferences or unsubscribe link"),
        ledger.ADOPTION_METHOD: language.pgettext(
            "how a consent came about or ended", "suppression list of another installation"
        ),
        "import undone": language.pgettext("how a consent came about or ended", "import undone"),
        "import abandoned": language.pgettext("how a consent came about or ended", "import abandoned"),
    }
    if method.startswith(ledger.ADMIN_METHOD):
        return language.gettext("our team (%(reason)s)", reason=method.removeprefix(ledger.ADMIN_METHOD))
    return known_methods.get(method) or rephrase_import(method)


def build_record_context(
    record: Mapping[str, Any],
    facts: PublicationFacts,
    language: SubscriberLanguage = ENGLISH,
) -> dict[str, Any]:
    """Return the context of `web/record.html`: the record, its language, and a function that formats values.

    Methods, reasons, and preferences are described in words. Times in imported lists are only days
    if their hour isn't known.
    """
    parts = facts.parts
    is_imported = any("batch" in event["details"] for event in record["events"])

    def put_in_words(name: str, value: Any) -> Any:
        if name in {"method", "collection_method"} and value:
            return describe_method(value, language)
        if name == "reason" and isinstance(value, str):
            return language.translate_text(ledger.UNSUBSCRIBE_REASONS.get(value, value))
        if name in {"before", "after"} or (name == "choices" and value):
            return describe_preferences(Preferences.from_stored(value), parts, language)
        if isinstance(value, dict):
            return {key: put_in_words(key, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [put_in_words("", inner) for inner in value]
        return rephrase_imported_value(name, value) if is_imported and isinstance(value, str) else value

    return {
        "record": put_in_words("", record),
        "receives_email": _describe_receipt(record, facts.today, language),
        "default_preferences": describe_preferences(Preferences(), parts, language),
        "language": language,
        "write_value": partial(format_record_value, language=language),
        "grant_kinds": _GRANT_KINDS,
        "recipients": facts.recipients,
        "evidence_days": facts.evidence_days,
        "mail_days": facts.mail_days,
        "choices": describe_preference_options(language, facts.hidden_preferences),
    }


def rephrase_imported_value(name: str, value: str) -> str:
    """Return a value of an import's event in words for people, and a time without its hour if that isn't known."""
    if name in _IMPORTED_TIMES:
        return str(ledger.read_day_without_hour(value) or value)
    return rephrase_import(value) if name in {"method", "page", "wording"} else value


def _describe_receipt(record: Mapping[str, Any], today: date, language: SubscriberLanguage) -> str:
    """Describe whether a person receives editions on `today`: yes, no, or not until a pause ends."""
    preferences = Preferences.from_stored(record["pii_information"]["choices"])
    if record["may_be_mailed"] and preferences.pause_until and preferences.is_paused(today):
        return language.gettext("no, paused until %(day)s", day=language.full_date(preferences.pause_until))
    return language.gettext("yes") if record["may_be_mailed"] else language.gettext("no")


def format_record_value(value: Any, language: SubscriberLanguage) -> str:
    """Format a value from a record.

    Moments are in UTC, our own texts are in `language`, and everything else is shown as recorded.
    """
    if isinstance(value, list):
        return ", ".join(format_record_value(inner, language) for inner in value)
    if isinstance(value, dict):
        pairs = ((key.replace("_", " "), format_record_value(inner, language)) for key, inner in sorted(value.items()))
        return "; ".join(f"{key}: {inner}" for key, inner in pairs)
    if isinstance(value, bool):
        return language.gettext("yes") if value else language.gettext("no")
    if not isinstance(value, str):
        return str(value)
    return _format_moment(value) if _is_moment(value) else language.translate_text(_PLAIN_VALUES.get(value, value))


def _is_moment(text: str) -> bool:
    return len(text) >= 19 and text[4:5] == text[7:8] == "-" and text[10:11] == "T"


def _format_moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text
