"""Structured logs on standard error: JSON for machines, coloured lines for people."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(*, log_format: str, level: str) -> None:
    """Send structlog's and the standard library's records to standard error in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    exceptions = [structlog.processors.format_exc_info] if log_format == "json" else []
    structlog.configure(
        processors=[*shared, *exceptions, last],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it announces each of its plugins
    set_log_level(level)


def log_level() -> str:
    """Return the least level that is logged: debug, info, warning or error."""
    return logging.getLevelName(logging.getLogger().level).lower()


def set_log_level(level: str) -> None:
    """Log from this level on, in the whole process and from now on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(number)
