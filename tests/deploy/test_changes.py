"""Answers are changed and `up` is run again: just that is changed. Then a cloud without a network.

All on one cloud: what is restarted is told by the processes' ids.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from cryptography import x509

from onestack.components import certificates
from onestack.components.haproxy import tls
from tests.deploy.known_errors import unexpected
from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until
from tests.support.needs import services_python

pytestmark = pytest.mark.timeout(1800)

NAME = os.environ.get("ONESTACK_TEST_NAME", "change")
ANSWERS = ("CONFIG_NEUTRON_L2_AGENT=ovn", "CONFIG_ONESTACK_IMAGE=y")
PASSWORDS = {
    "CONFIG_NOVA_KS_PW": "nova-is-somebody-else-now",
    "CONFIG_NOVA_DB_PW": "another-key-to-the-tables",
    "CONFIG_KEYSTONE_ADMIN_PW": "who-else-is-the-administrator",
    "CONFIG_AMQP_AUTH_PASSWORD": "a-ticket-for-another-bus",
}
NOVA = {"nova-api", "nova-compute", "nova-novncproxy"}
NEUTRON = {"neutron-api", "neutron-workers", "neutron-ovn-agent"}
CINDER = {"cinder-api", "cinder-volume"}
ASKS_ON_AND_ON = """
import libvirt, select, sys
libvirt.open(sys.argv[1]).close()
print("asks", flush=True)
answers = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    try:
        libvirt.open(sys.argv[1]).close()
        answers += 1
    except libvirt.libvirtError as error:
        # who is just being answered may find the connection closed, but nobody is refused
        if "Failed to connect" in str(error):
            print(error)
