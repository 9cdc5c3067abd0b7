"""Loggers that import structlog, and with it rich, only when something is logged: most commands log nothing.

Importing them takes a tenth of the start of a command.
"""

import sys
from collections.abc import Callable
from typing import Any

_pending: list[Callable[[], None]] = []  # the configuration, until structlog is imported


class LazyLogger:
    """A structlog logger of one name, opened for each line."""

    def __init__(self, name: str) -> None:
        """Take the name; nothing is imported yet."""
        self._name = name

    def __getattr__(self, method: str) -> Any:
        """Return structlog's method of that name, such as `warning`."""
        import structlog

        for configure in _pending:
            configure()
        _pending.clear()
        return getattr(structlog.get_logger(self._name), method)


def get_logger(name: str) -> LazyLogger:
    """Return the logger of that name."""
    return LazyLogger(name)


def configure_loggers(configure: Callable[[], None]) -> None:
    """Configure structlog: now if it's imported already, otherwise before the first line."""
    if "structlog" in sys.modules:
        configure()
    else:
        _pending[:] = [configure]
