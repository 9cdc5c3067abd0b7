"""Handling of the signals that stop a process: SIGINT (Ctrl+C) and SIGTERM (from a service manager)."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that's set by SIGINT or SIGTERM.

    A second signal raises KeyboardInterrupt. This works only in the main thread.

    A helper thread sets the event. The signal handler in C, which runs immediately, notifies the
    thread through a pipe (see `signal.set_wakeup_fd`). A signal handler in Python can't set the
    event, because it runs in the main thread before the thread's next instruction. If the main
    thread were just about to wait for the event, the handler would never run, and if the main
    thread already held the event's lock, the handler would deadlock.
    """
    stopping = threading.Event()
    signals_seen = 0

    def interrupt_at_second(_signal: int, _frame: FrameType | None) -> None:
        nonlocal signals_seen
        signals_seen += 1
        if signals_seen > 1:
            raise KeyboardInterrupt

    def set_when_told() -> None:
        while signal_byte := os.read(reader, 1):
            if signal_byte[0] in STOP_SIGNALS:
                stopping.set()

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=set_when_told, name="stop-signals", daemon=True)
    listener.start()
    previous_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    previous_handlers = {number: signal.signal(number, interrupt_at_second) for number in STOP_SIGNALS}
    try:
        yield stopping
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_writer)
        os.close(writer)
        listener.join()
        os.close(reader)
