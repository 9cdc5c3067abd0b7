"""The signals that stop a process: Ctrl+C's, and a service manager's SIGTERM."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Lend an event that is set by SIGINT or SIGTERM; a second signal raises KeyboardInterrupt. For the main thread.

    A thread sets the event: it is told through a pipe by the interpreter's part of the handler, which runs at once
    (`signal.set_wakeup_fd`). Python's part runs in the main thread, when that comes to its next instruction. If the signal
    arrives when the main thread is just about to wait for the event, that is never; and if it holds the event's lock
    already, a handler that sets the event waits for that lock, and never returns.
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
