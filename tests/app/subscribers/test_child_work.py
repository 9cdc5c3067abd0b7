"""Work in a child process: its reports and result arrive, it stops on request, and a failure is explained in a sentence."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from digest.app.subscribers.child_work import BROKE_OFF, Report, WorkFailedError, WorkStoppedError, run_in_child
from subscribers.errors import RefusalError

PATIENCE = 60  # seconds


def count_to(number: int, report: Report) -> tuple[int, int]:
    for n in range(number):
        report(n)
    return number, os.getpid()


def count_until_stopped(file: Path, report: Report) -> None:
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            report(os.getpid())
            time.sleep(0.01)
    except WorkStoppedError:
        file.write_text("stopped")
        raise


def refuse(_: Report) -> None:
    raise RefusalError("The list is empty. Choose another.")


def divide(_: Report) -> float:
    return 1 / len("")


def end_at_once(_: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_reports_and_the_result_come_from_another_process() -> None:
    seen: list[int] = []
    number, pid = run_in_child(count_to, 3, on_progress=seen.append, stop_asked=threading.Event())
    assert (seen, number, pid == os.getpid()) == ([0, 1, 2], 3, False)


def test_work_hears_that_it_is_to_stop(tmp_path: Path) -> None:
    stop_asked = threading.Event()
    with pytest.raises(WorkStoppedError):
        run_in_child(
            count_until_stopped, tmp_path / "how", on_progress=lambda _: stop_asked.set(), stop_asked=stop_asked
        )
    assert (tmp_path / "how").read_text() == "stopped"


def test_work_stops_when_nobody_listens_any_more(tmp_path: Path) -> None:
    def break_off(_: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        run_in_child(count_until_stopped, tmp_path / "how", on_progress=break_off, stop_asked=threading.Event())
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "how").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (refuse, "The list is empty. Choose another."),
        (divide, BROKE_OFF),
        (end_at_once, r"The process was killed \(exit code -9\)."),
    ],
)
def test_how_work_broke_off_is_a_sentence(work: object, message: str) -> None:
    with pytest.raises(WorkFailedError, match=message):
        run_in_child(work, on_progress=print, stop_asked=threading.Event())  # type: ignore[arg-type]
