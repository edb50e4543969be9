"""Volumes for other hosts: a real storage daemon, and real clients with certificates."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.cluster.membership import Member
from onestack.cluster.protocol import GUESTS, VOLUMES, holder
from onestack.components import certificates
from onestack.components.door.inside import issuing
from onestack.storage import nbd
from onestack.storage.exports import Export, Exports
from tests.support.nbd import ADDRESS, Authority, Server, needs_daemon, server

pytestmark = [needs_daemon, pytest.mark.timeout(600)]
MINE, SUBJECT = "id-of-web1", "volumes:id-of-web1"
MIB = 1 << 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.fixture
def own(authority: Authority) -> Path:
    return authority.signed("web1", SUBJECT)[0]


@pytest.fixture
def exports(tmp_path: Path) -> Exports:
    (tmp_path / "exports").mkdir()
    return Exports(tmp_path / "exports")


def volume(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(4 * MIB)
    return path


@pytest.fixture
def one(tmp_path: Path, exports: Exports) -> Export:
    return exports.granted(MINE, "web1", "one", volume(tmp_path, "volume-one"))


@pytest.fixture
def served(tmp_path: Path, authority: Authority, exports: Exports, one: Export) -> Iterator[Server]:
    tls = authority.signed("controller", "volumes:controller")[0]
    with server(tmp_path, exports.folder, MINE, tls, f"CN={SUBJECT}") as made:
        yield made


def test_a_host_reads_and_writes_what_it_may(served: Server, own: Path, one: Export) -> None:
    assert served.asked(own, one.name, "write -P 5 64k 4k").returncode == 0
    assert served.asked(own, one.name, "read -P 5 64k 4k").returncode == 0
    assert Path(one.path).read_bytes()[64 << 10 : (64 << 10) + 4096] == b"\5" * 4096
    refused = served.asked(own, "another", "read 0 4k")
    assert refused.returncode and "not present" in refused.stderr


def test_nobody_else_is_let_in(
    served: Server, authority: Authority, one: Export, tmp_path: Path
) -> None:
    """Another host of the cloud's, with that name known, and one of another cloud's."""
    other = authority.signed("web2", "volumes:id-of-web2")[0]
    strange = Authority(tmp_path / "strange").signed("web1", SUBJECT)[0]
    authority.trusted(strange)  # so that it believes the server
    for tls in (other, strange, None):
        assert served.asked(tls, one.name, "read 0 4k").returncode, tls
        words = ["--tls-creds", "t", "--object", f"tls-creds-x509,id=t,dir={tls},endpoint=client"]
        listed = subprocess.run(
            ["qemu-nbd", "-L", "-b", ADDRESS, "-p", str(served.port), *(words if tls else [])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert listed.returncode and one.name not in listed.stdout
    assert "authz check for CN=volumes:id-of-web2 is denied" in served.log.read_text()


def test_a_certificate_that_was_revoked_is_none(
    tmp_path: Path, authority: Authority, exports: Exports, one: Export
) -> None:
    tls = authority.signed("controller", "volumes:controller")[0]
    own, serial = authority.signed("web1", SUBJECT)
    authority.trusted(tls, serial)
    with server(tmp_path, exports.folder, MINE, tls, f"CN={SUBJECT}") as made:
        assert made.asked(own, one.name, "read 0 4k").returncode
        assert "revoked" in made.log.read_text()


def test_a_client_takes_no_other_for_the_controller(
    tmp_path: Path, authority: Authority, exports: Exports, own: Path, one: Export
) -> None:
    strange = Authority(tmp_path / "strange").signed("controller", "volumes:controller")[0]
    with server(tmp_path, exports.folder, MINE, strange, f"CN={SUBJECT}") as made:
        assert made.asked(own, one.name, "read 0 4k").returncode


class _Past:
    """The module ``datetime``, nine years ago."""

    UTC, timedelta = datetime.UTC, datetime.timedelta

    class datetime:
        @staticmethod
        def now(tz: datetime.tzinfo) -> datetime.datetime:
            return datetime.datetime.now(tz) - datetime.timedelta(days=9 * 365)


@pytest.mark.parametrize(("purpose", "let_in"), [(VOLUMES, True), (GUESTS, False)])
def test_what_is_shown_for_volumes_is_good_for_as_long_as_a_guest_may_run(
    tmp_path: Path,
    exports: Exports,
    one: Export,
    monkeypatch: pytest.MonkeyPatch,
    purpose: str,
    let_in: bool,
) -> None:
    """QEMU reads it when a guest gets a volume (here: nine years ago), and has no other when it
    connects again. What hosts show for all else is renewed, and read anew."""
    with monkeypatch.context() as then:
        for module in (certificates, issuing):
            then.setattr(module, "datetime", _Past)
        authority = Authority(tmp_path / "tls")
        own = tmp_path / "own"
        own.mkdir()
        key = own / "client-key.pem"
        key.write_text(certificates.new_key())
        public, _ = issuing.requested(certificates.request(key))
        host = Member("web1", 1, MINE, ("compute",), "192.0.2.7", "", (), 0.0)
        made = issuing.issued_for(purpose, *authority.files, public, host)
        (own / "client-cert.pem").write_text(made.certificate)
        authority.trusted(own)
    tls = authority.signed("controller", "volumes:controller")[0]
    with server(tmp_path, exports.folder, MINE, tls, f"CN={holder(purpose, MINE)}") as daemon:
        done = daemon.asked(own, one.name, "read 0 4k")
        assert (done.returncode == 0) is let_in, done.stderr
        assert let_in or "expired" in done.stderr


def test_a_host_has_as_many_connections_as_its_guests_have_volumes(served: Server) -> None:
    """QEMU lets a hundred in by itself, and whoever comes then waits for ever."""
    with contextlib.ExitStack() as stack:
        for _ in range(110):
            one = stack.enter_context(socket.create_connection((ADDRESS, served.port), 5))
            assert one.recv(8) == b"NBDMAGIC"


def test_what_comes_and_goes(
    served: Server, own: Path, one: Export, exports: Exports, tmp_path: Path
) -> None:
    two = exports.granted(MINE, "web1", "two", volume(tmp_path, "volume-two"))
    with nbd.Monitor(served.monitor) as monitor:
        for _ in range(2):
            monitor.serve(two)
        assert monitor.names() == {one.node, two.node}
    assert served.asked(own, two.name, "write 0 4k").returncode == 0
    exports.forget(MINE, "two")
    with nbd.Monitor(served.monitor) as monitor:
        for _ in range(2):
            monitor.end(two)
        assert monitor.names() == {one.node}
    assert served.asked(own, two.name, "read 0 4k").returncode
    assert served.asked(own, one.name, "read 0 4k").returncode == 0


def test_what_a_kill_left_half_is_begun_anew(
    served: Server, own: Path, exports: Exports, tmp_path: Path
) -> None:
    """The daemon has a volume's file open, and serves it not yet; then it is another file."""
    path = volume(tmp_path, "volume-two")
    two = exports.granted(MINE, "web1", "two", path)
    with nbd.Monitor(served.monitor) as monitor:
        monitor._ask("blockdev-add", **two.device)
        other = volume(tmp_path, "other")
        other.write_bytes(b"\7" * MIB)
        other.replace(path)
        monitor.serve(two)
    assert served.asked(own, two.name, "read -P 7 0 4k").returncode == 0


