"""Undo of finished imports, within seven days."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
from subscribers.transfer.import_undo import UndoResult

UNDO = Action("import undone")
MAX_COUNTED_AT_ONCE = 5_000  # people; a larger import is counted while its page reloads
_PREVIEW_LIFETIME = timedelta(minutes=10)  # until an import is counted again if nobody returned for the count
_WAIT_SECONDS = 10.0  # how long a page waits before the undo continues in the background

log = get_logger("imports")


@dataclass(frozen=True, slots=True)
class ImportUndoPreview:
    """A preview of undoing an import. `suppressed` counts people who unsubscribed elsewhere and stay suppressed."""

    batch: int
    origin: str
    until: datetime | None  # None if an undo was interrupted, which can be finished at any time
    result: UndoResult
    suppressed: int


@dataclass(slots=True)
class _RunningPreviews:
    """The previews that are counted in the background, and when each began, by the number of the import."""

    by_batch: dict[int, tuple[datetime, Future[ImportUndoPreview]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_running_previews: WeakKeyDictionary[object, _RunningPreviews] = WeakKeyDictionary()


def begin_preview(installation: Installation, actor: Actor, batch: int, *, now: datetime) -> ImportUndoPreview | None:
    """Return the preview of undoing an import, or None while a large one is being counted in a thread.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
    """
    UNDO.check_role(installation, actor, f"import {batch}", now=now)
    with installation.database.read() as session:
        import_undo.check_can_begin(session.get(ImportBatch, batch), batch, now=now)
        is_large = import_undo.has_more_people(session, batch, MAX_COUNTED_AT_ONCE)
    count = partial(preview_undo, installation, actor, batch, now=now)
    if not is_large:
        return count()
    running = _running_previews.setdefault(installation.database.engine, _RunningPreviews())
    with running.lock:
        began_at, preview = running.by_batch.get(batch, (now, None))
        if preview is None or now - began_at > _PREVIEW_LIFETIME:
            running.by_batch[batch] = now, _start_counting(count)
            return None
        if not preview.done():
            return None
        del running.by_batch[batch]
    return preview.result()


def _start_counting(count: Callable[[], ImportUndoPreview]) -> Future[ImportUndoPreview]:
    preview: Future[ImportUndoPreview] = Future()

    def work() -> None:
        try:
            preview.set_result(count())
        except Exception as exc:  # noqa: BLE001 - raised where the page asks for the result
            preview.set_exception(exc)

    threading.Thread(target=work, name="import undo preview", daemon=True).start()
    return preview


def preview_undo(installation: Installation, actor: Actor, batch: int, *, now: datetime) -> ImportUndoPreview:
    """Count the effects of undoing an import.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
    """
    UNDO.check_role(installation, actor, f"import {batch}", now=now)
    result = import_undo.count_undo(installation.database, batch, now=now)
    with installation.read() as session:
        row = session.get_one(ImportBatch, batch)
        until = row.done_at + ledger.UNDO_PERIOD if row.done_at else None
        return ImportUndoPreview(batch, row.origin, until, result, row.counts.get(RowOutcome.DEPARTED, 0))


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
        with mark_import_running(installation.database, file_hash, now=now):
            log_file = installation.unsubscribe_log
            result = import_undo.undo_batch(installation.database, log_file, batch, actor=actor.name, now=now)
        draft.detail = {"why": reason, "people": result.removed, "stay": result.kept, "preferences": result.preferences}
        return result


def begin_undo(installation: Installation, actor: Actor, batch: int, reason: str, *, now: datetime) -> bool:
    """Undo a finished import in a thread; return whether it finished while the page waited.

    Raises:
        NotPermittedError: the actor isn't an admin.
        ImportUndoError: the import can't be undone.
        Exception: the undo failed while the page waited; it can be finished later.
    """
    UNDO.check_permitted(installation, actor, f"import {batch}", now=now)
    with installation.read() as session:
        import_undo.check_can_begin(session.get(ImportBatch, batch), batch, now=now)
    failures: list[Exception] = []

    def work() -> None:
        try:
            undo_import(installation, actor, batch, reason, now=now)
        except Exception as exc:  # after the response is sent, the list of imports shows that it isn't finished
            failures.append(exc)
            log.exception("undoing an import failed", batch=batch, error=type(exc).__name__)

    thread = threading.Thread(target=work, name="import undo", daemon=True)
    thread.start()
    thread.join(_WAIT_SECONDS)
    if failures:
        raise failures[0]
    return not thread.is_alive()
