"""SendGrid's words for what happened, in ours. Pure: the raw body of a post in, events out; nothing here raises.

Its events are objects of a JSON array, our custom argument `delivery_id` among their keys. The reader's address
stands in each: it is used to scrub the reason with, and goes no further.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from digest.deliver.causes import Cause, cause_of, codes
from digest.deliver.events import Said, delivery_named, hashed
from digest.deliver.judging import Kind
from digest.deliver.replies import scrub

BY = "sendgrid"
IGNORED = frozenset({"open", "click"})  # tracking is off; were it on, we would still not want to know
_KINDS = {
    "processed": Kind.ACCEPTED,
    "delivered": Kind.DELIVERED,
    "deferred": Kind.DEFERRED,
    "bounce": Kind.BOUNCED,
    "blocked": Kind.BOUNCED,
    "dropped": Kind.DROPPED,
    "spamreport": Kind.COMPLAINED,
    "unsubscribe": Kind.UNSUBSCRIBED,
    "group_unsubscribe": Kind.UNSUBSCRIBED,
}
# `bounce_classification`, where no code decides; the others say nothing about an address
_CLASSES = {
    "invalid address": Cause.NO_MAILBOX,
    "mailbox unavailable": Cause.SOFT,
    "unclassified": Cause.SOFT,
    "content": Cause.POLICY,
    "reputation": Cause.POLICY,
    "frequency or volume too high": Cause.POLICY,
    "technical failure": Cause.NONE,
}
_DROPPED = {  # `reason` of a drop: what SendGrid's own lists say
    "bounced address": Cause.NO_MAILBOX,
    "invalid": Cause.NO_MAILBOX,
    "spam reporting address": Cause.COMPLAINED,
    "unsubscribed address": Cause.LEFT,
    "spam content": Cause.POLICY,
}


def read(body: bytes, *, received_at: datetime) -> list[Said] | None:
    """Give the events of a posted body, without those that are ignored; None where it is no array of events."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, list):
        return None
    return list(_events(told, received_at))


def _events(told: list[Any], received_at: datetime) -> Iterator[Said]:
    for one in told:
        if isinstance(one, dict) and (name := text(one, "event")) not in IGNORED:
            yield _said(one, name, received_at)


def _said(one: Mapping[str, Any], name: str, received_at: datetime) -> Said:
    kind = _KINDS.get(name, Kind.UNKNOWN)
    mark = text(one, "sg_event_id")
    return Said(
        by=BY,
        delivery=delivery_named(text(one, "delivery_id")),
        kind=kind,
        cause=_cause(one, kind),
        at=moment(one.get("timestamp"), received_at),
        received_at=received_at,
        fingerprint=_fingerprint(one, name),
        provider_mark=hashed(BY, mark) if mark else None,
        detail=_detail(one, kind, name),
    )


def _cause(one: Mapping[str, Any], kind: Kind) -> Cause:
    if kind is Kind.DROPPED:
        return _dropped(text(one, "reason"))
    if kind is not Kind.BOUNCED:
        return Cause.NONE
    if text(one, "type") == "blocked" or text(one, "event") == "blocked":
        return (
            Cause.POLICY
        )  # the message was turned away, not the address; SendGrid itself does not suppress it
    told = _CLASSES.get(text(one, "bounce_classification").strip().lower())
    by_code = cause_of(*codes(text(one, "status"), text(one, "reason")))
    if Cause.POLICY in {told, by_code}:
        return Cause.POLICY
    if told is Cause.NO_MAILBOX and by_code is not Cause.OURS:
        return told
    return by_code if by_code is not None else told or Cause.NONE


def _dropped(reason: str) -> Cause:
    """Read a drop's reason: SendGrid's own words for its own lists, at the beginning of the text."""
    said = reason.strip().lower()
    return next((cause for words, cause in _DROPPED.items() if _begins(said, words)), Cause.NONE)


def _begins(said: str, words: str) -> bool:
    """Whether a reason is just these words: "Invalid SMTPAPI header" is not "Invalid"."""
    return said == words or said.startswith((f"{words}:", f"{words}."))


def _detail(one: Mapping[str, Any], kind: Kind, name: str) -> dict[str, str]:
    said = {"by": BY}
    if kind is Kind.UNKNOWN:
        said["said"] = scrub(name)[:40]
    if kind in {Kind.BOUNCED, Kind.DROPPED, Kind.DEFERRED}:
        address = text(one, "email")
        code, statuses = codes(text(one, "status"), text(one, "reason"))
        said["status"] = " ".join(filter(None, (code, *sorted(statuses))))
        said["reason"] = scrub(text(one, "reason") or text(one, "response"), address)
        said["type"] = scrub(text(one, "type"), address)[:20]
    return {key: value for key, value in said.items() if value}


def _fingerprint(one: Mapping[str, Any], name: str) -> str:
    """Hash what makes an event itself: its id at SendGrid may change from one try of a post to the next."""
    reason = text(one, "reason") or text(one, "response")
    said = (text(one, "sg_message_id"), name, text(one, "timestamp"), text(one, "delivery_id"))
    return hashed(BY, *said, hashed(reason))


def moment(value: Any, received_at: datetime) -> datetime:
    """Read a time in seconds since 1970; what is none, or lies in the future, is the time at which it came."""
    try:
        at = datetime.fromtimestamp(int(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return received_at
    return min(at, received_at)


def text(one: Mapping[str, Any], name: str) -> str:
    """Give a value of an object as text; what is neither text nor number is empty."""
    value = one.get(name)
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
