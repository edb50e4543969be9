"""The few system calls that the standard library lacks, by ctypes.

Numbers are those of linux/prctl.h, linux/sched.h, linux/mount.h and
linux/capability.h; they are the same on every architecture.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterable
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522

CAPABILITIES = (
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
)
"""Names in the order of their numbers."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option: int, *arguments: int) -> None:
    """Raises `OSError` when the kernel refuses."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, kind: int) -> None:
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, place: str, kind: str | None, flags: int) -> None:
    result = _libc.mount(
        source.encode(),
        place.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        None,
    )
    _check(result, f"mount {source} on {place}")


def become_subreaper() -> None:
    """Orphaned descendants become this process's children, not init's."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def capability(name: str) -> int:
    """The number of ``net_admin`` or ``CAP_NET_ADMIN``; `ValueError` if there is none such."""
    plain = name.lower().removeprefix("cap_")
    if plain not in CAPABILITIES:
        raise ValueError(f"there is no capability {name!r}")
    return CAPABILITIES.index(plain)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def keep_capabilities_over_setuid() -> None:
    prctl(PR_SET_KEEPCAPS, 1)


def hold_capabilities(names: Iterable[str]) -> None:
    """Have exactly these capabilities, and hand them on to what is executed (ambient)."""
    numbers = [capability(name) for name in names]
    mask = sum(1 << number for number in set(numbers))
    data = (_Data * 2)()
    for index in (0, 1):
        word = (mask >> (32 * index)) & 0xFFFFFFFF
        data[index].effective = data[index].permitted = data[index].inheritable = word
    header = _Header(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")
    for number in numbers:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def private_mounts(mounts: dict[str, str]) -> None:
    """Give this process a mount namespace in which each place shows its source.

    What is mounted outside later is still seen; what is mounted here is not
    seen outside.
    """
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_SLAVE)
    for place, source in sorted(mounts.items()):
        mount(source, place, None, MS_BIND | MS_REC)


def set_title(title: str) -> None:
    """Make ``ps`` and ``top`` show ``title``: its thread name and, cut to fit, its arguments."""
    name = ctypes.create_string_buffer(title.split()[0].encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(name))
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if end - start > 1:
        text = title.encode()[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def enter_network_namespace(name: str, names: Path) -> str | None:
    """Move this process into ``/run/netns/NAME``, with a ``/sys`` that shows its devices.

    ``names`` is shown as ``/run/netns`` from then on: neutron's agents delete
    each namespace that looks like one of theirs and is not, which another
    cloud's would be. Everything else stays mounted where it is. Returns why
    ``/sys`` could not be had, or ``None``; raises `OSError` when there is no
    such namespace, or ``names`` cannot be shown.
    """
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(descriptor, CLONE_NEWNET)
    finally:
        os.close(descriptor)
    unshare(CLONE_NEWNS)
    names.mkdir(parents=True, exist_ok=True)
    for left in names.iterdir():  # by an earlier supervisor, whose mounts went with it
        left.unlink()
    mount("none", "/run/netns", None, MS_REC | MS_PRIVATE)
    mount(str(names), "/run/netns", None, MS_BIND)
    try:
        _own_sysfs()
    except OSError as error:
        return f"/sys shows the host's network devices: {error}"
    return None


def _own_sysfs() -> None:
    """Mount sysfs anew: it shows the devices of the namespace it was mounted from."""
    mount("none", "/sys", None, MS_REC | MS_PRIVATE)
    kept: list[tuple[str, int]] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = _unescaped(line.split()[4])
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


def _unescaped(text: str) -> str:
    """mountinfo writes blanks and the like as octal."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)
