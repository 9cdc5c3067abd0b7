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
    """Yield an event that SIGINT or SIGTERM sets; a second signal raises KeyboardInterrupt. Main thread only.

    A helper thread sets the event. The C-level signal handler, which runs immediately, notifies it through a pipe
    (`signal.set_wakeup_fd`). A Python-level handler wouldn't do: it runs in the main thread before its next
    instruction. It would never run if the main thread were just about to wait for the event, and it would deadlock on
    the event's lock if the main thread already held it.
    """
    stopping = threading.Event()
    signals_seen = 0

    def interrupt_at_second(_signal: int, _frame: FrameType | None) -> None:
        nonlocal signals_seen
        signals_seen += 1
        if signals_seen > 1:
            raise KeyboardInterrupt

    def set_when_told() -> None:
        while signal_byte := os.read(subscriber, 1):
            if signal_byte[0] in STOP_SIGNALS:
                stopping.set()

    subscriber, writer = os.pipe()
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
        os.close(subscriber)
