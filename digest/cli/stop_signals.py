"""Stop signals: the first lets what runs end well, the second ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Lend an event that is set by Ctrl+C or by a service manager's SIGTERM; a second one interrupts."""
    stopping = threading.Event()

    def handle_signal(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    previous_handlers = {number: signal.signal(number, handle_signal) for number in STOP_SIGNALS}
    try:
        yield stopping
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
