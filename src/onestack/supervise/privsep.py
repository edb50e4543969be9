"""Privsep daemons forked from the zygote: who may have which, and becoming one.

oslo.privsep starts its privileged half through a `helper_command`; ours
(``privsep-helper``) asks the supervisor over a unix socket. What sudo's and
rootwrap's filters are for elsewhere is decided here: the asking user (by
SO_PEERCRED) must be allowed the context, the configuration must be the
cloud's own, and the daemon connects to the caller's socket with the caller's
own rights.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NO_DEFAULTS: dict[str, Any] = {"default_config_files": [], "default_config_dirs": []}
"""What lies in /etc of the machine is not the cloud's."""


class NotAllowed(Exception):
    """The text says why."""


@dataclass(frozen=True)
class Peer:
    pid: int
    uid: int
    gid: int

    @property
    def user(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


@dataclass(frozen=True)
class Request:
    context: str
    socket: str
    config: tuple[str, ...] = ()
    """``--config-file`` and ``--config-dir`` with their values, as given."""


def peer_of(connection: socket.socket) -> Peer:
    size = struct.calcsize("3i")
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return Peer(*struct.unpack("3i", data))


def parse(line: bytes) -> Request:
    """The helper's words, separated by NUL; raises `NotAllowed` for any it may not have."""
    words = line.decode(errors="replace").split("\0")
    config: list[str] = []
    found = {"--privsep_context": "", "--privsep_sock_path": ""}
    rest = iter([p for w in words for p in (w.split("=", 1) if w.startswith("--") else [w])])
    for word in rest:
        if word in ("--config-file", "--config-dir"):
            config += [word, next(rest, "")]
        elif word in found:
            found[word] = next(rest, "")
        else:
            raise NotAllowed(f"the argument {word!r} is not allowed")
    if not all(found.values()):
        raise NotAllowed("--privsep_context and --privsep_sock_path are needed")
    return Request(found["--privsep_context"], found["--privsep_sock_path"], tuple(config))


def check(request: Request, peer: Peer, allowed: Mapping[str, tuple[str, ...]], root: Path) -> None:
    """Raises `NotAllowed` unless this user may have this context in this way."""
    if request.context not in allowed.get(peer.user, ()):
        raise NotAllowed(f"the user {peer.user} may not have the context {request.context}")
    for path in request.config[1::2]:
        _check_config(Path(path), root)
    folder = Path(request.socket).parent
    try:
        place, node = folder.lstat(), Path(request.socket).lstat()
    except OSError as error:
        raise NotAllowed(f"{request.socket}: {error.strerror}") from None
    if not (stat.S_ISDIR(place.st_mode) and place.st_uid == peer.uid):
        raise NotAllowed(f"{folder} is not a directory of the user {peer.user}")
    if not (stat.S_ISSOCK(node.st_mode) and node.st_uid == peer.uid):
        raise NotAllowed(f"{request.socket} is not a socket of the user {peer.user}")


def _check_config(path: Path, root: Path) -> None:
    """Options decide what a daemon may do: only root may have written them."""
    real = path.resolve()
    if not real.is_relative_to(root / "etc"):
        raise NotAllowed(f"{path} is not below {root / 'etc'}")
    while True:
        try:
            info = real.stat()
        except OSError as error:
            raise NotAllowed(f"{real}: {error.strerror}") from None
        if info.st_uid != 0 or info.st_mode & 0o022:
            raise NotAllowed(f"{real} could be changed by others than root")
        if real == root / "etc":
            return
        real = real.parent


def become_daemon(request: Request, peer: Peer, sockets: dict[str, socket.socket]) -> int:
    """In a child of the zygote: what oslo.privsep's `helper_main` does, without its fork.

    Says ``ok`` (or what went wrong) to the helper, then serves until the
    client closes its socket. Runs in the services' environment.
    """
    asking = sockets["asking"]
    try:
        daemon = _connect_daemon(request, peer)
    except BaseException as error:
        with contextlib.suppress(OSError):
            asking.sendall(f"{type(error).__name__}: {error}".replace("\n", " ").encode() + b"\n")
        raise
    asking.sendall(b"ok\n")
    asking.close()
    daemon.run()
    return 0


def _connect_daemon(request: Request, peer: Peer) -> Any:
    from oslo_config import cfg
    from oslo_log import log
    from oslo_privsep import comm, daemon, priv_context
    from oslo_utils import importutils

    log.register_options(cfg.CONF)
    cfg.CONF(args=list(request.config), project="privsep", **_NO_DEFAULTS)
    log.setup(cfg.CONF, "privsep", fix_eventlet=False)
    context = importutils.import_class(request.context)
    if not isinstance(context, priv_context.PrivContext):
        raise TypeError(f"{request.context} is not a PrivContext")
    channel = comm.ServerChannel(connect_as(peer, request.socket))
    daemon.replace_logging(daemon.PrivsepLogHandler(channel, processName=str(context)))
    return daemon.Daemon(channel, context)


def connect_as(peer: Peer, path: str) -> socket.socket:
    """Connect with the caller's rights: a path swapped meanwhile leads nowhere it could not go."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        os.setegid(peer.gid)
        os.seteuid(peer.uid)
        sock.connect(path)
    finally:
        os.seteuid(0)
        os.setegid(0)
    if peer_of(sock).uid != peer.uid:
        sock.close()
        raise NotAllowed(f"{path} is served by another user")
    return sock
