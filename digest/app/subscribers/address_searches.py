"""Searches for a part of an email address.

Each search runs in a child process, and its results are kept only in memory. The search text is
part of someone's address, so it's never stored. The audit log records who searched and why.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import bindparam, select

from digest.app.accounts.sign_in import SignedInStaff
from digest.app.subscribers.child_work import Report, WorkStoppedError, run_in_child
from digest.app.subscribers.subscriber_views import SEARCH, count_subscribers
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.engine import open_database
from subscribers.consent import subscriber_list
from subscribers.consent.subscriber_list import ListedSubscriber
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import decrypt_addresses
from subscribers.errors import RefusalError
from subscribers.loggers import get_logger
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import Person, table_of

MAX_FOUND = 100  # people; if there are more, the page asks for a longer text
MAX_RUNNING = 2  # at the same time
RESULT_LIFETIME = timedelta(minutes=15)

log = get_logger("people")

SearchWork = Callable[[Settings, str, Report], bool]


class SearchBusyError(RefusalError):
    """Raised if the maximum number of searches is already running."""


class SearchStage(StrEnum):
    """The state of a search."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by the person who started it
    REPLACED = "replaced"  # by a later search from the same sign-in
    FULL = "full"  # more were found than can be shown
    FAILED = "failed"


@dataclass(slots=True)
class AddressSearch:
    """A search: its text and reason, its progress, and the people found so far.

    It belongs to the sign-in that started it.
    """

    part: str
    reason: str
    sign_in: str
    began_at: datetime
    total: int
    searched_count: int = 0
    found_numbers: list[int] = field(default_factory=list)
    stage: SearchStage = SearchStage.RUNNING
    seconds: float = 0.0  # elapsed
    stop_asked: threading.Event = field(default_factory=threading.Event)
    is_replaced: bool = False  # True while it's being stopped because another search was started
    thread: threading.Thread | None = None

    @property
    def seconds_left(self) -> int:
        """An estimate of the remaining seconds, based on the speed so far, or 0 if that's unknown."""
        return (
            round(self.seconds * (self.total - self.searched_count) / self.searched_count) if self.searched_count else 0
        )

    def run(self, installation: Installation, work: SearchWork) -> None:
        """Search all addresses in a child process, until the search is done, stopped, or full."""
        began = time.monotonic()

        def note_step(searched_count: int, numbers: tuple[int, ...]) -> None:
            self.searched_count += searched_count
            self.found_numbers += numbers
            self.seconds = time.monotonic() - began

        try:
            is_full = run_in_child(
                work, installation.settings, self.part, on_progress=note_step, stop_asked=self.stop_asked
            )
        except WorkStoppedError:
            self.stage = SearchStage.REPLACED if self.is_replaced else SearchStage.STOPPED
        except Exception as exc:  # noqa: BLE001 - no caller handles it; the page shows the failure
            log.error("an address search failed", error=type(exc).__name__)  # noqa: TRY400 - the child logged why
            self.stage = SearchStage.FAILED
        else:
            if is_full:
                del self.found_numbers[MAX_FOUND:]
                self.stage = SearchStage.FULL
            else:
                self.total, self.stage = self.searched_count, SearchStage.DONE


def search_addresses_in_child(settings: Settings, part: str, report: Report) -> bool:
    """Search all addresses in a child process, step by step.

    Return True if more addresses matched than can be shown.
    """
    match_count = 0
    with closing(open_database(settings.effective_database_url)) as database:
        keys = Installation(settings, database).keys
        for step in search_addresses(database, keys, part):
            report(step.searched_count, step.matching_numbers)
            match_count += len(step.matching_numbers)
            if match_count > MAX_FOUND:
                return True
    return False


