"""Processes that hang for a while: the kernel goes on accepting connections for them."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.clouds import wait_until


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    """It hangs, with all its threads: the signal is only sent when `kill` returns."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("each thread stops", lambda: _states(pid) == {"T"}, 10, pause=0.01)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    """Of its threads, as in proc_pid_stat(5)."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def listener(path: Path) -> int:
    """Pid of the process that listens on that socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", told)[0]
    return pid
