"""A process that writes an import's steps while the one that started it prepares the next: `python -m subscribers.transfer.writer_process`.

It needs no key, and sees no address. Both sides exchange pickles over its standard input and output: they are one program. It
ends with its input, so with the process that started it, however that ended; a step that is under way then is committed first.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from queue import SimpleQueue
from typing import IO

from sqlalchemy.exc import DBAPIError

from subscribers.store.database import PeopleDatabase
from subscribers.transfer.import_store import ImportStep
from subscribers.transfer.list_file import ListFileError
from subscribers.transfer.step_writer import DirectStepWriter, StepProgress, StepResult

DatabaseOpener = Callable[[], PeopleDatabase]
"""Opens a database where it is called. It can be pickled: a function of a module, or a partial of one."""


class WriterProcess:
    """A `DirectStepWriter` in a process of its own."""

    def __init__(self, open_database: DatabaseOpener, batch: int, *, reached: int, now: datetime) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own module, by our own interpreter
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is for us to act on
        )
        self._send(pickle.dumps((open_database, batch, reached, now)))

    def close(self) -> None:
        """Wait until the steps that were handed over are written, and for the end of the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both are pipes
        self._process.wait()

    def start_step(self, step: ImportStep, progress: StepProgress) -> None:
        """Hand over a step, to be written once those before it are.

        Raises:
            ListFileError: the process is gone.
        """
        self._send(pickle.dumps(step) + pickle.dumps(progress))

    def finish_step(self) -> StepResult:
        """Wait for the first step that was not asked for yet, and return what became of it.

        Raises:
            ListFileError: as `DirectStepWriter.write_step`, or the process is gone.
            sqlalchemy.exc.DBAPIError: the database refused, or is gone.
        """
        assert self._process.stdout is not None
        try:
            result: StepResult | Exception = pickle.load(self._process.stdout)  # noqa: S301 (our own process wrote it)
        except (EOFError, pickle.UnpicklingError):
            raise self._report_end() from None
        if isinstance(result, Exception):
            raise result
        return result

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._report_end() from None

    def _report_end(self) -> ListFileError:
        code = self._process.wait()
        how = f"was killed (signal {-code})" if code < 0 else f"crashed (exit code {code})"
        return ListFileError(f"The process that writes {how}. Run the command again to continue the import.")


def serve_write_steps(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Write the steps that come in, until no more do; while one is written, the next ones are taken in."""
    open_database, batch, reached, now = pickle.load(requests)  # noqa: S301 (whoever started us wrote it)
    writer = DirectStepWriter(open_database(), batch, reached=reached, now=now)
    steps: SimpleQueue[tuple[ImportStep, StepProgress] | None] = SimpleQueue()
    threading.Thread(target=_take_steps, args=(requests, steps), daemon=True).start()
    while (request := steps.get()) is not None:
        with suppress(BrokenPipeError):
            answers.write(_pickle_answer(writer, *request))
            answers.flush()


def _take_steps(requests: IO[bytes], steps: SimpleQueue[tuple[ImportStep, StepProgress] | None]) -> None:
    """Take steps in; whoever hands them over never has many in flight."""
    while True:
        try:
            steps.put((pickle.load(requests), pickle.load(requests)))  # noqa: S301
        except (EOFError, pickle.UnpicklingError):  # whoever asked has ended, maybe in the middle of a step
            steps.put(None)
            return


def _pickle_answer(writer: DirectStepWriter, step: ImportStep, progress: StepProgress) -> bytes:
    """Write a step; return the result, or the error, which is raised where somebody waits for it."""
    try:
        return pickle.dumps(writer.write_step(step, progress))
    except (ListFileError, DBAPIError) as exc:
        return pickle.dumps(exc)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve_write_steps(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
