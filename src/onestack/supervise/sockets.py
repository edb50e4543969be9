"""Listening sockets, opened before a process starts and kept over its restarts.

Clients that come while a process restarts wait in the kernel's queue instead
of being refused. Unix sockets belong to the process's user and group, or a group
named for them, 0660: who else must reach one is put into that group.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from pathlib import Path

from onestack.kernel import sockets as kernel_sockets

BACKLOG = 512


class SocketTrouble(Exception):
    """A socket cannot be had; the text says which, why and who has it."""


def open_socket(address: str, user: str, group: str = "") -> socket.socket:
    """A listening socket at ``tcp:ADDRESS:PORT`` or ``unix:PATH``; raises `SocketTrouble`."""
    kind, _, where = address.partition(":")
    if kind == "unix":
        return _open_unix(Path(where), user, group)
    if kind == "tcp":
        host, _, port = where.rpartition(":")
        if port.isdigit():
            return _open_tcp(host.strip("[]"), int(port))
    raise SocketTrouble(f"{address!r} is neither tcp:ADDRESS:PORT nor unix:PATH")


def _open_tcp(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        what = f"tcp {host}:{port}"
        if error.errno == errno.EADDRINUSE:
            holder = kernel_sockets.holder(port, host)
            by = f"in use by pid {holder[0]} ({holder[1]})" if holder else "in use"
            raise SocketTrouble(f"{what} is {by}") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise SocketTrouble(f"{what}: this machine has no address {host}") from error
        raise SocketTrouble(f"{what}: {error.strerror}") from error
    return sock


def _open_unix(path: Path, user: str, group: str) -> socket.socket:
    if is_socket(path):
        if somebody_listens(path):
            raise SocketTrouble(f"{path} is in use by another process")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    try:
        old = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(old)
        owner = pwd.getpwnam(user)
        os.chown(path, owner.pw_uid, grp.getgrnam(group).gr_gid if group else owner.pw_gid)
        path.chmod(0o660)
        sock.listen(BACKLOG)
    except (OSError, KeyError) as error:
        sock.close()
        nobody = f"there is no user {user!r}" + (f" or no group {group!r}" if group else "")
        reason = error.strerror if isinstance(error, OSError) else nobody
        raise SocketTrouble(f"{path}: {reason}") from error
    return sock


def close_socket(address: str, sock: socket.socket) -> None:
    """Close it for good, its file with it."""
    sock.close()
    kind, _, where = address.partition(":")
    if kind == "unix":
        with contextlib.suppress(OSError):
            os.unlink(where)


def is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False


def somebody_listens(path: Path) -> bool:
    """Whether a connection would be accepted, or the socket is of a kind that has none."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True


def remove_stale(directory: Path) -> list[Path]:
    """Remove socket files below ``directory`` at which nobody listens any more."""
    removed = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            if is_socket(path) and not somebody_listens(path):
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed.append(path)
    return removed
