"""Logging of the worker's processes."""

from __future__ import annotations

from typing import TextIO

import structlog


def configure(stream: TextIO, **fields: str) -> None:
    """Write what this process logs to a stream; every line carries the fields."""
    structlog.configure(
        processors=[
            lambda _logger, _method, event: {**event, **fields},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=stream.isatty()),
        ],
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
