"""The network of a service's guests: what this host has of it, its keeper and its guard."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from onestack.components.openvswitch import Openvswitch
from onestack.host import nftables
from onestack.host.ledger import Ledger
from onestack.model.context import Context
from onestack.model.declarations import Opened, Port
from onestack.model.findings import Severity
from onestack.network.keeper import KEEPER, guard
from onestack.network.management import Management, wrong_subnet
from tests.support import networks
from tests.support.filters import filters_of
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.components.rooms import MACHINE, context, context_on

SUBNET = "198.18.8.0/22"
ADDRESS = "198.18.8.1/22"
REACHED = (Port("tcp", 5671), Port("udp", 5555))


def management(ctx: Context, service: str = "toy", subnet: str = SUBNET) -> Management:
    return Management(ctx, service, subnet, REACHED, (Port("tcp", 9443),))


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return context(tmp_path, Openvswitch())


def test_this_hosts_end_is_known_before_anything_is_made(ctx: Context) -> None:
    made = management(ctx)
    assert (made.address, made.device, made.network_name) == ("198.18.8.1", "mg-toy", "toy-mgmt")
    process = made.process()
    assert process.argv[3:5] == ("mg-toy", ADDRESS)
    assert (process.user, process.capabilities) == ("onestack-openvswitch", ("net_admin",))
    assert list(made.opened(REACHED[1])) == [Opened("198.18.8.1", Port("udp", 5555))]


def test_what_is_changed_restarts_the_keeper(ctx: Context) -> None:
    made = management(ctx)
    written = {str(file.path) for file in made.files()}
    assert written < set(made.process().files)
    assert str(made.port_file) in made.process().files
    assert {file.group for file in made.files()} == {made.process().user}


def test_stopped_it_leaves_neither_device_nor_rules(ctx: Context) -> None:
    port, rules = management(ctx).process().cleanup
    assert port[-4:] == ("--if-exists", "del-port", "br-int", "mg-toy")
    assert rules == nftables.unload("onestack_toy")


def test_two_clouds_and_two_services_share_nothing(tmp_path: Path) -> None:
    found = [
        management(context(tmp_path / name, Openvswitch(), name=name), service)
        for name in ("onestack", "b")
        for service in ("trove", "octavia")
    ]
    for of in (
        lambda each: each.device,
        lambda each: each.process().cleanup,
        lambda each: each.port_file,
        lambda each: each._mac,
        lambda each: (each.process().name, each.ctx.cloud.root),
    ):
        assert len({of(each) for each in found}) == 4
    assert all(len(each.device) <= 15 for each in found)


def test_a_subnet_of_this_machines_is_refused(tmp_path: Path) -> None:
    def refused(device: str, address: str) -> list[str]:
        facts = dataclasses.replace(MACHINE, cloud_devices={device: (address, "fe80::1/64")})
        made = management(context_on(facts, tmp_path, Openvswitch()))
        return [finding.what for finding in made.preflight_checks("CONFIG_X")]

    assert refused("eth0", "192.0.2.5/24") == []
    # its own, of the run before
    assert refused("mg-toy", ADDRESS) == []
    assert refused("eth0", "198.18.9.1/24") == [
        f"the device eth0 has 198.18.9.1/24, which is in CONFIG_X={SUBNET}"
    ]


def test_another_subnet_is_refused_before_anything_is_stopped(ctx: Context) -> None:
    """Neutron knows of guests, and is asked only when all that gets other files is down."""
    key, other = "CONFIG_ONESTACK_TROVE_SUBNET", "10.9.0.0/24"
    made, changed = management(ctx), management(ctx, subnet=other)
    for file in made.files():
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    # there are files, but a network was never made, or is purged
    assert list(changed.preflight_checks(key)) == []
    made.port_file.write_text("port fa:16:3e:00:00:01 1442\n")
    assert list(made.preflight_checks(key)) == []
    (found,) = changed.preflight_checks(key)
    assert found.severity is Severity.REFUSE and f"{key}={other}" in found.what
    assert f"--set {key}={SUBNET};" in found.cure
    assert "up --purge --set CONFIG_TROVE_INSTALL=n" in found.cure


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (SUBNET, False),
        ("10.1.0.0/28", False),
        ("10.1.0.0/29", True),
        ("198.18.8.1/22", True),
        ("127.9.0.0/24", True),
        ("224.0.0.0/24", True),
        ("169.254.0.0/16", True),
        ("fd00::/64", True),
        ("guests", True),
    ],
)
def test_subnets(text: str, wrong: bool) -> None:
    assert bool(wrong_subnet(text)) == wrong


def test_ids_are_the_services_alone(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made = management(ctx)
    (change,) = made.ensure_ids({"guests": {"network": "n"}})
    assert change.what == f"write {ctx.cloud.etc}/toy/management.conf"


def test_the_table_is_noted_once_and_forgotten(ctx: Context) -> None:
    for change in nftables.ensure_noted(ctx.cloud, "onestack_toy"):
        change.do()
    assert list(nftables.ensure_noted(ctx.cloud, "onestack_toy")) == []
    (entry,) = Ledger.of(ctx.cloud).entries()
    assert entry.data == {"name": "onestack_toy", "netns": None}
    assert [c.what for c in nftables.forget(ctx.cloud, "onestack_toy")] == [
        "remove the nftables table onestack_toy"
    ]


def test_a_guard_that_is_gone_is_told(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made = management(ctx)
    inet, arp = ({"table": {"family": f, "name": "onestack_toy"}} for f in ("inet", "arp"))
    place = {"family": "ip", "table": "filter", "name": "INPUT"}
    closed = {"chain": {**place, "hook": "input", "policy": "drop"}}

    def told(*parts: Mapping[str, object]) -> list[str]:
        monkeypatch.setattr(nftables, "ruleset", lambda _: {"nftables": [{"metainfo": {}}, *parts]})
        return [finding.cure.partition(" (")[0] for finding in made.health_checks()]

    assert told(inet, arp) == []
    for left in ((), (inet,), (arp,)):
        assert told(*left) == ["onestack restart toy-management"]
    assert told(inet, arp, closed) == ["iptables -I INPUT -i mg-toy -j ACCEPT"]
    for name, cure in (
        ("ufw", "ufw allow in on mg-toy"),
        ("firewalld", "firewall-cmd --permanent --zone=trusted --add-interface=mg-toy; "),
    ):
        (said,) = told(inet, arp, *filters_of(name)["nftables"])
        assert said.startswith(cure)


# -- the keeper ---------------------------------------------------------------

SWITCH = """#!/bin/sh
# as much of ovs-vsctl as the keeper uses: a port's device is a bridge
shift
echo "$@" >> "$0.said"
[ ! -e "$0.broken" ] || exit 0
case $1$2 in
    --if-existsdel-port) ip link delete "$4" 2>/dev/null || : ;;
    --may-existadd-port) ip link add "$4" type bridge 2>/dev/null || : ;;
