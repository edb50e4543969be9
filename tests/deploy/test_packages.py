"""Packages on a bad day, with the machine's own apt and dpkg and a package made for it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.host import dpkg, packages
from onestack.host.ledger import Ledger
from onestack.model.errors import OnestackError

NAME = "onestack-trial"
KILLS = """#!/bin/sh
# the first time, dpkg dies in the middle
if [ ! -e {place}/died ]; then
    touch {place}/died
    kill -9 $PPID
    exit 1
fi
"""


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An archive that has one package, as the only one that apt knows."""
    tree, archive = tmp_path / "tree", tmp_path / "archive"
    (tree / "DEBIAN").mkdir(parents=True)
    archive.mkdir()
    control = (
        f"Package: {NAME}\nVersion: 1\nArchitecture: all\nMaintainer: Trial <trial@localhost>\n"
        "Description: for a trial of an interrupted installation\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    script = tree / "DEBIAN" / "postinst"
    script.write_text(KILLS.format(place=tmp_path))
    script.chmod(0o755)
    deb = archive / f"{NAME}.deb"
    subprocess.run(["dpkg-deb", "-b", tree, deb], check=True, capture_output=True)
    raw = deb.read_bytes()
    (archive / "Packages").write_text(
        f"{control}Filename: ./{deb.name}\nSize: {len(raw)}\n"
        f"SHA256: {hashlib.sha256(raw).hexdigest()}\n"
    )
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "cache" / "archives" / "partial").mkdir(parents=True)
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{tmp_path}/lists";\nDir::Cache "{tmp_path}/cache";\n'
        'APT::Update::Post-Invoke-Success "";\nAPT::Sandbox::User "root";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    monkeypatch.setattr(packages, "LISTS", tmp_path / "lists")
    yield tmp_path
    (tmp_path / "died").touch()
    subprocess.run(["dpkg", "--purge", NAME], capture_output=True, check=False)


def test_an_installation_that_dies_half_way(trial: Path) -> None:
    """dpkg is killed in the middle: said clearly, and the next run mends and goes on."""
    ledger = Ledger(trial / "ledger.json")

    def ensure() -> list[str]:
        made = []
        for change in packages.ensure_packages([NAME], ledger, systemd=False):
            change.do()
            made.append(change.what)
        return made

    with pytest.raises(OnestackError) as caught:
        ensure()
    assert "dpkg failed on a package" in caught.value.why
    assert "dpkg --configure -a" in caught.value.cure
    assert dpkg.unfinished() and not dpkg.installed([NAME])
    assert not packages.ours(packages.POLICY)
    assert ensure() == [f"install 1 packages: {NAME}"]
    assert dpkg.installed([NAME]) and not dpkg.unfinished()
    assert ensure() == []