print(answers)
"""
TOKEN = "openstack --os-username {} --os-password {} --os-project-name {} token issue"


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest(NAME, answers=ANSWERS)
    with cloud.living():
        yield cloud


def pids(cloud: CloudUnderTest) -> dict[str, int]:
    """Of all processes, which are ready."""
    found = cloud.status()
    assert {p["state"] for p in found} == {"READY"}
    return {p["name"]: p["pid"] for p in found}


def changed(cloud: CloudUnderTest, *words: str) -> tuple[set[str], set[str], set[str]]:
    """Run `up` with ``words``; the processes that were started anew, came, and went."""
    before = pids(cloud)
    cloud.onestack("up", *words)
    after = pids(cloud)
    both = before.keys() & after.keys()
    restarted = {name for name in both if before[name] != after[name]}
    return restarted, after.keys() - both, before.keys() - both


def settings(**answers: str) -> list[str]:
    return [word for key, value in answers.items() for word in ("--set", f"{key}={value}")]


def catalog(cloud: CloudUnderTest) -> set[str]:
    return set(cloud.type("openstack service list -f value -c Type").split())


class TestChanges:
    def test_dry_run_says_what_would_be_restarted(self, cloud: CloudUnderTest) -> None:
        before = pids(cloud)
        answer = settings(CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO="1.25")
        would = cloud.onestack("up", "--dry-run", "--json", *answer).stdout
        whats = [change["what"] for change in json.loads(would)["changes"]]
        assert {w.split()[1] for w in whats if w.startswith("start ")} == NOVA
        assert pids(cloud) == before
        assert changed(cloud, *answer) == (NOVA, set(), set())
        assert ": 0 changes in" in cloud.onestack("up").stdout

    def test_a_guest_and_a_volume_being_made_are_finished(self, cloud: CloudUnderTest) -> None:
        for command in (
            "network create meanwhile",
            "subnet create --network meanwhile --subnet-range 10.9.9.0/24 meanwhile",
            "flavor create --ram 64 --disk 1 --vcpus 1 meanwhile",
        ):
            cloud.type(f"openstack {command}")
        image = cloud.type("openstack image list -f value -c Name").strip()
        server = f"--image {image} --flavor meanwhile --network meanwhile meanwhile"
        both = (
            f"openstack server create {server} &"
            f" openstack volume create --image {image} --size 1 meanwhile & wait"
        )
        show = "openstack server show meanwhile -f value -c status"
        listing = "openstack volume list -f value"
        for service in ("nova", "cinder"):
            cloud.type(both)
            cloud.onestack("restart", service)
            cloud.need_volume("meanwhile")
            wait_until("the guest is there", lambda: cloud.type(show) == "ACTIVE\n", 120)
            cloud.type("openstack server delete --wait meanwhile")
            cloud.type("openstack volume delete meanwhile")
            wait_until("the volume is gone", lambda: not cloud.type(listing).strip(), 60)

    def test_passwords_of_a_service(self, cloud: CloudUnderTest) -> None:
        """Its own processes, and those that know it, at the server and at keystone."""
        new = {key: PASSWORDS[key] for key in ("CONFIG_NOVA_KS_PW", "CONFIG_NOVA_DB_PW")}
        assert changed(cloud, *settings(**new)) == (
            NOVA | NEUTRON,  # neutron tells nova of ports
            set(),
            set(),
        )
        assert cloud.type(TOKEN.format("nova", PASSWORDS["CONFIG_NOVA_KS_PW"], "service"))
        cloud.inside(TOKEN.format("nova", cloud.secrets()["nova_keystone"], "service"), expect=1)
        states = cloud.type("openstack compute service list -f value -c State")
        assert set(states.split()) == {"up"}

    def test_password_of_the_administrator(self, cloud: CloudUnderTest) -> None:
        new = {"CONFIG_KEYSTONE_ADMIN_PW": PASSWORDS["CONFIG_KEYSTONE_ADMIN_PW"]}
        assert changed(cloud, *settings(**new)) == (set(), set(), set())
        assert cloud.type("openstack token issue -f value -c id")
        cloud.inside(TOKEN.format("admin", cloud.secrets()["admin_keystone"], "admin"), expect=1)

    def test_password_of_the_bus(self, cloud: CloudUnderTest) -> None:
        new = {"CONFIG_AMQP_AUTH_PASSWORD": PASSWORDS["CONFIG_AMQP_AUTH_PASSWORD"]}
        restarted, _, _ = changed(cloud, *settings(**new))
        assert restarted == {"rabbitmq"} | NOVA | NEUTRON | CINDER
        cloud.type("openstack volume create --size 1 kept")
        cloud.need_volume("kept")

    def test_certificate_that_ends_soon(
        self, cloud: CloudUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = cloud.root / "etc" / "tls"
        server, ca, key = (place / name for name in ("server.pem", "ca.pem", "ca.key"))
        old = x509.load_pem_x509_certificate(server.read_bytes())
        said = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = said.get_values_for_type(x509.DNSName)
        addresses = [str(each) for each in said.get_values_for_type(x509.IPAddress)]
        wanted = tls.Wanted(tuple(names), tuple(addresses), old.subject)
        monkeypatch.setattr(certificates, "LEAF_DAYS", 10)
        tls.make_server(server, ca, key, wanted, f"{cloud.prefix}-haproxy")
        assert "make the certificate" in cloud.onestack("doctor", expect=None).stdout
        assert changed(cloud) == ({"haproxy"}, set(), set())
        shown = cloud.type("openssl s_client -connect 100.64.0.1:5000 </dev/null 2>/dev/null")
        assert "-----BEGIN CERTIFICATE-----" in shown
        begin = shown.index("-----BEGIN")
        served = shown[begin : shown.index("-----END")]
        assert served in server.read_text()
        assert cloud.type("openstack token issue -f value -c id")

    def test_libvirtd_restarts_unnoticed(self, cloud: CloudUnderTest) -> None:
        """Whoever asks it meanwhile waits, and the compute service stays in use."""
        uri = f"qemu+unix:///system?socket={cloud.root}/run/libvirt/libvirt-sock"
        words = [str(services_python()), "-c", ASKS_ON_AND_ON, uri]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asking:
            assert asking.stdin and asking.stdout
            assert asking.stdout.readline() == b"asks\n"
            for _ in range(3):
                cloud.onestack("restart", "libvirtd")
            asking.stdin.close()
            *refusals, answers = asking.stdout.read().decode().splitlines()
        assert refusals == []
        assert int(answers) > 3
        listing = "openstack compute service list --service nova-compute -f value -c Status"
        wait_until("nova-compute is enabled", lambda: cloud.type(listing) == "enabled\n", 15)

    def test_service_switched_off(self, cloud: CloudUnderTest) -> None:
        """Its data stays; clients no longer find it; only what leads to it is restarted."""
        restarted, came, went = changed(cloud, *settings(CONFIG_CINDER_INSTALL="n"))
        # libvirtd has no pool to mount any more
        assert (restarted, came, went) == (
            {"haproxy", "libvirtd"},
            set(),
            CINDER | {"cinder-purge"},
        )
        assert not catalog(cloud) & {"block-storage", "volumev3"}
        again = cloud.onestack("up").stdout
        assert ": 0 changes in" in again and "Kept:" in again and "Block storage" in again
        assert (cloud.root / "data" / "pool" / "cinder.img").exists()

    def test_service_switched_on_again(self, cloud: CloudUnderTest) -> None:
        restarted, came, went = changed(cloud, *settings(CONFIG_CINDER_INSTALL="y"))
        assert (restarted, came, went) == (
            {"haproxy", "libvirtd"},
            CINDER | {"cinder-purge"},
            set(),
        )
        assert catalog(cloud) >= {"block-storage", "volumev3"}
        assert state_of(cloud, "kept") == "available"
        cloud.type("openstack volume create --source kept copied")
        cloud.need_volume("copied")

    def test_service_switched_off_for_good(self, cloud: CloudUnderTest) -> None:
        off = settings(CONFIG_CINDER_INSTALL="n")
        asked = cloud.onestack("up", "--purge", *off, expect=2)
        assert "--yes" in asked.stderr and "Block storage" in asked.stderr
        _, _, went = changed(cloud, "--purge", "--yes", *off)
        assert went == CINDER | {"cinder-purge"}
        assert "Kept:" not in cloud.onestack("up").stdout
        for place in ("data/cinder", "data/pool", "etc/cinder"):
            assert not (cloud.root / place).exists(), place
        assert "cinder" not in cloud.type("openstack user list -f value -c Name").split()
        assert f"{cloud.prefix}-cinder" not in run(["getent", "passwd"]).stdout
        databases = cloud.sql("SHOW DATABASES; SELECT User FROM mysql.user")
        assert "nova" in databases and "cinder" not in databases
        _, came, _ = changed(cloud, *settings(CONFIG_CINDER_INSTALL="y"))
        assert came == CINDER | {"cinder-purge"}
        assert cloud.type("openstack volume list -f value").strip() == ""

    def test_no_errors_and_no_secrets_in_the_logs(self, cloud: CloudUnderTest) -> None:
        assert unexpected(cloud.error_lines()) == []
        secrets = {*cloud.secrets().values(), *PASSWORDS.values()}
        for name, text in cloud.logs().items():
            assert not any(secret in text for secret in secrets), name


def state_of(cloud: CloudUnderTest, volume: str) -> str:
    return cloud.type(f"openstack volume show {volume} -f value -c status").strip()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A network namespace whose one way out leads nowhere, and counts what goes there."""
    name = "onestack-nowhere"
    run(["ip", "netns", "add", name])
    inside = ["ip", "-n", name]
    try:
        run([*inside, "link", "set", "lo", "up"])
        run(["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
        run([*inside, "link", "add", "out", "type", "veth", "peer", "name", "sink"])
        run([*inside, "link", "set", "sink", "arp", "off", "up"])
        run([*inside, "link", "set", "out", "arp", "off", "up"])
        run([*inside, "address", "add", "198.51.100.2/24", "dev", "out"])
        run([*inside, "route", "add", "default", "via", "198.51.100.1"])
        yield name
    finally:
        run(["ip", "netns", "delete", name])


def sent(namespace: str) -> int:
    """Packets that left it."""
    shown = run(["ip", "-n", namespace, "-s", "-j", "link", "show", "out"]).stdout
    return int(json.loads(shown)[0]["stats64"]["tx"]["packets"])


def test_a_new_cloud_needs_no_network(cloud: CloudUnderTest, nowhere: str) -> None:
    """With packages and cache there, not one packet is sent to anywhere."""
    cloud.destroy()
    nobody = "http://198.51.100.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nobody)
    indexes = dict.fromkeys(("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), f"{nobody}/simple")
    inside = ["nsenter", f"--net=/run/netns/{nowhere}", "--"]
    datagram = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))"
    run([*inside, "/usr/bin/python3", "-c", datagram])
    counted = sent(nowhere)
    assert counted > 0
    run(
        [*inside, str(LAUNCHER), "up", "--name", cloud.name, *cloud.up_words()],
        env=dict(os.environ) | proxies | indexes,
        timeout=900,
    )
    assert sent(nowhere) == counted
    assert pids(cloud)
    # nor do the clients ask a proxy for what is here
    cloud.variables.update(proxies)
    assert "active" in cloud.type("openstack image list -f value")
