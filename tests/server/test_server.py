"""The default cloud on an ordinary Debian server, where systemd runs the machine.

On a server with a kernel of its own also what that brings: Open vSwitch's
datapath, a NIC for the external bridge, a clock. The order of the tests is
that of the server's life.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy import busy
from tests.server.guest import FLOATING, OUTSIDE, Guest
from tests.server.machine import Server
from tests.support.clouds import wait_until

pytestmark = pytest.mark.timeout(4 * 3600)

ROOT = "/var/lib/onestack"
UNIT = "onestack.service"
ANSWERS = ("CONFIG_PROVISION_DEMO=y", "CONFIG_CINDER_VOLUMES_SIZE=4G")
KERNELS = ("CONFIG_NEUTRON_OVN_BRIDGE_IFACES=br-ex:ens4", "CONFIG_CINDER_BACKEND=lvm")
OWN_UNITS = ("mariadb", "rabbitmq-server", "memcached", "haproxy", "libvirtd", "openvswitch-switch")
"""Of the packages that a cloud needs: its processes are the supervisor's."""
READ_NTP = Path(__file__).with_name("ntp.py").read_text()
NIC = "ens3"
"""By which a guest is reached."""
AT_WORK = "/root/at-work"
OFF = 300
"""Seconds that the time server is ahead."""


def onestack(server: Server, words: str, **more: object) -> str:
    return server.type(f"/root/onestack/onestack {words}", **more)


def up(server: Server, *answers: str) -> tuple[str, float]:
    """What it says, and how long it takes."""
    own = KERNELS if server.kernel else ()
    words = " ".join(f"--set {answer}" for answer in (*ANSWERS, *own, *answers))
    begun = time.monotonic()
    said = server.ssh(f"/root/onestack/onestack up {words}", timeout=900)
    return said.stdout + said.stderr, time.monotonic() - begun


def openstack(server: Server, words: str) -> str:
    clients = f". {ROOT}/etc/admin-openrc && {ROOT}/bin/openstack"
    return server.type(f"{clients} {words}", timeout=180)


def states(server: Server) -> dict[str, str]:
    said = server.ssh("/root/onestack/onestack status --json", expect=None).stdout
    return {p["name"]: p["state"] for p in json.loads(said)["processes"]}


def await_ready(server: Server) -> None:
    """All processes, and systemd told of it."""

    def ready() -> bool:
        return set(states(server).values()) == {"READY"} and shown(server)["SubState"] == "running"

    wait_until("all processes are ready", ready, 180 * server.slower, 2)


