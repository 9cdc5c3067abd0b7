"""SendGrid's suppression lists in our words. Pure: the body of one page in, what it says of whom out; nothing raises.

A list is an array of `{"created": …, "email": …}`; bounces have `reason` and `status` too, invalid addresses a `reason`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from digest.deliver.causes import Cause, cause_of, codes
from digest.deliver.inbound.sendgrid import moment, text
from digest.deliver.judging import Kind, word_of
from subscribers.addresses import Address, AddressError, read_address
from subscribers.heeding import Word

LONGEST = 254  # characters of an address: RFC 5321, 4.5.3.1.3


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry. `word` is None where it says nothing against the address; `detail` may be kept: no address."""

    address: Address
    word: Word | None
    at: datetime
    detail: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: how many entries it has, and those with an address that can be read."""

    size: int
    entries: tuple[Listed, ...]


def read(name: str, body: bytes, *, received_at: datetime) -> Page | None:
    """Read a page of the list `name`, one of `WORDS`; None where it is no list."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        return None
    found = (_listed(name, one, received_at) for one in told)
    return Page(len(told), tuple(entry for entry in found if entry is not None))


def _listed(name: str, one: Mapping[str, Any], received_at: datetime) -> Listed | None:
    try:
        address = read_address(text(one, "email")[: LONGEST + 1])
    except AddressError:
        return None
    code, statuses = codes(text(one, "status"), text(one, "reason"))
    detail = {"list": name, "status": " ".join(filter(None, (code, *sorted(statuses))))}
    at = moment(one.get("created"), received_at)
    return Listed(address, WORDS[name](one), at, {key: value for key, value in detail.items() if value})


def _bounced(one: Mapping[str, Any]) -> Word | None:
    """By its codes alone: SendGrid puts much on this list that is no reader's fault."""
    cause = cause_of(*codes(text(one, "status"), text(one, "reason")))
    return word_of(Kind.BOUNCED, cause or Cause.NONE)


def _invalid(one: Mapping[str, Any]) -> Word | None:
    """Not an address, or a domain that is not there; a code, where one is given, decides nevertheless."""
    cause = cause_of(*codes(text(one, "status"), text(one, "reason")))
    return word_of(Kind.DROPPED, cause or Cause.NO_MAILBOX)


# Each list and what standing in it means; the gravest is read first.
WORDS: dict[str, Callable[[Mapping[str, Any]], Word | None]] = {
    "spam_reports": lambda _: Word.COMPLAINED,
    "unsubscribes": lambda _: Word.LEFT,
    "bounces": _bounced,
    "invalid_emails": _invalid,
    "blocks": lambda _: None,  # the message was turned away, not the address
}
