"""Environments: whole or made anew; the program's copy; what is borrowed."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onestack.host.command import CommandFailed, CommandResult
from onestack.model.errors import NotInstalled, OnestackError
from onestack.release import environment, program
from onestack.release.environment import Environment
from onestack.release.release import HERE, Release, borrowed, release
from tests.support.environments import make

UV = """#!/bin/sh
# Stands for uv: notes what it was asked, and makes an environment of one file.
echo "$@" >> {calls}
env | grep -E '^(UV_|VIRTUAL_ENV)' | sort > {calls}.env
if [ "$1" = venv ]; then
    for last; do :; done
    mkdir -p "$last/bin"; touch "$last/bin/python"
else
    {install}
fi
"""


class Tool:
    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.program = folder / "uv"
        self.lock = folder / "services.lock"
        self.lock.write_text("a==1 \\\n    --hash=sha256:00\nb==2\n")
        self.place = folder / "release" / "services"
        self.environment = Environment("services", self.place, self.lock, "the toy")
        self.installs("true")

    def installs(self, shell: str) -> None:
        self.program.write_text(UV.format(calls=self.calls, install=shell))
        self.program.chmod(0o755)

    def ensure(self) -> list[str]:
        made = []
        for change in self.environment.ensure():
            self.environment.install(command=lambda: str(self.program))
            made.append(change.what)
        return made


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


def test_an_environment_is_made_once(tool: Tool) -> None:
    assert tool.ensure() == ["install 2 Python packages of the toy"]
    venv, install = tool.calls.read_text().splitlines()
    assert venv.startswith("venv --quiet -p /usr/bin/python3")
    for word in ("--require-hashes", "--compile-bytecode", f"-r {tool.lock}"):
        assert word in install
    assert tool.environment.complete
    assert tool.ensure() == []


def test_another_lock_or_python_means_another_environment(tool: Tool) -> None:
    tool.ensure()
    (tool.place / "old").touch()
    tool.lock.write_text("a==2\n")
    assert tool.ensure() == ["install 1 Python packages of the toy"]
    assert not (tool.place / "old").exists()
    mark = (tool.place / environment.MARK).read_text()
    (tool.place / environment.MARK).write_text(mark.replace("python3", "python2"))
    assert not tool.environment.complete


def test_a_half_made_environment_is_made_anew(tool: Tool) -> None:
    tool.installs("exit 1")
    with pytest.raises(OnestackError, match="the Python packages of the toy cannot be installed"):
        tool.ensure()
    (tool.place / "half").touch()
    assert not tool.environment.complete
    tool.installs("true")
    assert len(tool.ensure()) == 1
    assert not (tool.place / "half").exists()


def test_everybody_may_read_it(tool: Tool) -> None:
    tool.installs(f"umask 077; mkdir {tool.place}/deep; touch {tool.place}/deep/module.py")
    tool.ensure()
    assert (tool.place / "deep").stat().st_mode & 0o777 == 0o755
    assert (tool.place / "deep" / "module.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("error: No space left on device (os error 28)", "the disk is full"),
        ("Hash mismatch for `a==1`", "not the one the release was made with"),
        ("Failed to fetch: `https://x`\n dns error", "not reached"),
        ("invalid peer certificate: UnknownIssuer", "not trusted"),
        ("status code 401 Unauthorized", "other credentials"),
        ("Because a was not found in the package registry", "does not have all packages"),
    ],
)
def test_failures_are_explained(said: str, cause: str) -> None:
    error = CommandFailed(CommandResult(("uv",), 2, "", said, 0.0), "it ended with exit code 2")
    found = environment.explained("the toy", error)
    assert cause in found.why
    assert said.splitlines()[0] in found.why
    assert "run the same command again" in found.cure


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A program of a few files."""
    source = tmp_path / "source"
    for name, text in {
        "__init__.py": "",
        "release/entry_points.txt": "[group]\nname = module:thing\n",
        "runtime/module.py": "VALUE = 1\n",
        "runtime/tool": "#!/bin/sh\n",
        "components/__init__.py": "from onestack.components.toy import Toy\n",
        "components/toy/__init__.py": "class Toy: ...\n",
        "components/toy/inside/__init__.py": "",
        "components/toy/inside/run.py": "VALUE = 2\n",
        "cli/main.py": "VALUE = 3\n",
        "deploy/up.py": "VALUE = 4\n",
    }.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return source


