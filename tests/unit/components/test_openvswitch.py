"""The switch's room: whose it is, what it leaves as it was, which Open vSwitch runs."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.components.rooms import content, context, machine

from onestack.components.base import Context
from onestack.components.openvswitch import Openvswitch, database, run
from onestack.errors import OnestackError
from onestack.supervise.spec import Process

ROOM = Openvswitch()
OVN = {"CONFIG_NEUTRON_L2_AGENT": "ovn"}


def processes(ctx: Context) -> dict[str, Process]:
    return {process.name: process for process in ROOM.processes(ctx)}


def module() -> SimpleNamespace:
    """The module, which has the same name as a function of the room."""
    import importlib

    return importlib.import_module("onestack.components.openvswitch.distribution")  # type: ignore[return-value]


def test_with_the_kernels_datapath_nothing_runs_as_root(tmp_path: Path) -> None:
    found = processes(context(tmp_path, host=machine(kernel=True)))
    assert {p.user for p in found.values()} == {"onestack-openvswitch"}
    assert found["ovs-vswitchd"].capabilities == ("net_admin", "net_raw")


def test_in_userspace_the_switch_alone_is_root(tmp_path: Path) -> None:
    found = processes(context(tmp_path, host=machine(kernel=False)))
    assert {name for name, p in found.items() if p.user == "root"} == {"ovs-vswitchd"}
    # before the first port: later it would need a restart
    (settings,) = found["ovs-vswitchd"].prepare
    assert "other_config:userspace-tso-enable=true" in settings


def test_two_clouds_share_nothing(tmp_path: Path) -> None:
    texts = [
        repr(list(ROOM.processes(context(tmp_path / name, name=name))))
        for name in ("onestack", "b")
    ]
    assert str(tmp_path / "onestack") not in texts[1]
    assert "br-ex-b" in texts[1]
    assert "/run/openvswitch" not in texts[0].replace(f"{tmp_path}/onestack/run/openvswitch", "")


@pytest.mark.parametrize(
    ("kernel", "version", "own"),
    [
        (False, "3.1.0-2+deb12u1", True),
        (False, "3.5.0-1+b1", False),
        (True, "3.1.0-2+deb12u1", False),
    ],
)
def test_which_open_vswitch_runs(tmp_path: Path, kernel: bool, version: str, own: bool) -> None:
    ctx = context(tmp_path, host=machine(kernel=kernel, openvswitch=version), **OVN)
    program = processes(ctx)["ovsdb-server"].argv[4]
    assert ("openvswitch-trixie/bin" in program) == own
    assert ("openvswitch-switch" in ROOM.packages(ctx)) != own


def test_with_its_own_agent_this_debians_open_vswitch_will_do(tmp_path: Path) -> None:
    ctx = context(tmp_path, host=machine(kernel=False), CONFIG_NEUTRON_L2_AGENT="openvswitch")
    assert "openvswitch-switch" in ROOM.packages(ctx)


def test_the_address_on_the_external_network(tmp_path: Path) -> None:
    given = {"CONFIG_ONESTACK_EXTERNAL_ADDRESS": "10.50.14.1/24"}
    process = processes(context(tmp_path, **given))["external-bridge"]
    assert process.arguments["address"] == "10.50.14.1/24"
    assert process.arguments["bridge"] == "br-ex"
    assert process.capabilities == ("net_admin",)


# -- the keeper of the address ------------------------------------------------


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands that were run; ``ip`` shows a bridge that is down and bare."""
    said: list[str] = []

    def fake(*words: str, check: bool = True) -> str:
        said.append(" ".join(words))
        return '[{"flags":["BROADCAST"],"addr_info":[]}]' if "-json" in words else ""

    monkeypatch.setattr(run, "run", fake)
    return said


def test_a_bare_bridge_gets_its_address_and_comes_up(spoken: list[str]) -> None:
    run.keep("br-ex", "10.50.14.1/24")
    assert spoken[1:] == [
        "ip address replace 10.50.14.1/24 dev br-ex",
        "ip link set br-ex up",
    ]


def test_a_bridge_that_is_well_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = '[{"flags":["UP"],"addr_info":[{"local":"10.50.14.1","prefixlen":24}]}]'
    said: list[str] = []

    def fake(*words: str, check: bool = True) -> str:
        said.append(words[1])
        return shown

    monkeypatch.setattr(run, "run", fake)
    run.keep("br-ex", "10.50.14.1/24")
    assert said == ["-json"]


class Kernel:
    """A netlink socket that tells these things."""

    def __init__(self, *told: bytes | OSError) -> None:
        self.told = list(told)

    def recv(self, size: int) -> bytes:
        if not self.told:
            raise BlockingIOError
        following = self.told.pop(0)
        if isinstance(following, OSError):
            raise following
        return following


