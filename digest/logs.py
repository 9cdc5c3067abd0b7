"""Logs: one event a line, as key=value or as JSON, and nothing that looks like an address, whoever wrote the line."""

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

# Wider than the grammar of RFC 5321, section 4.1.2, on purpose: a word around an @ is taken out, whether it is an address or not. Bounded before the
# @ (an address has 254 characters): a line with one endless word must not hold the process.
_ADDRESS_PATTERN = re.compile(
    r"(?:\"[^\"\s]*(?: [^\"\s]*){0,3}\"|[^\s<>\"=:,;()\[\]]{1,320})(?:@|%40)[^\s<>\"'=,;()\[\]]+"
)
REDACTED = "[address]"


def redact_addresses(value: Any) -> Any:
    """Take whatever looks like an address out of a value, inside lists and tables too."""
    if isinstance(value, str):
        # Most lines hold neither sign, and the pattern looks for one from each of their characters on.
        return _ADDRESS_PATTERN.sub(REDACTED, value) if "@" in value or "%40" in value else value
    if isinstance(value, dict):
        return {key: redact_addresses(inner) for key, inner in value.items()}
    return [redact_addresses(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def redact_event(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    """Redact every value of an event, tracebacks included: the last processor before it is written."""
    return {key: redact_addresses(value) for key, value in event.items()}


class _EventFormatter(logging.Formatter):
    """Formats what libraries log like our own events: one line each, in UTC, values quoted, without addresses."""

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
    """Send our events and the libraries' warnings to standard error. Called by a process's main.

    Before the settings are read, `DIGEST_LOG_FORMAT` in the environment says in which form; any other word than `json` is text.
    """
    is_json = (log_format or os.environ.get("DIGEST_LOG_FORMAT")) == "json"
    configure_loggers(partial(_configure_structlog, level, is_json=is_json))
    handler = logging.StreamHandler()
    handler.setFormatter(_EventFormatter(is_json=is_json))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # A step that takes longer than a tick is no news: APScheduler would say so once a second.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
