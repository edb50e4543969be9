"""``connect``: somebody accepts."""

from __future__ import annotations

import socket

from onestack.model.process import ConnectProbe
from onestack.supervise.probes.base import Unreachable


def attempt(probe: ConnectProbe, timeout: float) -> None:
    open_connection(probe.target, timeout).close()


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
