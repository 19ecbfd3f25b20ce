"""Structured logs on standard error: JSON for machines, coloured lines for people.

Records, warnings and uncaught exceptions of libraries have the same formatter: one line each.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

import structlog

_OURS = "maas"
_LIBRARIES = logging.WARNING  # lower levels are about the libraries themselves
_log = structlog.get_logger()


def configure_logs(*, log_format: str, level: str) -> None:
    """Send structlog's and the standard library's records, warnings and uncaught exceptions to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=lambda *_: logging.getLogger(_OURS),
    )
    logging.getLogger().handlers = [handler]
    logging.raiseExceptions = False  # a record that cannot be written is lost, and not reported line by line
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable
    set_log_level(level)


def log_level() -> str:
    """Return the least level that is logged: debug, info, warning or error."""
    return logging.getLevelName(logging.getLogger(_OURS).getEffectiveLevel()).lower()


def set_log_level(level: str) -> None:
    """Log from this level on, in the whole process and from now on; libraries from `warning` on at least."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger(_OURS).setLevel(number)
    logging.getLogger().setLevel(max(number, _LIBRARIES))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("uncaught_exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_type is not SystemExit:
        name = found.thread.name if found.thread is not None else ""
        error = found.exc_value or found.exc_type()
        _log.critical("uncaught_exception", thread=name, exc_info=(found.exc_type, error, found.exc_traceback))


def _log_unraisable(found: object) -> None:
    error, context = getattr(found, "exc_value", None), getattr(found, "object", None)
    _log.error("unraisable_exception", context=repr(context), exc_info=error)
