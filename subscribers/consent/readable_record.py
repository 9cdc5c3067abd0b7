"""A person's record made readable: what `subscribers.transfer.exports.build_person_record` gives as JSON, in words and on paper."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from subscribers.consent import ledger
from subscribers.reader_language import ENGLISH, ReaderLanguage, mark_message
from subscribers.store.models import ConsentEvent

_GRANT_KINDS = frozenset(str(kind) for kind in ledger.GRANT_KINDS)
_WORDS_AGREED_TO = mark_message("Words agreed to")
_WORDS_SHOWN = mark_message("Words shown")
_FIELD_LABELS = {
    "wording_version": mark_message("Version of the words"),
    "wording_hash": mark_message("SHA-256 of the words"),
    "language": mark_message("Language"),
    "page": mark_message("Page"),
    "where": mark_message("Place"),
    "method": mark_message("Method"),
    "actor": mark_message("By"),
    "asked_at": mark_message("Asked at"),
    "agreed_at": mark_message("Agreed at"),
    "requested_at": mark_message("Requested at"),
    "left_at": mark_message("Left at"),
    "silent_since": mark_message("Silent since"),
    "takes_off": mark_message("Taken off without an answer"),
    "generation": mark_message("Generation of the links"),
    "request": mark_message("Answer to the entry of number"),
    "reason": mark_message("Reason"),
    "network_digest": mark_message("Network address, as a salted digest"),
    "agent_digest": mark_message("Browser, as a salted digest"),
}  # in this order; what else a link says follows by its own name
# Names and values of a record that have a translation; what is not among them stands as it was recorded.
_KNOWN_TEXTS = (
    mark_message("Purpose"),
    mark_message("Lawful basis"),
    mark_message("Pii information"),
    mark_message("Collection method"),
    mark_message("Storage"),
    mark_message("Retention period"),
    mark_message("Withdrawal method"),
    mark_message("Role"),
    mark_message("Name"),
    mark_message("Email"),
    mark_message("Address"),
    mark_message("Url"),
    mark_message("controller"),
    mark_message("consent"),
    mark_message("email_address"),
    mark_message("choices"),
    mark_message("requested"),
    mark_message("unverified"),
    mark_message("subscribed"),
    mark_message("confirmed"),
    mark_message("listed"),
    mark_message("imported"),
    mark_message("attested"),
    mark_message("withdrawn"),
    mark_message("undone"),
    mark_message("re-asked"),
    mark_message("address changed"),
    mark_message("choices changed"),
    mark_message("bounced"),
    mark_message("complained"),
    mark_message("suppressed"),
    mark_message("erased"),
    mark_message("expired"),
    mark_message("bound"),
    mark_message("links renewed"),
)


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One event, or one disclosure of the address: when (UTC), what, and the rest as (name, value)."""

    at: str
    what: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReadableRecord:
    """A record for people: `facts` and `parties` as (name, value), then what happened and where the address went."""

    language: str
    direction: str
    schema: str
    exported_at: str
    facts: tuple[tuple[str, str], ...]
    processing: tuple[tuple[str, str], ...]
    parties: tuple[tuple[tuple[str, str], ...], ...]
    events: tuple[RecordEntry, ...]
    passages: tuple[RecordEntry, ...]


def describe_processing(events: Sequence[ConsentEvent]) -> dict[str, Any]:
    """Return the part of a record that says what the address is used for, and on which ground (27560: pii_processing).

    Language, method and notice are those of the last consent among `events`, a person's chain in its order.
    """
    consents = [json.loads(event.body) for event in events if event.kind in ledger.GRANT_KINDS]
    last_consent: dict[str, Any] = consents[-1] if consents else {}
    purpose = {
        "purpose": mark_message("to send the newsletter by e-mail"),
        "lawful_basis": "consent",
        "pii_information": ["email_address", "choices"],
        "collection_method": last_consent.get("method"),
        "storage": mark_message("encrypted, with a keyed hash for look-up"),
        "retention_period": mark_message("until erased; the address until 30 days after leaving at the latest"),
        "withdrawal_method": mark_message("the link in every mail, by one click"),
    }
    return {"privacy_notice": last_consent.get("page"), "language": last_consent.get("language"), "purposes": [purpose]}


