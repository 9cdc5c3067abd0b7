"""Logging setup: one event per line, as key=value pairs or JSON, without email addresses."""

import logging
import os
import re
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from subscribers.loggers import configure_loggers

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

# This is deliberately wider than the grammar of RFC 5321, section 4.1.2: any word around an @ is
# redacted. The length of the part before the @ is limited (an address has at most 254 characters),
# so that one endless word can't stall the process.
_ADDRESS_PATTERN = re.compile(
    r"(?:\"[^\"\s]*(?: [^\"\s]*){0,3}\"|[^\s<>\"=:,;()\[\]]{1,320})(?:@|%40)[^\s<>\"'=,;()\[\]]+"
)
REDACTED = "[address]"


def redact_addresses(value: Any) -> Any:
    """Return a value in which everything that looks like an email address is replaced.

    Nested lists and dictionaries are included.
    """
    if isinstance(value, str):
        # Most lines contain neither, and the pattern would be tried at each of their characters.
        return _ADDRESS_PATTERN.sub(REDACTED, value) if "@" in value or "%40" in value else value
    if isinstance(value, dict):
        return {key: redact_addresses(inner) for key, inner in value.items()}
    return [redact_addresses(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def redact_event(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    """Redact every value of an event, including tracebacks.

    This is the last structlog processor before rendering.
    """
    return {key: redact_addresses(value) for key, value in event.items()}


class _EventFormatter(logging.Formatter):
    """A formatter that makes the log records of libraries look like our own events.

    Each is on one line, with its time in UTC and without addresses.
    """

    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self._is_json = is_json

    def format(self, record: logging.LogRecord) -> str:
        event: EventDict = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        renderer = _make_renderer(is_json=self._is_json)
        return str(renderer(None, record.levelname.lower(), redact_event(None, "", event)))


LogFormat = Literal["text", "json"]


def _make_renderer(*, is_json: bool) -> "Processor":
    from structlog.processors import JSONRenderer, KeyValueRenderer

    return JSONRenderer(default=str) if is_json else KeyValueRenderer(key_order=["timestamp", "level", "event"])


def _configure_structlog(level: int, *, is_json: bool) -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact_event,
            _make_renderer(is_json=is_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def configure_logging(level: int = logging.INFO, log_format: LogFormat | None = None) -> None:
    """Write our events and the warnings of libraries to standard error.

    The main function of a process calls this. If `log_format` is None, the environment variable
    `DIGEST_LOG_FORMAT` selects the format: `json` stands for JSON, and any other value for text.
    """
    is_json = (log_format or os.environ.get("DIGEST_LOG_FORMAT")) == "json"
    configure_loggers(partial(_configure_structlog, level, is_json=is_json))
    handler = logging.StreamHandler()
    handler.setFormatter(_EventFormatter(is_json=is_json))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # APScheduler would warn every second about a step that takes longer than a tick.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