esac
"""


@pytest.fixture
def away() -> Iterator[None]:
    with networks.alone():
        yield


class Keeper:
    """The script, with bridges in the place of the switch's."""

    def __init__(self, place: Path) -> None:
        self.ready, self.log, self.switch = (place / n for n in ("ready", "log", "vsctl"))
        self.ready.unlink(missing_ok=True)
        script, rules, port = (place / name for name in ("keeper.sh", "rules", "port"))
        script.write_text(KEEPER)
        rules.write_text(guard("onestack_test", "mg-toy", IPv4Interface(ADDRESS), REACHED))
        port.write_text("0a-1b fa:16:3e:00:00:01 1442\n")
        self.switch.write_text(SWITCH)
        self.switch.chmod(0o755)
        words = ("br-int", "mg-toy", ADDRESS, str(port), str(rules), str(self.ready))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                ["/bin/sh", str(script), *words, str(self.switch), "--db=x"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *error: object) -> None:
        # what it left running too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)


def shown(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True).stdout


def whole() -> bool:
    """The device is up with its address alone, and the guard is loaded."""
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    found = shown("-oneline", "address", "show", "dev", "mg-toy", "up")
    return "inet onestack_test" in tables and found.count("inet") == 1 and ADDRESS in found


@needs_root
def test_the_port_is_as_neutron_knows_it(tmp_path: Path, away: None) -> None:
    with Keeper(tmp_path) as keeper:
        assert soon(keeper.ready.exists), keeper.log.read_text()
        assert whole()
        said = (tmp_path / "vsctl.said").read_text().splitlines()
        # the first asks whether there is one whose device has gone
        assert said[0] == "--if-exists del-port br-int mg-toy"
        assert said[1] == (
            "--may-exist add-port br-int mg-toy -- set interface mg-toy type=internal "
            'mac="fa:16:3e:00:00:01" mtu_request=1442 external_ids:iface-id=0a-1b '
            'external_ids:attached-mac="fa:16:3e:00:00:01" external_ids:iface-status=active'
        )
        ignored = Path("/proc/sys/net/ipv4/conf/mg-toy/arp_ignore").read_text()
        assert ignored == "1\n"


