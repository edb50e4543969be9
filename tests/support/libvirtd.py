"""A real libvirtd in mounts of its own, which hears by TLS whom its files say."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.door import free_port

DAEMON = Path("/usr/sbin/libvirtd")
needs_libvirtd = pytest.mark.skipif(not DAEMON.exists(), reason="needs the package libvirt-daemon")
ADDRESS = "127.0.0.2"
"""Where it hears."""
SERVER = """
import os, socket, sys
name, address, port, config = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
os.makedirs("/run/libvirt")
unix = socket.socket(socket.AF_UNIX)
unix.bind("/run/libvirt/socket")
unix.listen()
tcp = socket.create_server((address, port))
for number, each in enumerate((unix, tcp), 3):
    os.dup2(each.fileno(), number + 10)
for number in (3, 4):
    os.dup2(number + 10, number, inheritable=True)
os.environ |= {
    "LISTEN_PID": str(os.getpid()),
    "LISTEN_FDS": "2",
    "LISTEN_FDNAMES": "libvirtd.socket:libvirtd-tls.socket",
}
os.execv(name, [name, "--config", config, "--pid-file", "/run/libvirt/pid"])
"""
SPACE = """
set -eu
mount --make-rprivate /
mount -t tmpfs own /run
for place in etc lib log cache; do mkdir -p "$1/$place"; done
mkdir -p "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay /etc
mkdir -p /etc/pki /etc/libvirt
mount --bind "$2" /etc/pki
mount --bind "$1/etc" /etc/libvirt
getent passwd libvirt-qemu >&2 || useradd --system --no-create-home libvirt-qemu
for place in lib log cache; do mount --bind "$1/$place" "/var/$place/libvirt"; done
eval "$3"
exec /usr/bin/python3 -c "$4" /usr/sbin/libvirtd "$5" "$6" /etc/libvirt/libvirtd.conf
"""


@contextmanager
def libvirtd(
    place: Path, pki: Path, files: Mapping[str, str], mounts: Mapping[Path, str] | None = None
) -> Iterator[tuple[int, Path]]:
    """Its port at `ADDRESS`, and its log.

    ``place`` is made, for what it keeps; ``files`` are those in its /etc/libvirt. ``mounts`` are
    further places of its, to what ``mount`` is given for each.
    """
    port, log = free_port(), place / "log.txt"
    (place / "etc").mkdir(parents=True)
    for name, text in files.items():
        (place / "etc" / name).write_text(text)
    more = "\n".join(
        f"mount {words} {shlex.quote(str(where))}" for where, words in (mounts or {}).items()
    )
    words = ["unshare", "--mount", "sh", "-c", SPACE, "sh", str(place), str(pki), more, SERVER]
    with log.open("w") as file:
        process = subprocess.Popen([*words, ADDRESS, str(port)], stdout=file, stderr=file)
    try:
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection((ADDRESS, port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.2)
        yield port, log
    finally:
        process.terminate()
        process.wait(60)
