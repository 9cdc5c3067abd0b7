"""Apply SendGrid's suppression lists to our people, every night: addresses that it does not deliver to any more.

They hold what an event did not tell us. People are only ever taken off by them; an entry that is gone from a list
brings nobody back. See docs/decisions/0019-the-provider.md.
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
from digest.deliver.events.event_processor import apply_feedback
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

MAX_ADDRESS_LENGTH = 254  # characters of an address: RFC 5321, section 4.5.3.1.3


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    """One entry. `feedback` is None where it says nothing against the address; `detail` holds no address."""

    address: Address
    feedback: DeliveryFeedbackKind | None
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
        address = read_address(read_text_value(item, "email")[: MAX_ADDRESS_LENGTH + 1])
    except AddressError:
        return None
    status = format_reply_codes(*parse_item_codes(item))
    detail = {"list": list_name} | ({"status": status} if status else {})
    at = parse_timestamp(item.get("created"), received_at)
    return SuppressionEntry(address, FEEDBACK_OF_LIST[list_name](item), at, detail)


def _judge_codes(event: EventKind, otherwise: FailureCause, item: Mapping[str, Any]) -> DeliveryFeedbackKind | None:
    """Judge an entry by its codes; without one it counts as its list says."""
    return convert_event_to_feedback_kind(event, find_failure_cause(*parse_item_codes(item)) or otherwise)


# Each list and what an entry means; the gravest is read first.
FEEDBACK_OF_LIST: dict[str, Callable[[Mapping[str, Any]], DeliveryFeedbackKind | None]] = {
    "spam_reports": lambda _: DeliveryFeedbackKind.COMPLAINED,
    "unsubscribes": lambda _: DeliveryFeedbackKind.UNSUBSCRIBED,
    # By its codes alone: SendGrid puts much on this list that is no reader's fault.
    "bounces": partial(_judge_codes, EventKind.BOUNCED, FailureCause.NONE),
    "invalid_emails": partial(_judge_codes, EventKind.DROPPED, FailureCause.NO_MAILBOX),
    "blocks": lambda _: None,  # the message was turned away, not the address
}


POSITIONS_STATE_KEY = "sendgrid pull"
PAGE_SIZE = 500  # entries a page: the most that the API gives
OVERLAP = timedelta(days=3)  # read again: an entry may appear late, and clocks differ
MAX_PAGES = 1000  # a night, of all lists: half a million entries; the next night goes on from there
MAX_SECONDS = 600.0
PEOPLE_PER_TRANSACTION = 100  # a transaction
NEEDED_PERMISSION = "Suppressions (read)"
_ACCOUNT_FAILURES = frozenset({401, 429})  # the other lists would answer the same


@dataclass(frozen=True, slots=True)
class ListPosition:
    """How far a list was read; times are seconds since 1970.

    Read is all until `through`; and while a reading goes on (`until` is set), the first `offset` entries of those between
    `since` and `until`.
    """

    through: int = 0
    since: int = 0
    until: int = 0
    offset: int = 0

    @property
    def page_query(self) -> dict[str, int]:
        """The query of the next page. The end is fixed while a list is read, so that new entries move nothing."""
        return {"start_time": self.since, "end_time": self.until, "limit": PAGE_SIZE, "offset": self.offset}

    def begin_reading(self, now: datetime) -> "ListPosition":
        """Return the position of a new reading, or of one that was cut short."""
        if self.until:
            return self
        since = max(0, self.through - int(OVERLAP.total_seconds()))
        return ListPosition(self.through, since, int(now.timestamp()))

    def follow_page(self, page: SuppressionPage) -> "ListPosition":
        """Return the position after a page; an empty one says that everything until the fixed end was read."""
        return replace(self, offset=self.offset + page.size) if page.size else ListPosition(through=self.until)


@dataclass(slots=True)
class _PullRun:
    """One run over the lists, with what is left of its limits."""

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
        """Whether the run has used up its pages or its time."""
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
    """Read what is new on every list, and apply it to our people. Repeating it changes nothing.

    Addresses that are not ours are counted and dropped. A list that cannot be read is named among the troubles, and the
    next run goes on where this one stopped.

    Raises:
        OSError: the departure log could not be written; what is not applied yet is read again.
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
    """Delete how far the lists were read: the next pull reads all of them."""
    installation_hold.delete_installation_state(session, POSITIONS_STATE_KEY)


def _pull_list(run: _PullRun, name: str) -> SendGridResponse | None:
    """Read one list to its end, page by page; return the response that ended it otherwise."""
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
    """Apply a page, and save the position with the last of it."""
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
            counts = apply_feedback(
                session, reports[start:end], keys=run.keys, unsubscribe_log=run.unsubscribe_log, now=run.now
            )
            if end >= len(reports):
                _save_position(session, name, position, run.now)
        by_kind = {word.removeprefix("person "): count for word, count in counts.items()}
        run.result.feedback_counts += Counter(by_kind)


def _match_people(run: _PullRun, entries: Sequence[SuppressionEntry]) -> list[tuple[int, SuppressionEntry]]:
    """Find our people among the entries of a page, by keyed hash, in one query."""
    with run.database.read() as session:
        numbers = people.find_person_numbers(session, run.keys, [entry.address for entry in entries])
    return [(numbers[e.address.canonical], e) for e in entries if e.address.canonical in numbers]


def _list_positions(session: Session) -> dict[str, ListPosition]:
    state = installation_hold.read_installation_state(session, POSITIONS_STATE_KEY) or {}
    return {name: ListPosition(**values) for name, values in state.items()}


def _save_position(session: Session, name: str, position: ListPosition, now: datetime) -> None:
    positions = _list_positions(session) | {name: position}
    state = {key: asdict(value) for key, value in positions.items()}
    installation_hold.write_installation_state(session, POSITIONS_STATE_KEY, state, now=now)