def shown(server: Server) -> dict[str, str]:
    """The unit as systemd has it."""
    lines = server.type(f"systemctl show {UNIT}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def failed_units(server: Server) -> str:
    return server.type("systemctl list-units --failed --no-legend --plain").strip()


def told(what: str, seconds: float, server: Server) -> None:
    """A figure of the test's output (pytest -s)."""
    print(f"\n{type(server).__name__}: {what} took {seconds:.0f} s")


def timed(what: str, server: Server, do: Callable[[], object]) -> None:
    begun = time.monotonic()
    do()
    told(what, time.monotonic() - begun, server)


@pytest.fixture(scope="module")
def before(server: Server) -> dict[str, str]:
    """What destroy has to leave as it is."""
    return portrait(server)


def portrait(server: Server) -> dict[str, str]:
    lines = {
        "units": "ls /etc/systemd/system /etc/systemd/system/*.wants",
        "mounts": "awk '$2 ~ /onestack|netns[/]/ {print $2}' /proc/mounts",
        "devices": "ip -o link | cut -d: -f2 | sort",
        "addresses": "ip -o -4 addr | awk '{print $2, $4}'",
        "rules": "nft list ruleset 2>/dev/null || :",
        "loops": f"losetup --noheadings --output BACK-FILE | grep {ROOT}/ || :",
        "settings": "ls /etc/sysctl.d; sysctl net.ipv4.ip_forward",
        "files": "find /etc /run /var/lib -iname '*onestack*'",
        "namespaces": "ip netns",
        "roots": "ls -d /var/lib/onestack* /var/cache/onestack/clouds/* 2>/dev/null || :",
        "users": "getent passwd | grep onestack || :",
    }
    return {name: server.type(line) for name, line in lines.items()}


def test_it_is_an_ordinary_server(server: Server, before: dict[str, str]) -> None:
    assert server.type("systemctl is-system-running").strip() == "running"
    assert before["roots"] == ""


def test_up(server: Server) -> None:
    server.unpack("/root/onestack")
    said, seconds = up(server)
    told("the first up, packages fetched before,", seconds, server)
    assert set(states(server).values()) == {"READY"}
    # nothing is started before there is what it needs
    processes = json.loads(onestack(server, "status --json"))["processes"]
    assert [p["name"] for p in processes if p["restarts"]] == []
    assert ": 0 changes in" in up(server)[0]
    if server.kernel:
        assert "datapath" in said
        found = server.type(f"{ROOT}/bin/ovs-vsctl get bridge br-int datapath_type").strip()
        assert found in ('""', "system")
        assert "system@ovs-system" in server.type(f"{ROOT}/bin/ovs-dpctl show")


def test_the_unit(server: Server) -> None:
    await_ready(server)
    unit = shown(server)
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
    assert (unit["Type"], unit["Delegate"], unit["NRestarts"]) == ("notify", "yes", "0")
    number = len(states(server))
    assert unit["StatusText"] == f"{number} of {number} processes ready"
    group = f"/sys/fs/cgroup{unit['ControlGroup']}/cgroup.procs"
    processes = json.loads(onestack(server, "status --json"))["processes"]
    assert {p["pid"] for p in processes} <= {int(n) for n in server.type(f"cat {group}").split()}
    assert "Started onestack.service" in server.type(f"journalctl --no-pager -u {UNIT}")
    assert failed_units(server) == ""
    for name in OWN_UNITS:
        assert server.type(f"systemctl is-active {name} || :").strip() == "inactive", name
        assert server.type(f"systemctl is-enabled {name} 2>/dev/null || :").strip() != "enabled"


def test_it_is_used(server: Server) -> None:
    assert openstack(server, "token issue -f value -c id").strip()
    openstack(server, "network create kept")
    openstack(server, "subnet create --network kept --subnet-range 10.9.0.0/24 kept")
    openstack(server, "port create --network kept kept")
    openstack(server, "volume create --size 1 kept")
    wait_until("the volume", lambda: volume(server) == "available", 60 * server.slower)
    openstack(server, "server create --flavor m1.nano --image cirros --network kept --wait kept")
    assert "172.24.4.1/24" in server.type("ip -4 address show dev br-ex")
    if server.kernel:
        server.type(f"ping -c 3 -W 10 {OUTSIDE}")


def test_another_machine_reaches_a_guest(server: Server) -> None:
    """By its floating IP, on the wire of the NIC in `br-ex`."""
    if not isinstance(server, Guest):
        pytest.xfail("a container has no wire of its own")
    openstack(server, "router create kept --external-gateway public")
    openstack(server, "router add subnet kept kept")
    openstack(server, "security group create kept")
    openstack(server, "security group rule create --protocol tcp --dst-port 22 kept")
    openstack(server, "server add security group kept kept")
    openstack(server, f"floating ip create --floating-ip-address {FLOATING} public")
    openstack(server, f"server add floating ip kept {FLOATING}")
    await_greeting(server)


def await_greeting(server: Guest) -> None:
    def greeting() -> bytes:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", server.beyond), 30) as session,
        ):
            session.settimeout(60)
            return session.recv(4)
        return b""

    wait_until("a guest's ssh greets", lambda: greeting() == b"SSH-", 120 * server.slower, 5)


def volume(server: Server) -> str:
    return openstack(server, "volume show kept -f value -c status").strip()


def guests(server: Server) -> list[str]:
    return server.type("pgrep -f '^[^ ]*qemu-system-x86_64 -name guest=' || :").split()


def test_the_supervisor_is_killed(server: Server) -> None:
    """systemd starts another, which takes everything over; guests go on."""
    running = guests(server)
    assert len(running) == 1
    server.type(f"systemctl kill --kill-whom=main --signal=KILL {UNIT}")
    wait_until("another supervisor", lambda: shown(server)["NRestarts"] == "1", 60 * server.slower)
    timed("all after a killed supervisor", server, lambda: await_ready(server))
    assert guests(server) == running
    assert openstack(server, "server show kept -f value -c status").strip() == "ACTIVE"
    assert ": 0 changes in" in up(server)[0]


def test_restart_by_systemd(server: Server) -> None:
    timed("systemctl restart", server, lambda: server.type(f"systemctl restart {UNIT}"))
    await_ready(server)
    assert openstack(server, "token issue -f value -c id").strip()


