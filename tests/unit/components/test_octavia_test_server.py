"""The web server of Octavia's tests: made once, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onestack.components.octavia import Octavia, tempest
from onestack.components.tempest import Tempest
from onestack.host import debs
from onestack.host.command import CommandFailed
from onestack.model.errors import OnestackError
from tests.unit.components.rooms import context

GO = """#!/bin/sh
# builds what is a package: build -ldflags FLAGS -o PROGRAM SOURCE
[ "$1" = build ] && [ "$GOROOT" = "$(dirname "$(dirname "$0")")" ] || exit 2
grep package "$6" >"$5" && echo "$CGO_ENABLED $GOPROXY" >>"$5"
"""


@pytest.fixture
def release(tmp_path: Path) -> Any:
    """Stands for a context whose tests' environment is in ``tmp_path``."""
    place = tmp_path / "tests-1"
    source = place / "lib/python3.11/site-packages" / tempest.SOURCE
    source.parent.mkdir(parents=True)
    source.write_text("// of upstream's\npackage main\n")
    environment = SimpleNamespace(place=place)
    return SimpleNamespace(release=SimpleNamespace(environment=lambda name: environment))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that were unpacked; a compiler comes of them."""
    found: list[str] = []

    def unpack(names: Iterable[str], folder: Path) -> None:
        found.extend(names)
        program = folder / "usr/lib/go-1.19/bin/go"
        program.parent.mkdir(parents=True)
        program.write_text(GO)
        program.chmod(0o755)

    monkeypatch.setattr(debs, "unpack", unpack)
    monkeypatch.setattr(debs, "depended", lambda name: ["golang-1.19-go", "golang-src"])
    return found


def test_it_is_made_of_upstreams_source(release: Any, asked: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "octavia-test-server-0123456789ab").touch()
    made = tempest.server(release, cache)
    (cache / f".{made.name}-killed").mkdir()
    tempest.make(release, cache)
    assert made.read_text() == "package main\n0 off\n"
    assert made.stat().st_mode & 0o777 == 0o755
    # Neither the compiler nor an older one is kept.
    assert [path for path in cache.iterdir() if not path.name.endswith(".lock")] == [made]
    assert asked == ["golang-1.19-go", "golang-1.19-src"]
    tempest.make(release, cache)
    assert len(asked) == 2


def test_what_does_not_compile_leaves_nothing(
    release: Any, asked: list[str], tmp_path: Path
) -> None:
    code = tempest.source(release)
    assert code
    code.write_text("// nothing but this\n")
    cache = tmp_path / "cache"
    with pytest.raises(CommandFailed):
        tempest.make(release, cache)
    assert [path.name for path in cache.iterdir() if not path.name.endswith(".lock")] == []


def test_apt_without_lists(
    release: Any, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debs, "depended", lambda name: [])
    with pytest.raises(OnestackError, match="apt does not know golang-go") as said:
        tempest.make(release, tmp_path)
    assert "apt-get update" in said.value.cure


def test_another_plugin(release: Any, asked: list[str], tmp_path: Path) -> None:
    code = tempest.source(release)
    assert code
    code.unlink()
    with pytest.raises(OnestackError, match="cannot be made"):
        tempest.make(release, tmp_path)


@pytest.mark.parametrize("tests", (True, False))
def test_only_where_there_are_tests(tmp_path: Path, tests: bool) -> None:
    octavia = Octavia()
    rooms = (octavia, *((Tempest(),) if tests else ()))
    ctx = context(tmp_path, *rooms, CONFIG_LBAAS_INSTALL="y", CONFIG_PROVISION_TEMPEST="y")
    assert ("test-server" in [task.name for task in octavia.downloads(ctx)]) is tests
