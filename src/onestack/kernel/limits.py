"""How many files a process may have open."""

from __future__ import annotations

import contextlib
import resource

OPEN_FILES = 65536
"""Enough for every program of a cloud, and what Erlang sizes its tables by."""


def raise_open_files() -> int:
    """Let this process have `OPEN_FILES` open, or as many as it may; returns how many.

    The shell that all began in may have had less. Root may lift that, unless a container forbids.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
        return OPEN_FILES
    for limit in (OPEN_FILES, hard):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return hard
