"""Load balancers that are guests, with Open vSwitch's agents: HTTP, UDP, failure, replacement.

A small cloud of its own. Without KVM an amphora boots for minutes, of which there are six here.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    NoEncryption,
    load_pem_private_key,
    pkcs12,
)

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, wait_until
from tests.unit.components.certificates import Made, authority

pytestmark = pytest.mark.timeout(3600)

ANSWERS = (
    "CONFIG_NEUTRON_L2_AGENT=openvswitch",
    "CONFIG_LBAAS_INSTALL=y",
    "CONFIG_ONESTACK_BARBICAN_INSTALL=y",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_ONESTACK_IMAGE=y",
    "CONFIG_ONESTACK_EXTERNAL_ADDRESS=10.50.14.1/24",
)
SERVERS = ("am-one", "am-two")
SITE = """#!/bin/sh
mkdir -p /www/static
echo {name} >/www/index.html
echo static {name} >/www/static/index.html
echo "::respawn:/bin/busybox httpd -f -p 80 -h /www" >> /etc/inittab
kill -HUP 1
"""
ECHO = """import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("10.50.14.1", 5300))
while True:
    said, who = server.recvfrom(100)
    server.sendto(b"heard " + said, who)
"""
ASK = """import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(3)
client.sendto(b"x", ("{address}", 5300))
print(client.recv(100).decode())
"""
BALANCER, PAIR = "am-lb", "am-pair"
BOOT = 1200
"""Seconds at most, of an amphora whose processor is emulated."""


class Balancer:
    """The cloud, and what the sitting has made."""

    def __init__(self, cloud: CloudUnderTest, work: Path) -> None:
        self.cloud, self.work = cloud, work
        self.address = ""
        """The balancer's floating IP."""
        self.amphora = ""

    def openstack(self, words: str) -> str:
        return self.cloud.type(f"openstack {words}", timeout=180)

    def value(self, command: str, column: str) -> str:
        return self.openstack(f"{command} -f value -c {column}").strip()

    def settled(self, seconds: float = 300, name: str = BALANCER) -> None:
        def ready() -> bool:
            status = self.value(f"loadbalancer show {name}", "provisioning_status")
            assert status != "ERROR"
            return status == "ACTIVE"

        wait_until("the balancer ACTIVE", ready, seconds, 0.5)

    def make(self, words: str) -> None:
        """A part of the balancer; the client's own ``--wait`` looks every ten seconds."""
        self.openstack(f"loadbalancer {words}")
        self.settled()

    def get(self, path: str = "/", more: str = "") -> str:
        """From the machine's side; what is not answered is ``nobody``."""
        line = f"curl -s -m 5 {more} http://{self.address}{path} || echo nobody"
        return self.cloud.type(line).strip()

    def answers(self, path: str = "/", times: int = 8, more: str = "") -> collections.Counter[str]:
        return collections.Counter(self.get(path, more) for _ in range(times))

    def await_both(self, seconds: float = 60) -> None:
        """A server whose processor is emulated may miss a check, and is back with the next two."""
        wait_until(
            "both servers' answers", lambda: set(self.answers(times=4)) == set(SERVERS), seconds, 2
        )

    def members(self, pool: str = "am-pool") -> dict[str, str]:
        """Name to operating status."""
        listed = self.openstack(f"loadbalancer member list {pool} -f json")
        return {one["name"]: one["operating_status"] for one in json.loads(listed)}

    def amphorae(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(
            self.openstack("loadbalancer amphora list -f json")
        )
        return [one for one in listed if one["status"] == "ALLOCATED"]

    def compute(self, amphora: str) -> str:
        """The server that an amphora is, by its id."""
        return self.value(f"loadbalancer amphora show {amphora}", "compute_id")

    def holder(self) -> str:
        """The amphora of the pair that has its address, as the router knows by its neighbours."""
        address = self.value(f"loadbalancer show {PAIR}", "vip_address")
        router = self.value("router show am-router", "id")
        shown = f"ip netns exec qrouter-{router} ip -j neigh show {address}"
        (neighbour,) = json.loads(self.cloud.type(shown))
        ports = {
            one["id"]: self.value(f"loadbalancer amphora show {one['id']}", "vrrp_port_id")
            for one in self.amphorae()
        }
        (found,) = (
            amphora
            for amphora, port in ports.items()
            if self.value(f"port show {port}", "mac_address") == neighbour["lladdr"]
        )
        return str(found)

    def machine(self, server: str) -> int:
        """The process that the server is here."""
        domain = self.value(f"server show {server}", "OS-EXT-SRV-ATTR:instance_name")
        words = ["pgrep", "-f", f"guest={domain},.*{self.cloud.prefix}"]
        found = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        pids = [int(pid) for pid in found.split()]
        assert len(pids) == 1, pids
        return pids[0]

    def kill(self, server: str) -> None:
        """As a hypervisor that fails."""
        os.kill(self.machine(server), signal.SIGKILL)

    def process(self) -> dict[str, Any]:
        return next(p for p in self.cloud.status() if p["name"] == "octavia-api")


def timed(what: str, until: Callable[[], object]) -> None:
    """For the figures: how long it took."""
    began = time.monotonic()
    until()
    print(f"{what}: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    asked = os.environ.get("ONESTACK_TEST_ANSWERS", "").split()
    name = os.environ.get("ONESTACK_TEST_NAME", "lb") + "amp"
    cloud = CloudUnderTest(name, answers=(*ANSWERS, *asked))
    with cloud.living(timeout=1800):
        yield Balancer(cloud, tmp_path_factory.mktemp("amphora"))


def test_two_servers(balancer: Balancer) -> None:
    cloud = balancer.cloud
    cloud.type(
        "set -e; "
        "openstack network create am-ext --external --provider-network-type local; "
        "openstack subnet create am-ext-sub --network am-ext --subnet-range 10.50.14.0/24 "
        "--allocation-pool start=10.50.14.61,end=10.50.14.69 --no-dhcp; "
        "openstack network create am-net; "
        "openstack subnet create am-sub --network am-net --subnet-range 192.168.62.0/24; "
        "openstack router create am-router --external-gateway am-ext; "
        "openstack router add subnet am-router am-sub; "
        "openstack security group create am-group; "
        "openstack security group rule create am-group --protocol tcp --dst-port 80",
        timeout=120,
    )
    for number, name in enumerate(SERVERS, 11):
        data = balancer.work / name
        data.write_text(SITE.format(name=name))
        cloud.type(
            f"openstack port create {name} --network am-net --security-group am-group "
            f"--fixed-ip ip-address=192.168.62.{number} && "
            f"openstack server create {name} --flavor m1.nano --image cirros --port {name} "
            f"--user-data {data}"
        )


def test_a_balancer_is_made(balancer: Balancer) -> None:
    made = json.loads(
        balancer.openstack(f"loadbalancer create --name {BALANCER} --vip-subnet am-sub -f json")
    )
    assert made["provider"] == "amphora"
    timed("ACTIVE", lambda: balancer.settled(BOOT))
    port = balancer.value(f"loadbalancer show {BALANCER}", "vip_port_id")
    balancer.address = balancer.value(
        f"floating ip create am-ext --port {port}", "floating_ip_address"
    )
    (amphora,) = balancer.amphorae()
    assert amphora["role"] == "STANDALONE"
    balancer.amphora = balancer.compute(amphora["id"])
    # Nobody but this machine's end is reached in that network, and nobody else reaches the guest.
    shown = balancer.value(f"server show {balancer.amphora}", "project_id")
    assert shown == balancer.value("project show service", "id")


def test_http(balancer: Balancer) -> None:
    """By turns, by path, with a cookie, and for whom the list allows."""
    make = balancer.make
    make(f"listener create {BALANCER} --name am-http --protocol HTTP --protocol-port 80")
    make("pool create --name am-pool --listener am-http --protocol HTTP --lb-algorithm ROUND_ROBIN")
    make(
        f"pool create --name am-static --loadbalancer {BALANCER} --protocol HTTP "
        "--lb-algorithm ROUND_ROBIN"
    )
    for number, name in enumerate(SERVERS, 11):
        make(
            f"member create am-pool --name {name} --address 192.168.62.{number} "
            "--protocol-port 80 --subnet-id am-sub"
        )
    make(
        "member create am-static --name am-two --address 192.168.62.12 --protocol-port 80 "
        "--subnet-id am-sub"
    )
    make(
        "l7policy create am-http --name am-path --action REDIRECT_TO_POOL --redirect-pool am-static"
    )
    make("l7rule create am-path --type PATH --compare-type STARTS_WITH --value /static")
    make(
        "healthmonitor create am-pool --name am-monitor --type HTTP --url-path / "
        "--delay 3 --timeout 3 --max-retries 2 --max-retries-down 2"
    )
    online = dict.fromkeys(SERVERS, "ONLINE")
    wait_until("both servers online", lambda: balancer.members() == online, 300, 2)
    assert balancer.answers() == {"am-one": 4, "am-two": 4}
    assert balancer.answers("/static/") == {"static am-two": 8}


def test_a_server_fails_and_comes_back(balancer: Balancer) -> None:
    balancer.openstack("server stop am-two")
    failed = {"am-one": "ONLINE", "am-two": "ERROR"}
    wait_until("the monitor's notice", lambda: balancer.members() == failed, 120)
    assert balancer.answers() == {"am-one": 8}
    assert balancer.value(f"loadbalancer show {BALANCER}", "operating_status") == "DEGRADED"
    balancer.openstack("server start am-two")
    online = dict.fromkeys(SERVERS, "ONLINE")
    wait_until("the server's return", lambda: balancer.members() == online, 300, 2)
    balancer.await_both()


def test_a_session_stays_where_it_is(balancer: Balancer) -> None:
    balancer.make("pool set am-pool --session-persistence type=HTTP_COOKIE")
    jar = balancer.work / "cookies"
    with_cookie = f"-b {jar} -c {jar}"
    balancer.await_both()
    assert len(balancer.answers(more=with_cookie)) == 1
    balancer.await_both()
    balancer.make("pool unset am-pool --session-persistence")


def test_who_may_ask(balancer: Balancer) -> None:
    balancer.make("listener set am-http --allowed-cidr 192.0.2.0/24")
    wait_until("nobody may", lambda: balancer.get() == "nobody", 60)
    balancer.make("listener set am-http --allowed-cidr 10.50.14.0/24")
    wait_until("we may", lambda: balancer.get() in SERVERS, 60)


def bundle(made: Made) -> bytes:
    """The certificate, its key and what signed it, as Octavia wants them: without a password."""
    key = load_pem_private_key(made.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    own, ca = (
        x509.load_pem_x509_certificate(path.read_bytes()) for path in (made.certificate, made.ca)
    )
    return pkcs12.serialize_key_and_certificates(b"am-tls", key, own, [ca], NoEncryption())


def test_tls_ends_at_the_balancer(balancer: Balancer) -> None:
    """With a certificate from the key manager; what is behind it still speaks HTTP."""
    made = authority(balancer.work)
    file = balancer.work / "am-tls.p12"
    file.write_bytes(bundle(made))
    secret = balancer.openstack(
        f"secret store --name am-tls --file {file} -f value -c 'Secret href'"
    ).strip()
    balancer.make(
        f"listener create {BALANCER} --name am-tls --protocol TERMINATED_HTTPS "
        f"--protocol-port 443 --default-tls-container {secret} --default-pool am-pool"
    )
    page = (
        f"curl -sS -m 5 --resolve cloud.example:443:{balancer.address} https://cloud.example/ "
        "--cacert"
    )

    def answers() -> set[str]:
        return {balancer.cloud.type(f"{page} {made.ca}").strip() for _ in range(4)}

    wait_until("both servers' pages by TLS", lambda: answers() == set(SERVERS), 60, 2)
    # Nobody believes another authority's word on it.
    refused = balancer.cloud.inside(f"{page} {made.other_ca}", expect=None)
    assert refused.returncode == 60, refused.stderr
    # The key is for the service and the secret's project.
    service = balancer.value("user show octavia --domain Default", "id")
    assert service in balancer.openstack(f"acl get {secret} -f value -c Users")


def test_udp(balancer: Balancer) -> None:
    cloud = balancer.cloud
    make = balancer.make
    make(f"listener create {BALANCER} --name am-udp --protocol UDP --protocol-port 5300")
    make("pool create --name am-udp --listener am-udp --protocol UDP --lb-algorithm ROUND_ROBIN")
    make("member create am-udp --name outside --address 10.50.14.1 --protocol-port 5300")
    script, ask = balancer.work / "echo.py", balancer.work / "ask.py"
    script.write_text(ECHO)
    ask.write_text(ASK.format(address=balancer.address))
    # Its pid, to end it by.
    pid = cloud.type(f"nohup python3 {script} >/dev/null 2>&1 & echo $!").strip()
    try:
        wait_until(
            "an answer", lambda: "heard x" in cloud.inside(f"python3 {ask}", expect=None).stdout, 60
        )
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_the_service_dies(balancer: Balancer) -> None:
    """In the middle of what it has promised: traffic goes on, and the next one settles it."""
    pid, guest = balancer.process()["pid"], balancer.machine(balancer.amphora)
    # While the guest stands still, the service cannot be done with what it has answered.
    os.kill(guest, signal.SIGSTOP)
    try:
        made = json.loads(
            balancer.openstack(
                f"loadbalancer listener create {BALANCER} --name am-late --protocol HTTP "
                "--protocol-port 8081 --default-pool am-pool -f json"
            )
        )
        os.kill(pid, signal.SIGKILL)
    finally:
        os.kill(guest, signal.SIGCONT)
    assert made["provisioning_status"] == "PENDING_CREATE"
    wait_until("an answer", lambda: balancer.get() in SERVERS, 60, 0.5)
    wait_until(
        "octavia again",
        lambda: balancer.process()["state"] == "READY" and balancer.process()["pid"] != pid,
        120,
    )
    balancer.settled()
    assert balancer.get() in SERVERS
    # What was to be made is in error, and can be deleted.
    status = balancer.value("loadbalancer listener show am-late", "provisioning_status")
    assert status == "ERROR"
    balancer.make("listener delete am-late")
    assert "am-late" not in balancer.openstack("loadbalancer listener list -f value -c name")
    balancer.await_both()


def test_the_guest_dies(balancer: Balancer) -> None:
    """Another takes its place, with all that it knew."""
    began = time.monotonic()
    balancer.kill(balancer.amphora)

    def replaced() -> bool:
        now = balancer.amphorae()
        return len(now) == 1 and balancer.compute(now[0]["id"]) != balancer.amphora

    wait_until("another amphora", replaced, BOOT + 300, 5)
    balancer.settled(BOOT)
    print(f"replaced: {time.monotonic() - began:.0f} s")
    balancer.await_both(120)
    assert balancer.answers("/static/", 2) == {"static am-two": 2}


def test_failover_by_command(balancer: Balancer) -> None:
    """As to a new image: another guest in its place, once that has booted.

    About three minutes where processors are emulated, as long as it took to make.
    """
    (before,) = balancer.amphorae()
    server = balancer.compute(before["id"])
    balancer.openstack(f"loadbalancer failover {BALANCER}")
    timed("failover", lambda: balancer.settled(BOOT))
    (after,) = balancer.amphorae()
    assert after["id"] != before["id"] and balancer.compute(after["id"]) != server
    wait_until(
        "the former server's end",
        lambda: server not in balancer.openstack("server list --all-projects -f value -c ID"),
        60,
    )
    balancer.await_both(120)
    assert balancer.answers("/static/", 2) == {"static am-two": 2}


def test_down_and_up(balancer: Balancer) -> None:
    """The amphora boots again, and balances as before; nobody replaces it meanwhile."""
    cloud = balancer.cloud
    (before,) = balancer.amphorae()
    cloud.onestack("down", timeout=300)
    cloud.up()
    timed("answers after down and up", lambda: balancer.await_both(600))
    (after,) = balancer.amphorae()
    assert after["id"] == before["id"]
    balancer.settled()


def test_a_pair(balancer: Balancer) -> None:
    """Two guests for those who ask for it: the second answers where the first has answered."""
    balancer.openstack(f"loadbalancer delete --cascade {BALANCER}")
    balancer.openstack(
        "loadbalancer flavorprofile create --name am-pair --provider amphora "
        """--flavor-data '{"loadbalancer_topology": "ACTIVE_STANDBY"}'"""
    )
    balancer.openstack("loadbalancer flavor create --name pair --flavorprofile am-pair --enable")
    balancer.openstack(
        f"loadbalancer create --name {PAIR} --flavor pair --vip-subnet am-sub -f json"
    )
    timed("a pair ACTIVE", lambda: balancer.settled(2 * BOOT, PAIR))
    roles = {one["role"]: one["id"] for one in balancer.amphorae()}
    assert set(roles) == {"MASTER", "BACKUP"}
    for made in (
        f"listener create {PAIR} --name am-two-of --protocol HTTP --protocol-port 80",
        "pool create --name am-of-two --listener am-two-of --protocol HTTP "
        "--lb-algorithm ROUND_ROBIN",
        "member create am-of-two --address 192.168.62.11 --protocol-port 80 --subnet-id am-sub",
    ):
        balancer.openstack(f"loadbalancer {made}")
        balancer.settled(name=PAIR)
    port = balancer.value(f"loadbalancer show {PAIR}", "vip_port_id")
    balancer.openstack(f"floating ip set --port {port} {balancer.address}")
    wait_until("an answer of the pair", lambda: balancer.get() == "am-one", 120, 1)
    killed = balancer.holder()
    balancer.kill(balancer.compute(killed))
    timed(
        "taken over", lambda: wait_until("the other", lambda: balancer.get() == "am-one", 120, 0.5)
    )
    assert balancer.holder() != killed

    def two() -> bool:
        now = {one["role"]: one["id"] for one in balancer.amphorae()}
        return set(now) == set(roles) and killed not in now.values()

    timed("a pair again", lambda: wait_until("a pair", two, BOOT + 300, 5))
    balancer.settled(BOOT, PAIR)
    wait_until("an answer of the new pair", lambda: balancer.get() == "am-one", 120, 1)


def test_all_of_it_goes(balancer: Balancer) -> None:
    balancer.openstack(f"loadbalancer delete --cascade {PAIR}")
    wait_until(
        "its end", lambda: balancer.openstack("loadbalancer list -f value").strip() == "", 180
    )
    balancer.openstack("loadbalancer flavor delete pair")
    balancer.openstack("loadbalancer flavorprofile delete am-pair")
    wait_until(
        "the amphora's end",
        lambda: "amphora-" not in balancer.openstack("server list --all-projects -f value -c Name"),
        60,
    )
    assert "octavia-lb" not in balancer.openstack("port list -f value -c Name")
    assert not [
        name
        for name in balancer.openstack("security group list -f value -c Name").split()
        if name.startswith("lb-")
    ]


def test_logs_are_clean(balancer: Balancer) -> None:
    wrong = unexpected(balancer.cloud.error_lines())
    assert [line for line in wrong if line.startswith("octavia")] == []


def test_switched_off_for_good(balancer: Balancer) -> None:
    """Nothing of it is left: neither image nor flavor, network, group, certificate or device."""
    cloud = balancer.cloud
    answers = [a for a in cloud.answers if "LBAAS" not in a]
    words = ["--netns", *(w for a in (*answers, "CONFIG_LBAAS_INSTALL=n") for w in ("--set", a))]
    cloud.onestack("up", *words, "--purge", "--yes", timeout=600)
    for listing in ("image list", "flavor list --all", "network list", "security group list"):
        text = balancer.openstack(f"{listing} -f value -c Name")
        assert "amphora" not in text and "octavia" not in text, listing
    assert not (cloud.root / "etc" / "octavia").exists()
    assert "mg-oct" not in cloud.type("ip -br link")
    assert "octavia" not in cloud.type("nft list tables")
