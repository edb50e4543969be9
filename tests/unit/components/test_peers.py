"""What hosts show to each other, and whom the real libvirtd hears of those that come with it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.cluster.protocol import GUESTS, LIBVIRT, PEERS, VOLUMES
from onestack.components import certificates, hosts
from onestack.components.door import Door, authority, peers
from onestack.components.libvirt import Libvirt
from onestack.components.nova import Nova
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.host import Network
from tests.support.door import certified, free_port
from tests.support.joined import elsewhere, member
from tests.support.libvirtd import libvirtd, needs_libvirtd
from tests.support.needs import needs_root, needs_services
from tests.support.peers import cloud, made, shown
from tests.support.trials import tried
from tests.unit.components.rooms import content, context

ROOM = Libvirt()
TRIALS = Path(__file__).with_name("nova_trials.py")
pytestmark = needs_root
ASK = """
import sys, libvirt
libvirt.registerErrorHandler(lambda *given: None, None)
try:
    connection = libvirt.open(sys.argv[1])
    print("heard by", connection.getHostname())
except libvirt.libvirtError as error:
    print(error)
"""


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr(Cloud, "user", lambda self, service: "root")
    ctx = cloud(tmp_path / "cloud")
    certified(ctx)
    made(ctx)
    return ctx


def doors(ctx: Context, folder: Path) -> Path:
    """What a host shows to the door, tried here."""
    files = hosts.ca(ctx), authority.ca_key(ctx)
    name = certificates.named("libvirt:somebody")
    own = certificates.sign(*files, name, certificates.CLIENT)
    folder.mkdir()
    (folder / "clientkey.pem").write_text(own.key)
    (folder / "clientcert.pem").write_text(own.certificate)
    (folder / "cacert.pem").write_text(peers.ca(ctx).read_text())
    return folder


@pytest.fixture
def daemon(controller: Context, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a libvirtd with the room's file, and its log; one host of all is gone."""
    _, serial = shown(controller, LIBVIRT, tmp_path / "gone", "gone")
    made(controller, serial)
    files = {name: content(controller, ROOM, name) for name in ("libvirtd.conf", "qemu.conf")}
    with libvirtd(tmp_path / "places", hosts.pki(controller), files) as (port, log):
        yield port, log


def said(port: int, folder: Path) -> str:
    """What a libvirt gets to hear that comes with these files."""
    place = f"qemu+tls://127.0.0.2:{port}/system?pkipath={folder}"
    return subprocess.run(
        ["/usr/bin/python3", "-c", ASK, place], capture_output=True, text=True, timeout=120
    ).stdout


@needs_libvirtd
@pytest.mark.timeout(600)
def test_whom_a_libvirtd_hears(
    controller: Context, daemon: tuple[int, Path], tmp_path: Path
) -> None:
    port, log = daemon
    other, _ = shown(controller, LIBVIRT, tmp_path / "other", "other")
    assert said(port, other).startswith("heard by"), log.read_text()
    guests, _ = shown(controller, GUESTS, tmp_path / "guests", "other")
    for refused in (guests, tmp_path / "gone", doors(controller, tmp_path / "doors")):
        answer = said(port, refused)
        assert answer and not answer.startswith("heard"), refused
    text = log.read_text()
    assert "revoked" in text


def test_they_are_made_once_and_made_good(controller: Context) -> None:
    assert made(controller) == []
    pki = hosts.pki(controller)
    secret = pki / "libvirt" / "private" / "serverkey.pem"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (pki / "qemu" / "server-key.pem").stat().st_mode & 0o777 == 0o640
    assert secret.read_text() != (pki / "qemu" / "server-key.pem").read_text()
    # as the compute service shows it, whose user alone reads it
    folder = hosts.carriers(controller)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == dict.fromkeys(
        ("cacert.pem", "cacrl.pem", "clientcert.pem", "clientkey.pem"), 0o640
    )
    # half of a pair, as a run that was killed leaves it
    (hosts.directory(controller) / "peer-libvirt.key").write_text(certificates.new_key())
    assert "make the certificate that this host shows to others (libvirt)" in made(controller)
    assert made(controller) == []


