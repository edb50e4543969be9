"""Debian packages fetched, with an apt that lives here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from onestack.host import debs
from onestack.model.errors import OnestackError

APT = """#!/bin/sh
# answers from a directory of packages, once it is told to
echo "$@" >> {place}/asked
for last; do :; done
case "$*" in
*update*) touch {place}/lists ;;
*download*)
    [ -e {place}/network ] || {{
        echo "E: Failed to fetch x  Temporary failure resolving 'mirror'" >&2
        exit 100
    }}
    [ -e {place}/lists ] || {{ echo "E: Unable to locate package $last" >&2; exit 100; }}
    cp {place}/$last.deb .
    ;;
esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its directory: what it was asked for, and what decides what it answers."""
    place = tmp_path / "apt"
    tree = place / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: pages\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    )
    (tree / "usr" / "share" / "pages").mkdir(parents=True)
    (tree / "usr" / "share" / "pages" / "index.html").write_text("hello")
    subprocess.run(["dpkg-deb", "-b", tree, place / "pages.deb"], check=True, capture_output=True)
    program = place / "apt-get"
    program.write_text(APT.format(place=place))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place


def asked(apt: Path) -> list[str]:
    return (apt / "asked").read_text().splitlines()


def test_whole_or_not_at_all(apt: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "pages"
    with pytest.raises(OnestackError) as caught:
        debs.unpack(["pages"], folder)
    assert "the package mirror is not reached" in caught.value.why
    assert "apt-get update" in caught.value.cure
    assert [p.name for p in folder.parent.iterdir()] == [".pages.lock"]
    (apt / "network").touch()
    debs.unpack(["pages"], folder)
    assert (folder / "usr/share/pages/index.html").read_text() == "hello"
    assert folder.stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in folder.parent.iterdir()) == [".pages.lock", "pages"]
    # the lists, which were not there, were fetched
    assert [line.split()[-1] for line in asked(apt)[1:]] == ["pages", "update", "pages"]
    assert all("Acquire::Retries" in line for line in asked(apt))


def test_what_is_there_is_not_asked_for(apt: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "debs"
    (apt / "network").touch()
    (apt / "lists").touch()
    debs.fetch(["pages"], folder)
    assert [p.name for p in folder.iterdir()] == ["pages.deb"]
    left = folder.with_name(".debs-killed")
    left.mkdir()
    debs.fetch(["pages"], folder)
    assert len(asked(apt)) == 1
    tree = tmp_path / "tree"
    tree.mkdir()
    debs.extract(folder, tree)
    assert (tree / "usr/share/pages/index.html").exists()
    (folder / "pages.deb").unlink()
    folder.rmdir()
    debs.fetch(["pages"], folder)
    assert not left.exists()
