"""CPU-intensive work in a child process, so that pages stay responsive.

A thread would share the interpreter lock with the pages, and each of them would keep waiting for
the other.
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

# The fork server loads these modules once, so that a child process starts in about 20 ms.
PRELOADED_MODULES = ["digest.app.subscribers.address_searches", "digest.app.subscribers.uploads"]
BROKE_OFF = "The work failed. Run 'digest doctor' for details."
_NICENESS = 5  # pages and sending take priority
_LOOK_SECONDS = 0.1  # between two checks for a stop request
_STOP = "stop"

log = get_logger("work")

Report = Callable[..., None]
Result = TypeVar("Result")


class WorkStoppedError(ApplicationError):
    """Raised if the work was stopped, or the process that requested it is gone."""


class WorkFailedError(ApplicationError):
    """Raised if work in a child process failed.

    The message can be shown to users.
    """


def run_in_child(
    work: Callable[..., Result], *arguments: Any, on_progress: Callable[..., None], stop_asked: threading.Event
) -> Result:
    """Run `work(*arguments, report)` in a child process and return its result.

    The values that the child passes to `report` are passed to `on_progress` in this process. The
    function, its arguments, and its result are pickled, so the function must be at module level and
    the arguments can't contain open resources. Once `stop_asked` is set or this process ends, the
    child's next call of `report` raises `WorkStoppedError`.

    Raises:
        WorkStoppedError: the work was stopped.
        WorkFailedError: the work failed, or its process was killed.
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
    """Relay a child's progress reports and the stop request, and return its outcome and value."""
    was_told_to_stop = False
    while True:
        if stop_asked.is_set() and not was_told_to_stop:
            was_told_to_stop = True
            with suppress(OSError):  # it has just ended; its last message is read below
                pipe.send(_STOP)
        if pipe.poll(_LOOK_SECONDS):
            kind, value = pipe.recv()
            if kind != "progress":
                return kind, value
            on_progress(*value)


def _run_child(pipe: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is meant for the parent process
    os.nice(_NICENESS)
    configure_logging()

    def report(*values: Any) -> None:
        try:
            pipe.send(("progress", values))
            stopped = pipe.poll()  # there's something to read after a stop request or if the pipe is closed
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
    except Exception:  # the parent is told about any error
        log.exception("a child process failed", work=work.__name__)
        message = ("failed", BROKE_OFF)
    with suppress(OSError):
        pipe.send(message)
