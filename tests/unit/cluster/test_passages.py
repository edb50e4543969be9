"""The way of a host to its cloud's services: through both sides of the door, with real TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.cluster import protocol
from onestack.cluster.protocol import PASSAGE, SERVER, Join, Standing
from onestack.components import certificates
from onestack.components.door import authority
from onestack.components.door.passage import Passage
from tests.support.door import LOOPBACK, HaproxyRun, OpenDoor, free_port, needs_haproxy
from tests.support.needs import needs_root

pytestmark = [needs_root, needs_haproxy]


@pytest.fixture(autouse=True)
def nobody_is_gone(door: OpenDoor) -> Iterator[None]:
    yield
    relisted(door, [])


def relisted(door: OpenDoor, gone: list[str]) -> None:
    """As `up` does it: another list, and the front is started anew for it."""
    changes = 0
    for change in authority.ensure_certificates(door.ctx, "root", "root", gone):
        change.do()
        changes += 1
    if changes:
        door.front.stop()
        door.front.start()


@pytest.fixture
def own(door: OpenDoor, tmp_path: Path) -> Path:
    """A host's certificate, with its key."""
    key = tmp_path / "key.pem"
    key.write_text(certificates.new_key())
    asked = Join(door.token(), certificates.request(key), "web1", "192.0.2.7", "2026.2")
    standing = door.client().ask("POST", protocol.JOIN, Standing, asked)
    file = tmp_path / "own.pem"
    file.write_text(standing.certificate + key.read_text())
    return file


def says(sock: socket.socket, text: bytes) -> bytes:
    """What comes back; nothing where the connection ends."""
    with contextlib.suppress(OSError):
        sock.settimeout(30)
        sock.sendall(text)
        return sock.recv(1000)
    return b""


@contextlib.contextmanager
def led(door: OpenDoor, own: Path | None, name: str) -> Iterator[socket.socket]:
    """A TLS connection to the service ``name`` behind the door."""
    tls = ssl.create_default_context(cadata=door.ca)
    tls.check_hostname = False
    if own:
        tls.load_cert_chain(own)
    with (
        socket.create_connection((LOOPBACK, door.place.port)) as plain,
        tls.wrap_socket(plain, server_hostname=name) as sock,
    ):
        yield sock


def test_a_host_finds_services_where_they_would_be(
    door: OpenDoor, own: Path, tmp_path: Path
) -> None:
    port = free_port()
    ca = tmp_path / "ca.pem"
    ca.write_text(door.ca)
    config = tmp_path / "passage.cfg"
    services = {"messaging": f"{LOOPBACK}:{port}"}
    config.write_text(Passage(LOOPBACK, door.place.port, own, ca, services).text)
    passage = HaproxyRun(config, port)
    passage.start()
    try:
        with socket.create_connection((LOOPBACK, port)) as sock:
            assert says(sock, b"hello") == b"hello"
            assert says(sock, b"again") == b"again"
            # removed: what is open ends, and nothing opens any more
            member = door.hosts.remove("web1")
            relisted(door, [c.serial for c in member.certificates])
            assert says(sock, b"still") == b""
        with socket.create_connection((LOOPBACK, port)) as sock:
            assert says(sock, b"hello") == b""
    finally:
        passage.stop()


def test_only_what_hosts_are_led_to(door: OpenDoor, own: Path) -> None:
    with led(door, own, f"messaging{PASSAGE}") as sock:
        assert says(sock, b"x") == b"x"
    for name in ("database", "messaging.x"):
        with contextlib.suppress(ssl.SSLError, OSError), led(door, own, name + PASSAGE) as sock:
            assert says(sock, b"x") == b""


def test_nobody_without_a_certificate(door: OpenDoor) -> None:
    with contextlib.suppress(ssl.SSLError), led(door, None, f"messaging{PASSAGE}") as sock:
        assert says(sock, b"x") == b""


def test_nobody_with_another_authoritys(door: OpenDoor, tmp_path: Path) -> None:
    other = tmp_path / "o.pem", tmp_path / "o.key"
    certificates.make_ca(*other, certificates.named("Authority for hosts of the cloud onestack"))
    made = certificates.sign(*other, certificates.named("x"), certificates.CLIENT)
    file = tmp_path / "own.pem"
    file.write_text(made.certificate + made.key)
    with contextlib.suppress(ssl.SSLError), led(door, file, f"messaging{PASSAGE}") as sock:
        assert says(sock, b"x") == b""


def test_the_doors_own_certificate_leads_nowhere(door: OpenDoor) -> None:
    file = authority.server(door.ctx)
    with contextlib.suppress(ssl.SSLError), led(door, file, f"messaging{PASSAGE}") as sock:
        assert says(sock, b"x") == b""


def test_no_service_behind_the_doors_own_name(door: OpenDoor, own: Path) -> None:
    """Who asks the door itself is answered by it alone."""
    with led(door, own, SERVER) as sock:
        assert says(sock, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400") or not says(sock, b"x")


def test_what_is_no_tls_is_not_heard(door: OpenDoor) -> None:
    with socket.create_connection((LOOPBACK, door.place.port)) as sock:
        assert says(sock, b"AMQP\0\0\x09\x01") == b""


def test_the_list_is_written_for_another_list_only(door: OpenDoor) -> None:
    ctx = door.ctx
    assert list(authority.ensure_certificates(ctx, "root", "root")) == []
    (change,) = authority.ensure_certificates(ctx, "root", "root", ["ab", "1"])
    change.do()
    assert list(authority.ensure_certificates(ctx, "root", "root", ["1", "ab"])) == []
    authority.revoked(ctx).write_text("damaged")
    (change,) = authority.ensure_certificates(ctx, "root", "root")
    change.do()
    assert list(authority.ensure_certificates(ctx, "root", "root")) == []
