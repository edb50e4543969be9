"""A database server of a test's own, as the cloud's is set up."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from onestack.components.mariadb import Mariadb
from onestack.components.mariadb.datadir import install
from tests.unit.components.rooms import content, context

installed = pytest.mark.skipif(
    not Path("/usr/sbin/mariadbd").exists() or os.geteuid() != 0,
    reason="needs root and the package mariadb-server-core",
)


@contextmanager
def running(folder: Path) -> Iterator[pymysql.Connection]:
    """A server with its first contents, or those that are there, and root's connection to it."""
    folder.chmod(0o755)
    data = folder / "data"
    if not data.exists():
        install(data, "root")
    config = folder / "mariadb.cnf"
    text = content(context(folder), Mariadb(), "mariadb.cnf")
    text = text.replace(f"{folder}/data/mariadb/data", str(data))
    text = text.replace(f"{folder}/run/mariadb", str(folder))
    config.write_text(text.replace(f"tmpdir = {folder}/data/mariadb", f"tmpdir = {folder}"))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            ["/usr/sbin/mariadbd", f"--defaults-file={config}", "--user=root"],
            stdout=log,
            stderr=log,
        )
    try:
        yield connect(folder / "mariadb.sock", "root", server)
    finally:
        server.terminate()
        assert server.wait(30) == 0
    assert "[ERROR]" not in (folder / "log").read_text()


def connect(socket: Path, user: str, server: subprocess.Popen[bytes]) -> pymysql.Connection:
    until = time.monotonic() + 30
    while True:
        try:
            return pymysql.connect(unix_socket=str(socket), user=user)
        except pymysql.err.OperationalError:
            assert server.poll() is None, "mariadbd has ended"
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
