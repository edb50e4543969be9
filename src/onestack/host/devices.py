"""Undo of network devices, loop devices, units and what only a command can undo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from onestack.host import netns
from onestack.host.command import run
from onestack.host.ledger import undoes


def device_exists(name: str, namespace: str | None = None) -> bool:
    """Whether there is a network device ``name`` (here, or in ``namespace``)."""
    where = ["-n", namespace] if namespace else []
    return run(["ip", *where, "link", "show", "dev", name], timeout=20, check=False).ok


@undoes("device")
def undo_device(data: dict[str, Any]) -> None:
    """``name``, and ``netns`` or nothing for the host's own."""
    name, namespace = str(data["name"]), data.get("netns")
    if namespace and not netns.exists(namespace):
        return
    if device_exists(name, namespace):
        where = ["-n", namespace] if namespace else []
        run(["ip", *where, "link", "delete", "dev", name], timeout=30, finish=True)


def loops_of(file: Path) -> list[str]:
    """Loop devices that are attached to ``file``."""
    answer = run(
        ["losetup", "--list", "--json", "--associated", str(file)], timeout=20, check=False
    )
    if not answer.ok or not answer.out.strip():
        return []
    return [d["name"] for d in json.loads(answer.out)["loopdevices"]]


@undoes("loop")
def undo_loop(data: dict[str, Any]) -> None:
    """``file``: detach every loop device from it."""
    for name in loops_of(Path(data["file"])):
        run(["losetup", "--detach", name], timeout=30, finish=True)


@undoes("unit")
def undo_unit(data: dict[str, Any]) -> None:
    """``path`` of a systemd unit that was written by us."""
    path = Path(data["path"])
    systemd = Path("/run/systemd/system").is_dir()
    if systemd and path.exists():
        run(["systemctl", "disable", path.name], timeout=60, check=False, finish=True)
    path.unlink(missing_ok=True)
    if systemd:
        run(["systemctl", "daemon-reload"], timeout=60, check=False, finish=True)


@undoes("command")
def undo_command(data: dict[str, Any]) -> None:
    """``undo``: an argv that is idempotent (rules, bridges); ``netns`` to run it in.

    A program or namespace that is gone has taken what it made with it.
    """
    namespace = data.get("netns")
    argv = [str(word) for word in data["undo"]]
    if (namespace and not netns.exists(namespace)) or not shutil.which(argv[0]):
        return
    with netns.inside(namespace):
        run(argv, timeout=60, finish=True)