def make_record_readable(record: Mapping[str, Any], language: ReaderLanguage = ENGLISH) -> ReadableRecord:
    """Put a record into words. All times are in UTC; what is empty is left out."""
    information = record["pii_information"]
    missing = language.gettext("erased, or not kept any more")
    if information["email_address_damaged"]:
        missing = language.gettext("damaged: it does not open")
    choices = information["choices"]
    facts = (
        (language.gettext("Record"), record["record_id"]),
        (language.gettext("Address"), information["email_address"] or missing),
        (language.gettext("Stands as"), language.translate_text(record["state"])),
        (language.gettext("Mailed at present"), _format_value(record["may_be_mailed"], language)),
        (language.gettext("Asked for the mail"), f"{_format_moment(record['asked_at'])}, {record['asked_where']}"),
        (language.gettext("Choices"), _format_value(choices, language) if choices else language.gettext("none made")),
    )
    use = record.get("pii_processing", {})
    purposes = [_label_facts(purpose, language) for purpose in use.get("purposes", ())]
    return ReadableRecord(
        language=language.code,
        direction=language.direction,
        schema=record["schema_version"],
        exported_at=_format_moment(record["exported_at"]),
        facts=facts,
        processing=tuple(fact for purpose in purposes for fact in purpose),
        parties=tuple(_label_facts(party, language) for party in record["parties"]),
        events=tuple(_event_entry(event, language) for event in record["events"]),
        passages=tuple(_disclosure_entry(passage, language) for passage in record["recipient_third_parties"]),
    )


def _event_entry(event: Mapping[str, Any], language: ReaderLanguage) -> RecordEntry:
    details = dict(event["details"])
    agreed, words = event["event_type"] in _GRANT_KINDS, details.pop("wording", "")
    # A list that shows no evidence says nothing of words; where somebody agreed, it is told that nobody recorded them.
    known = agreed or "wording_hash" in details
    labelled = [(language.translate_text(_WORDS_AGREED_TO if agreed else _WORDS_SHOWN), words if known else "")]
    labelled += [
        (language.translate_text(name), details.pop(key)) for key, name in _FIELD_LABELS.items() if key in details
    ]
    unlabelled = [(key.replace("_", " "), details[key]) for key in sorted(details)]
    chain = [
        (language.gettext("Link"), event["sequence"]),
        (language.gettext("Hash"), event["hash"]),
        (language.gettext("Hash before it"), event["previous_hash"]),
    ]
    what = language.translate_text(event["event_type"])
    if agreed:
        what = language.gettext("%(event)s (consent)", event=what)
    facts = _format_pairs([*labelled, *unlabelled, *chain], language)
    return RecordEntry(_format_moment(event["event_time"]), what, facts)


def _disclosure_entry(disclosure: Mapping[str, Any], language: ReaderLanguage) -> RecordEntry:
    times = disclosure.get("times", 1)
    facts = [
        (language.gettext("Why"), language.translate_text(disclosure["purpose"])),
        (language.gettext("Under the id"), disclosure["reference"]),
    ]
    if times > 1:
        facts.append((language.gettext("How often until then"), times))
    recipient = language.translate_text(disclosure["recipient"])
    return RecordEntry(_format_moment(disclosure["disclosed_at"] or ""), recipient, _format_pairs(facts, language))


def _label_facts(fields: Mapping[str, Any], language: ReaderLanguage) -> tuple[tuple[str, str], ...]:
    labels = {key: language.translate_text(key.replace("_", " ").capitalize()) for key in fields}
    return _format_pairs(((labels[key], value) for key, value in fields.items()), language)


def _format_pairs(pairs: Iterable[tuple[str, Any]], language: ReaderLanguage) -> tuple[tuple[str, str], ...]:
    return tuple((name, _format_value(value, language)) for name, value in pairs if value not in (None, "", [], {}))


def _format_value(value: Any, language: ReaderLanguage) -> str:
    if isinstance(value, list):
        return ", ".join(_format_value(inner, language) for inner in value)
    if isinstance(value, dict):
        pairs = ((key.replace("_", " "), _format_value(inner, language)) for key, inner in sorted(value.items()))
        return "; ".join(f"{key}: {inner}" for key, inner in pairs)
    if isinstance(value, bool):
        return language.gettext("yes") if value else language.gettext("no")
    if not isinstance(value, str):
        return str(value)
    return _format_moment(value) if _is_moment(value) else language.translate_text(value)


def _is_moment(text: str) -> bool:
    return len(text) >= 19 and text[4:5] == text[7:8] == "-" and text[10:11] == "T"


def _format_moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text
