"""Kernel settings under /proc/sys, of the network namespace we are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.host import netns
from onestack.host.ledger import Ledger
from onestack.model.change import Change, Undo
from onestack.model.errors import OnestackError

PROC = Path("/proc/sys")


def path_of(name: str) -> Path:
    """``net.ipv4.ip_forward`` -> its file; a name with slashes is taken as it is."""
    return PROC / (name if "/" in name else name.replace(".", "/"))


def read(name: str) -> str | None:
    """The value, blanks normalised, or ``None`` where this kernel has no such setting."""
    try:
        return " ".join(path_of(name).read_text().split())
    except OSError:
        return None


def write(name: str, value: str) -> None:
    """Raises `OnestackError` when the kernel has no such setting or refuses."""
    try:
        path_of(name).write_text(value)
    except OSError as error:
        raise OnestackError(
            f"the kernel setting {name} cannot be set to {value}",
            error.strerror or str(error),
            f"look at it: sysctl {name}",
        ) from error


def ensure_sysctl(
    wanted: Mapping[str, str],
    ledger: Ledger,
    namespace: str | None = None,
    *,
    shared: bool = False,
) -> Iterator[Change]:
    """Each setting with its value, until destroy puts back what was there.

    ``namespace`` is the network namespace that the caller is in. Where that is the machine's
    own and the setting ``shared`` by all clouds in it, the last of them puts it back.
    """
    mark = {"shared": True} if shared and namespace is None else {}
    for name, value in wanted.items():
        present = read(name)
        if present == value:
            continue

        def put(name: str = name, value: str = value, present: str | None = present) -> None:
            if present is not None:
                was = {"name": name, "old": present, "new": value, "netns": namespace}
                ledger.record("sysctl", **was, **mark)
            write(name, value)

        yield Change(f"set the kernel's {name} to {value} (was {present})", put)


def undo_sysctl(data: dict[str, Any]) -> None:
    """Only what still has our value: somebody else's later choice stays."""
    if data.get("netns"):
        if not netns.exists(data["netns"]):
            return
        with netns.inside(data["netns"]):
            _put_back(data)
    else:
        _put_back(data)


def _put_back(data: dict[str, Any]) -> None:
    if read(data["name"]) == data["new"]:
        write(data["name"], data["old"])


UNDO: Mapping[str, Undo] = {"sysctl": undo_sysctl}
