"""Nightly pulls of SendGrid's suppression lists, whose entries are applied to subscribers.

The lists contain what events didn't report. Entries only ever remove people; deleting an entry
doesn't bring anyone back. See docs/decisions/0019-the-provider.md.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.events.delivery_event import EventKind, convert_event_to_feedback_kind
from digest.deliver.events.event_processor import apply_feedback_to_people
from digest.deliver.events.failure_causes import FailureCause, find_failure_cause, format_reply_codes
from digest.deliver.providers.kind import SuppressionPullResult
from digest.deliver.providers.sendgrid.api import SendGridApi, SendGridResponse, describe_api_failure
from digest.deliver.providers.sendgrid.events import REPORTED_BY, parse_item_codes, parse_timestamp, read_text_value
from digest.store.engine import Database
from subscribers.address import Address, AddressError, read_address
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport
from subscribers.store import people

MAX_ADDRESS_LENGTH = 254  # see RFC 5321, section 4.5.3.1.3


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    """An entry in a list.

    `feedback` is None if it says nothing against the address. `detail` doesn't contain an address.
    """

    address: Address
    feedback: DeliveryFeedbackKind | None
    at: datetime
    detail: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SuppressionPage:
    """A page of a list: the number of entries, and those whose address can be parsed."""

    size: int
    entries: tuple[SuppressionEntry, ...]


def parse_suppression_page(list_name: str, body: bytes, *, received_at: datetime) -> SuppressionPage | None:
    """Parse a page of the list `list_name`, which must be in `FEEDBACK_OF_LIST`.

    Return None if the page isn't an array of objects.
    """
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
        address = read_address(read_text_value(item, "email")[: MAX_ADDRESS_LENGTH + 1])
    except AddressError:
        return None
    status = format_reply_codes(*parse_item_codes(item))
    detail = {"list": list_name} | ({"status": status} if status else {})
    at = parse_timestamp(item.get("created"), received_at)
    return SuppressionEntry(address, FEEDBACK_OF_LIST[list_name](item), at, detail)


def _judge_codes(event: EventKind, otherwise: FailureCause, item: Mapping[str, Any]) -> DeliveryFeedbackKind | None:
    """Return the feedback that an entry's codes indicate, or else the list's default."""
    return convert_event_to_feedback_kind(event, find_failure_cause(*parse_item_codes(item)) or otherwise)


# Each list, most serious first, and the meaning of its entries.
FEEDBACK_OF_LIST: dict[str, Callable[[Mapping[str, Any]], DeliveryFeedbackKind | None]] = {
    "spam_reports": lambda _: DeliveryFeedbackKind.COMPLAINED,
    "unsubscribes": lambda _: DeliveryFeedbackKind.UNSUBSCRIBED,
    # Only the codes count: many entries on this list aren't the subscriber's fault.
    "bounces": partial(_judge_codes, EventKind.BOUNCED, FailureCause.NONE),
    "invalid_emails": partial(_judge_codes, EventKind.DROPPED, FailureCause.NO_MAILBOX),
    "blocks": lambda _: None,  # the message was rejected, not the address
}


POSITIONS_STATE_KEY = "sendgrid pull"
PAGE_SIZE = 500  # entries per page; the API's maximum
OVERLAP = timedelta(days=3)  # read again, because entries may appear late and clocks differ
# Per night, for all lists. This is half a million entries, and the next night continues from there.
MAX_PAGES = 1000
MAX_SECONDS = 600.0
PEOPLE_PER_TRANSACTION = 100
NEEDED_PERMISSION = "Suppressions (read)"
_ACCOUNT_FAILURES = frozenset({401, 429})  # requests for other lists would also fail


@dataclass(frozen=True, slots=True)
class ListPosition:
    """The position reached in reading a list. Times are in seconds since the epoch.

    Everything until `through` has been read. During a reading, when `until` is set, so have the
    first `offset` entries between `since` and `until`.
    """

    through: int = 0
    since: int = 0
    until: int = 0
    offset: int = 0

    @property
    def page_query(self) -> dict[str, int]:
        """The query parameters for the next page.

        The end is fixed during a reading, so that new entries don't shift the pages.
        """
        return {"start_time": self.since, "end_time": self.until, "limit": PAGE_SIZE, "offset": self.offset}

    def begin_reading(self, now: datetime) -> "ListPosition":
        """Return the position at which to start a new reading, or this one if a reading was interrupted."""
        if self.until:
            return self
        since = max(0, self.through - int(OVERLAP.total_seconds()))
        return ListPosition(self.through, since, int(now.timestamp()))

    def follow_page(self, page: SuppressionPage) -> "ListPosition":
        """Return the position after reading a page.

        After an empty page, everything until the fixed end has been read.
        """
        return replace(self, offset=self.offset + page.size) if page.size else ListPosition(through=self.until)


@dataclass(slots=True)
class _PullRun:
    """A run over the lists, and what remains of its limits."""

    database: Database
    keys: KeyRing
    unsubscribe_log: UnsubscribeLog
    api: SendGridApi
    now: datetime
    pages_left: int
    ends_at: float
    clock: Callable[[], float]
    result: SuppressionPullResult = field(default_factory=lambda: SuppressionPullResult("SendGrid"))

    def is_out_of_time(self) -> bool:
        """Return True if the run has used up its pages or its time."""
        return self.pages_left <= 0 or self.clock() >= self.ends_at


def pull_suppressions(
    database: Database,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    api: SendGridApi,
    *,
    now: datetime,
    max_pages: int = MAX_PAGES,
    clock: Callable[[], float] = time.monotonic,
) -> SuppressionPullResult:
    """Read the new entries of all lists, and apply them to subscribers. Idempotent.

    Unknown addresses are counted and discarded. A list that can't be read is added to the troubles,
    and the next run continues where this one stopped.

    Raises:
        OSError: the unsubscribe log couldn't be written. Unapplied entries will be read again.
    """
    run = _PullRun(database, keys, unsubscribe_log, api, now, max_pages, clock() + MAX_SECONDS, clock)
    for name in FEEDBACK_OF_LIST:
        failure = _pull_list(run, name)
        if failure is not None and (not failure.request_sent or failure.status in _ACCOUNT_FAILURES):
            break
    with database.write() as session:
        installation_hold.save_pull_troubles(session, REPORTED_BY, run.result.troubles, now=now)
    return run.result


def reset_list_positions(session: Session) -> None:
    """Delete the stored list positions, so that the next pull reads all lists completely."""
    installation_hold.delete_installation_value(session, POSITIONS_STATE_KEY)


def _pull_list(run: _PullRun, name: str) -> SendGridResponse | None:
    """Read a list to its end, page by page. If a request fails, return its response."""
    with run.database.read() as session:
        position = _list_positions(session).get(name, ListPosition()).begin_reading(run.now)
    previous_body = b""
    while not run.is_out_of_time():
        run.pages_left -= 1
        response = run.api.call("get", f"suppression/{name}", query=position.page_query)
        page, trouble = None, "SendGrid returned the same page twice"
        if response.status == 200:
            page = parse_suppression_page(name, response.body, received_at=run.now)
        if page is None:
            trouble = describe_api_failure(response, needed_permission=NEEDED_PERMISSION)
        if page is None or (page.size and response.body == previous_body):
            run.result.troubles.append(f"{name} not completely read: {trouble}")
            return response
        position = position.follow_page(page)
        _apply_page(run, name, page, position)
        if not page.size:
            return None
        previous_body = response.body
    run.result.troubles.append(f"{name} not completely read yet; the next run continues")
    return None


def _apply_page(run: _PullRun, name: str, page: SuppressionPage, position: ListPosition) -> None:
    """Apply a page, and save the new position in the last transaction."""
    matches = _match_people(run, page.entries)
    reports = [
        DeliveryFeedbackReport(number, entry.feedback, entry.at, REPORTED_BY, entry.detail)
        for number, entry in matches
        if entry.feedback is not None
    ]
    run.result.entries += page.size
    run.result.matched_people += len(matches)
    for start in range(0, max(1, len(reports)), PEOPLE_PER_TRANSACTION):
        end = start + PEOPLE_PER_TRANSACTION
        with run.database.write() as session:
            counts = apply_feedback_to_people(
                session, reports[start:end], keys=run.keys, unsubscribe_log=run.unsubscribe_log, now=run.now
            )
            if end >= len(reports):
                _save_position(session, name, position, run.now)
        by_kind = {word.removeprefix("person "): count for word, count in counts.items()}
        run.result.feedback_counts += Counter(by_kind)


def _match_people(run: _PullRun, entries: Sequence[SuppressionEntry]) -> list[tuple[int, SuppressionEntry]]:
    """Return the subscribers among a page's entries, found by keyed hash in one query."""
    with run.database.read() as session:
        numbers = people.find_person_numbers(session, run.keys, [entry.address for entry in entries])
    return [(numbers[e.address.canonical], e) for e in entries if e.address.canonical in numbers]


def _list_positions(session: Session) -> dict[str, ListPosition]:
    state = installation_hold.read_installation_value(session, POSITIONS_STATE_KEY) or {}
    return {name: ListPosition(**values) for name, values in state.items()}


def _save_position(session: Session, name: str, position: ListPosition, now: datetime) -> None:
    positions = _list_positions(session) | {name: position}
    state = {key: asdict(value) for key, value in positions.items()}
    installation_hold.write_installation_value(session, POSITIONS_STATE_KEY, state, now=now)
