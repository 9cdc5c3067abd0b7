"""Read SendGrid's suppression lists. Pure: the body of one page in, its entries out; nothing here raises.

A list is an array of `{"created": …, "email": …}`; bounces have `reason` and `status` too, invalid addresses a `reason`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from digest.deliver.events.consequences import EventKind, feedback_of_event
from digest.deliver.events.failure_causes import FailureCause, failure_cause, format_reply_codes
from digest.deliver.providers.sendgrid.events import parse_item_codes, parse_timestamp, text_value
from subscribers.address import Address, AddressError, read_address
from subscribers.lifecycle.feedback import FeedbackKind

MAX_ADDRESS_LENGTH = 254  # characters of an address: RFC 5321, 4.5.3.1.3


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    """One entry. `feedback` is None where it says nothing against the address; `detail` holds no address."""

    address: Address
    feedback: FeedbackKind | None
    at: datetime
    detail: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SuppressionPage:
    """One page of a list: how many entries it has, and those whose address can be read."""

    size: int
    entries: tuple[SuppressionEntry, ...]


def parse_suppression_page(list_name: str, body: bytes, *, received_at: datetime) -> SuppressionPage | None:
    """Read a page of the list `list_name`, one of `FEEDBACK_OF_LIST`; None where it is no list."""
    try:
        items = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    entries = (_parse_entry(list_name, item, received_at) for item in items)
    return SuppressionPage(len(items), tuple(filter(None, entries)))


def _parse_entry(list_name: str, item: Mapping[str, Any], received_at: datetime) -> SuppressionEntry | None:
    try:
        address = read_address(text_value(item, "email")[: MAX_ADDRESS_LENGTH + 1])
    except AddressError:
        return None
    detail = {"list": list_name, "status": format_reply_codes(*parse_item_codes(item))}
    at = parse_timestamp(item.get("created"), received_at)
    return SuppressionEntry(
        address, FEEDBACK_OF_LIST[list_name](item), at, {key: value for key, value in detail.items() if value}
    )


def _bounce_feedback(item: Mapping[str, Any]) -> FeedbackKind | None:
    """Judge a bounce by its codes alone: SendGrid puts much on this list that is no reader's fault."""
    cause = failure_cause(*parse_item_codes(item))
    return feedback_of_event(EventKind.BOUNCED, cause or FailureCause.NONE)


def _invalid_address_feedback(item: Mapping[str, Any]) -> FeedbackKind | None:
    """Judge an invalid address, or one of a missing domain; a code, where there is one, decides nevertheless."""
    cause = failure_cause(*parse_item_codes(item))
    return feedback_of_event(EventKind.DROPPED, cause or FailureCause.NO_MAILBOX)


# Each list and what an entry means; the gravest is read first.
FEEDBACK_OF_LIST: dict[str, Callable[[Mapping[str, Any]], FeedbackKind | None]] = {
    "spam_reports": lambda _: FeedbackKind.COMPLAINED,
    "unsubscribes": lambda _: FeedbackKind.UNSUBSCRIBED,
    "bounces": _bounce_feedback,
    "invalid_emails": _invalid_address_feedback,
    "blocks": lambda _: None,  # the message was turned away, not the address
}
