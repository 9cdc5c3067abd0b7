"""Processes end when they're told to, whatever they're doing at that moment."""

import subprocess
import sys

import pytest

from tests.conftest import WAIT_TIMEOUT

PROGRAM = """
import signal, threading, time
from digest.stop_signals import stop_on_signal

def signal_this_thread():
    time.sleep(0.3)  # the main thread waits by then
    signal.pthread_kill(threading.get_ident(), {number})
    time.sleep(60)

threading.Thread(target=signal_this_thread, daemon=True).start()
with stop_on_signal() as stopping:
    stopping.wait()
    print("stops", flush=True)
    {ending}
print("stopped")
"""


def run_program(number: int, *, ending: str = "") -> subprocess.CompletedProcess[str]:
    """Run a process that waits to be stopped, and sends a signal to a thread of its own."""
    program = PROGRAM.format(number=number, ending=ending)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT_TIMEOUT, check=False
    )


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_stops_it_though_its_main_thread_did_not_get_it(number: int) -> None:
    """So it is, too, where the main thread gets it and is just about to wait: it does not come to handle it."""
    done = run_program(number)
    assert (done.stdout, done.stderr, done.returncode) == ("stops\nstopped\n", "", 0)


def test_a_second_signal_interrupts_what_lasts() -> None:
    done = run_program(15, ending="signal.raise_signal(15); time.sleep(60)")
    assert (done.stdout, done.returncode) == ("stops\n", -2), "as Ctrl+C ends it"


def test_an_ending_process_does_not_search_all_of_its_objects_for_cycles() -> None:
    """Searching them took most of the time between SIGTERM and the end of `digest serve`."""
    program = """
import atexit, gc, sys
atexit.register(lambda: print("searched:", len(gc.get_objects())))  # registered first, so it runs last
from digest.cli import main
objects = [[] for _ in range(10_000)]
sys.argv = ["digest", "--version"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT_TIMEOUT, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert int(done.stdout.split()[-1]) < 1000
