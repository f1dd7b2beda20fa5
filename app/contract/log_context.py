"""Log lines of both processes, as text or as JSON, with the request and the explanation that they belong to.

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
_PROPAGATED = {"request_id", "trace_id", "batch"}
_CONTEXT: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039 - never changed in place


@contextmanager
def log_context(**names: str) -> Iterator[None]:
    """Add fields to every log line that is written inside."""
    token = _CONTEXT.set({**_CONTEXT.get(), **names})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def current_log_context() -> Mapping[str, str]:
    """Return the fields of log lines here."""
    return _CONTEXT.get()


def propagated_context(origin: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of log lines among what is sent with a request through a queue."""
    return {name: value for name, value in origin.items() if name in _PROPAGATED}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, context, and the traceback if there is one."""

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
    """A line of text with its context at the end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record)
        names = " ".join(f"{name}={value}" for name, value in current_log_context().items())
        return f"{line} [{names}]" if names else line


def configure_logs(log_format: LogFormat, log_level: LogLevel = "info") -> None:
    """Write the log lines of this process to stderr, from a level on and in one format."""
    handler = logging.StreamHandler(sys.stderr)
    plain = TextLines("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if log_format == "json" else plain)
    logging.basicConfig(level=log_level.upper(), handlers=[handler], force=True)
    for name in _SERVER_LOGGERS:  # which have a format of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
