"""Apply SendGrid's suppression lists to our people, every night: addresses that it does not deliver to any more.

They hold what an event did not tell us. People are only ever taken off by them; an entry that is gone from a list
brings nobody back. See docs/decisions/0019-the-provider.md.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.deliver.control import installation_state
from digest.deliver.events.processor import apply_feedback
from digest.deliver.providers.kind import PullResult
from digest.deliver.providers.sendgrid import suppression_lists
from digest.deliver.providers.sendgrid.api import SendGridApi, SendGridResponse, describe_api_failure
from digest.deliver.providers.sendgrid.events import REPORTED_BY
from digest.deliver.providers.sendgrid.suppression_lists import SuppressionEntry, SuppressionPage
from digest.store.engine import Database
from subscribers.consent.departure_log import DepartureLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.feedback import FeedbackReport
from subscribers.store import people

POSITIONS_STATE_KEY = "sendgrid pull"
TROUBLES_STATE_KEY = "sendgrid pull trouble"  # what the last run could not read; deleted once all was read
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

    def finish_reading(self) -> "ListPosition":
        """Return the position once everything until the fixed end was read."""
        return ListPosition(through=self.until)


@dataclass(slots=True)
class _PullRun:
    """One run over the lists, with what is left of its limits."""

    database: Database
    keys: KeyRing
    departure_log: DepartureLog
    api: SendGridApi
    now: datetime
    pages_left: int
    ends_at: float
    clock: Callable[[], float]
    result: PullResult = field(default_factory=lambda: PullResult("SendGrid"))

    def is_out_of_time(self) -> bool:
        """Whether the run has used up its pages or its time."""
        return self.pages_left <= 0 or self.clock() >= self.ends_at


def pull_suppressions(
    database: Database,
    keys: KeyRing,
    departure_log: DepartureLog,
    api: SendGridApi,
    *,
    now: datetime,
    max_pages: int = MAX_PAGES,
    clock: Callable[[], float] = time.monotonic,
) -> PullResult:
    """Read what is new on every list, and apply it to our people. Repeating it changes nothing.

    Addresses that are not ours are counted and dropped. A list that cannot be read is named among the troubles, and the
    next run goes on where this one stopped.

    Raises:
        OSError: the departure log could not be written; what is not applied yet is read again.
    """
    run = _PullRun(database, keys, departure_log, api, now, max_pages, clock() + MAX_SECONDS, clock)
    for name in suppression_lists.FEEDBACK_OF_LIST:
        failure = _pull_list(run, name)
        if failure is not None and (not failure.request_sent or failure.status in _ACCOUNT_FAILURES):
            break
    with database.write() as session:
        _save_troubles(session, run.result.troubles, now)
    return run.result


def last_pull_trouble(session: Session) -> str:
    """Return what the last run could not read, and why; empty where all is well."""
    state = installation_state.read_installation_state(session, TROUBLES_STATE_KEY)
    return "; ".join(state["troubles"]) if state else ""


def reset_list_positions(session: Session) -> None:
    """Delete how far the lists were read: the next pull reads all of them."""
    installation_state.delete_installation_state(session, POSITIONS_STATE_KEY)


def _pull_list(run: _PullRun, name: str) -> SendGridResponse | None:
    """Read one list to its end, page by page; return the response that ended it otherwise."""
    with run.database.read() as session:
        position = _list_positions(session).get(name, ListPosition()).begin_reading(run.now)
    previous_body = b""
    while not run.is_out_of_time():
        run.pages_left -= 1
        response = run.api.call("get", f"suppression/{name}", query=position.page_query)
        page, trouble = None, "SendGrid gives the same page twice"
        if response.status == 200:
            page = suppression_lists.parse_suppression_page(name, response.body, received_at=run.now)
        if page is None:
            trouble = describe_api_failure(response, needed_permission=NEEDED_PERMISSION)
        if page is None or (page.size and response.body == previous_body):
            run.result.troubles.append(f"{name} not read whole: {trouble}")
            return response
        position = replace(position, offset=position.offset + page.size) if page.size else position.finish_reading()
        _apply_page(run, name, page, position)
        if not page.size:
            return None
        previous_body = response.body
    run.result.troubles.append(f"{name} not read whole yet: the next run goes on")
    return None


def _apply_page(run: _PullRun, name: str, page: SuppressionPage, position: ListPosition) -> None:
    """Apply a page, and save the position with the last of it."""
    matches = _match_people(run, page.entries)
    reports = [
        FeedbackReport(number, entry.feedback, entry.at, REPORTED_BY, entry.detail)
        for number, entry in matches
        if entry.feedback is not None
    ]
    run.result.entries += page.size
    run.result.matched_people += len(matches)
    for start in range(0, max(1, len(reports)), PEOPLE_PER_TRANSACTION):
        end = start + PEOPLE_PER_TRANSACTION
        with run.database.write() as session:
            counts = apply_feedback(
                session, reports[start:end], keys=run.keys, departure_log=run.departure_log, now=run.now
            )
            if end >= len(reports):
                _save_position(session, name, position, run.now)
        run.result.feedback_counts += Counter({word.removeprefix("person "): n for word, n in counts.items()})


def _match_people(run: _PullRun, entries: Sequence[SuppressionEntry]) -> list[tuple[int, SuppressionEntry]]:
    """Find our people among the entries of a page, by keyed hash, in one query."""
    with run.database.read() as session:
        numbers = people.find_person_numbers(session, run.keys, [entry.address for entry in entries])
    return [(numbers[e.address.canonical], e) for e in entries if e.address.canonical in numbers]


def _list_positions(session: Session) -> dict[str, ListPosition]:
    state = installation_state.read_installation_state(session, POSITIONS_STATE_KEY) or {}
    return {name: ListPosition(**values) for name, values in state.items()}


def _save_position(session: Session, name: str, position: ListPosition, now: datetime) -> None:
    state = {key: asdict(value) for key, value in (_list_positions(session) | {name: position}).items()}
    installation_state.write_installation_state(session, POSITIONS_STATE_KEY, state, now=now)


def _save_troubles(session: Session, troubles: Sequence[str], now: datetime) -> None:
    if troubles:
        installation_state.write_installation_state(session, TROUBLES_STATE_KEY, {"troubles": list(troubles)}, now=now)
    else:
        installation_state.delete_installation_state(session, TROUBLES_STATE_KEY)
