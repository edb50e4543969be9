"""Schemas that upstream's migrations made once on this machine, kept to be restored.

A dump is taken right after the first migration of an empty database, and
holds the schema and the rows that the migrations themselves wrote. It is
kept per release (its lock's hash) and version of our own job, 0600.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onestack.host.command import run
from onestack.kernel.files import sync_directory
from onestack.model.errors import OnestackError

END = b"-- Dump completed"
SERVER = b"utf8mb4"


@dataclass(frozen=True)
class Dumps:
    """``folder`` is CACHE/schemas/HASH, ``socket`` the server's.

    ``jobs`` maps databases to the jobs (``module:function``) that fill them: what
    another version of a job made is not taken for this one's.
    """

    folder: Path
    socket: Path
    jobs: Mapping[str, str] = field(default_factory=dict)

    def path(self, database: str) -> Path:
        job = self.jobs.get(database)
        return self.folder / f"{database}{'-' + _version(job) if job else ''}.sql"

    def has(self, database: str) -> bool:
        return self.path(database).is_file()

    def take(
        self, database: str, secrets: Iterable[str], place: str = "", tables: Iterable[str] = ()
    ) -> bool:
        """Keep ``database`` as it is; ``False`` when it holds one of ``secrets``.

        It is all of the server's database ``place`` (by default of the same
        name), or these ``tables`` of it. Raises `OnestackError` when it cannot be
        written (a full disk).
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.folder / f".{database}.{os.getpid()}.new"
        words = "--user=root --skip-lock-tables --single-transaction --hex-blob --no-tablespaces"
        argv = ["mariadb-dump", "--no-defaults", *words.split(), f"--socket={self.socket}"]
        try:
            run([*argv, place or database, *sorted(tables)], timeout=600, stdout=temporary)
            raw = temporary.read_bytes()
            if END not in raw[-200:]:
                raise OnestackError(
                    f"the schema of {database} was not dumped whole",
                    cure="make room (df -h /var/cache), then run the same command again",
                )
            if any(secret.encode() in raw for secret in secrets if secret):
                return False
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.rename(temporary, self.path(database))
            sync_directory(self.folder)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    def restore(self, database: str, place: str = "") -> None:
        """Put back what `take` has kept, of which nothing may be there. Raises `CommandFailed`."""
        client = shutil.which("mariadb") or "mysql"
        options = ["--no-defaults", "--user=root", f"--socket={self.socket}"]
        argv = [client, *options, place or database]
        run(argv, timeout=600, stdin=self.path(database))

    def forget(self, database: str) -> None:
        self.path(database).unlink(missing_ok=True)


def _version(job: str) -> str:
    """Eight digits that change with the module of ``job``, which is not imported.

    And with what the server is told: older ones took upstream's ``utf8`` for three bytes.
    """
    found = importlib.util.find_spec(job.partition(":")[0])
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"there is no module for {job}")
    return hashlib.sha256(SERVER + Path(found.origin).read_bytes()).hexdigest()[:8]
