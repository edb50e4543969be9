"""A program where the kernel has no IPv6, as far as a program can tell: python3 no_ipv6.py WORD...

As with ``ipv6.disable=1`` on the kernel's command line: there are no sockets of that family and no
settings. To be called as root, in a mount namespace of its own (``unshare --mount``), on x86-64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

SOCKET, AF_INET6 = 41, 10
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
NUMBER, FIRST_ARGUMENT = 0, 16
"""Where they are in what a filter is given."""
FILTER_PROGRAM = (
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (JUMP_IF_EQUAL, 0, 1, AF_INET6),
    (RETURN, 0, 0, FAIL | errno.EAFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
)


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    made = b"".join(struct.pack("HBBI", *line) for line in FILTER_PROGRAM)
    memory = ctypes.create_string_buffer(made)
    program = Program(len(FILTER_PROGRAM), ctypes.cast(memory, ctypes.c_void_p))
    for done in (
        libc.mount(b"tmpfs", b"/proc/sys/net/ipv6", b"tmpfs", 0, None),
        libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        libc.prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0),
    ):
        if done:
            sys.exit(os.strerror(ctypes.get_errno()))
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
