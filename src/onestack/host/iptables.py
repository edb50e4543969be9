"""Rules of the kernel's older packet filter, which nft does not show."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path

from onestack.host.command import run
from onestack.model.errors import OnestackError

TABLES = Path("/proc/thread-self/net")
"""Where the kernel says which tables the calling thread's network has."""
FAMILIES = {"ip": "iptables", "ip6": "ip6tables"}


def saved() -> dict[str, str]:
    """Family to all its rules in the calling thread's network, as iptables-save has them.

    Raises `OnestackError` where there are some, and no program that shows them.
    """
    found = {}
    for family, program in FAMILIES.items():
        if not tables(program):
            continue
        for name in (f"{program}-legacy-save", f"{program}-save"):
            with contextlib.suppress(OnestackError):
                found[family] = run([name], timeout=20).out
                break
        else:
            raise OnestackError(
                f"the rules of {program} cannot be looked at",
                f"the kernel has the tables {', '.join(tables(program))} of it, and "
                f"{program}-legacy-save does not work here",
                "install iptables",
            )
    return found


def tables(program: str) -> list[str]:
    name = program.replace("tables", "_tables_names")
    try:
        return (TABLES / name).read_text().split()
    except OSError:
        return []


def naming(saved: dict[str, str], device: str) -> Iterator[str]:
    """The chain of each rule about what comes by ``device`` or goes there, for people."""
    for family, text in saved.items():
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A "):
                words = shlex.split(line)
                pairs = itertools.pairwise(words)
                if any(option in ("-i", "-o") and _is(name, device) for option, name in pairs):
                    yield f"{words[1]} of the table {family} {table} (iptables)"


def _is(pattern: str, device: str) -> bool:
    return device.startswith(pattern[:-1]) if pattern.endswith("+") else pattern == device
