"""``connect``: somebody accepts, and answers what is said as it should be."""

from __future__ import annotations

import contextlib
import socket
import time

from onestack.model.process import ConnectProbe
from onestack.supervise.probes.base import Unreachable, Wrong

LONGEST = 4096
"""Bytes of an answer that are read."""


def attempt(probe: ConnectProbe, timeout: float) -> None:
    with open_connection(probe.target, timeout) as connection:
        if probe.hear:
            _ask(connection, probe, timeout)


def _ask(connection: socket.socket, probe: ConnectProbe, timeout: float) -> None:
    """Raises `Wrong` for another answer, and for none."""
    until, wanted, heard = time.monotonic() + timeout, probe.hear.encode("latin-1"), b""
    try:
        # One that has ended the connection may have said why: that is still to be heard.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(probe.say.encode("latin-1"))
        while wanted not in heard and len(heard) < LONGEST:
            connection.settimeout(max(0.01, until - time.monotonic()))
            if not (part := connection.recv(LONGEST)):
                break
            heard += part
    except TimeoutError:
        raise Wrong(f"{probe.target} accepts, and says nothing for {timeout:.0f} s") from None
    except OSError as error:
        raise Wrong(f"{probe.target} accepts, then: {error.strerror or error}") from None
    if wanted not in heard:
        said = "".join(c if c.isprintable() else " " for c in heard.decode("latin-1"))
        words = " ".join(said.split())[:120]
        what = f"answers {words!r}" if words else "ends the connection"
        raise Wrong(f"{probe.target} accepts, and {what}")


def open_connection(target: str, timeout: float) -> socket.socket:
    """To ``unix:PATH`` or ``tcp:HOST:PORT``. Raises `Unreachable`."""
    kind, _, where = target.partition(":")
    try:
        if kind == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            try:
                sock.connect(where)
            except OSError:
                sock.close()
                raise
            return sock
        host, _, port = where.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    except TimeoutError:
        raise Unreachable(f"{target} does not accept within {timeout:.0f} s") from None
    except OSError as error:
        raise Unreachable(f"{target}: {(error.strerror or str(error)).lower()}") from None
