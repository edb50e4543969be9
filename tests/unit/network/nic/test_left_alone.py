"""NetworkManager and systemd-networkd, which want all devices, leave the cloud's alone."""

from __future__ import annotations

import dataclasses
import fnmatch
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.deploy.undo import undo_all, undos
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.network import left_alone
from tests.support import networks
from tests.support.managed import needs_networkd, network_manager, networkd, own_places
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.components.rooms import context
from tests.unit.network.nic.wire import ip

MANAGER = """[main]
plugins=keyfile
auth-polkit=false
dhcp=internal
[device]
match-device=*
managed=1
"""
EVERYTHING = "[Match]\nName=*\nType=!loopback\n\n[Network]\nAddress=192.0.2.77/24\n"
OWN = ("tap12345678-9a", "qvo12345678-9a", "br-int", "qbr12345678-9a", "mg-oct")
THEIRS = "eth7"


def made_here() -> None:
    """A tap, a veth, and bridges; and a device that is the operator's."""
    ip("tuntap add tap12345678-9a mode tap")
    ip("link add qvo12345678-9a type veth peer name qvb12345678-9a")
    for name in ("br-int", "qbr12345678-9a", "mg-oct"):
        ip(f"link add {name} type bridge")
    ip(f"link add {THEIRS} type veth peer name far")
    for name in (*OWN, "qvb12345678-9a", THEIRS, "far"):
        ip(f"link set {name} up")


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return context(tmp_path / "cloud", CONFIG_NEUTRON_L2_AGENT="openvswitch")


def tell(ctx: Context) -> list[str]:
    ctx.cloud.etc.mkdir(parents=True, exist_ok=True)
    said = []
    for change in left_alone.ensure_told(ctx, ["eth8"]):
        said.append(change.what)
        change.do()
    return said


def states() -> dict[str, str]:
    words = ["nmcli", "-t", "-f", "DEVICE,STATE", "device"]
    said = subprocess.run(words, capture_output=True, text=True).stdout
    return dict(line.split(":", 1) for line in said.splitlines())


def wanted_by_manager(ctx: Context) -> list[str]:
    return [finding.what.split()[2].rstrip(",") for finding in left_alone.taken(ctx)]


@contextmanager
def machine(place: Path) -> Iterator[Path]:
    """Without devices, and with a NetworkManager that wants each; yields the place of a log."""
    with networks.alone(), own_places(place):
        ip("link set lo up")
        Path("/etc/NetworkManager/conf.d").mkdir(parents=True, exist_ok=True)
        Path("/etc/NetworkManager/NetworkManager.conf").write_text(MANAGER)
        yield place / "log"


@needs_root
@needs_networkd
def test_networkmanager_is_told(ctx: Context, tmp_path: Path, with_tools: Path) -> None:
    with machine(tmp_path) as log, network_manager(log, with_tools):
        assert soon(Path("/run/NetworkManager").is_dir)
        made_here()
        assert soon(lambda: "qvo12345678-9a" in wanted_by_manager(ctx)), states()
        path = Path("/etc/NetworkManager/conf.d/90-onestack.conf")
        assert tell(ctx) == [f"write {path}"]
        assert tell(ctx) == []
        assert "interface-name:eth8;" in path.read_text()
        assert soon(lambda: {states()[name] for name in OWN} == {"unmanaged"}), states()
        assert wanted_by_manager(ctx) == []
        assert states()[THEIRS] != "unmanaged"
        assert [entry.data["path"] for entry in Ledger.of(ctx.cloud).entries()] == [str(path)]


@needs_root
@needs_networkd
def test_one_that_starts_later_knows_it(ctx: Context, tmp_path: Path, with_tools: Path) -> None:
    with machine(tmp_path) as log:
        Path("/run/NetworkManager").mkdir()
        tell(ctx)
        made_here()
        with network_manager(log, with_tools):
            assert soon(lambda: states().get(THEIRS, "").startswith("connect")), states()
            assert {states()[name] for name in OWN} == {"unmanaged"}


@needs_root
@needs_networkd
def test_networkd_is_told(ctx: Context, tmp_path: Path) -> None:
    with machine(tmp_path) as log:
        file = Path("/etc/systemd/network/50-all.network")
        file.write_text(EVERYTHING)
        assert tell(ctx) == []
        with networkd(log):
            assert soon(lambda: any(Path("/run/systemd/netif/links").iterdir()))
            assert tell(ctx) == ["write /etc/systemd/network/00-onestack-devices.network"]
            made_here()

            def has(name: str) -> bool:
                return "192.0.2.77" in ip(f"-oneline address show dev {name}")

            assert soon(lambda: has(THEIRS)), log.read_text()
            assert [name for name in OWN if has(name)] == []