def test_who_holds_the_port_alone_does_not_serve(served: Server) -> None:
    nbd.greeted(ADDRESS, served.port, 10)
    served.kill()
    with pytest.raises(OSError):
        nbd.greeted(ADDRESS, served.port, 0.2)


def test_what_the_folder_has_is_served_after_a_kill(
    served: Server, own: Path, one: Export, exports: Exports, tmp_path: Path
) -> None:
    """Without what is not there, which would keep the others from it."""
    served.kill()
    two = exports.granted(MINE, "web1", "two", volume(tmp_path, "volume-two"))
    gone = exports.granted(MINE, "web1", "gone", tmp_path / "not-there")
    exports.granted("id-of-web2", "web2", "other", volume(tmp_path, "volume-other"))
    served.start()
    with nbd.Monitor(served.monitor) as monitor:
        assert monitor.names() == {one.node, two.node}
    assert served.asked(own, two.name, "read 0 4k").returncode == 0
    assert gone.volume in served.log.read_text()


class _Guest:
    """A guest's QEMU, without a guest: it has the volume as nova has it given."""

    def __init__(self, place: Path, served: Server, tls: Path, name: str, delay: int = 600) -> None:
        place.mkdir()
        self._monitor = place / "monitor"
        self._log = (place / "log").open("w")
        disk = {
            "driver": "nbd",
            "node-name": "nbd",
            "server": {"type": "inet", "host": ADDRESS, "port": str(served.port)},
            "export": name,
            "tls-creds": "tls",
            "reconnect-delay": delay,
        }
        self.process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-nodefaults", "-S", "-display", "none", "-m", "16"),
                *("-machine", "pc,accel=tcg"),
                *("-object", f"tls-creds-x509,id=tls,dir={tls},endpoint=client"),
                *("-blockdev", json.dumps(disk)),
                *("-blockdev", "driver=raw,node-name=disk,file=nbd"),
                *("-device", "virtio-blk-pci,drive=disk"),
                *("-qmp", f"unix:{self._monitor},server=on,wait=off"),
            ],
            stdout=self._log,
            stderr=self._log,
        )
        until = time.monotonic() + 60
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(str(self._monitor))
                break
            except OSError:
                assert self.process.poll() is None, (place / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)
        self._socket.settimeout(120)
        self._lines = self._socket.makefile("rb")
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: object) -> Any:
        said = json.dumps({"execute": command, "arguments": arguments})
        self._socket.sendall(said.encode() + b"\n")
        for line in self._lines:
            heard = json.loads(line)
            if "return" in heard or "error" in heard:
                return heard
        raise AssertionError("QEMU has ended")

    def reads(self, pattern: int) -> None:
        line = f'qemu-io disk "read -P {pattern} 0 4k"'
        assert self("human-monitor-command", **{"command-line": line}) == {"return": ""}

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._socket.close()
        self._log.close()


