"""Swift's log, which would go to the system's, goes to a file beside what it stores."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any


def to_file(
    conf: dict[str, Any],
    name: str,
    log_to_console: bool,
    log_route: str,
    fmt: str,
    logger: logging.Logger,
    adapted_logger: Any,
) -> None:
    """What Swift calls for each of its loggers (its option ``log_custom_handlers``)."""
    handler = logging.FileHandler(Path(conf["swift_dir"]) / "swift.log")
    handler.setFormatter(logging.Formatter(fmt or f"{name}: %(message)s"))
    logger.handlers.clear()
    logger.addHandler(handler)
