"""The switch's room: whose it is, what it leaves as it was, which Open vSwitch runs."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from onestack.components.openvswitch import ADDRESS, Openvswitch, external, nics
from onestack.components.ovn import Ovn
from onestack.host import filters, nftables
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Frontend
from onestack.model.declared import Declared
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, Severity
from onestack.model.process import Process
from onestack.network import distribution, ovsdb
from onestack.network.nic.facts import Facts
from onestack.network.tools import tools
from tests.support import machines, networks
from tests.support.filters import filters_of
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.components.rooms import content, context, context_on, machine

ROOM = Openvswitch()
OVN = {"CONFIG_NEUTRON_L2_AGENT": "ovn"}


def processes(ctx: Context) -> dict[str, Process]:
    return {process.name: process for process in Declared(ROOM, ctx).processes}


def test_with_the_kernels_datapath_nothing_runs_as_root(tmp_path: Path) -> None:
    found = processes(context_on(machine(kernel=True), tmp_path))
    assert {p.user for p in found.values()} == {"onestack-openvswitch"}
    assert found["ovs-vswitchd"].capabilities == ("net_admin", "net_raw")


def test_in_userspace_the_switch_alone_is_root(tmp_path: Path) -> None:
    found = processes(context_on(machine(kernel=False), tmp_path))
    assert {name for name, p in found.items() if p.user == "root"} == {"ovs-vswitchd"}
    # before the first port: later it would need a restart
    (settings,) = found["ovs-vswitchd"].prepare
    assert "other_config:userspace-tso-enable=true" in settings


def test_two_clouds_share_nothing(tmp_path: Path) -> None:
    texts = [
        repr(list(Declared(ROOM, context(tmp_path / name, name=name)).processes))
        for name in ("onestack", "b")
    ]
    assert str(tmp_path / "onestack") not in texts[1]
    assert "br-ex-b" in texts[1]
    assert "/run/openvswitch" not in texts[0].replace(f"{tmp_path}/onestack/run/openvswitch", "")


@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
@pytest.mark.parametrize(
    ("kernel", "version", "own"),
    [
        (False, "3.1.0-2+deb12u1", True),
        (False, "3.5.0-1+b1", False),
        (True, "3.1.0-2+deb12u1", False),
    ],
)
def test_which_open_vswitch_runs(
    tmp_path: Path, kernel: bool, version: str, own: bool, agent: str
) -> None:
    host = machine(kernel=kernel, openvswitch=version)
    ctx = context_on(host, tmp_path, CONFIG_NEUTRON_L2_AGENT=agent)
    program = processes(ctx)["ovsdb-server"].argv[4]
    assert ("openvswitch-trixie/bin" in program) == own
    assert ("openvswitch-switch" in Declared(ROOM, ctx).packages) != own


def test_the_address_on_the_external_network(tmp_path: Path) -> None:
    given = {"CONFIG_ONESTACK_EXTERNAL_ADDRESS": "10.50.14.1/24"}
    ctx = context_on(machine(kernel=True), tmp_path, **given)
    process = processes(ctx)["external-bridge"]
    assert process.argv[2:5] == ("br-ex", "system", "10.50.14.1/24")
    assert process.capabilities == ("net_admin",)


def test_the_demo_gives_the_machine_its_gateway_too(tmp_path: Path) -> None:
    given = {"CONFIG_ONESTACK_EXTERNAL_ADDRESS": "10.50.14.1/24", "CONFIG_PROVISION_DEMO": "y"}
    ctx = context_on(machine(kernel=True), tmp_path, **given)
    assert processes(ctx)["external-bridge"].argv[4] == "10.50.14.1/24 172.24.4.1/24"
    given["CONFIG_PROVISION_DEMO_FLOATRANGE"] = "10.50.14.0/24"
    ctx = context_on(machine(kernel=True), tmp_path, **given)
    assert processes(ctx)["external-bridge"].argv[4] == "10.50.14.1/24"


def test_bridges_of_the_mapping_are_made_and_nics_put_in(tmp_path: Path) -> None:
    given = {
        "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,physnet1:br-eth1",
        "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-eth1:eth1",
    }
    ctx = context_on(machine(kernel=True), tmp_path, **given)
    keeper = processes(ctx)["external-bridge"]
    assert content(ctx, ROOM, "wires") == "br-eth1 eth1 to-br-eth1-eth1 br-eth1-eth1\n"
    assert keeper.argv[8] == str(ctx.cloud.etc / "openvswitch" / "wires")
    assert keeper.argv[8] in keeper.files
    ctx = context_on(machine(kernel=True), tmp_path, CONFIG_NEUTRON_L3_EXT_BRIDGE="br-wan")
    assert processes(ctx)["external-bridge"].argv[2] == "br-wan"


def test_nics_that_are_needed_are_moved_and_missing_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"lo": (), "eth0": ("192.0.2.5/24",), "eth1": ()}
    host = dataclasses.replace(machine(), cloud_devices=present)
    given = {
        "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,b:br-b,c:br-c",
        "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:eth0,br-b:eth9,br-c:eth1,br-d:eth8",
    }
    ctx = context_on(host, tmp_path, **given)
    monkeypatch.setattr(nics, "known", lambda _: None)
    moves, missing = ROOM.preflight_checks(ctx)
    assert moves.what == "eth0 has the address 192.0.2.5/24" and moves.severity is Severity.WARN
    assert "br-eth0, a bridge of the machine's own, gets all that it has" in moves.why
    assert missing.what == "there is no network device eth9 here"
    # what the kernel has of it tells more
    lower = {"ifname": "eth0", "link_type": "ether", "mtu": 1500, "flags": ["UP"]}
    lower |= {"master": "bond0", "linkinfo": {"info_slave_kind": "bond"}}
    monkeypatch.setattr(nics, "known", lambda _: Facts((lower,), {}, (), (), ()))
    refused, _ = ROOM.preflight_checks(ctx)
    assert refused.what == "eth0 is a part of bond0 (bond)"
    assert refused.severity is Severity.REFUSE and "onestack nic attach bond0" in refused.cure


def test_who_drops_what_guests_send_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward"}
    own = [{"table": {"family": each, "name": "onestack"}} for each in nftables.FAMILIES]
    docker = {"family": "ip", "table": "filter", "name": "DOCKER-USER"}
    user = {"target": "DOCKER-USER"}
    jump = {**chain, "chain": "FORWARD", "expr": [{"counter": None}, {"jump": user}]}
    parts = [{"chain": {**chain, "policy": "drop"}}, {"chain": docker}, {"rule": jump}]
    rules = {"nftables": [{"metainfo": {}}, *parts, *own]}
    monkeypatch.setattr(nftables, "ruleset", lambda _: rules)
    closed = tuple(filters.closed_chains(rules))
    here = dataclasses.replace(machine(), closed_forwarding=closed)
    outside = context_on(here, tmp_path)
    assert list(ROOM.health_checks(outside)) == list(ROOM.preflight_checks(outside)) == []
    through = context_on(here, tmp_path, CONFIG_ONESTACK_EXTERNAL_ADDRESS="10.50.14.1/24")
    (found,), (told,) = ROOM.health_checks(through), ROOM.preflight_checks(through)
    assert found.severity is Severity.REFUSE and told.severity is Severity.WARN
    assert "FORWARD of the table ip filter" in found.why and "Docker" in found.why
    assert "-i br-ex -j ACCEPT" in found.cure


def test_guests_that_get_out_and_are_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As firewalld has it where all devices are in one zone: nothing to be refused."""
    own = [{"table": {"family": each, "name": "onestack"}} for each in nftables.FAMILIES]
    rules = {"nftables": [*filters_of("firewalld")["nftables"], *own]}
    monkeypatch.setattr(nftables, "ruleset", lambda _: rules)
    closed = tuple(filters.closed_chains(rules, "eth0"))
    monkeypatch.setattr("onestack.components.openvswitch.closed_forwarding", lambda *_: closed)
    here = dataclasses.replace(machine(), closed_forwarding=closed)
    ctx = context_on(here, tmp_path, CONFIG_ONESTACK_EXTERNAL_ADDRESS="10.50.14.1/24")
    (told,), (found,) = ROOM.preflight_checks(ctx), ROOM.health_checks(ctx)
    assert (told.severity, found.severity) == (Severity.INFO, Severity.WARN)
    assert told.what == found.what == "other machines do not reach guests' floating IPs"
    assert found.cure.startswith("if they are to be reached: firewall-cmd --permanent --new-zone")


