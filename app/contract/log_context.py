"""Log lines of both processes, as text for people or as JSON for machines, with what they belong to.

`log_context(request_id=..., explanation=...)` puts names into every line that is written inside it, also by libraries
and in threads that copy the context, so that one request can be followed through the queue into the worker.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_SERVER_LOGGERS = ("uvicorn", "uvicorn.error")
_TRAVELLING = {"request_id", "trace_id", "batch"}
_BELONGS_TO: ContextVar[Mapping[str, str]] = ContextVar("belongs_to", default={})  # noqa: B039 - never changed in place


@contextmanager
def log_context(**names: str) -> Iterator[None]:
    """Put names into every log line that is written inside."""
    token = _BELONGS_TO.set({**_BELONGS_TO.get(), **names})
    try:
        yield
    finally:
        _BELONGS_TO.reset(token)


def current_log_context() -> Mapping[str, str]:
    """Return the names that stand in log lines here."""
    return _BELONGS_TO.get()


def propagated_context(origin: Mapping[str, str]) -> dict[str, str]:
    """Return the names that stand in log lines, of all that travels with a request through a queue."""
    return {name: value for name, value in origin.items() if name in _TRAVELLING}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what it belongs to, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **current_log_context(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """A line for people, with what it belongs to at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        names = " ".join(f"{name}={value}" for name, value in current_log_context().items())
        return f"{line} [{names}]" if names else line


def configure_logs(log_format: LogFormat, log_level: LogLevel = "info") -> None:
    """Write the log lines of this process from a level on to its error stream, in one format."""
    handler = logging.StreamHandler(sys.stderr)
    plain = TextLines("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if log_format == "json" else plain)
    logging.basicConfig(level=log_level.upper(), handlers=[handler], force=True)
    for name in _SERVER_LOGGERS:  # which have a format of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
