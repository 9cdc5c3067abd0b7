"""Any interleaving of imports, crashes, unsubscribes, erasures, and suppressions keeps people who left off the list."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import event
from sqlalchemy.orm import Session

from digest.store.engine import open_database
from subscribers.address import read_address
from subscribers.consent import audience, seals, suppression
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import erase_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.store import people
from subscribers.store.models import Base
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.imports import run_import
from subscribers.transfer.list_file import ListFileError, survey_file
from subscribers.transfer.options import ImportOptions
from tests.conftest import forget_nowhere_else
from tests.moments import AFTER_RELEASE as NOW
from tests.shared_statements import share_compiled_statements

KEYS = KeyRing.from_seed(b"stateful imports")
NAMES = ("ada", "bo", "cy", "dee")
CONFIRMED, BARE, LEFT, COMPLAINED = "subscribed,2020-01-01", "subscribed,", "unsubscribed,", "complained,"
ROWS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([CONFIRMED, CONFIRMED, BARE, LEFT, COMPLAINED])),
    min_size=1,
    max_size=6,
)


class Crash(Exception):  # noqa: N818 (it is no error of ours)
    """The process ends here, as far as the database can tell."""


@contextmanager
def _crash_at(commit: int) -> Iterator[None]:
    """Fail before the commit of this number, counted from 1; never for 0."""
    left = commit

    def count(_session: Session) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash

    event.listen(Session, "before_commit", count)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", count)


@cache
def _empty_database() -> bytes:
    """Make the tables once; give the file."""
    with tempfile.TemporaryDirectory(prefix="digest-imports-") as folder:
        file = Path(folder) / "digest.db"
        database = open_database(f"sqlite:///{file}")
        Base.metadata.create_all(database.engine)
        database.close()
        return file.read_bytes()


class Imports(RuleBasedStateMachine):
    """`gone` are those who may not come back, `granted` those whom a finished import may have put on the roll."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="digest-imports-")
        self.path = Path(self.folder.name)
        (self.path / "digest.db").write_bytes(_empty_database())
        self.books = share_compiled_statements(open_database(f"sqlite:///{self.path / 'digest.db'}"))
        self.desk = ImportContext(self.books, KEYS, UnsubscribeLog(self.path / "left.log", KEYS), "terminal:eve")
        self.gone: set[str] = set()
        self.granted: set[str] = set()
        self.begun: list[tuple[Path, ImportOptions, list[tuple[str, str]]]] = []
        self.files = 0

    def teardown(self) -> None:
        self.books.close()
        self.folder.cleanup()

    @rule(rows=ROWS, attest=st.booleans(), crash=st.integers(0, 5))
    def bring(self, rows: list[tuple[str, str]], *, attest: bool, crash: int) -> None:
        self.files += 1
        path = self.path / f"{self.files}.csv"
        lines = [f"{name}@example.org,{said},{self.files}" for name, said in rows]
        path.write_text("\n".join(["email,status,confirmed_at,note", *lines]))
        self._run(path, ImportOptions(attest_reason="their word" if attest else None), rows, crash)

    @rule(crash=st.integers(0, 4))
    def go_on(self, crash: int) -> None:
        if self.begun:
            self._run(*self.begun.pop(), crash)

    def _run(self, path: Path, options: ImportOptions, rows: list[tuple[str, str]], crash: int) -> None:
        try:
            with _crash_at(crash):
                run_import(self.desk, survey_file(path), options, now=NOW, on_reject=lambda *_: None)
        except Crash:
            self.begun.append((path, options, rows))
            return
        except ListFileError as exc:
            raise AssertionError from exc
        self.gone |= {name for name, said in rows if said in {LEFT, COMPLAINED}}
        self.granted |= {n for n, said in rows if said == CONFIRMED or (options.attest_reason and said == BARE)}

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        with self.books.write() as session:
            number = people.find_person_number(session, KEYS, read_address(f"{name}@example.org"))
            if number is not None:
                unsubscribe_person(session, self.desk.unsubscribe_log, number, method="page", now=NOW)
                self.gone.add(name)

    @rule(name=st.sampled_from(NAMES))
    def erase(self, name: str) -> None:
        with self.books.write() as session:
            number = people.find_person_number(session, KEYS, read_address(f"{name}@example.org"))
            if number is not None:
                erase_person(
                    session,
                    KEYS,
                    self.desk.unsubscribe_log,
                    number,
                    method="page",
                    forget_elsewhere=forget_nowhere_else,
                    now=NOW,
                )
                self.gone.add(name)

    @rule(name=st.sampled_from(NAMES), reason=st.sampled_from(["bounced", "complained", "by an admin"]))
    def suppress(self, name: str, reason: suppression.SuppressionReason) -> None:
        with self.books.write() as session:
            address = read_address(f"{name}@example.org")
            suppression.suppress_address(
                session, KEYS, address, reason=reason, actor="hook", now=NOW, unsubscribe_log=self.desk.unsubscribe_log
            )
            self.gone.add(name)

    @invariant()
    def only_those_who_may_be_are_on_the_roll(self) -> None:
        with self.books.read() as session:
            mailed = {
                subscriber.decrypt_address(KEYS).partition("@")[0]
                for subscriber in audience.load_audience_page(session)
            }
        assert not mailed & self.gone
        assert mailed <= self.granted

    @invariant()
    def every_chain_holds(self) -> None:
        with self.books.read() as session:
            assert seals.verify_ledger(session, KEYS).sound


Imports.TestCase.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
TestImports = Imports.TestCase
