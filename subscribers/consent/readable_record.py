"""A person's record made readable: what `transfer.exports.build_person_record` gives as JSON, in words and on paper."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from subscribers.consent import ledger
from subscribers.store.models import ConsentEvent

_GRANT_KINDS = frozenset(str(kind) for kind in ledger.GRANT_KINDS)
_FIELD_LABELS = {
    "wording": "Words agreed to",
    "wording_version": "Version of the words",
    "wording_hash": "SHA-256 of the words",
    "language": "Language",
    "page": "Page",
    "where": "Place",
    "method": "Method",
    "actor": "By",
    "asked_at": "Asked at",
    "agreed_at": "Agreed at",
    "requested_at": "Requested at",
    "left_at": "Left at",
    "reason": "Reason",
    "network_digest": "Network address, as a salted digest",
    "agent_digest": "Browser, as a salted digest",
}  # in this order; what else a link says follows by its own name


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One event, or one disclosure of the address: when (UTC), what, and the rest as (name, value)."""

    at: str
    what: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReadableRecord:
    """A record for people: `facts` and `parties` as (name, value), then what happened and where the address went."""

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
        "purpose": "to send the newsletter by e-mail",
        "lawful_basis": "consent",
        "pii_information": ["email_address", "choices"],
        "collection_method": last_consent.get("method"),
        "storage": "encrypted, with a keyed hash for look-up",
        "retention_period": "until erased; the address until 30 days after leaving at the latest",
        "withdrawal_method": "the link in every mail, by one click",
    }
    return {"privacy_notice": last_consent.get("page"), "language": last_consent.get("language"), "purposes": [purpose]}


def make_record_readable(record: Mapping[str, Any]) -> ReadableRecord:
    """Put a record into words. All times are in UTC; what is empty is left out."""
    information = record["pii_information"]
    missing = "damaged: it does not open" if information["email_address_damaged"] else "erased, or not kept any more"
    facts = (
        ("Record", record["record_id"]),
        ("Address", information["email_address"] or missing),
        ("Stands as", record["state"]),
        ("Mailed at present", "yes" if record["may_be_mailed"] else "no"),
        ("Asked for the mail", f"{_format_moment(record['asked_at'])}, {record['asked_where']}"),
        ("Choices", _format_value(information["choices"]) if information["choices"] else "none made"),
    )
    use = record.get("pii_processing", {})
    purposes = [_label_facts(purpose) for purpose in use.get("purposes", ())]
    return ReadableRecord(
        schema=record["schema_version"],
        exported_at=_format_moment(record["exported_at"]),
        facts=facts,
        processing=tuple(fact for purpose in purposes for fact in purpose),
        parties=tuple(_label_facts(party) for party in record["parties"]),
        events=tuple(_event_entry(event) for event in record["events"]),
        passages=tuple(_disclosure_entry(passage) for passage in record["recipient_third_parties"]),
    )


def _event_entry(event: Mapping[str, Any]) -> RecordEntry:
    details = dict(event["details"])
    labelled = [(name, details.pop(key)) for key, name in _FIELD_LABELS.items() if key in details]
    unlabelled = [(key.replace("_", " "), details[key]) for key in sorted(details)]
    chain = [("Link", event["sequence"]), ("Hash", event["hash"]), ("Hash before it", event["previous_hash"])]
    what = f"{event['event_type']} (consent)" if event["event_type"] in _GRANT_KINDS else event["event_type"]
    return RecordEntry(_format_moment(event["event_time"]), what, _format_pairs([*labelled, *unlabelled, *chain]))


def _disclosure_entry(disclosure: Mapping[str, Any]) -> RecordEntry:
    times = disclosure.get("times", 1)
    facts = [("Why", disclosure["purpose"]), ("Under the id", disclosure["reference"])]
    if times > 1:
        facts.append(("How often until then", times))
    return RecordEntry(_format_moment(disclosure["disclosed_at"] or ""), disclosure["recipient"], _format_pairs(facts))


def _label_facts(fields: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return _format_pairs((key.replace("_", " ").capitalize(), value) for key, value in fields.items())


def _format_pairs(pairs: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _format_value(value)) for name, value in pairs if value not in (None, "", [], {}))


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_format_value, value))
    if isinstance(value, dict):
        return "; ".join(f"{key.replace('_', ' ')}: {_format_value(inner)}" for key, inner in sorted(value.items()))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _format_moment(value) if isinstance(value, str) and _is_moment(value) else str(value)


def _is_moment(text: str) -> bool:
    return len(text) >= 19 and text[4:5] == text[7:8] == "-" and text[10:11] == "T"


def _format_moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text