def test_which_devices(ctx: Context, tmp_path: Path) -> None:
    found = left_alone.patterns(ctx, ["eth8"])
    fits = {
        name: any(fnmatch.fnmatchcase(name, pattern) for pattern in found)
        for name in (
            "br-int",
            "br-tun",
            "br-ex",
            "eth8",
            "eth0",
            "tap0",
            "mg-oct",
            "vxlan_sys_4789",
        )
    }
    assert [name for name, yes in fits.items() if not yes] == ["eth0", "tap0"]
    other = context(tmp_path / "b", name="b", CONFIG_NEUTRON_L2_AGENT="openvswitch")
    there = left_alone.patterns(other)
    assert {"br-int-b", "mg-???-b"} <= set(there) and "br-int" not in there


def test_what_nmcli_says() -> None:
    said = (
        "eth0:connected\nbr-int:connected (externally)\ntap0:connected\n"
        "qvo12345678-9a:connecting (getting IP configuration)\nbr-ex:unmanaged\n"
        "qbr12345678-9a:disconnected\nbr-tun:connected\n"
    )
    devices = ("br-int", "br-tun", "br-ex", *left_alone.OF_PORTS)
    assert [*left_alone.managed(said, devices)] == ["qvo12345678-9a", "br-tun"]


@needs_root
def test_who_was_removed_is_told_too(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is judged by its place in /run, which may outlive it."""
    for place in ("run/NetworkManager", "run/systemd/netif/links"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "run/systemd/netif/links/2").touch()
    ctx.cloud.etc.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(left_alone, "RELOAD_MANAGER", ("/nowhere/nmcli",))
    monkeypatch.setattr(
        "onestack.network.nic.managers.networkd.RELOAD", (("/nowhere/networkctl",),)
    )
    for change in left_alone.ensure_told(ctx, root=tmp_path):
        change.do()
    assert list(left_alone.ensure_told(ctx, root=tmp_path)) == []
    for name in ("NetworkManager/conf.d/90-onestack.conf", "systemd/network"):
        assert (tmp_path / "etc" / name).exists()
    # and of a cloud whose network service is switched off for good nothing is left
    for change in left_alone.ensure_untold(ctx):
        change.do()
    assert not any(path.is_file() for path in (tmp_path / "etc").rglob("*"))
    assert not [*ctx.cloud.etc.glob("told-*")]
    assert Ledger.of(ctx.cloud).entries() == []
    assert list(left_alone.ensure_untold(ctx)) == []


class Killed(BaseException):
    pass


@pytest.fixture
def reloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked to read its files, on a machine with both; a signal comes before "kill"."""
    for place in ("run/NetworkManager", "run/systemd/netif/links"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "run/systemd/netif/links/2").touch()
    said: list[str] = []

    def run(words: tuple[str, ...], **_: object) -> None:
        if "kill" in said:
            said.remove("kill")
            raise Killed
        said.append(words[0])

    monkeypatch.setattr(left_alone, "run", run)
    return said


def test_who_is_killed_before_they_have_read_it_tells_them_again(
    ctx: Context, tmp_path: Path, reloads: list[str]
) -> None:
    ctx.cloud.etc.mkdir(parents=True)

    def killed(change: Change) -> None:
        """The change, by a process that is killed once the file is there."""
        reloads.append("kill")
        with pytest.raises(Killed):
            change.do()

    first, second = left_alone.ensure_told(ctx, root=tmp_path)
    killed(first)
    killed(second)
    assert reloads == []
    third, fourth = left_alone.ensure_told(ctx, root=tmp_path)
    assert [third.what.split()[:2], fourth.what.split()[:2]] == [
        ["have", "NetworkManager"],
        ["have", "systemd-networkd"],
    ]
    third.do()
    (fifth,) = left_alone.ensure_told(ctx, root=tmp_path)
    fifth.do()
    assert reloads == ["nmcli", "networkctl"]
    assert [*left_alone.ensure_told(ctx, root=tmp_path)] == []


def test_destroy_tells_them_too(ctx: Context, tmp_path: Path, reloads: list[str]) -> None:
    """A NIC that the files name is the operator's again, without a boot."""
    ctx.cloud.etc.mkdir(parents=True)
    for change in left_alone.ensure_told(ctx, root=tmp_path):
        change.do()
    reloads[:] = ["kill"]
    ledger = Ledger.of(ctx.cloud)
    with pytest.raises(Killed):
        undo_all(ledger, undos())
    assert len(ledger.entries()) == 2
    assert undo_all(ledger, undos()).count == 2
    assert reloads == ["networkctl", "nmcli"]
    assert not any(path.is_file() for path in (tmp_path / "etc").rglob("*"))


def test_a_network_of_the_clouds_own_is_nobodys(ctx: Context, tmp_path: Path) -> None:
    inside = dataclasses.replace(ctx, cloud=dataclasses.replace(ctx.cloud, netns="onestack-x"))
    (tmp_path / "run/NetworkManager").mkdir(parents=True)
    assert list(left_alone.ensure_told(inside, root=tmp_path)) == []
    assert list(left_alone.taken(inside)) == []
    assert len(list(left_alone.ensure_told(ctx, root=tmp_path))) == 1
