"""Kept schemas, with programs that stand for MariaDB's."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.database.dumps import Dumps
from onestack.host.command import CommandFailed
from onestack.model.errors import OnestackError


@pytest.fixture
def dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dumps:
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools / "mariadb-dump", 'echo "$@"; echo "CREATE TABLE t"; echo "-- Dump completed"')
    program(tools / "mariadb", f'echo "$@" > {tmp_path}/asked; cat > {tmp_path}/got')
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return Dumps(tmp_path / "schemas" / "hash", Path("/run/x.sock"))


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_taken_and_restored(dumps: Dumps, tmp_path: Path) -> None:
    assert not dumps.has("glance")
    assert dumps.take("glance", ["secret"])
    path = dumps.path("glance")
    assert dumps.has("glance") and path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "--socket=/run/x.sock" in path.read_text() and "CREATE TABLE t" in path.read_text()
    dumps.restore("glance")
    assert (tmp_path / "got").read_text() == path.read_text()
    assert (tmp_path / "asked").read_text().split()[-1] == "glance"
    assert [p.name for p in path.parent.iterdir()] == ["glance.sql"]
    dumps.forget("glance")
    assert not dumps.has("glance")


def test_another_job_makes_another_dump(dumps: Dumps, tmp_path: Path) -> None:
    """What the job of before left out would be missing for ever."""
    assert dumps.take("glance", [])
    ours = Dumps(
        dumps.folder, dumps.socket, {"glance": "onestack.components.glance.inside.jobs:sync"}
    )
    assert not ours.has("glance")
    assert ours.take("glance", []) and ours.has("glance")
    assert ours.path("glance") != dumps.path("glance")
    with pytest.raises(ModuleNotFoundError):
        Dumps(dumps.folder, dumps.socket, {"glance": "onestack.nowhere:sync"}).path("glance")


def test_some_tables_of_another_database(dumps: Dumps, tmp_path: Path) -> None:
    assert dumps.take("more", [], "glance", {"b", "a"})
    assert dumps.path("more").read_text().splitlines()[0].split()[-3:] == ["glance", "a", "b"]
    dumps.restore("more", "glance")
    assert (tmp_path / "asked").read_text().split()[-1] == "glance"


def test_secrets_are_never_kept(dumps: Dumps) -> None:
    assert not dumps.take("glance", ["", "CREATE TABLE"])
    assert list(dumps.folder.iterdir()) == []


def test_half_a_dump_is_not_kept(dumps: Dumps, tmp_path: Path) -> None:
    program(tmp_path / "tools" / "mariadb-dump", "echo 'CREATE TABLE t'")
    with pytest.raises(OnestackError, match="was not dumped whole"):
        dumps.take("glance", [])
    program(tmp_path / "tools" / "mariadb-dump", "echo 'disk full' >&2; exit 5")
    with pytest.raises(CommandFailed, match="failed"):
        dumps.take("glance", [])
    assert list(dumps.folder.iterdir()) == []
