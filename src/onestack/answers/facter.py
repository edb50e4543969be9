"""packstack's defaults that puppet's facter would fill in, such as ``%{::processorcount}``."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable

EXPRESSION = re.compile(r"%\{(?:::)?(\w+)\}")

FACTS: dict[str, Callable[[], str]] = {
    "processorcount": lambda: str(len(os.sched_getaffinity(0))),
    "processors": lambda: str(len(os.sched_getaffinity(0))),
    "hostname": lambda: socket.gethostname().partition(".")[0],
    "fqdn": socket.getfqdn,
}
OURS = ("default_hypervisor", "ipaddress")
"""Facts that onestack finds out by itself: such a value is the same as none."""


def as_you_like(text: str) -> bool:
    """Whether ``text`` is nothing but a fact that onestack finds out by itself."""
    found = EXPRESSION.fullmatch(text.strip())
    return found is not None and found[1] in OURS


def expand(text: str) -> str:
    """``text`` with facts in place of expressions. Raises `KeyError` for an unknown one."""
    return EXPRESSION.sub(lambda found: FACTS[found[1]](), text)