class Front(Component):
    name = "front"

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("keystone", 5000, f"{ctx.internal}:5000")
        yield Frontend("bus", 5671, f"{ctx.internal}:5671", address="198.18.8.1")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("ufw", "ufw allow in on br-ex proto tcp to any port 5000"),
        ("firewalld", "--add-port=5000/tcp; firewall-cmd --reload"),
    ],
)
def test_guests_that_do_not_reach_the_cloud_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cure: str
) -> None:
    def told(**given: str) -> list[Finding]:
        ctx = context_on(machine(), tmp_path, Front(), **given)
        return [f for f in ROOM.health_checks(ctx) if "own services" in f.what]

    monkeypatch.setattr(nftables, "ruleset", lambda _: filters_of(name))
    assert told() == []
    (found,) = told(**{ADDRESS: "10.50.14.1/24"})
    assert found.severity is Severity.WARN
    assert "by br-ex to the ports 5000 (" in found.why and found.cure.endswith(cure)


@pytest.mark.parametrize(
    ("agent", "rooms", "lost"),
    [("ovn", (Ovn(),), "metadata by IPv4 alone"), ("openvswitch", (), "no router")],
)
def test_a_machine_without_ipv6(
    tmp_path: Path, agent: str, rooms: tuple[Component, ...], lost: str
) -> None:
    """What does not work is said; an address that the bridge cannot have is refused."""

    def found(ipv6: bool, address: str) -> list[Finding]:
        answers = {"CONFIG_NEUTRON_L2_AGENT": agent, ADDRESS: address}
        here = dataclasses.replace(machine(), ipv6=ipv6)
        ctx = context_on(here, tmp_path, *rooms, **answers)
        return list(ROOM.preflight_checks(ctx))

    assert found(True, "2001:db8::1/64") == []
    (told,) = found(False, "10.50.14.1/24")
    assert told.severity is Severity.INFO and lost in told.what
    refused, _ = found(False, "2001:db8::1/64")
    assert refused.severity is Severity.REFUSE
    assert refused.what == "br-ex cannot have the address 2001:db8::1/64"
    assert f"or leave it out of {ADDRESS}" in refused.cure


