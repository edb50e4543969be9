"""The server's first contents: whole, or made anew."""

from __future__ import annotations

import os
from pathlib import Path

from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.full_disk import full_disk_told
from onestack.kernel.files import sync_directory

HASTY = (
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=16M",
    "--innodb-buffer-pool-size=32M",
)
"""Options for a server whose work counts only as a whole: 0.9 s instead of 2.4 s."""


def install(data: Path, user: str) -> None:
    """Make the data directory ``data`` for the unix user ``user``.

    Root comes in by the unix socket, as unix user root, and nobody else by
    any other way. Made beside its place, and renamed when it is complete and
    on the disk. Raises `OnestackError` with what the program said, and how to
    go on when the disk is full.
    """
    work = data.with_name(f".{data.name}.new")
    remove_tree(work)
    with full_disk_told("the database server's first contents cannot be made", data.parent):
        _fill(work, user)
        _sync(work)
        work.rename(data)
        sync_directory(data.parent)


def _fill(work: Path, user: str) -> None:
    run(
        [
            "/usr/bin/mariadb-install-db",
            "--no-defaults",
            f"--datadir={work}",
            # In a shared one a starting server takes away what it finds of another.
            f"--tmpdir={work.parent}",
            f"--user={user}",
            "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root",
            "--skip-test-db",
            "--skip-name-resolve",
            *HASTY,
        ],
        timeout=600,
        hopeless="Waiting for someone to free space",
    )


def _sync(tree: Path) -> None:
    """Have all of ``tree`` on the disk."""
    for folder, _, names in os.walk(tree):
        for name in names:
            descriptor = os.open(Path(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(folder))
