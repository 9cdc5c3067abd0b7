"""Loggers that don't import structlog, and with it rich, until something is logged.

Most commands log nothing, and importing them takes a tenth of the time that a command needs to start.
"""

import sys
from collections.abc import Callable
from typing import Any

# The configuration, until structlog is imported.
_pending: list[Callable[[], None]] = []


class LazyLogger:
    """A named structlog logger that's created when it's first used."""

    def __init__(self, name: str) -> None:
        """Store the name, without importing anything."""
        self._name = name

    def __getattr__(self, method: str) -> Any:
        """Return the method of the structlog logger that has this name, such as `warning`."""
        import structlog

        for configure in _pending:
            configure()
        _pending.clear()
        return getattr(structlog.get_logger(self._name), method)


def get_logger(name: str) -> LazyLogger:
    """Return a named logger, which is created when it's first used."""
    return LazyLogger(name)


def configure_loggers(configure: Callable[[], None]) -> None:
    """Configure structlog now if it's already imported, or else before the first log line."""
    if "structlog" in sys.modules:
        configure()
    else:
        _pending[:] = [configure]
