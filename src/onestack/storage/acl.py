"""POSIX access control lists, written as the kernel keeps them (no tool needed).

libvirt gives a volume's file to QEMU's user when it is attached and, as the
case may be, to root when it is detached. A list inherited from the directory
stays on the file whoever owns it, so the volume service can always read,
write and clone it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_DEFAULT = "system.posix_acl_default"
_ACCESS = "system.posix_acl_access"
_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_READ_WRITE = 6
_NOBODY = 0xFFFFFFFF


def _encoded(uids: tuple[int, ...]) -> bytes:
    entries = (
        (_USER_OBJ, _READ_WRITE, _NOBODY),
        *((_USER, _READ_WRITE, uid) for uid in sorted(set(uids))),
        (_GROUP_OBJ, 0, _NOBODY),
        (_MASK, _READ_WRITE, _NOBODY),
        (_OTHER, 0, _NOBODY),
    )
    return struct.pack("<I", _VERSION) + b"".join(struct.pack("<HHI", *e) for e in entries)


def inherited(directory: Path, *uids: int) -> bool:
    """Whether files made in ``directory`` will be those users' to read and write for ever."""
    try:
        return os.getxattr(directory, _DEFAULT) == _encoded(uids)
    except OSError:
        return False


def set_inherited(directory: Path, *uids: int) -> None:
    """Let ``uids`` read and write every file that is made in ``directory`` from now on.

    Raises `OSError` (``EOPNOTSUPP``) where the filesystem keeps no such lists.
    """
    os.setxattr(directory, _DEFAULT, _encoded(uids))


def set_own(file: Path, *uids: int) -> None:
    """Give ``file`` the list that it would have inherited."""
    os.setxattr(file, _ACCESS, _encoded(uids))