@needs_root
def test_what_goes_comes_back(tmp_path: Path, away: None) -> None:
    with Keeper(tmp_path) as keeper:
        assert soon(keeper.ready.exists), keeper.log.read_text()
        for mistake in (
            ("address", "delete", ADDRESS, "dev", "mg-toy"),
            ("link", "set", "mg-toy", "down"),
            ("link", "delete", "mg-toy"),
        ):
            subprocess.run(["ip", *mistake], check=True)
            assert soon(whole), f"{mistake}: {keeper.log.read_text()}"
        assert (tmp_path / "vsctl.said").read_text().count("del-port") == 2


@needs_root
@pytest.mark.parametrize("when", ["-oneline address show*", "-oneline link show*"])
def test_a_device_that_goes_while_it_is_looked_at_comes_back(
    tmp_path: Path, away: None, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    gone, ip = tmp_path / "gone", tmp_path / "bin" / "ip"
    ip.parent.mkdir()
    ip.write_text(
        f"""#!/bin/sh
PATH=${{PATH#*:}}
case "$*" in
    {when.replace(" ", chr(92) + " ")}) [ -e {gone} ] || {{ : > {gone}; ip link delete mg-toy; }} ;;
esac
exec ip "$@"
"""
    )
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ip.parent}:{os.environ['PATH']}")
    with Keeper(tmp_path) as keeper:
        assert soon(gone.exists)
        assert soon(lambda: keeper.ready.exists() and whole()), keeper.log.read_text()
        assert keeper.process.poll() is None


@needs_root
def test_killed_it_is_whole_again(tmp_path: Path, away: None) -> None:
    for _ in range(2):
        with Keeper(tmp_path) as keeper:
            assert soon(keeper.ready.exists), keeper.log.read_text()
            assert whole()
    # what a stop on purpose does is the supervisor's: guard and device are still there
    assert whole()


@needs_root
def test_a_port_that_the_switch_cannot_make_is_no_success(tmp_path: Path, away: None) -> None:
    broken = tmp_path / "vsctl.broken"
    broken.touch()
    with Keeper(tmp_path) as keeper:
        assert keeper.process.wait(10) == 1
        assert "could not make mg-toy" in keeper.log.read_text()
    broken.unlink()
    with Keeper(tmp_path) as keeper:
        assert soon(keeper.ready.exists)
        broken.touch()
        subprocess.run(["ip", "link", "delete", "mg-toy"], check=True)
        # It does not wait for the kernel's next message.
        assert keeper.process.wait(10) != 0


class Guest:
    """A namespace of its own behind the device, which is then a cable to it."""

    def __init__(
        self, device: str = "mg-toy", address: str = "198.18.8.9/22", gateway: str = "198.18.8.1"
    ) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "60"])
        mine = os.stat("/proc/thread-self/ns/net").st_ino
        assert soon(lambda: os.stat(f"/proc/{self.process.pid}/ns/net").st_ino != mine)
        cable = f"ip link add {device} type veth peer name eth0 netns"
        subprocess.run(
            [*cable.split(), str(self.process.pid)],
            check=True,
        )
        for words in (
            f"address add {address} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway}",
        ):
            self.run("ip", *words.split(), check=True)

    def run(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self.process.pid), "--net"]
        return subprocess.run([*enter, *words], check=check, capture_output=True, text=True)

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(5)