class AddressSearches:
    """The searches of a process, by the random names in the URLs of their pages.

    They're kept only in memory.
    """

    def __init__(self, *, work: SearchWork = search_addresses_in_child) -> None:
        self._work = work
        self._searches: dict[str, AddressSearch] = {}
        self._lock = threading.Lock()

    def begin(
        self, installation: Installation, staff: SignedInStaff, part_text: str, reason: str, *, now: datetime
    ) -> str:
        """Start a search and return its name.

        An earlier search from the same sign-in is stopped.

        Raises:
            NotPermittedError: the member isn't an admin.
            SearchTextError: the text can't be searched for.
            SearchBusyError: too many other searches are running.
        """
        part = parse_search_text(part_text)
        total = count_subscribers(installation.database, now=now).total
        search = AddressSearch(part, reason, staff.sign_in, now, total)
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._drop_old(now)
            for earlier in self._searches.values():
                if earlier.sign_in == staff.sign_in and not earlier.stop_asked.is_set():
                    earlier.is_replaced = True
                    earlier.stop_asked.set()
            running_searches = [
                s for s in self._searches.values() if s.stage is SearchStage.RUNNING and not s.stop_asked.is_set()
            ]
            if len(running_searches) >= MAX_RUNNING:
                raise SearchBusyError("Two other searches are running. Try again in a few seconds.")
            with SEARCH.transaction(installation, staff.actor, "the list", now=now) as (_, draft):
                draft.detail = {"why": reason}
            self._searches[name] = search
        search.thread = threading.Thread(
            target=search.run, args=(installation, self._work), name="address search", daemon=True
        )
        search.thread.start()
        return name

    def find(self, name: str, staff: SignedInStaff, *, now: datetime) -> AddressSearch | None:
        """Return the search with this name if it belongs to the given sign-in.

        Return None if the search has expired or belongs to another sign-in.
        """
        with self._lock:
            self._drop_old(now)
            search = self._searches.get(name)
        return search if search is not None and search.sign_in == staff.sign_in else None

    def _drop_old(self, now: datetime) -> None:
        for name, search in list(self._searches.items()):
            if search.began_at + RESULT_LIFETIME <= now:
                search.stop_asked.set()
                del self._searches[name]


def list_found_subscribers(installation: Installation, search: AddressSearch) -> tuple[ListedSubscriber, ...]:
    """Return the subscribers that a search has found so far, without their addresses."""
    with installation.read() as session:
        return subscriber_list.load_subscribers(session, search.found_numbers[:MAX_FOUND])


MIN_PART_LENGTH, MAX_PART_LENGTH = 4, 100  # characters
PAGE_SIZE = 2000  # addresses per query, which is one step

_TABLE = table_of(Person)
_NEXT_ADDRESSES = (
    select(_TABLE.c.number, _TABLE.c.ciphertext, _TABLE.c.key_id)
    .where(_TABLE.c.number > bindparam("after"), _TABLE.c.ciphertext.is_not(None))
    .order_by(_TABLE.c.number)
    .limit(PAGE_SIZE)
)


class SearchTextError(RefusalError):
    """Raised if a text can't be searched for.

    The message says why, without quoting the text.
    """


@dataclass(frozen=True, slots=True)
class SearchStepResult:
    """The number of addresses searched in a step, and the numbers of people whose addresses match."""

    searched_count: int
    matching_numbers: tuple[int, ...]


def parse_search_text(text: str) -> str:
    """Return a search text in its normalized form.

    Raises:
        SearchTextError: the text is too short, too long, or not printable ASCII.
    """
    part = text.strip().lower()
    if not MIN_PART_LENGTH <= len(part) <= MAX_PART_LENGTH or not part.isascii() or not part.isprintable():
        raise SearchTextError(
            f"Enter {MIN_PART_LENGTH} to {MAX_PART_LENGTH} characters of an address. For a domain with non-English "
            "letters, use its xn--… form."
        )
    return part


def search_addresses(database: PeopleDatabase, keys: KeyRing, part: str) -> Iterator[SearchStepResult]:
    """Search all addresses in order, and yield the result of each step.

    Each address is decrypted and searched for `part`, ignoring case. Addresses that can't be
    decrypted are skipped, and the number of the person is logged.

    Raises:
        KeyFileError: an address was encrypted with a key that isn't in the key file.
    """
    after, part_bytes = 0, part.encode()
    while True:
        with database.read() as session:
            rows = session.connection().execute(_NEXT_ADDRESSES, {"after": after}).all()
        if not rows:
            return
        matching_numbers = []
        for row, address in zip(rows, decrypt_addresses(keys, rows), strict=True):
            if address is None:
                log.error("an address can't be decrypted", person=row[0])
            elif part_bytes in address.lower():
                matching_numbers.append(row[0])
        yield SearchStepResult(len(rows), tuple(matching_numbers))
        after = rows[-1][0]
