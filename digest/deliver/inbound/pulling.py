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

from digest.db import Database
from digest.deliver import memos
from digest.deliver.events import heed_all
from digest.deliver.inbound import sendgrid_lists
from digest.deliver.inbound.sendgrid import BY
from digest.deliver.inbound.sendgrid_lists import Listed, Page
from digest.deliver.transports.sendgrid_api import Answer, Api, trouble
from subscribers import people
from subscribers.heeding import Report
from subscribers.journal import Journal
from subscribers.vault import Keys

MEMO = "sendgrid pull"
TROUBLE = "sendgrid pull trouble"  # what the last run could not read; forgotten once all was read
LIMIT = 500  # entries a page: the most that the API gives
OVERLAP = timedelta(days=3)  # read again: an entry may show up late, and clocks differ
MOST_PAGES = 1000  # a night, of all lists: half a million entries; the next night goes on from there
MOST_SECONDS = 600.0
PEOPLE = 100  # a transaction
NEEDS = "Suppressions (read)"
_TELLS_OF_THE_ACCOUNT = frozenset({401, 429})  # the other lists would answer the same


@dataclass(frozen=True, slots=True)
class Place:
    """How far a list was read; times are seconds since 1970.

    All that was on it until `through`; and where a reading goes on (`until` is set), the first `offset` entries
    of those between `since` and `until`.
    """

    through: int = 0
    since: int = 0
    until: int = 0
    offset: int = 0

    @property
    def query(self) -> dict[str, int]:
        """Ask for the next page. The end is fixed while a list is read, so that new entries move nothing."""
        return {"start_time": self.since, "end_time": self.until, "limit": LIMIT, "offset": self.offset}

    def begun(self, now: datetime) -> "Place":
        """Begin a reading, or go on with one that was cut short."""
        if self.until:
            return self
        since = max(0, self.through - int(OVERLAP.total_seconds()))
        return Place(self.through, since, int(now.timestamp()))

    def ended(self) -> "Place":
        """Everything until the fixed end was read."""
        return Place(through=self.until)


@dataclass(slots=True)
class Pulled:
    """What a pull came to. `words` counts people whom a word moved; `troubles` are lists that could not be read whole."""

    entries: int = 0
    ours: int = 0
    words: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in one line."""
        counted = ", ".join(f"{count:,} {word}" for word, count in sorted(self.words.items())) or "nobody new"
        said = f"SendGrid's lists: {counted} ({self.entries:,} entries, {self.ours:,} of our people)"
        return "; ".join([said, *self.troubles])


@dataclass(slots=True)
class _Run:
    """One run over the lists, with what is left of its bounds."""

    database: Database
    keys: Keys
    journal: Journal
    api: Api
    now: datetime
    pages: int
    ends: float
    clock: Callable[[], float]
    pulled: Pulled = field(default_factory=Pulled)

    def spent(self) -> bool:
        """Say whether the night is over."""
        return self.pages <= 0 or self.clock() >= self.ends


def pull(
    database: Database,
    keys: Keys,
    journal: Journal,
    api: Api,
    *,
    now: datetime,
    most_pages: int = MOST_PAGES,
    clock: Callable[[], float] = time.monotonic,
) -> Pulled:
    """Read what is new on every list, and do to our people what it says. Repeating it changes nothing.

    Addresses that are not ours are counted and dropped. A list that cannot be read is said, and the next
    run goes on where this one stopped.

    Raises:
        OSError: the journal could not be written; what is not applied yet is read again.
    """
    run = _Run(database, keys, journal, api, now, most_pages, clock() + MOST_SECONDS, clock)
    for name in sendgrid_lists.WORDS:
        answer = _pull_list(run, name)
        if answer is not None and (not answer.sent or answer.status in _TELLS_OF_THE_ACCOUNT):
            break
    with database.write() as session:
        _remember_troubles(session, run.pulled.troubles, now)
    return run.pulled


def trouble_of_last_run(session: Session) -> str:
    """Say what the last run could not read, and why; empty where all is well."""
    found = memos.recall(session, TROUBLE)
    return "; ".join(found["troubles"]) if found else ""


def start_over(session: Session) -> None:
    """Forget how far the lists were read: the next pull reads all that stands on them."""
    memos.forget(session, MEMO)


def _pull_list(run: _Run, name: str) -> Answer | None:
    """Read one list to its end, page by page; give the answer that ended it otherwise."""
    with run.database.read() as session:
        place = _places(session).get(name, Place()).begun(run.now)
    before = b""
    while not run.spent():
        run.pages -= 1
        answer = run.api.call("get", f"suppression/{name}", query=place.query)
        page = sendgrid_lists.read(name, answer.body, received_at=run.now) if answer.status == 200 else None
        if page is None or (page.size and answer.body == before):
            said = trouble(answer, needs=NEEDS) if page is None else "SendGrid gives the same page twice"
            run.pulled.troubles.append(f"{name} not read whole: {said}")
            return answer
        place = replace(place, offset=place.offset + page.size) if page.size else place.ended()
        _apply(run, name, page, place)
        if not page.size:
            return None
        before = answer.body
    run.pulled.troubles.append(f"{name} not read whole yet: the next run goes on")
    return None


def _apply(run: _Run, name: str, page: Page, place: Place) -> None:
    """Do what a page says, and remember with the last of it that it was read."""
    known = _known(run, page.entries)
    reports = [_report(number, entry) for number, entry in known if entry.word is not None]
    run.pulled.entries += page.size
    run.pulled.ours += len(known)
    parts = [reports[at : at + PEOPLE] for at in range(0, len(reports), PEOPLE)] or [[]]
    for last, part in ((part is parts[-1], part) for part in parts):
        with run.database.write() as session:
            counts = heed_all(session, part, keys=run.keys, journal=run.journal, now=run.now)
            if last:
                _remember(session, name, place, run.now)
        run.pulled.words += Counter({word.removeprefix("person "): n for word, n in counts.items()})


def _known(run: _Run, entries: Sequence[Listed]) -> list[tuple[int, Listed]]:
    """Find our people among the entries: by keyed hash, all of a page with one look."""
    with run.database.read() as session:
        numbers = people.numbers_of(session, run.keys, [entry.address for entry in entries])
    return [(numbers[e.address.canonical], e) for e in entries if e.address.canonical in numbers]


def _report(number: int, entry: Listed) -> Report:
    assert entry.word is not None
    return Report(number, entry.word, entry.at, BY, entry.detail)


def _places(session: Session) -> dict[str, Place]:
    return {name: Place(**said) for name, said in (memos.recall(session, MEMO) or {}).items()}


def _remember(session: Session, name: str, place: Place, now: datetime) -> None:
    places = _places(session) | {name: place}
    memos.remember(session, MEMO, {one: asdict(where) for one, where in places.items()}, now=now)


def _remember_troubles(session: Session, troubles: Sequence[str], now: datetime) -> None:
    if troubles:
        memos.remember(session, TROUBLE, {"troubles": list(troubles)}, now=now)
    else:
        memos.forget(session, TROUBLE)