def test_a_daemon_is_found_by_its_name_and_the_switch_without_one(tmp_path: Path) -> None:
    ctx = context_on(machine(), tmp_path)
    (tool,) = tools(ctx, ["ovs-appctl"])
    for name in ("ovs-vswitchd", "ovsdb-server"):
        place = ctx.cloud.run / "openvswitch" / f"{name}.ctl"
        place.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    run = ctx.cloud.run / "openvswitch"
    program = re.sub(r"exec \S+", "printf '%s\\n'", tool.content)

    def words(*typed: str) -> list[str]:
        done = subprocess.run(
            ["sh", "-c", program, "ovs-appctl", *typed], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    vswitchd = f"--target={run}/ovs-vswitchd.ctl"
    assert words("dpif/show") == [vswitchd, "dpif/show"]
    for named in (["-t", "ovsdb-server"], ["-tovsdb-server"], ["--target=ovsdb-server"]):
        assert words(*named, "version") == [f"--target={run}/ovsdb-server.ctl", "version"]
    assert words("-t", "/x/y.ctl", "a b") == ["--target=/x/y.ctl", "a b"]


@pytest.mark.parametrize("agent", ["openvswitch", "ovn"])
def test_where_tunnels_cannot_end_is_refused_before_anything_is_made(
    tmp_path: Path, agent: str
) -> None:
    key = "CONFIG_NEUTRON_OVN_TUNNEL_IF" if agent == "ovn" else "CONFIG_NEUTRON_OVS_TUNNEL_IF"

    def refused(kept: str, device: str) -> list[str]:
        given = {"CONFIG_NEUTRON_L2_AGENT": agent, key: device}
        ctx = context_on(machines.machine(kept), tmp_path, **given)
        return [finding.what for finding in ROOM.preflight_checks(ctx)]

    wrong = "the network device eth2 cannot be this host's end of tunnels"
    assert refused("several-nics", "eth2") == [wrong]
    assert refused("several-nics", "eth1") == []
    for kept in ("namespace-not-yet", "namespace"):
        assert refused(kept, "eth2") == [wrong]
        assert refused(kept, "public0") == []
    # A bridge of the cloud's is not there before it, or has no address then.
    bridge = "the network device br-ex cannot be this host's end of tunnels"
    assert refused("several-nics", "br-ex") == refused("namespace-not-yet", "br-ex") == [bridge]


# -- the keeper of the address ------------------------------------------------


@pytest.fixture
def alone() -> Iterator[None]:
    """This thread in a network namespace without anything."""
    with networks.alone():
        yield


TABLE = "onestack_test"
SWITCH = """#!/bin/sh
# as much of ovs-vsctl as the keeper uses
case $1$2 in
    --may-existadd-br) ip link add "$3" type bridge 2>/dev/null || : ;;
esac
"""


class Keeper:
    """The script, with a Linux bridge in the place of Open vSwitch's."""

    def __init__(self, place: Path, address: str) -> None:
        self.ready, self.log = place / "ready", place / "log"
        self.ready.unlink(missing_ok=True)
        script, rules, switch = place / "keeper.sh", place / "rules", place / "vsctl"
        script.write_text(external.KEEPER)
        if address:
            rules.write_text(external.filters(TABLE, "br-ex", address.split()))
        switch.write_text(SWITCH)
        wires = place / "wires"
        wires.touch()
        switch.chmod(0o755)
        places = (rules, self.ready, wires, switch)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                ["/bin/sh", script, "br-ex", "netdev", address, TABLE, *places],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(5)


def has_addresses(wanted: Iterable[str]) -> bool:
    found = addresses()
    return all(f" {address} " in found for address in wanted)


def addresses() -> str:
    words = ["ip", "-4", "-oneline", "address", "show", "dev", "br-ex", "up"]
    return subprocess.run(words, capture_output=True, text=True).stdout


@needs_root
def test_the_address_comes_back_with_the_bridge(tmp_path: Path, alone: None) -> None:
    keeper = Keeper(tmp_path, "10.50.14.1/24")
    try:
        assert soon(keeper.ready.exists), keeper.log.read_text()
        assert " 10.50.14.1/24 " in addresses()
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
        shown = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
        assert 'ip saddr 10.50.14.0/24 oifname != "br-ex" oifname != "qbr*" masquerade' in shown
        # a restart of the switch
        subprocess.run(["ip", "link", "delete", "br-ex"], check=True)
        subprocess.run(["ip", "link", "add", "br-ex", "type", "bridge"], check=True)
        assert soon(lambda: " 10.50.14.1/24 " in addresses()), keeper.log.read_text()
        # for another of the machine's addresses nobody answers there
        only = Path("/proc/sys/net/ipv4/conf/br-ex")
        assert soon(lambda: (only / "arp_announce").read_text() == "1\n")
        assert (only / "arp_ignore").read_text() == "1\n"
        # somebody's mistake
        subprocess.run(["ip", "address", "delete", "10.50.14.1/24", "dev", "br-ex"], check=True)
        assert soon(lambda: " 10.50.14.1/24 " in addresses()), keeper.log.read_text()
    finally:
        keeper.end()


@needs_root
def test_another_address_takes_the_place_of_the_first(tmp_path: Path, alone: None) -> None:
    for address in ("10.50.14.1/24", "10.50.15.1/24", ""):
        keeper = Keeper(tmp_path, address)
        try:
            assert soon(keeper.ready.exists), keeper.log.read_text()
            found = addresses()
            assert found.count("inet ") == bool(address)
            assert address in found
        finally:
            keeper.end()


@needs_root
def test_two_addresses_and_only_what_has_gone_goes(tmp_path: Path, alone: None) -> None:
    for both in ("10.50.14.1/24 172.24.4.1/24", "172.24.4.1/24"):
        keeper = Keeper(tmp_path, both)
        try:
            assert soon(keeper.ready.exists), keeper.log.read_text()
            assert soon(functools.partial(has_addresses, both.split()))
            assert addresses().count("inet ") == len(both.split())
            shown = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True)
            assert shown.stdout.count("masquerade") == len(both.split())
        finally:
            keeper.end()


