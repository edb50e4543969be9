"""How Barbican comes to its configuration (services' environment)."""

from __future__ import annotations

import os
from pathlib import Path

from oslo_config import cfg


def read(file: str) -> None:
    """Let it have ``file``; to be called before anything of Barbican's is imported.

    It takes no arguments: each of its modules parses, when imported, the file that
    oslo.config finds, first of all in the home directory. And it puts options of its own in
    the place of the global ones, where libraries that are imported by now have theirs:
    these are put back, and given the file as well.
    """
    os.environ["HOME"] = str(Path(file).parent)
    everybodys = cfg.CONF
    import barbican.common.config  # noqa: F401

    cfg.CONF = everybodys
    everybodys(["--config-file", file], project="barbican")