def test_another_address_is_another_certificate(controller: Context) -> None:
    here = {**controller.host.addresses, Network.GUESTS: "192.0.2.9"}
    host = dataclasses.replace(controller.host, addresses=here)
    there = dataclasses.replace(controller, host=host)
    assert sum("certificate that this host shows" in what for what in made(there)) == 3


def test_who_commands_libvirtd_alone_reads_its_key(
    controller: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nova's API and its proxy of consoles are of another group; where servers stay none is."""
    own = {"libvirt": "daemon", "nova": "nogroup"}
    monkeypatch.setattr(Cloud, "user", lambda self, service: own.get(service, "root"))
    for change in peers.ensure_carriers(controller):
        change.do()
    folder = hosts.carriers(controller)
    assert {path.group() for path in (folder, *folder.iterdir())} == {"daemon"}
    stays = cloud(controller.cloud.root, move="n")
    (left,) = (one for one in Door()._certificates(stays) if str(folder) in one.what)
    left.do()
    assert not folder.exists() and list(peers.ensure_carriers(stays)) == []


def test_a_dry_run_says_what_it_would_make(tmp_path: Path) -> None:
    ctx = cloud(tmp_path / "cloud")
    said = [
        change.what
        for generator in (
            peers.ensure_authority(ctx, "root", ()),
            peers.ensure_own(ctx),
            peers.ensure_shown(ctx),
        )
        for change in generator
    ]
    assert any("authority" in what for what in said)


def test_libvirts_key_is_for_moving_alone(tmp_path: Path) -> None:
    ctx = cloud(tmp_path / "cloud", move="n")
    assert hosts.purposes(ctx) == (GUESTS,)


QEMU = Path("/usr/bin/qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(not QEMU.exists(), reason="needs the package qemu-system-x86")
QUIET = ("-nodefaults", "-S", "-display", "none", "-machine", "pc,accel=tcg", "-m", "16")


@contextlib.contextmanager
def guest(place: Path, end: str, folder: Path, *words: str) -> Iterator[socket.socket]:
    """One that shows what is in ``place`` and asks for the like; its monitor."""
    folder.mkdir()
    tls = f"tls-creds-x509,id=tls,dir={place},endpoint={end},verify-peer=on"
    monitor = folder / "monitor"
    process = subprocess.Popen(
        [QEMU, *QUIET, "-object", tls, "-qmp", f"unix:{monitor},server=on,wait=off", *words],
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 60
        with socket.socket(socket.AF_UNIX) as sock:
            while True:
                try:
                    sock.connect(str(monitor))
                    break
                except OSError:
                    assert process.poll() is None, (process.stderr or io.BytesIO()).read()
                    assert time.monotonic() < until
                    time.sleep(0.1)
            sock.settimeout(60)
            told(sock, "qmp_capabilities")
            yield sock
    finally:
        process.kill()
        process.wait(30)


def told(monitor: socket.socket, command: str, **arguments: object) -> dict[str, object]:
    monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    with monitor.makefile("rb") as lines:
        for line in lines:
            said: dict[str, object] = json.loads(line)
            assert "error" not in said, said
            if "return" in said:
                return said
    raise AssertionError("the monitor ended")


def creds(ctx: Context, folder: Path, name: str) -> tuple[Path, str]:
    """As `hosts.pki` has it for QEMU, of another host; and the certificate's serial number."""
    own, serial = shown(ctx, GUESTS, folder / f"{name}-own", name)
    place = folder / name
    place.mkdir()
    for end in ("server", "client"):
        for what in ("cert", "key"):
            text = (own / f"client{what}.pem").read_text()
            (place / f"{end}-{what}.pem").write_text(text)
    (place / "ca-cert.pem").write_text(peers.ca(ctx).read_text())
    (place / "ca-crl.pem").write_text(peers.revoked(ctx).read_text())
    return place, serial


@needs_qemu
@needs_services
@pytest.mark.timeout(600)
def test_who_sees_a_guests_screen(controller: Context, tmp_path: Path) -> None:
    place, port = hosts.pki(controller) / "qemu", free_port()
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    other = context(strangers / "cloud", Door(), ROOM, Nova(), CONFIG_ONESTACK_JOIN="y")
    certified(other)
    _, gone = creds(controller, tmp_path, "gone")
    made(controller, gone)
    own = hosts.console(controller)
    screen = ("-vga", "std", "-vnc", f"127.0.0.2:{port - 5900},tls-creds=tls")

    def seen(certificate: Path, key: Path) -> str:
        words = ("127.0.0.2", str(port), own.ca, certificate, key)
        return tried(TRIALS, "console", *words).stdout.strip()

    with guest(place, "server", tmp_path / "guest", *screen):
        assert seen(own.certificate, own.key).startswith("a screen of")
        assert seen(
            tmp_path / "gone" / "client-cert.pem", tmp_path / "gone" / "client-key.pem"
        ) == ("refused")
        folder = shown(other, GUESTS, tmp_path / "theirs", "other")[0]
        assert seen(folder / "clientcert.pem", folder / "clientkey.pem") == "refused"


@needs_qemu
@pytest.mark.timeout(600)
@pytest.mark.parametrize("removed", [False, True])
def test_a_guests_memory_goes_to_a_host_of_the_cloud(
    controller: Context, tmp_path: Path, removed: bool
) -> None:
    """As libvirt has it done; from one that was removed nothing is taken."""
    source, serial = creds(controller, tmp_path, "other")
    made(controller, *([serial] if removed else []))
    port = free_port()
    place = hosts.pki(controller) / "qemu"
    with (
        guest(place, "server", tmp_path / "there", "-incoming", "defer") as there,
        guest(source, "client", tmp_path / "here") as here,
    ):
        for end in (there, here):
            told(end, "migrate-set-parameters", **{"tls-creds": "tls"})
        address = f"tcp:127.0.0.2:{port}"
        told(there, "migrate-incoming", uri=address)
        told(here, "migrate", uri=address)
        until = time.monotonic() + 60
        while True:
            found = told(here, "query-migrate")["return"]
            assert isinstance(found, dict)
            if found.get("status") in ("completed", "failed"):
                break
            assert time.monotonic() < until, found
            time.sleep(0.2)
        assert found["status"] == ("failed" if removed else "completed"), found


def test_a_host_that_has_nothing_to_show_says_so(controller: Context, tmp_path: Path) -> None:
    """Its controller was not reached: a guest could not start with half of it."""
    there = elsewhere(controller, member(controller, "web1", "identity"))
    there = dataclasses.replace(there, cloud=Cloud("onestack", tmp_path / "web1"))
    with pytest.raises(OnestackError, match="nothing yet that it could show"):
        for change in peers.ensure_shown(there):
            change.do()


def test_what_it_shows_for_volumes_lies_apart(controller: Context, tmp_path: Path) -> None:
    """With a key of its own, for QEMU as a client; where none are served there is nothing."""
    there = elsewhere(controller, member(controller, "web1", "identity"))
    known = there.joined
    assert known is not None
    there = dataclasses.replace(there, cloud=Cloud("onestack", tmp_path / "web1"))
    kept = hosts.joined_folder(there.cloud.etc)
    kept.mkdir(parents=True)
    (kept / "peers-ca.pem").write_text(peers.ca(controller).read_text())
    (kept / "peers-revoked.pem").write_text(peers.revoked(controller).read_text())
    for purpose in PEERS:
        own, _ = shown(controller, purpose, tmp_path / purpose, "web1")
        for path, name in zip(peers.kept(there.cloud.etc, purpose), ("cert", "key"), strict=True):
            path.write_text((own / f"client{name}.pem").read_text())
    place = hosts.pki(there) / "libvirt-nbd"
    for served in (False, True):
        purposes = PEERS if served else (GUESTS, LIBVIRT)
        joined = dataclasses.replace(known, purposes=purposes)
        for change in peers.ensure_shown(dataclasses.replace(there, joined=joined)):
            change.do()
        assert place.exists() is served
    assert {path.name for path in place.iterdir()} == {
        *("ca-cert.pem", "ca-crl.pem", "client-cert.pem", "client-key.pem")
    }
    key = place / "client-key.pem"
    assert key.stat().st_mode & 0o777 == 0o640
    assert key.read_text() == (tmp_path / VOLUMES / "clientkey.pem").read_text()
