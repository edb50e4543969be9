"""The few system calls that the standard library lacks, by ctypes.

Numbers are those of linux/prctl.h, linux/sched.h, linux/mount.h and
linux/capability.h; they are the same on every architecture.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

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

LIBC = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raises `OSError` of ``what`` unless ``result`` is 0."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option: int, *arguments: int) -> None:
    """Raises `OSError` when the kernel refuses."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    check(LIBC.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def mount(source: str, place: str, kind: str | None, flags: int) -> None:
    result = LIBC.mount(
        source.encode(),
        place.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        None,
    )
    check(result, f"mount {source} on {place}")


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
    check(LIBC.capset(ctypes.byref(header), ctypes.byref(data)), "capset")
    for number in numbers:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


APPARMOR_EXEC = Path("/proc/thread-self/attr/apparmor/exec")


def leave_profile_at_exec(at: Path = APPARMOR_EXEC) -> None:
    """What this thread executes next gets no AppArmor profile by its path.

    A profile of a program is about the machine's own instance of it, with its places. Where the
    kernel has no AppArmor, or another profile (a container's) forbids it, nothing changes.
    """
    with contextlib.suppress(OSError), at.open("r+b", buffering=0) as file:
        file.write(b"exec unconfined")


def set_title(title: str) -> None:
    """Make ``ps`` and ``top`` show ``title``: its thread name and, cut to fit, its arguments."""
    name = ctypes.create_string_buffer(title.split()[0].encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(name))
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if end - start > 1:
        text = title.encode()[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
