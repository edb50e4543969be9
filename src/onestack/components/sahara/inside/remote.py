"""Sahara's way to guests, for guests and libraries of today (sahara's environment).

Upstream's driver asks a guest's Python which distribution it is, by a function that Python has
no more; it writes files by a part of paramiko that is gone; it has the guest start a server for
each file; and it starts a program for each session. Each of them is put right in upstream's
module: functions that a session is sent are sent by name, so that both ends must know the same.
"""

from __future__ import annotations

import io
from typing import Any

import paramiko
from sahara.utils import procutils, ssh_remote

from onestack.components.sahara.inside import sessions

PATIENCE = 60.0
"""Seconds for a guest's first word, and for its letting in: its processor may be emulated, and busy
with all that it starts. A session that is not had in time brings the whole cluster to an error."""
LIKE_UPSTREAM = {"rhel": "redhat"}
"""What upstream calls a distribution that calls itself otherwise."""


def described() -> dict[str, str]:
    """What a guest says of itself; nothing where it says nothing."""
    _, text = ssh_remote._execute_command("cat /etc/os-release", raise_when_error=False)
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value.strip("\"'") for name, _, value in pairs}


def distribution() -> str:
    name = described().get("ID", "").lower()
    return LIKE_UPSTREAM.get(name, name)


def version() -> str:
    return described().get("VERSION_ID", "")


def write(sftp: Any, remote_file: str, data: str | bytes) -> None:
    """In bytes: of a text with other letters than ASCII's, upstream counts too few."""
    raw = data.encode() if isinstance(data, str) else data
    sftp.putfo(io.BytesIO(raw), remote_file)


class Client(paramiko.SSHClient):  # type: ignore[misc]
    """A connection with one session for files, for as long as it is there.

    Upstream opens one for each file and leaves it to Python to close it. While a guest's server
    of files ends, some ssh servers (dropbear's of 2022) close whatever channel is being opened,
    and the cluster is in error.
    """

    _files: paramiko.SFTPClient | None = None

    def connect(self, *where: Any, **how: Any) -> None:
        super().connect(*where, **{"banner_timeout": PATIENCE, "auth_timeout": PATIENCE, **how})

    def open_sftp(self) -> paramiko.SFTPClient:
        if self._files is None or self._files.get_channel().closed:
            self._files = super().open_sftp()
        return self._files


def mend() -> None:
    ssh_remote._get_os_distrib = distribution
    ssh_remote._get_os_version = version
    ssh_remote._write_fl = write
    ssh_remote.paramiko.SSHClient = Client
    procutils.start_subprocess = sessions.Session


mend()


class Driver(ssh_remote.SshRemoteDriver):  # type: ignore[misc]
    """Upstream's, as it is mended above: by this name `remote` finds it."""
