"""Normalizing SendGrid's events.

Pure functions take a request's raw body, and return events without raising errors. Events are
objects in a JSON array, with our custom argument `delivery_id` among their keys. Each contains the
subscriber's address, which is used to scrub the reason and then discarded.

A request is authenticated by an ECDSA signature (P-256, SHA-256) over the timestamp's bytes and the
raw body. The official package isn't used for this: it takes the body as text, raises errors if
something is missing, and doesn't check the time (see docs/decisions/0014-events.md).
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from digest.deliver.events.delivery_event import (
    DeliveryEvent,
    EventKind,
    hash_event_parts,
    is_refusal,
    validate_delivery_id,
)
from digest.deliver.events.failure_causes import FailureCause, find_failure_cause, format_reply_codes, parse_reply_codes
from digest.deliver.events.server_replies import scrub_addresses

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
# SendGrid retries for 24 hours, and doesn't say whether it signs each retry again. The other two
# hours allow for clocks and outages.
MAX_AGE = timedelta(hours=26)
MAX_CLOCK_SKEW = timedelta(minutes=10)  # between two machines' clocks
_MAX_SIGNATURE_LENGTH = 200  # maximum characters; 72 bytes of DER take 96
_TIMESTAMP = re.compile(r"[1-9][0-9]{8,10}")  # seconds since the epoch


def explain_webhook_refusal(
    keys: Sequence[EllipticCurvePublicKey],
    body: bytes,
    *,
    signature: str | None,
    timestamp: str | None,
    now: datetime,
) -> str:
    """Return why a request is refused, for the log only, or "" if it was signed recently with one of `keys`."""
    if not keys:
        return "no key is configured"
    if not signature or not timestamp:
        return "a header is missing"
    if not _TIMESTAMP.fullmatch(timestamp):
        return "the timestamp is invalid"
    decoded = _decode_signature(signature)
    if decoded is None:
        return "the signature isn't base64"
    if not any(_is_signed_by(key, decoded, timestamp.encode("ascii") + body) for key in keys):
        return "the signature wasn't made with our key"
    age = now - datetime.fromtimestamp(int(timestamp), UTC)
    return "" if -MAX_CLOCK_SKEW <= age <= MAX_AGE else "it was signed too long ago, or in the future"


def _decode_signature(text: str) -> bytes | None:
    if len(text) > _MAX_SIGNATURE_LENGTH or not text.isascii():
        return None
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return None


def _is_signed_by(key: EllipticCurvePublicKey, signature: bytes, signed_bytes: bytes) -> bool:
    try:
        key.verify(signature, signed_bytes, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


REPORTED_BY = "sendgrid"
IGNORED_EVENTS = frozenset({"open", "click"})  # tracking is off, and even if it were on, these wouldn't be stored
_KIND_OF_EVENT = {
    "processed": EventKind.ACCEPTED,
    "delivered": EventKind.DELIVERED,
    "deferred": EventKind.DEFERRED,
    "bounce": EventKind.BOUNCED,
    "blocked": EventKind.BOUNCED,
    "dropped": EventKind.DROPPED,
    "spamreport": EventKind.COMPLAINED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
    "group_unsubscribe": EventKind.UNSUBSCRIBED,
}
# Used if no code decides the cause. Other values of `bounce_classification` say nothing about the address.
_CAUSE_OF_CLASSIFICATION = {
    "invalid address": FailureCause.NO_MAILBOX,
    "mailbox unavailable": FailureCause.SOFT,
    "unclassified": FailureCause.SOFT,
    "content": FailureCause.POLICY,
    "reputation": FailureCause.POLICY,
    "frequency or volume too high": FailureCause.POLICY,
    "technical failure": FailureCause.NONE,
}
_CAUSE_OF_DROP_REASON = {  # a drop's `reason`, from SendGrid's own lists
    "bounced address": FailureCause.NO_MAILBOX,
    "invalid": FailureCause.NO_MAILBOX,
    "spam reporting address": FailureCause.COMPLAINED,
    "unsubscribed address": FailureCause.LEFT,
    "spam content": FailureCause.POLICY,
}


def parse_webhook_body(body: bytes, received_at: datetime) -> list[DeliveryEvent] | None:
    """Return the events in a request's body, or None if it isn't a JSON array.

    Ignored kinds of events are omitted.
    """
    try:
        items = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list):
        return None
    return [
        _parse_event(item, name, received_at)
        for item in items
        if isinstance(item, dict) and (name := read_text_value(item, "event")) not in IGNORED_EVENTS
    ]


def _parse_event(item: Mapping[str, Any], name: str, received_at: datetime) -> DeliveryEvent:
    kind = _KIND_OF_EVENT.get(name, EventKind.UNKNOWN)
    mark = read_text_value(item, "sg_event_id")
    return DeliveryEvent(
        reported_by=REPORTED_BY,
        delivery_id=validate_delivery_id(read_text_value(item, "delivery_id")),
        kind=kind,
        cause=_event_cause(item, kind),
        occurred_at=parse_timestamp(item.get("timestamp"), received_at),
        received_at=received_at,
        fingerprint=_event_fingerprint(item, name),
        provider_mark=hash_event_parts(REPORTED_BY, mark) if mark else None,
        detail=_event_detail(item, kind, name),
    )


def _event_cause(item: Mapping[str, Any], kind: EventKind) -> FailureCause:
    if kind is EventKind.DROPPED:
        return _drop_cause(read_text_value(item, "reason"))
    if kind is not EventKind.BOUNCED:
        return FailureCause.NONE
    if read_text_value(item, "type") == "blocked" or read_text_value(item, "event") == "blocked":
        # The message was rejected, not the address. SendGrid doesn't suppress the address, either.
        return FailureCause.POLICY
    classified = _CAUSE_OF_CLASSIFICATION.get(read_text_value(item, "bounce_classification").strip().lower())
    by_code = find_failure_cause(*parse_item_codes(item))
    if FailureCause.POLICY in {classified, by_code}:
        return FailureCause.POLICY
    if classified is FailureCause.NO_MAILBOX and by_code is not FailureCause.OUR_FAULT:
        return classified
    return by_code if by_code is not None else classified or FailureCause.NONE


def parse_item_codes(item: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """Return the reply code and enhanced codes of an event or of an entry in a suppression list."""
    return parse_reply_codes(read_text_value(item, "status"), read_text_value(item, "reason"))


def _drop_cause(reason: str) -> FailureCause:
    """Return the cause stated in the reason for a drop, which starts with a phrase for one of SendGrid's lists."""
    text = reason.strip().lower()
    causes = (cause for phrase, cause in _CAUSE_OF_DROP_REASON.items() if _is_phrase(text, phrase))
    return next(causes, FailureCause.NONE)


