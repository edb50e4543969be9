"""``python -m onestack.storage.nbd``: serves one host the volumes that it may open.

QEMU's storage daemon, by NBD: TLS, for the one certificate of that host, since who gets in may
have all that is served listed. The supervisor has opened both its sockets, which stay while it is
started anew: who asks it then waits. What it serves then is what the host's folder
(`onestack.storage.exports`) has; `Monitor` has it take up and end what comes and goes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from onestack.storage.exports import Export, Exports

DAEMON = "qemu-storage-daemon"
MONITOR, SERVED = "monitor", "nbd"
"""Names of its sockets."""
SECONDS = 30.0
"""What it may take to answer: also until it is there again."""
_GREETING = b"NBDMAGIC"


class NotServed(Exception):
    """The daemon did not do what it was to; in words."""


def words(
    folder: Path, identity: str, tls: Path, subject: str, sockets: dict[str, int]
) -> list[str]:
    """The daemon's command line.

    ``tls`` has the files as QEMU looks for them, ``subject`` is what stands in the host's
    certificate, ``sockets`` are numbers of descriptors.
    """
    found = [
        DAEMON,
        *("--object", f"tls-creds-x509,id=tls,dir={_escaped(tls)},endpoint=server,verify-peer=on"),
        *("--object", f"authz-simple,id=host,identity={_escaped(subject)}"),
        *("--chardev", f"socket,id=monitor,fd={sockets[MONITOR]},server=on,wait=off"),
        *("--monitor", "chardev=monitor,mode=control"),
        # A connection for each volume of each guest: by itself it lets a hundred in, and has the
        # next one wait, with the guest.
        "--nbd-server",
        f"addr.type=fd,addr.str={sockets[SERVED]},tls-creds=tls,tls-authz=host,max-connections=0",
    ]
    for export in Exports(folder).of_host(identity):
        if not os.access(export.path, os.R_OK | os.W_OK):
            # One that is not there would keep all others from being served.
            text = f"the volume {export.volume} is not served: {export.path} cannot be opened"
            print(text, file=sys.stderr)
            continue
        found += ["--blockdev", json.dumps(export.device), "--export", json.dumps(export.served)]
    return found


def greeted(host: str, port: int, seconds: float) -> None:
    """Somebody serves there, and not only holds the port. Raises `OSError`.

    The supervisor has it open all the time. NBD's greeting comes before TLS, to whoever asks.
    """
    with socket.create_connection((host, port), seconds) as line, line.makefile("rb") as heard:
        if heard.read(len(_GREETING)) != _GREETING:
            raise OSError("whoever is there does not serve")


def _escaped(text: object) -> str:
    return str(text).replace(",", ",,")


class Monitor:
    """A word with the daemon. Raises `NotServed` and `OSError`."""

    def __init__(self, place: Path, seconds: float = SECONDS) -> None:
        self._until = time.monotonic() + seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(str(place))
            self._lines = self._socket.makefile("rb")
            self._line()
            self._ask("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()

    def serve(self, export: Export) -> None:
        """Any number of times."""
        if export.node in self.names():
            return
        # What is left of one that was cut short: the file may be another one since.
        self._end(export.node)
        self._ask("blockdev-add", **export.device)
        self._ask("block-export-add", **export.served)

    def end(self, export: Export) -> None:
        """Also for who has it open. Any number of times."""
        self._end(export.node)

    def renew(self, export: Export) -> None:
        """The file has another size: who has it open connects again, and sees it then."""
        self.end(export)
        self.serve(export)

    def keep(self, exports: Collection[Export]) -> None:
        """These are served, and nothing else is."""
        for node in self.names() - {export.node for export in exports}:
            self._end(node)
        for export in exports:
            self.serve(export)

    def names(self) -> set[str]:
        """What `Export.node` is of all that are served."""
        return {one["id"] for one in self._ask("query-block-exports")}

    def _end(self, node: str) -> None:
        if node in self.names():
            self._ask("block-export-del", id=node, mode="hard")
            while node in self.names():
                if time.monotonic() > self._until:
                    raise NotServed(f"{node} does not end")
                time.sleep(0.05)
        if node in self._nodes():
            self._ask("blockdev-del", **{"node-name": node})

    def _nodes(self) -> set[str]:
        return {one["node-name"] for one in self._ask("query-named-block-nodes", flat=True)}

    def _ask(self, command: str, **arguments: Any) -> Any:
        said = json.dumps({"execute": command, "arguments": arguments})
        self._socket.sendall(said.encode() + b"\n")
        while True:
            heard = self._line()
            if "error" in heard:
                raise NotServed(f"{command}: {heard['error'].get('desc')}")
            if "return" in heard:
                return heard["return"]

    def _line(self) -> dict[str, Any]:
        self._socket.settimeout(max(0.1, self._until - time.monotonic()))
        line = self._lines.readline()
        if not line:
            raise NotServed("the storage daemon has ended meanwhile")
        found: dict[str, Any] = json.loads(line)
        return found


def _opened() -> dict[str, int]:
    """Descriptors of the sockets that the supervisor has opened: sd_listen_fds(3)."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return {name: number for number, name in enumerate(names, 3)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onestack.storage.nbd")
    parser.add_argument("folder", type=Path, help="of exports, a folder in it for each host")
    parser.add_argument("identity", help="whose it serves")
    parser.add_argument("tls", type=Path, help="the folder of what it shows")
    parser.add_argument("subject", help="what stands in the host's certificate")
    given = parser.parse_args(argv)
    sockets = _opened()
    if not {MONITOR, SERVED} <= sockets.keys():
        print(f"the sockets {MONITOR} and {SERVED} are not there", file=sys.stderr)
        return 2
    found = words(given.folder, given.identity, given.tls, given.subject, sockets)
    for number in sockets.values():
        os.set_inheritable(number, True)
    with contextlib.suppress(FileNotFoundError):
        os.execvp(found[0], found)
    print(f"{DAEMON} is not installed (qemu-system-common)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
