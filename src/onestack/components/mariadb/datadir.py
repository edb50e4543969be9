"""The server's first contents: whole, or made anew."""

from __future__ import annotations

from pathlib import Path

from onestack.host.command import run
from onestack.host.files import remove_tree


def install(data: Path, user: str) -> None:
    """Make the data directory ``data`` for the unix user ``user``.

    Root comes in by the unix socket, as unix user root, and nobody else by
    any other way. Made beside its place and renamed when complete.
    """
    work = data.with_name(f".{data.name}.new")
    remove_tree(work)
    run(
        [
            "/usr/bin/mariadb-install-db",
            "--no-defaults",
            f"--datadir={work}",
            f"--user={user}",
            "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root",
            "--skip-test-db",
            "--skip-name-resolve",
        ],
        timeout=120,
    )
    work.rename(data)
