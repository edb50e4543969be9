"""A storage daemon as the supervisor has it, and who comes to it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from onestack.components import certificates
from onestack.storage import nbd
from tests.support.trials import OURS

DAEMON = Path("/usr/bin/qemu-storage-daemon")
needs_daemon = pytest.mark.skipif(
    not (DAEMON.exists() and Path("/usr/bin/qemu-io").exists()),
    reason="needs the packages qemu-system-common and qemu-utils",
)
ADDRESS = "127.0.0.2"
_START = """
import os, sys
names = sys.argv[1]
os.environ |= {"LISTEN_FDNAMES": names}
os.execv(sys.executable, [sys.executable, "-m", "onestack.storage.nbd", *sys.argv[2:]])
"""


class Authority:
    """What hosts show to each other is by it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.files = folder / "ca.pem", folder / "ca.key"
        certificates.make_ca(*self.files, certificates.named("between hosts"))

    def signed(self, name: str, subject: str) -> tuple[Path, int]:
        """A folder as QEMU looks into it, for both ends; the certificate's serial number."""
        place = self.folder / name
        place.mkdir()
        address = x509.IPAddress(ipaddress.ip_address(ADDRESS))
        made = certificates.sign(*self.files, certificates.named(subject), None, [address])
        for end in ("server", "client"):
            (place / f"{end}-cert.pem").write_text(made.certificate)
            (place / f"{end}-key.pem").write_text(made.key)
        self.trusted(place)
        number = x509.load_pem_x509_certificate(made.certificate.encode()).serial_number
        return place, number

    def trusted(self, place: Path, *gone: int) -> None:
        (place / "ca-cert.pem").write_text(self.files[0].read_text())
        (place / "ca-crl.pem").write_text(certificates.revocations(*self.files, gone))


@dataclass
class Server:
    """The daemon, on sockets that stay."""

    words: Sequence[str]
    monitor: Path
    sockets: dict[str, socket.socket]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self.sockets[nbd.SERVED].getsockname()[1])

    def start(self) -> None:
        numbers = [s.fileno() for s in self.sockets.values()]

        def moved() -> None:
            high = [os.dup(number) for number in numbers]
            for number, each in enumerate(high, 3):
                os.dup2(each, number, inheritable=True)

        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, ":".join(self.sockets), *self.words],
                env={**os.environ, "PYTHONPATH": str(OURS)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                close_fds=False,
                preexec_fn=moved,
            )
        with nbd.Monitor(self.monitor, 240):
            pass

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def asked(
        self, tls: Path | None, name: str, command: str, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """What a client of QEMU's gets that shows what is in ``tls``, or speaks none."""
        place = f"driver=nbd,host={ADDRESS},port={self.port},export={name}"
        words = []
        if tls is not None:
            words = ["--object", f"tls-creds-x509,id=tls,dir={tls},endpoint=client"]
            place += ",tls-creds=tls"
        return subprocess.run(
            ["qemu-io", *words, "--image-opts", place, "-c", command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@contextlib.contextmanager
def server(place: Path, folder: Path, identity: str, tls: Path, subject: str) -> Iterator[Server]:
    """One for the host; ``place`` is an empty folder for its socket and log."""
    monitor = socket.socket(socket.AF_UNIX)
    monitor.bind(str(place / "monitor"))
    monitor.listen()
    served = socket.create_server((ADDRESS, 0))
    made = Server(
        (str(folder), identity, str(tls), subject),
        place / "monitor",
        {nbd.MONITOR: monitor, nbd.SERVED: served},
        place / "log",
    )
    try:
        made.start()
        yield made
    finally:
        made.kill()
        monitor.close()
        served.close()
