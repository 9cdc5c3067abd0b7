"""A process that writes the steps of an import while its parent prepares the next ones.

It's started with `python -m subscribers.transfer.writer_process`. It doesn't need keys or see
addresses. Both sides are the same program and exchange pickles through its standard input and
output. It ends when its input ends, and so when its parent ends for any reason. A step that's being
written is committed first.
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

# It must be picklable: a function of a module, or a partial of one.
DatabaseOpener = Callable[[], PeopleDatabase]


class WriterProcess:
    """A `DirectStepWriter` that runs in a separate process."""

    def __init__(
        self,
        open_database: DatabaseOpener,
        batch: int,
        *,
        reached: int,
        now: datetime,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own module, by our own interpreter
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is handled by the parent
        )
        self._send(pickle.dumps((open_database, batch, reached, now)))

    def close(self) -> None:
        """Wait until all steps have been written and the process has ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both are pipes
        self._process.wait()

    def start_step(self, step: ImportStep, progress: StepProgress) -> None:
        """Pass a step to the process, which writes steps in the order in which they're passed.

        Raises:
            ListFileError: the process has ended.
        """
        self._send(pickle.dumps(step) + pickle.dumps(progress))

    def finish_step(self) -> StepResult:
        """Wait for, and return, the result of the earliest step whose result hasn't been returned.

        Raises:
            ListFileError: as for `DirectStepWriter.write_step`, or the process has ended.
            sqlalchemy.exc.DBAPIError: the database rejected the statement or is unavailable.
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
    """Write incoming steps until there are no more.

    While one is written, the next ones are read.
    """
    open_database, batch, reached, now = pickle.load(requests)  # noqa: S301 (whoever started us wrote it)
    writer = DirectStepWriter(open_database(), batch, reached=reached, now=now)
    steps: SimpleQueue[tuple[ImportStep, StepProgress] | None] = SimpleQueue()
    threading.Thread(target=_take_steps, args=(requests, steps), daemon=True).start()
    while (request := steps.get()) is not None:
        with suppress(BrokenPipeError):
            answers.write(_pickle_answer(writer, *request))
            answers.flush()


def _take_steps(
    requests: IO[bytes],
    steps: SimpleQueue[tuple[ImportStep, StepProgress] | None],
) -> None:
    """Read incoming steps.

    There are never many in flight.
    """
    while True:
        try:
            steps.put((pickle.load(requests), pickle.load(requests)))  # noqa: S301
        # The parent ended, perhaps in the middle of a step.
        except (EOFError, pickle.UnpicklingError):
            steps.put(None)
            return


def _pickle_answer(writer: DirectStepWriter, step: ImportStep, progress: StepProgress) -> bytes:
    """Write a step, and return the pickled result, or the pickled error for the parent to raise."""
    try:
        return pickle.dumps(writer.write_step(step, progress))
    except (ListFileError, DBAPIError) as exc:
        return pickle.dumps(exc)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The output of a library must not be mixed with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve_write_steps(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
