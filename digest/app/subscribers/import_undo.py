"""Undoing finished imports, within seven days."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from weakref import WeakKeyDictionary

from digest.app.subscribers.running_imports import mark_import_running
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from subscribers.consent import ledger
from subscribers.loggers import get_logger
from subscribers.store.models import ImportBatch
from subscribers.transfer import import_undo
from subscribers.transfer.decisions import RowOutcome
from subscribers.transfer.import_report import ENDED_SUBSCRIPTIONS
from subscribers.transfer.import_undo import UndoResult

UNDO = Action("import undone")
MAX_COUNTED_AT_ONCE = 5_000  # people; a larger import is counted while its page reloads
_PREVIEW_LIFETIME = 600.0  # seconds that the finished count of a large import is kept
_WAIT_SECONDS = 10.0  # how long a page waits before the undo continues in the background

log = get_logger("imports")


@dataclass(frozen=True, slots=True)
class ImportUndoPreview:
    """The numbers of people whom undoing an import would affect.

    `corrections` is the number of unconfirmed address changes that are canceled. `suppressed` is
    the number of people who unsubscribed elsewhere and stay suppressed, and `unsubscribed` the
    number of those who had been subscribed here. `known` is the number of people whom the import
    didn't change.
    """

    batch: int
    name: str
    until: datetime | None  # None for an interrupted undo, which can be finished at any time
    result: UndoResult
    corrections: int
    suppressed: int
    unsubscribed: int
    known: int


@dataclass(slots=True)
class _BackgroundPreview:
    """A preview that's counted in a thread, and the monotonic time at which the count ended."""

    future: Future[ImportUndoPreview] = field(default_factory=Future)
    ended_at: float = 0.0

    def count(self, count: Callable[[], ImportUndoPreview]) -> None:
        """Set the future to the result or the exception of a count."""
        try:
            preview = count()
        except Exception as exc:  # noqa: BLE001 - raised where the page asks for the result
            self.ended_at = time.monotonic()
            self.future.set_exception(exc)
        else:
            self.ended_at = time.monotonic()
            self.future.set_result(preview)

    def is_outdated(self) -> bool:
        """Return True if the count ended too long ago.

        A count that's still running isn't outdated.
        """
        return self.future.done() and time.monotonic() - self.ended_at > _PREVIEW_LIFETIME


@dataclass(slots=True)
class _BackgroundPreviews:
    """The previews for one database, each counted in its own thread, by import number."""

    by_batch: dict[int, _BackgroundPreview] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, batch: int, count: Callable[[], ImportUndoPreview]) -> Future[ImportUndoPreview]:
        """Return a future for the preview of undoing an import.

        Begin the count if none is running or recent.
        """
        with self.lock:
            preview = self.by_batch.get(batch)
            if preview is None or preview.is_outdated():
                preview = self.by_batch[batch] = _BackgroundPreview()
                threading.Thread(target=preview.count, args=(count,), name="import undo preview", daemon=True).start()
            return preview.future

    def forget(self, batch: int) -> None:
        """Forget the preview of an import, so that the next request counts again."""
        with self.lock:
            self.by_batch.pop(batch, None)


_previews: WeakKeyDictionary[object, _BackgroundPreviews] = WeakKeyDictionary()


def begin_preview(installation: Installation, actor: Actor, batch: int, *, now: datetime) -> ImportUndoPreview | None:
    """Return the preview of undoing an import.

    Return None while a thread is counting a large import. The result is kept for ten minutes, or
    until the undo begins.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
    """
    UNDO.check_role(installation, actor, f"import {batch}", now=now)
    with installation.database.read() as session:
        import_undo.check_undo_can_begin(session.get(ImportBatch, batch), batch, now=now)
        is_large = import_undo.has_more_people(session, batch, MAX_COUNTED_AT_ONCE)
    count = partial(preview_undo, installation, actor, batch, now=now)
    if not is_large:
        return count()
    previews = _find_previews(installation)
    preview = previews.begin(batch, count)
    if not preview.done():
        return None
    if preview.exception():
        previews.forget(batch)
    return preview.result()


def _find_previews(installation: Installation) -> _BackgroundPreviews:
    return _previews.setdefault(installation.database.engine, _BackgroundPreviews())


def preview_undo(installation: Installation, actor: Actor, batch: int, *, now: datetime) -> ImportUndoPreview:
    """Return the effects of undoing an import, without undoing it.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
    """
    UNDO.check_role(installation, actor, f"import {batch}", now=now)
    result = import_undo.count_undo(installation.database, batch, now=now)
    corrections = import_undo.count_canceled_address_changes(installation.database, batch, now=now)
    with installation.read() as session:
        row = session.get_one(ImportBatch, batch)
        until = row.done_at + ledger.UNDO_PERIOD if row.done_at else None
        names = (RowOutcome.DEPARTED, ENDED_SUBSCRIPTIONS, RowOutcome.KNOWN)
        counts = (row.counts.get(name, 0) for name in names)
        return ImportUndoPreview(batch, row.name, until, result, corrections, *counts)


def undo_import(installation: Installation, actor: Actor, batch: int, reason: str, *, now: datetime) -> UndoResult:
    """Undo a finished import, or continue an interrupted undo.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
    """
    with UNDO.steps(installation, actor, f"import {batch}", now=now) as draft:
        with installation.read() as session:
            row = session.get(ImportBatch, batch)
            file_hash = row.file_hash if row is not None else ""
        _find_previews(installation).forget(batch)
        with mark_import_running(installation.database, file_hash, now=now):
            log_file = installation.unsubscribe_log
            result = import_undo.undo_batch(
                installation.database, log_file, batch, actor=actor.name, reason=reason, now=now
            )
        draft.detail = {"why": reason, "people": result.removed, "stay": result.kept_counts}
        draft.detail |= {"preferences": result.preferences} if result.preferences else {}
        return result


def begin_undo(
    installation: Installation, actor: Actor, batch: int, reason: str, *, now: datetime
) -> UndoResult | None:
    """Undo a finished import in a thread, and return the result.

    Return None if the undo isn't finished while the page waits.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
        Exception: the undo failed while the page waited. It can be finished later.
    """
    UNDO.check_permitted(installation, actor, f"import {batch}", now=now)
    with installation.read() as session:
        import_undo.check_undo_can_begin(session.get(ImportBatch, batch), batch, now=now)
    failures: list[Exception] = []
    results: list[UndoResult] = []

    def work() -> None:
        try:
            results.append(undo_import(installation, actor, batch, reason, now=now))
        except Exception as exc:  # after the response, the list of imports shows that the undo isn't finished
            failures.append(exc)
            log.exception("undoing an import failed", batch=batch, error=type(exc).__name__)

    thread = threading.Thread(target=work, name="import undo", daemon=True)
    thread.start()
    thread.join(_WAIT_SECONDS)
    if failures:
        raise failures[0]
    return results[0] if results else None