def test_the_copy_is_named_by_its_content(source: Path, tmp_path: Path) -> None:
    first = program.content_hash(source)
    (source / "runtime" / "__pycache__").mkdir()
    (source / "runtime" / "__pycache__" / "x.pyc").touch()
    assert program.content_hash(source) == first
    (source / "runtime" / "tool").chmod(0o755)
    second = program.content_hash(source)
    assert second != first
    place = tmp_path / "program" / second
    (change,) = program.ensure_program(place, Path(sys.executable), source=source)
    change.do()
    assert list(program.ensure_program(place, Path(sys.executable), source=source)) == []
    assert os.access(place / "onestack" / "runtime" / "tool", os.X_OK)
    assert (place / "onestack" / "runtime" / "module.py").stat().st_mode & 0o777 == 0o644
    assert list((place / "onestack" / "runtime" / "__pycache__").glob("module.*.pyc"))
    assert [p.name for p in place.parent.iterdir() if not p.name.startswith(".lock")] == [second]
    # a service imports its own room's inside, and no room's declarations
    out = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import onestack.components.toy.inside.run as r; print(r.VALUE)",
        ],
        env={"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert (out.stdout, out.stderr) == ("2\n", "")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cli/main.py", False),
        ("deploy/up.py", False),
        ("components/toy/__init__.py", False),
        ("runtime/module.py", True),
        ("components/toy/inside/run.py", True),
        ("release/entry_points.txt", True),
    ],
)
def test_only_what_the_services_side_has_counts(source: Path, name: str, counts: bool) -> None:
    """Another name of the copy starts the supervisor and all processes anew."""
    before = program.content_hash(source)
    with (source / name).open("a") as file:
        file.write("\n")
    assert (program.content_hash(source) != before) is counts


def test_any_change_is_another_edition(tmp_path: Path) -> None:
    """Also of what no service imports; what Python or an editor leaves there is no change."""
    source = tmp_path / "onestack"
    (source / "cli").mkdir(parents=True)
    (source / "cli" / "up.py").write_text("one")
    (source / "nc").symlink_to("/nowhere/at/all")

    def edition() -> str:
        program.edition.cache_clear()
        return program.edition(source)

    first = edition()
    (source / "cli" / "__pycache__").mkdir()
    for name in ("__pycache__/up.pyc", "up.py~", ".up.py.swp"):
        (source / "cli" / name).write_text("x")
    assert edition() == first
    (source / "cli" / "up.py").write_text("two")
    second = edition()
    (source / "nc").unlink()
    (source / "nc").symlink_to("/elsewhere")
    assert len({first, second, edition()}) == 3
    program.edition.cache_clear()
    assert len(program.edition()) == 12


def test_drivers_are_found_by_their_entry_points(tmp_path: Path) -> None:
    """As stevedore looks for them, with the copy on PYTHONPATH."""
    place = tmp_path / "copy"
    program.install(place, Path(sys.executable))
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps([[e.name, e.value] for e in"
        " m.entry_points(group='neutron.ml2.mechanism_drivers')]))"
    )
    out = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    declared = configparser.ConfigParser()
    declared.read(HERE / "entry_points.txt")
    found = dict(json.loads(out))
    assert found == dict(declared["neutron.ml2.mechanism_drivers"])
    for value in found.values():
        module = value.partition(":")[0].replace(".", "/")
        assert (place / f"{module}.py").is_file()


def test_borrowed_modules(tmp_path: Path) -> None:
    (tmp_path / "libvirt.py").touch()
    (tmp_path / "libvirtmod.cpython-311.so").touch()
    (tmp_path / "other.py").touch()
    declared = "# why\npython3-libvirt libvirt.py libvirtmod.*.so missing.py  # more\n"
    assert [p.name for p in borrowed(declared, tmp_path)] == [
        "libvirt.py",
        "libvirtmod.cpython-311.so",
    ]


def test_places_derive_from_the_locks(tmp_path: Path) -> None:
    found = release(cache=tmp_path)
    services, clients = found.services, found.clients
    assert (
        services.place.parent == clients.place.parent == tmp_path / "release" / services_of(found)
    )
    assert found.program.parent == tmp_path / "program"
    assert services.lock.is_file() and clients.lock.is_file()
    assert not services.complete
    assert services.site_packages.is_relative_to(services.place)
    assert found.environment("services") == services


def services_of(found: Release) -> str:
    return f"2026.2-{found.digest}"


def test_a_further_environment_has_a_place_of_its_own(tmp_path: Path) -> None:
    """Other clouds may run from the one of an older lock."""
    found = release(cache=tmp_path)
    dashboard = found.environment("dashboard")
    assert dashboard.place.parent == found.services.place.parents[1]
    assert dashboard.place.name.startswith("2026.2-dashboard-")
    assert "horizon==" in dashboard.lock.read_text()
    assert not dashboard.complete
    (change,) = dashboard.ensure()
    assert "the dashboard of 2026.2" in change.what
    make(dashboard)
    assert found.environment("dashboard").complete
    assert list(dashboard.ensure()) == []


def test_an_environment_that_the_release_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no environment 'dashbord'"):
        release(cache=tmp_path).environment("dashbord")


def test_what_is_not_installed_cannot_be_read(tool: Tool) -> None:
    """Half of it may lie there while it is being made: that is not read either."""
    file = tool.environment.site_packages / "a" / "paste.ini"
    file.parent.mkdir(parents=True)
    file.write_text("half")
    for ask in (tool.environment.path, tool.environment.read):
        with pytest.raises(NotInstalled, match=r"a/paste\.ini cannot be looked at") as caught:
            ask("a/paste.ini")
        assert "the toy" in caught.value.why and caught.value.cure
    tool.ensure()
    file.parent.mkdir(parents=True)
    file.write_text("whole")
    assert tool.environment.read("a/paste.ini") == "whole"
    assert tool.environment.path("a") == file.parent
