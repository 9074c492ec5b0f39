"""How our processes log: a JSON document a line, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: int) -> None:
    """Say what is as bad as this, or worse; libraries only from WARNING on."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