def test_apparmor_keeps_the_clouds_programs_from_nothing(server: Server) -> None:
    """With a profile under which the machine's own haproxy could not even begin."""
    if not server.kernel:
        pytest.xfail("a container cannot load profiles into the host's kernel")
    assert server.type("cat /sys/module/apparmor/parameters/enabled").strip() == "Y"
    profile, load = "profile haproxy /usr/sbin/haproxy { }", "apparmor_parser --replace --quiet"
    server.type(f"echo '{profile}' >/root/profile && {load} /root/profile")
    try:
        assert not server.says("/usr/sbin/haproxy -v")
        onestack(server, "restart haproxy")
        await_ready(server)
        found = server.type("cat /proc/$(pgrep -of '^/usr/sbin/haproxy -db')/attr/current")
        assert found.strip() == "unconfined"
        said = server.ssh("/root/onestack/onestack doctor", expect=None).stdout
        assert "AppArmor lets haproxy have only files of the machine's own" in said
        assert "aa-complain haproxy" in said
    finally:
        server.type("apparmor_parser --remove /root/profile; rm /root/profile")


def test_a_renamed_machine(server: Server) -> None:
    hosts = "compute service list -f value -c Binary -c Host -c State"
    before, name = openstack(server, hosts), server.type("hostname").strip()
    server.type("hostname elsewhere && sed -i '1i 127.0.1.1 elsewhere' /etc/hosts")
    try:
        server.type(f"systemctl restart {UNIT}")
        await_ready(server)
        assert openstack(server, hosts) == before and "elsewhere" not in before
        assert ": 0 changes in" in up(server)[0]
    finally:
        server.type(f"hostname {name} && sed -i '/elsewhere/d' /etc/hosts")


def test_networkd_knows_which_devices_are_not_its_own(server: Server) -> None:
    """Somebody has it give an address to every bridge."""
    place, wants = "/etc/systemd/network/90-all.network", "[Match]\\nName=br-* own0\\n"
    wants += "[Network]\\nAddress=192.0.2.77/24\\n"
    server.type(f"printf '{wants}' >{place} && networkctl reload")
    server.type("ip link add own0 type veth peer name own1 && ip link set own0 up")
    try:
        wait_until(
            "the operator's own device has it",
            lambda: server.says("ip -4 address show dev own0 | grep -q 192.0.2.77"),
            30 * server.slower,
        )
        listed = server.type("networkctl list --no-legend --no-pager")
        setup = {line.split()[1]: line.split()[-1] for line in listed.splitlines()}
        assert setup["br-ex"] == setup["br-int"] == "unmanaged"
        assert "192.0.2.77" not in server.type("ip -4 address show dev br-ex")
    finally:
        server.type(f"rm {place}; networkctl reload; ip link delete own0")


def test_down_and_up(server: Server) -> None:
    onestack(server, "down")
    assert shown(server)["ActiveState"] == "inactive"
    assert guests(server) == []
    assert server.type("grep -l ONESTACK_SUPERVISED /proc/[0-9]*/environ || :").strip() == ""
    told("up after down", up(server)[1], server)
    await_ready(server)


@pytest.mark.parametrize("way", ["reboot", "power_cut"])
def test_a_boot_brings_all_back(server: Server, way: str) -> None:
    timed(f"a {way}", server, getattr(server, way))
    timed("all after it", server, lambda: await_ready(server))
    assert failed_units(server) == ""
    assert volume(server) == "available"
    kept = "volume-group" if server.kernel else "pool"
    server.type(f"losetup --noheadings --output BACK-FILE | grep {ROOT}/data/{kept}/")
    assert "172.24.4.1/24" in server.type("ip -4 address show dev br-ex")
    assert server.type("sysctl -n net.ipv4.ip_forward").strip() == "1"
    if server.kernel:
        server.type(f"ping -c 3 -W 10 {OUTSIDE}")
    for name in OWN_UNITS:
        assert server.type(f"systemctl is-active {name} || :").strip() == "inactive", name
    openstack(server, "port show kept")
    openstack(server, "server start kept || :")
    wait_until(
        "the guest runs again",
        lambda: openstack(server, "server show kept -f value -c status").strip() == "ACTIVE",
        120 * server.slower,
    )
    assert ": 0 changes in" in up(server)[0]


def addresses(server: Server, device: str) -> list[str]:
    shown = server.type(f"ip -j -4 address show dev {device} 2>/dev/null || echo '[]'")
    return [one["local"] for device in json.loads(shown) for one in device["addr_info"]]


