"""Namespaces of networks and mounts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from pathlib import Path

from onestack.kernel import mounts
from onestack.kernel.linux import LIBC, MS_BIND, MS_PRIVATE, MS_REC, MS_SLAVE, check, mount

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
NAMES = Path("/run/netns")
"""Where ip(8) keeps those that have a name."""


def unshare(flags: int) -> None:
    """Raises `OSError`."""
    check(LIBC.unshare(ctypes.c_int(flags)), "unshare")


def own_hostname(name: str) -> None:
    """The name of this machine as this process and its descendants see it. Raises `OSError`."""
    unshare(CLONE_NEWUTS)
    socket.sethostname(name)


def enter_network(descriptor: int) -> None:
    """The calling thread in the network namespace that is open there. Raises `OSError`."""
    # os.setns comes with Python 3.12 only.
    check(LIBC.setns(ctypes.c_int(descriptor), ctypes.c_int(CLONE_NEWNET)), "setns")


def private_mounts(mounts: dict[str, str]) -> None:
    """Give this process a mount namespace in which each place shows its source.

    What is mounted outside later is still seen; what is mounted here is not
    seen outside.
    """
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_SLAVE)
    for place, source in sorted(mounts.items()):
        mount(source, place, None, MS_BIND | MS_REC)


def enter_network_namespace(name: str, names: Path) -> str | None:
    """Move this process into ``/run/netns/NAME``, with a ``/sys`` that shows its devices.

    ``names`` is shown as ``/run/netns`` from then on: neutron's agents delete
    each namespace that looks like one of theirs and is not, which another
    cloud's would be. Everything else stays mounted where it is. Returns why
    ``/sys`` could not be had, or ``None``; raises `OSError` when there is no
    such namespace, or ``names`` cannot be shown.
    """
    descriptor = os.open(NAMES / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_network(descriptor)
    finally:
        os.close(descriptor)
    unshare(CLONE_NEWNS)
    names.mkdir(parents=True, exist_ok=True)
    for left in names.iterdir():  # by an earlier supervisor, whose mounts went with it
        left.unlink()
    mount("none", str(NAMES), None, MS_REC | MS_PRIVATE)
    mount(str(names), str(NAMES), None, MS_BIND)
    try:
        _own_sysfs()
    except OSError as error:
        return f"/sys shows the host's network devices: {error}"
    return None


def _own_sysfs() -> None:
    """Mount sysfs anew: it shows the devices of the namespace it was mounted from."""
    mount("none", "/sys", None, MS_REC | MS_PRIVATE)
    kept: list[tuple[str, int]] = []
    for place in (str(found.target) for found in mounts.table()):
        if place.startswith("/sys/") and not any(place.startswith(f"{k}/") for k, _ in kept):
            kept.append((place, os.open(place, os.O_PATH | os.O_CLOEXEC)))
    try:
        mount("sysfs", "/sys", "sysfs", 0)
        for place, descriptor in kept:
            # what a new sysfs lacks (a module's directory) is no loss
            with contextlib.suppress(FileNotFoundError):
                mount(f"/proc/self/fd/{descriptor}", place, None, MS_BIND | MS_REC)
    finally:
        for _, descriptor in kept:
            os.close(descriptor)
