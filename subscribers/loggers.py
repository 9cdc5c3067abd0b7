"""Loggers that import structlog, and thereby rich, only when something is logged. Most commands log nothing.

Importing them takes a tenth of a command's start-up time.
"""

import sys
from collections.abc import Callable
from typing import Any

_pending: list[Callable[[], None]] = []  # the configuration, until structlog is imported


class LazyLogger:
    """A named structlog logger that's created when first used."""

    def __init__(self, name: str) -> None:
        """Store the name without importing anything."""
        self._name = name

    def __getattr__(self, method: str) -> Any:
        """Return structlog's method of that name, such as `warning`."""
        import structlog

        for configure in _pending:
            configure()
        _pending.clear()
        return getattr(structlog.get_logger(self._name), method)


def get_logger(name: str) -> LazyLogger:
    """Return a logger with a name, created when first used."""
    return LazyLogger(name)


def configure_loggers(configure: Callable[[], None]) -> None:
    """Configure structlog, immediately if it's imported, or else before the first log line."""
    if "structlog" in sys.modules:
        configure()
    else:
        _pending[:] = [configure]