def test_the_nic_by_which_it_is_reached(server: Server) -> None:
    """Through which this comes: it moves, stays where it is over a boot, and comes back."""
    if not server.kernel:
        pytest.xfail("a container has no NIC of its own")
    had = addresses(server, NIC)
    assert had
    timed("nic attach", server, lambda: onestack(server, f"nic attach {NIC} --yes", timeout=600))
    assert (addresses(server, f"br-{NIC}"), addresses(server, NIC)) == (had, [])
    server.reboot()
    assert (addresses(server, f"br-{NIC}"), addresses(server, NIC)) == (had, [])
    await_ready(server)
    (shown,) = (one for one in json.loads(onestack(server, "nic show --json")) if one["by"])
    assert (shown["nic"], shown["state"]) == (NIC, "in place")
    again = server.ssh("/root/onestack/onestack up", timeout=900)
    assert ": 0 changes in" in again.stdout + again.stderr
    onestack(server, "down")
    assert addresses(server, f"br-{NIC}") == had
    onestack(server, "up", timeout=900)
    onestack(server, f"nic detach {NIC} --yes", timeout=600)
    assert (addresses(server, f"br-{NIC}"), addresses(server, NIC)) == ([], had)
    await_ready(server)


class Administrator:
    """Types as one, on the server."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def type(self, command: str, /) -> str:
        rights = f"set -a; . {ROOT}/etc/admin-openrc; set +a; PATH={ROOT}/bin:$PATH"
        return self.server.type(f"{rights}; {command}", timeout=600)


@pytest.fixture(scope="module")
def client(server: Server) -> str:
    """The command of one who makes and deletes while there is `AT_WORK`."""
    administrator = Administrator(server)
    busy.prepare(administrator, 1)
    patience = busy.PATIENCE * server.slower
    given = busy.given(administrator, 1, 1, patience=patience, **{"while": AT_WORK})
    server.type(f"cat >/root/given.json <<'END'\n{json.dumps(given)}\nEND")
    return "/usr/bin/python3 /root/onestack/tests/deploy/load_on.py /root/given.json"


@pytest.mark.parametrize("moment", [5, 12, 25])
def test_power_is_cut_in_the_middle_of_work(server: Server, client: str, moment: int) -> None:
    """What was under way has come to its end, or failed and says why; nothing of it is left."""
    server.type(f"touch {AT_WORK} && systemd-run --unit=client {client}")
    time.sleep(moment * server.slower)
    assert server.type("systemctl is-active client || :").strip() == "active"
    made = Administrator(server).type("openstack network list --project load-0 -f value -c ID")
    assert made.split() or moment < 10, "it works"
    server.power_cut()
    timed("all after a power cut at work", server, lambda: await_ready(server))
    server.type(f"rm {AT_WORK}")
    found = json.loads(server.type(client, timeout=4 * busy.PATIENCE))
    assert (found["stuck"], found["unexplained"], found["left"]) == ([], [], [])
    assert volume(server) == "available"
    disks = server.type(f"ls {ROOT}/data/nova/instances").split()
    assert sum(disk.count("-") == 4 for disk in disks) == 1
    kept = openstack(server, "volume show kept -f value -c id").strip()
    listing = "lvs --noheadings -o lv_name" if server.kernel else f"ls {ROOT}/data/cinder/volumes"
    volumes = server.type(listing).split()
    assert [v for v in volumes if "volume-" in v or "snapshot-" in v] == [f"volume-{kept}"]


def test_the_clock_is_set(server: Server) -> None:
    """By the cloud's chronyd, once the machine's own time service is gone."""
    if not server.kernel:
        pytest.xfail("a container has no clock of its own")
    server.type("systemctl disable --now systemd-timesyncd")
    server.type(f"cat >/root/ntp.py <<'END'\n{READ_NTP}\nEND")
    server.type(f"systemd-run --unit=ntp python3 /root/ntp.py 127.0.0.1 {OFF}")
    ahead = "python3 -c 'import time; print(time.time() - time.monotonic())'"
    start = float(server.type(ahead))
    up(server, "CONFIG_NTP_SERVERS=127.0.0.1")
    wait_until(
        "the clock is set",
        lambda: abs(float(server.type(ahead)) - start - OFF) < 5,
        120 * server.slower,
    )
    await_ready(server)
    server.type("systemctl stop ntp")


def test_destroy(server: Server, before: dict[str, str]) -> None:
    onestack(server, "destroy --yes", timeout=600)
    assert server.type(f"systemctl is-enabled {UNIT} 2>&1 || :").strip() != "enabled"
    assert not server.says(f"systemctl cat {UNIT}")
    assert failed_units(server) == ""
    after = portrait(server)
    for name in before:
        assert after[name] == before[name], name
    assert server.type("grep -l ONESTACK_SUPERVISED /proc/[0-9]*/environ || :").strip() == ""
