"""Network namespaces: a cloud's own, with loopback and one public address."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.kernel import mounts
from onestack.kernel.namespaces import NAMES, enter_network
from onestack.model.change import Change, Undo
from onestack.model.errors import NotYet, OnestackError

PUBLIC_DEVICE = "public0"
PUBLIC_ADDRESS = "100.64.0.1"
"""Where a cloud in a namespace of its own is reached, from inside it."""
NEW = {"lo": (), PUBLIC_DEVICE: (f"{PUBLIC_ADDRESS}/32",)}
"""Devices and global addresses of a namespace as it is made."""


def exists(name: str) -> bool:
    """Whether the namespace is there (a file without the namespace on it is not)."""
    try:
        return os.stat(NAMES / name).st_dev != os.stat(NAMES).st_dev
    except FileNotFoundError:
        return False


def enter(name: str) -> None:
    """Move the calling thread, and all it starts from now on, into the namespace.

    Raises `NotYet` when it is not there.
    """
    _origin()
    try:
        descriptor = os.open(NAMES / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotYet(
            f"there is no network namespace {name}",
            "it is made by up, and is gone after a reboot",
            "run onestack up",
        ) from error
    try:
        _setns(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def outside() -> Iterator[None]:
    """The calling thread where this program began, before it entered any namespace.

    There mirrors are reached, and settings of the whole machine can be made.
    """
    here = os.open(_current(), os.O_RDONLY)
    try:
        _setns(_origin())
        try:
            yield
        finally:
            _setns(here)
    finally:
        os.close(here)


def _current() -> str:
    return f"/proc/self/task/{threading.get_native_id()}/ns/net"


@functools.cache
def _origin() -> int:
    """The namespace of the first call, which is made before any other is entered."""
    return os.open(_current(), os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(name: str | None) -> Iterator[None]:
    """The calling thread in the namespace ``name`` (``None``: where it is) for a while."""
    if name is None:
        yield
        return
    here = os.open(_current(), os.O_RDONLY)
    try:
        enter(name)
        try:
            yield
        finally:
            _setns(here)
    finally:
        os.close(here)


def _setns(descriptor: int) -> None:
    try:
        enter_network(descriptor)
    except OSError as error:
        raise OnestackError(
            "the network namespace cannot be entered", error.strerror or ""
        ) from error


def _addresses(name: str) -> dict[str, tuple[bool, list[str]]]:
    """Device to (up, addresses) inside the namespace."""
    devices = json.loads(run(["ip", "-n", name, "-j", "address"], timeout=20).out or "[]")
    return {
        device["ifname"]: ("UP" in device["flags"], [a["local"] for a in device["addr_info"]])
        for device in devices
    }


def ensure_netns(name: str, ledger: Ledger, public: str = PUBLIC_ADDRESS) -> Iterator[Change]:
    """The namespace with all of 127.0.0.0/8, `PUBLIC_ADDRESS` and ``public``."""
    devices: dict[str, tuple[bool, list[str]]] = {}
    if exists(name):
        devices = _addresses(name)
    else:
        yield Change(f"make the network namespace {name}", lambda: _make(name, ledger))
    if not devices.get("lo", (False, []))[0]:
        yield Change(
            f"start loopback in {name}",
            lambda: _ip(name, "link", "set", "lo", "up"),
        )
    up, addresses = devices.get(PUBLIC_DEVICE, (False, []))
    for address in dict.fromkeys((PUBLIC_ADDRESS, public)):
        # A loopback address is there with all of its network.
        if address.startswith("127.") or (up and address in addresses):
            continue
        yield Change(
            f"give {name} the address {address}", functools.partial(_public, name, address)
        )


def _make(name: str, ledger: Ledger) -> None:
    ledger.record("netns", name=name)
    # A run killed between the file and the mount leaves the file alone.
    (NAMES / name).unlink(missing_ok=True)
    run(["ip", "netns", "add", name], timeout=20, finish=True)


def _ip(name: str, *words: str) -> None:
    run(["ip", "-n", name, *words], timeout=20)


def _public(name: str, address: str) -> None:
    if PUBLIC_DEVICE not in _addresses(name):
        made = run(
            ["ip", "-n", name, "link", "add", PUBLIC_DEVICE, "type", "dummy"],
            timeout=20,
            check=False,
        )
        if not made.ok:
            # A kernel without the dummy module; a bridge without ports does as well.
            _ip(name, "link", "add", PUBLIC_DEVICE, "type", "bridge")
    _ip(name, "link", "set", PUBLIC_DEVICE, "up")
    _ip(name, "address", "replace", f"{address}/32", "dev", PUBLIC_DEVICE)


def undo_netns(data: dict[str, Any]) -> None:
    name = str(data["name"])
    if exists(name):
        run(["ip", "netns", "delete", name], timeout=30, finish=True)
    (NAMES / name).unlink(missing_ok=True)
    _tidy()


def _tidy() -> None:
    """After the last namespace, the place that ip(8) made and mounted for them goes too."""
    if NAMES.is_dir() and not any(NAMES.iterdir()):
        while mounts.is_mounted(NAMES):
            if not run(["umount", str(NAMES)], timeout=20, check=False, finish=True).ok:
                return  # somebody makes a namespace just now
        with contextlib.suppress(OSError):
            NAMES.rmdir()


UNDO: Mapping[str, Undo] = {"netns": undo_netns}