@pytest.mark.parametrize(
    ("told", "concerned"),
    [
        ((b"\0" * 32 + b"tap1\0",), False),
        ((b"\0" * 32 + b"tap1\0", b"\0" * 32 + b"br-ex\0"), True),
        ((b"\0" * 32 + b"br-ex-b\0",), False),
        ((OSError(errno.ENOBUFS, "lost"),), True),
        ((b"\0" * 16 + b"\x0a" + b"\0" * 16,), True),
    ],
)
def test_it_looks_only_when_it_is_concerned(told: tuple[bytes, ...], concerned: bool) -> None:
    assert run.concerns(Kernel(*told), "br-ex") is concerned  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_kernel_tells_of_the_bridge() -> None:
    name = f"ostest{os.getpid() % 100000}"
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, run._GROUPS))
        kernel.setblocking(False)
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
        try:
            assert run.concerns(kernel, name)
            assert not run.concerns(kernel, name)
            subprocess.run(["ip", "address", "add", "192.0.2.9/32", "dev", name], check=True)
            assert run.concerns(kernel, name)
        finally:
            subprocess.run(["ip", "link", "delete", name], check=True)


# -- databases ------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("ovsdb-tool"), reason="needs the package openvswitch-common")
def test_a_database_is_made_kept_and_converted(tmp_path: Path) -> None:
    def schema(version: str, column: str) -> Path:
        path = tmp_path / f"{version}.ovsschema"
        path.write_text(
            f'{{"name": "Toy", "version": "{version}", "tables": {{"T": {{"columns": '
            f'{{"{column}": {{"type": "string"}}}}}}}}}}'
        )
        return path

    def prepare(schema: Path) -> str:
        words = ["/bin/sh", "-c", database.SCRIPT, "sh", "ovsdb-tool", str(path), str(schema)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    path = tmp_path / "db" / "toy.db"
    path.parent.mkdir()
    first, second = schema("1.0.0", "a"), schema("2.0.0", "b")
    assert prepare(first) == ""
    before = path.stat()
    assert prepare(first) == ""
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "converted" in prepare(second)
    version = subprocess.run(
        ["ovsdb-tool", "db-version", str(path)], capture_output=True, text=True
    )
    assert version.stdout.strip() == "2.0.0"
    assert not [p for p in path.parent.iterdir() if p.name.startswith("toy.db.")]


def test_the_script_is_for_other_users_too(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    (file,) = ROOM.files(ctx)
    assert file.mode == 0o644
    assert content(ctx, ROOM, "database.sh") == database.SCRIPT


# -- the mirror -------------------------------------------------------------------


def test_the_mirror_is_the_one_that_apt_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module(), "_codename", lambda: "bookworm")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "other.list").write_text("deb [arch=amd64] https://example.org/x stable main\n")
    (parts / "debian.sources").write_text(
        "Types: deb\nURIs: http://security.example/debian-security\nSuites: bookworm-security\n\n"
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
    )
    assert module().debian_mirror(tmp_path) == "http://mirror.example/debian"
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example/debian bookworm main\n"
        "deb [signed-by=/x.gpg] http://line.example/debian bookworm main\n"
    )
    assert module().debian_mirror(tmp_path) == "http://line.example/debian"


def test_no_mirror_is_said_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(OnestackError, match="no Debian mirror") as caught:
        module().debian_mirror(tmp_path)
    assert "CONFIG_NEUTRON_L2_AGENT=openvswitch" in caught.value.cure


@pytest.mark.skipif(not Path("/usr/bin/dpkg").exists(), reason="needs a Debian machine")
def test_programs_are_gathered_with_all_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this machine's own dpkg in the place of Open vSwitch."""
    monkeypatch.setattr(module(), "PROGRAMS", ("dpkg",))
    made, final = tmp_path / "made", tmp_path / "final"
    schema = tmp_path / "root" / "usr" / "share" / "toy" / "toy.ovsschema"
    schema.parent.mkdir(parents=True)
    schema.touch()
    for name in ("bin", "sbin", "lib"):
        (tmp_path / "root" / "usr" / name).symlink_to(f"/usr/{name}")
    module().gather(tmp_path / "root", made, final)
    made.rename(final)
    done = subprocess.run([final / "bin" / "dpkg", "--version"], capture_output=True, text=True)
    assert "Debian" in done.stdout, done.stderr
    assert (final / "lib" / "libc.so.6").is_file()
    assert (final / "share" / "toy.ovsschema").is_file()


def test_a_program_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module(), "PROGRAMS", ("no-such-program",))
    with pytest.raises(OnestackError, match="no program no-such-program"):
        module().gather(Path("/"), tmp_path / "made", tmp_path / "final")
