"""``notify``: processes that say themselves when they are ready, by sd_notify(3).

The process finds ``NOTIFY_SOCKET`` in its
environment, as under systemd: many daemons speak it already (MariaDB,
RabbitMQ, HAProxy, libvirtd …), and our Python services call `onestack.runtime.notify.tell_ready`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from onestack.kernel import proc
from onestack.model.process import NotifyProbe
from onestack.supervise.loop import READ, Loop
from onestack.supervise.supervised import Supervised


class Known(Protocol):
    loop: Loop
    processes: dict[str, Supervised]


def listen(known: Known, path: Path) -> socket.socket:
    """Hear processes at ``path``. The kernel says who speaks; only ``READY=1`` is heard."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    server.bind(str(path))
    path.chmod(0o666)
    server.setblocking(False)

    def hear(events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                message, ancillary, _, _ = server.recvmsg(4096, socket.CMSG_SPACE(12))
                if b"READY=1" in message.splitlines():
                    process = speaker(known.processes.values(), _sender(ancillary))
                    if process and isinstance(process.spec.probe, NotifyProbe):
                        process.probed(True, "", False)

    known.loop.watch(server, READ, hear)
    return server


def speaker(processes: Iterable[Supervised], pid: int) -> Supervised | None:
    """Whose process ``pid`` is: its main one, or one of that one's session."""
    entry = proc.stat(pid)
    own = {pid, entry.session if entry else pid}
    return next((p for p in processes if p.machine.pid in own), None)


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return int(struct.unpack("3i", data[:12])[0])
    return 0