@needs_root
def test_a_bridge_that_cannot_be_made_is_no_success(tmp_path: Path, alone: None) -> None:
    script = tmp_path / "keeper.sh"
    script.write_text(external.KEEPER)
    words = ["br-ex", "netdev", "", TABLE, "/none", str(tmp_path / "ready"), "/dev/null", "true"]
    done = subprocess.run(["/bin/sh", str(script), *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not make br-ex" in done.stderr
    assert not (tmp_path / "ready").exists()


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
        words = ["/bin/sh", "-c", ovsdb.SCRIPT, "sh", "ovsdb-tool", str(path), str(schema)]
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
    (file,) = (f for f in Declared(ROOM, ctx).files if f.path.name == "database.sh")
    assert file.mode == 0o644
    assert content(ctx, ROOM, "database.sh") == ovsdb.SCRIPT


# -- Debian 13's programs -----------------------------------------------------------


@pytest.mark.skipif(not Path("/usr/bin/dpkg").exists(), reason="needs a Debian machine")
def test_programs_are_gathered_with_all_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this machine's own dpkg in the place of Open vSwitch."""
    monkeypatch.setattr(distribution, "PROGRAMS", ("dpkg",))
    made, final = tmp_path / "made", tmp_path / "final"
    schema = tmp_path / "root" / "usr" / "share" / "toy" / "toy.ovsschema"
    schema.parent.mkdir(parents=True)
    schema.touch()
    for name in ("bin", "sbin", "lib"):
        (tmp_path / "root" / "usr" / name).symlink_to(f"/usr/{name}")
    distribution.gather(tmp_path / "root", made, final)
    made.rename(final)
    done = subprocess.run([final / "bin" / "dpkg", "--version"], capture_output=True, text=True)
    assert "Debian" in done.stdout, done.stderr
    assert (final / "lib" / "libc.so.6").is_file()
    assert (final / "share" / "toy.ovsschema").is_file()


def test_a_program_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "PROGRAMS", ("no-such-program",))
    with pytest.raises(OnestackError, match="no program no-such-program"):
        distribution.gather(Path("/"), tmp_path / "made", tmp_path / "final")