def _is_phrase(reason: str, phrase: str) -> bool:
    """Return True if a reason is exactly the given phrase. "Invalid SMTPAPI header" isn't "Invalid"."""
    return reason == phrase or reason.startswith((f"{phrase}:", f"{phrase}."))


def _event_detail(
    item: Mapping[str, Any],
    kind: EventKind,
    name: str,
) -> dict[str, str]:
    detail = {"by": REPORTED_BY}
    if kind is EventKind.UNKNOWN:
        detail["said"] = scrub_addresses(name)[:40]
    if kind is EventKind.DEFERRED or is_refusal(kind):
        address = read_text_value(item, "email")
        detail["status"] = format_reply_codes(*parse_item_codes(item))
        detail["reason"] = scrub_addresses(
            read_text_value(item, "reason") or read_text_value(item, "response"), address
        )
        detail["type"] = scrub_addresses(read_text_value(item, "type"), address)[:20]
    return {key: value for key, value in detail.items() if value}


def _event_fingerprint(item: Mapping[str, Any], name: str) -> str:
    """Return a hash that identifies an event.

    Its SendGrid ID may change between retries of a request.
    """
    reason = read_text_value(item, "reason") or read_text_value(item, "response")
    parts = (
        read_text_value(item, "sg_message_id"),
        name,
        read_text_value(item, "timestamp"),
        read_text_value(item, "delivery_id"),
    )
    return hash_event_parts(REPORTED_BY, *parts, hash_event_parts(reason))


def parse_timestamp(value: Any, received_at: datetime) -> datetime:
    """Parse a time given in seconds since the epoch.

    If it's invalid or in the future, return the time of receipt.
    """
    try:
        at = datetime.fromtimestamp(int(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return received_at
    return min(at, received_at)


def read_text_value(item: Mapping[str, Any], name: str) -> str:
    """Return an object's value as a string, or "" if it's neither a string nor a number."""
    value = item.get(name)
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
