"""Work that keeps a processor busy for long, in a process of its own: pages are answered meanwhile as if nothing ran.

In a thread it would share the interpreter with the pages: at an import's every statement one of both waits for the other.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from digest.logs import configure_logging
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

# The server that children are forked from loads them once; a child starts in some 20 ms.
PRELOADED_MODULES = ["digest.app.subscribers.address_searches", "digest.app.subscribers.uploads"]
BROKE_OFF = "The work failed. Run 'digest doctor' for details."
_NICENESS = 5  # pages and sending come first
_LOOK_SECONDS = 0.1  # between two looks whether to stop
_STOP = "stop"

log = get_logger("work")

Report = Callable[..., None]
Result = TypeVar("Result")


class WorkStoppedError(ApplicationError):
    """Somebody stopped the work, or the process that asked for it is gone."""


class WorkFailedError(ApplicationError):
    """The work broke off; the message is fit to be shown."""


def run_in_child(
    work: Callable[..., Result], *arguments: Any, on_progress: Callable[..., None], stop_asked: threading.Event
) -> Result:
    """Run `work(*arguments, report)` in a child, and call `on_progress` here with what it reports.

    Function, arguments and result are pickled: the function stands in a module, and no argument holds what is open. Once
    `stop_asked` is set, the next call of `report` raises `WorkStoppedError` there; so it does when this process ends.

    Raises:
        WorkStoppedError: the work let itself be stopped.
        WorkFailedError: it broke off.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED_MODULES)
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_child, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()
    with ours:
        try:
            outcome, value = _follow_child(ours, on_progress, stop_asked)
        except (EOFError, ConnectionError):
            process.join()
            raise WorkFailedError(f"The process was killed (exit code {process.exitcode}).") from None
    process.join()
    if outcome == "done":
        result: Result = value
        return result
    raise WorkStoppedError("Stopped.") if outcome == "stopped" else WorkFailedError(value)


def _follow_child(pipe: Connection, on_progress: Callable[..., None], stop_asked: threading.Event) -> tuple[str, Any]:
    """Pass on what a child reports, and the word to stop; return how it ended, and with what."""
    was_told_to_stop = False
    while True:
        if stop_asked.is_set() and not was_told_to_stop:
            was_told_to_stop = True
            with suppress(OSError):  # it has just ended: what it said last is read below
                pipe.send(_STOP)
        if pipe.poll(_LOOK_SECONDS):
            kind, value = pipe.recv()
            if kind != "progress":
                return kind, value
            on_progress(*value)


def _run_child(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the process that asked
    os.nice(_NICENESS)
    configure_logging()

    def report(*values: Any) -> None:
        try:
            pipe.send(("progress", values))
            stopped = pipe.poll()  # there is something to read: the word to stop, or the end of the pipe
        except OSError:
            stopped = True
        if stopped:
            raise WorkStoppedError("Stopped.")

    try:
        message = ("done", work(*arguments, report))
    except WorkStoppedError:
        message = ("stopped", None)
    except ApplicationError as exc:
        message = ("failed", str(exc))
    except Exception:  # it ends here, whatever it was
        log.exception("work in a child failed", work=work.__name__)
        message = ("failed", BROKE_OFF)
    with suppress(OSError):
        pipe.send(message)
