"""Images of services' machines, built and started under plain QEMU, without a cloud around them.

Runs after a cloud was brought up, so that QEMU and genisoimage are installed.
"""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from onestack.components.octavia.amphora import AMPHORA
from onestack.model.cloud import CACHE
from tests.support.needs import needs_root
from tests.support.service_guest import (
    MAC,
    UUID,
    ServiceGuest,
    cloud_config,
    free_port,
    write_drive,
)

pytestmark = needs_root

AMPHORA_ID, BALANCER = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-2222-3333-4444-5555"
VIP, VIP_MAC = "10.0.3.15", "fa:16:3e:00:00:22"
CERTIFICATES = "/etc/octavia/certs"
CONFIG = f"""[DEFAULT]
debug = False
use_syslog = True
syslog_log_facility = LOG_LOCAL1
[haproxy_amphora]
base_cert_dir = /var/lib/octavia/certs
base_path = /var/lib/octavia
bind_host = ::
bind_port = 9443
haproxy_cmd = /usr/sbin/haproxy
user_log_facility = 0
administrative_log_facility = 1
[health_manager]
controller_ip_port_list = 10.0.2.2:5555
heartbeat_interval = 10
heartbeat_key = of-a-test
[amphora_agent]
agent_server_ca = {CERTIFICATES}/client_ca.pem
agent_server_cert = {CERTIFICATES}/server.pem
agent_request_read_timeout = 180
amphora_id = {AMPHORA_ID}
amphora_udp_driver = keepalived_lvs
agent_tls_protocol = TLSv1.2
[controller_worker]
loadbalancer_topology = SINGLE
"""
HAPROXY = f"""global
    daemon
    user nobody
    log /run/rsyslog/octavia/log local0
    stats socket /var/lib/octavia/{BALANCER}.sock mode 0666 level user
defaults
    log global
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend listener
    mode http
    bind {VIP}:80
    http-request return status 200 content-type text/plain string balanced
"""


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        self.certificate = self._signed("authority", self._key, authority=True)

    def issue(self, name: str) -> str:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        own = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._signed(name, key) + own.decode()

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, authority: bool = False) -> str:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Agent:
    """The far end of the amphora's agent, as Octavia is."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port, self.context = port, context

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=300, context=self.context
        )
        headers = {"Content-Type": "application/json"} if body.startswith("{") else {}
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wait(self, seconds: float = 600) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                assert self.ask("GET", "/") == (200, {"api_version": "1.0"})
            except OSError:
                assert time.monotonic() < until
                time.sleep(1)
            else:
                return


@pytest.fixture
def place() -> Iterator[Path]:
    # Not pytest's own: a unix socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        yield Path(folder)


def client(place: Path, authority: Authority, name: str = "") -> ssl.SSLContext:
    """Of somebody who knows the authority; with ``name`` one whom it knows."""
    context = ssl.create_default_context(cadata=authority.certificate)
    context.check_hostname = False
    if name:
        file = place / f"{name}.pem"
        file.write_text(authority.issue(name))
        context.load_cert_chain(file)
    return context


def page(port: int, seconds: float = 60) -> str:
    until = time.monotonic() + seconds
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < until
            time.sleep(1)
        finally:
            connection.close()


def test_an_amphora_balances_and_does_so_again_after_a_restart(place: Path) -> None:
    image = AMPHORA.build(CACHE / "images")
    assert image.stat().st_size < 150 << 20
    authority, agents_port, vips_port = Authority(), free_port(), free_port()
    files = {
        f"{CERTIFICATES}/server.pem": authority.issue(AMPHORA_ID),
        f"{CERTIFICATES}/client_ca.pem": authority.certificate,
        "/etc/octavia/amphora-agent.conf": CONFIG,
    }
    drive = write_drive(place, cloud_config(files), "amphora-one")
    nics = (
        *("-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{agents_port}-:9443"),
        *("-device", f"virtio-net-pci,netdev=n0,mac={MAC}"),
        "-netdev",
        f"user,id=n1,net=10.0.3.0/24,restrict=on,hostfwd=tcp:127.0.0.1:{vips_port}-{VIP}:80",
        *("-device", f"virtio-net-pci,netdev=n1,mac={VIP_MAC}"),
    )
    guest = ServiceGuest(place, image, drive, nics)
    agent = Agent(agents_port, client(place, authority, "octavia"))
    stranger = Agent(agents_port, client(place, authority))
    guest.start()
    try:
        line = guest.wait("guest: amphora-one")
        assert f"instance {UUID}: wrote 3 files" in line
        agent.wait()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            stranger.ask("GET", "/")

        status, info = agent.ask("GET", "/1.0/info")
        assert (status, info["hostname"], info["api_version"]) == (200, "amphora-one", "1.0")
        assert info["haproxy_version"].startswith("2.6")
        assert info["keepalived_version"]
        assert info["ipvsadm_version"]

        told = {"subnet_cidr": "10.0.3.0/24", "gateway": "10.0.3.2", "mac_address": VIP_MAC}
        plug = json.dumps({**told, "vrrp_ip": "10.0.3.16", "mtu": 1442, "host_routes": []})
        status, answer = agent.ask("POST", f"/1.0/plug/vip/{VIP}", plug)
        assert status == 202, answer
        upload = f"/1.0/loadbalancer/{AMPHORA_ID}/{BALANCER}/haproxy"
        assert agent.ask("PUT", upload, HAPROXY) == (202, {"message": "OK"})
        status, answer = agent.ask("PUT", f"/1.0/loadbalancer/{BALANCER}/start")
        assert status == 202, answer
        assert page(vips_port) == "balanced"

        guest.press_power()
        guest.start()
        line = guest.wait("guest: amphora-one")
        assert "is known already" in line
        assert page(vips_port, 600) == "balanced"
        agent.wait()

        # A power cut, where a disk's last writes may be lost.
        guest.kill()
        guest.start()
        assert page(vips_port, 600) == "balanced"
        agent.wait()
        status, details = agent.ask("GET", "/1.0/details")
        assert (status, details["haproxy_count"]) == (200, 1)
    finally:
        guest.kill()
