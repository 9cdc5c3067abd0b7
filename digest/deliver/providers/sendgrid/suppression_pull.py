"""Every night: whom SendGrid will not deliver to any more, taken over from its suppression lists.

It is the net below the webhook: what an event did not tell us stands there. People are only ever taken off by it;
that an entry is gone from a list brings nobody back. See docs/decisions/0019-the-provider.md.
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
TROUBLES_STATE_KEY = "sendgrid pull trouble"  # what the last run could not read; forgotten once all was read
PAGE_SIZE = 500  # entries a page: the most that the API gives
OVERLAP = timedelta(days=3)  # read again: an entry may show up late, and clocks differ
MAX_PAGES = 1000  # a night, of all lists: half a million entries; the next night goes on from there
MAX_SECONDS = 600.0
PEOPLE_PER_TRANSACTION = 100  # a transaction
NEEDED_PERMISSION = "Suppressions (read)"
_ACCOUNT_FAILURES = frozenset({401, 429})  # the other lists would answer the same


@dataclass(frozen=True, slots=True)
class ListPosition:
    """How far a list was read; times are seconds since 1970.

    All that was on it until `through`; and where a reading goes on (`until` is set), the first `offset` entries
    of those between `since` and `until`.
    """

    through: int = 0
    since: int = 0
    until: int = 0
    offset: int = 0

    @property
    def page_query(self) -> dict[str, int]:
        """Ask for the next page. The end is fixed while a list is read, so that new entries move nothing."""
        return {"start_time": self.since, "end_time": self.until, "limit": PAGE_SIZE, "offset": self.offset}

    def begin_reading(self, now: datetime) -> "ListPosition":
        """Begin a reading, or go on with one that was cut short."""
        if self.until:
            return self
        since = max(0, self.through - int(OVERLAP.total_seconds()))
        return ListPosition(self.through, since, int(now.timestamp()))

    def finish_reading(self) -> "ListPosition":
        """Everything until the fixed end was read."""
        return ListPosition(through=self.until)


@dataclass(slots=True)
class _PullRun:
    """One run over the lists, with what is left of its bounds."""

    database: Database
    keys: KeyRing
    journal: DepartureLog
    api: SendGridApi
    now: datetime
    pages_left: int
    ends_at: float
    clock: Callable[[], float]
    result: PullResult = field(default_factory=lambda: PullResult("SendGrid"))

    def is_out_of_time(self) -> bool:
        """Say whether the night is over."""
        return self.pages_left <= 0 or self.clock() >= self.ends_at


def pull_suppressions(
    database: Database,
    keys: KeyRing,
    journal: DepartureLog,
    api: SendGridApi,
    *,
    now: datetime,
    max_pages: int = MAX_PAGES,
    clock: Callable[[], float] = time.monotonic,
) -> PullResult:
    """Read what is new on every list, and do to our people what it says. Repeating it changes nothing.

    Addresses that are not ours are counted and dropped. A list that cannot be read is said, and the next
    run goes on where this one stopped.

    Raises:
        OSError: the journal could not be written; what is not applied yet is read again.
    """
    run = _PullRun(database, keys, journal, api, now, max_pages, clock() + MAX_SECONDS, clock)
    for name in suppression_lists.FEEDBACK_OF_LIST:
        answer = _pull_list(run, name)
        if answer is not None and (not answer.request_sent or answer.status in _ACCOUNT_FAILURES):
            break
    with database.write() as session:
        _save_troubles(session, run.result.troubles, now)
    return run.result


def last_pull_trouble(session: Session) -> str:
    """Say what the last run could not read, and why; empty where all is well."""
    found = installation_state.read_installation_state(session, TROUBLES_STATE_KEY)
    return "; ".join(found["troubles"]) if found else ""


def reset_list_positions(session: Session) -> None:
    """Forget how far the lists were read: the next pull reads all that stands on them."""
    installation_state.delete_installation_state(session, POSITIONS_STATE_KEY)


def _pull_list(run: _PullRun, name: str) -> SendGridResponse | None:
    """Read one list to its end, page by page; give the answer that ended it otherwise."""
    with run.database.read() as session:
        place = _list_positions(session).get(name, ListPosition()).begin_reading(run.now)
    before = b""
    while not run.is_out_of_time():
        run.pages_left -= 1
        answer = run.api.call("get", f"suppression/{name}", query=place.page_query)
        page = (
            suppression_lists.parse_suppression_page(name, answer.body, received_at=run.now)
            if answer.status == 200
            else None
        )
        if page is None or (page.size and answer.body == before):
            said = (
                describe_api_failure(answer, needed_permission=NEEDED_PERMISSION)
                if page is None
                else "SendGrid gives the same page twice"
            )
            run.result.troubles.append(f"{name} not read whole: {said}")
            return answer
        place = replace(place, offset=place.offset + page.size) if page.size else place.finish_reading()
        _apply_page(run, name, page, place)
        if not page.size:
            return None
        before = answer.body
    run.result.troubles.append(f"{name} not read whole yet: the next run goes on")
    return None


def _apply_page(run: _PullRun, name: str, page: SuppressionPage, position: ListPosition) -> None:
    """Do what a page says, and remember with the last of it that it was read."""
    known = _match_people(run, page.entries)
    reports = [_feedback_report(number, entry) for number, entry in known if entry.feedback is not None]
    run.result.entries += page.size
    run.result.matched_people += len(known)
    parts = [reports[at : at + PEOPLE_PER_TRANSACTION] for at in range(0, len(reports), PEOPLE_PER_TRANSACTION)] or [[]]
    for last, part in ((part is parts[-1], part) for part in parts):
        with run.database.write() as session:
            counts = apply_feedback(session, part, keys=run.keys, departure_log=run.journal, now=run.now)
            if last:
                _save_position(session, name, position, run.now)
        run.result.feedback_counts += Counter({word.removeprefix("person "): n for word, n in counts.items()})


def _match_people(run: _PullRun, entries: Sequence[SuppressionEntry]) -> list[tuple[int, SuppressionEntry]]:
    """Find our people among the entries: by keyed hash, all of a page with one look."""
    with run.database.read() as session:
        numbers = people.find_person_numbers(session, run.keys, [entry.address for entry in entries])
    return [(numbers[e.address.canonical], e) for e in entries if e.address.canonical in numbers]


def _feedback_report(number: int, entry: SuppressionEntry) -> FeedbackReport:
    assert entry.feedback is not None
    return FeedbackReport(number, entry.feedback, entry.at, REPORTED_BY, entry.detail)


def _list_positions(session: Session) -> dict[str, ListPosition]:
    return {
        name: ListPosition(**said)
        for name, said in (installation_state.read_installation_state(session, POSITIONS_STATE_KEY) or {}).items()
    }


def _save_position(session: Session, name: str, position: ListPosition, now: datetime) -> None:
    places = _list_positions(session) | {name: position}
    installation_state.write_installation_state(
        session, POSITIONS_STATE_KEY, {one: asdict(where) for one, where in places.items()}, now=now
    )


def _save_troubles(session: Session, troubles: Sequence[str], now: datetime) -> None:
    if troubles:
        installation_state.write_installation_state(session, TROUBLES_STATE_KEY, {"troubles": list(troubles)}, now=now)
    else:
        installation_state.delete_installation_state(session, TROUBLES_STATE_KEY)