@pytest.fixture
def guest(tmp_path: Path, served: Server, own: Path, one: Export) -> Iterator[_Guest]:
    served.asked(own, one.name, "write -P 5 0 4k")
    made = _Guest(tmp_path / "guest", served, own, one.name)
    try:
        yield made
    finally:
        made.end()


@pytest.mark.skipif(
    not Path("/usr/bin/qemu-system-x86_64").exists(), reason="needs the package qemu-system-x86"
)
def test_a_guest_waits_for_the_daemon_and_goes_on(guest: _Guest, served: Server) -> None:
    guest.reads(5)
    served.kill()
    served.start()
    guest.reads(5)


@pytest.mark.skipif(
    not Path("/usr/bin/qemu-system-x86_64").exists(), reason="needs the package qemu-system-x86"
)
def test_a_guest_sees_that_its_volume_grew(guest: _Guest, served: Server, one: Export) -> None:
    """Once it has connected again, which it does when it reads: so nova's driver has it read."""
    wanted = {"node-name": "disk", "size": 8 * MIB}
    with Path(one.path).open("r+b") as file:
        file.truncate(8 * MIB)
    assert "Cannot grow" in guest("block_resize", **wanted)["error"]["desc"]
    with nbd.Monitor(served.monitor) as monitor:
        monitor.renew(one)
    guest.reads(5)
    assert guest("block_resize", **wanted) == {"return": {}}
    (disk,) = guest("query-block")["return"]
    assert disk["inserted"]["image"]["virtual-size"] == 8 * MIB


@pytest.mark.skipif(
    not Path("/usr/bin/qemu-system-x86_64").exists(), reason="needs the package qemu-system-x86"
)
def test_a_guest_of_an_older_libvirt_connects_again_when_it_is_asked_to(
    tmp_path: Path, served: Server, own: Path, one: Export
) -> None:
    """Which lets QEMU wait for nothing: it fails what was asked, and has the connection later."""
    guest = _Guest(tmp_path / "guest", served, own, one.name, 0)
    wanted = {"node-name": "disk", "size": 8 * MIB}
    try:
        with Path(one.path).open("r+b") as file:
            file.truncate(8 * MIB)
        served.kill()
        served.start()
        until = time.monotonic() + 120
        while True:
            guest("human-monitor-command", **{"command-line": 'qemu-io disk "read 0 512"'})
            if "error" not in guest("block_resize", **wanted):
                break
            assert time.monotonic() < until
            time.sleep(0.5)
    finally:
        guest.end()
