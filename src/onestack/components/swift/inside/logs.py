"""Swift's log lines in the form of the other services' (services' environment).

Swift writes to syslog; its own hook for further handlers
(``log_custom_handlers``) is where it is given another place.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import SysLogHandler
from typing import Any

FORMAT = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s {name} %(message)s"
DATES = "%Y-%m-%d %H:%M:%S"

_handlers: dict[str, logging.Handler] = {}


def to_stderr(
    conf: dict[str, str],
    name: str,
    log_to_console: bool,
    log_route: str,
    fmt: str,
    logger: logging.Logger,
    adapted: Any,
) -> None:
    """Called by swift for each logger it makes, as often as it makes it."""
    from swift.common.utils.logs import SwiftLogFormatter

    for handler in list(logger.handlers):
        if isinstance(handler, SysLogHandler):
            logger.removeHandler(handler)
            handler.close()
    if log_route not in _handlers:
        _handlers[log_route] = _handler(
            SwiftLogFormatter(FORMAT.format(name="%(server)s"), datefmt=DATES)
        )
    # of one logger, it is added once
    logger.addHandler(_handlers[log_route])


def requests() -> None:
    """The proxy's log of requests, whose logger swift makes without asking the hook."""
    name = "proxy-access"
    to_stderr({}, name, False, name, "", logging.getLogger(name), None)


def libraries() -> None:
    """What libraries (keystonemiddleware, urllib3 …) have to say, from warnings on."""
    handler = _handler(logging.Formatter(FORMAT.format(name="%(name)s"), datefmt=DATES))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _handler(formatter: logging.Formatter) -> logging.Handler:
    # A descriptor of its own: swift's daemons point stderr elsewhere.
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w", buffering=1))
    handler.setFormatter(formatter)
    return handler