ASK = """
import json, socket, sys
def reached(kind, address, port):
    asked = socket.socket(socket.AF_INET, kind)
    asked.settimeout(0.5)
    try:
        asked.connect((address, port))
        asked.send(b"x")
        return asked.recv(9) == b"heard"
    except OSError:
        return False
for line in sys.argv[1:]:
    kind, address, port = line.split()
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    print(json.dumps(reached(kinds[kind], address, int(port))))
"""
ANSWER = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for line in sys.argv[1:]:
    kind, address, port = line.split()
    stream = kind == "tcp"
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    one.bind((address, int(port)))
    if stream:
        one.listen()
    chosen.register(one, selectors.EVENT_READ, stream)
print("listening", flush=True)
while True:
    for key, _ in chosen.select():
        if key.data:
            one, _ = key.fileobj.accept()
            one.send(b"heard")
        else:
            key.fileobj.sendto(b"heard", key.fileobj.recvfrom(9)[1])
"""


@needs_root
def test_guests_reach_what_they_may_and_nothing_else(tmp_path: Path, away: None) -> None:
    """By packets: this host's end, another address of its, and a machine behind it."""
    for words in (
        "link set lo up",
        "link add behind type veth peer name beyond",
        # What it sends is counted: the kernel is to say nothing there by itself.
        "link set behind addrgenmode none",
        "address add 192.0.2.5/24 dev behind",
        "link set behind up",
        "link set beyond up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
    may = ["tcp 198.18.8.1 5671", "udp 198.18.8.1 5555"]
    others = ["tcp 198.18.8.1 5672", "udp 198.18.8.1 5671", "tcp 192.0.2.5 5671"]
    python = "/usr/bin/python3"
    with Guest() as guest, Keeper(tmp_path) as keeper:
        assert soon(keeper.ready.exists), keeper.log.read_text()
        served = [python, "-c", ANSWER, *may, *others]
        enter = ["nsenter", "--target", str(guest.process.pid), "--net"]
        asked = ["tcp 198.18.8.9 9443"]
        answering = [
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            for words in (served, [*enter, python, "-c", ANSWER, *asked])
        ]
        try:
            for process in answering:
                assert process.stdout and process.stdout.readline() == "listening\n"
            done = guest.run(python, "-c", ASK, *may, *others, check=True)
            found = [json.loads(line) for line in done.stdout.splitlines()]
            assert found == [True] * len(may) + [False] * len(others)
            assert guest.run("ping", "-c1", "-W1", "198.18.8.1").returncode != 0
            # this host asks, and the answer comes back
            mine = subprocess.run([python, "-c", ASK, *asked], capture_output=True, text=True)
            assert json.loads(mine.stdout) is True
            # this host asks itself
            own = subprocess.run([python, "-c", ASK, may[0]], capture_output=True, text=True)
            assert json.loads(own.stdout) is True
            with Guest("another", "203.0.113.9/24", "203.0.113.1") as neighbour:
                for words in ("address add 203.0.113.1/24 dev another", "link set another up"):
                    subprocess.run(["ip", *words.split()], check=True)
                asked_here = ["tcp 192.0.2.5 5671", *may]
                done = neighbour.run(python, "-c", ASK, *asked_here, check=True)
                assert done.stdout.splitlines() == ["true", "false", "false"]
            # A userspace switch leaves the kernel what guests send: their devices are no way here.
            with Guest("tap", "198.18.8.77/22") as other:
                subprocess.run(["ip", "link", "set", "tap", "up"], check=True)
                assert other.run(python, "-c", ASK, may[0]).stdout.strip() == "false"
                assert "lladdr" not in other.run("ip", "neigh", "show", "198.18.8.1").stdout
            counted = functools.partial(shown, "-json", "-statistics", "link", "show", "behind")
            before = json.loads(counted())[0]["stats64"]["tx"]["packets"]
            guest.run(python, "-c", ASK, "udp 192.0.2.77 53")
            assert json.loads(counted())[0]["stats64"]["tx"]["packets"] == before
        finally:
            for process in answering:
                process.kill()
                process.wait(5)
