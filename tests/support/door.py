"""A door that is open: real TLS on loopback, with HAProxy before the application."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from wsgiref import simple_server

import pytest

from onestack.cluster.client import DoorClient, Place
from onestack.cluster.membership import Membership
from onestack.cluster.protocol import PEERS
from onestack.cluster.settings import DoorSettings, Shared
from onestack.components import hosts
from onestack.components.door import authority, peers, verbs
from onestack.components.door.front import Front
from onestack.components.door.inside.app import Door
from onestack.host.files import write_file
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from tests.unit.components.rooms import context

HAPROXY = Path("/usr/sbin/haproxy")
needs_haproxy = pytest.mark.skipif(not HAPROXY.exists(), reason="needs the package haproxy")
LOOPBACK = "127.0.0.1"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    base_environ: ClassVar = {"SERVER_NAME": "door", "SERVER_PORT": "0", "SCRIPT_NAME": ""}

    def __init__(self, path: Path, app: Callable[..., object]) -> None:
        super().__init__(str(path), _Handler)
        self._app = app

    def get_app(self) -> Callable[..., object]:
        return self._app


class _Handler(simple_server.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "front"

    def get_environ(self) -> dict[str, str]:
        self.client_address = ("front", 0)
        return super().get_environ()

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class OpenDoor:
    ctx: Context
    app: Door
    place: Place
    files: Path
    """Where another machine's files may lie."""
    calls: list[str]
    """Each time that the controller was to make what hosts need."""
    front: HaproxyRun

    @property
    def hosts(self) -> Membership:
        return self.app.hosts

    @property
    def digest(self) -> str:
        return authority.digest(hosts.ca(self.ctx))

    @property
    def ca(self) -> str:
        return hosts.ca(self.ctx).read_text()

    def token(self, name: str = "", seconds: float = 3600.0) -> str:
        return str(self.hosts.invite(self.digest, "compute", name, seconds))

    def client(self, own: tuple[Path, Path] | None = None) -> DoorClient:
        return DoorClient(self.place, self.ca, own)


def free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return int(found.getsockname()[1])


def certified(ctx: Context) -> None:
    """The authority, the door's certificate, and what the front's are by."""
    hosts.directory(ctx).mkdir(parents=True)
    for change in authority.ensure_certificates(ctx, "root", "root"):
        change.do()
    # the first made what the second is by
    for change in authority.ensure_certificates(ctx, "root", "root"):
        change.do()
    for change in peers.ensure_authority(ctx, "root", ()):
        change.do()
    ctx.authority.parent.mkdir(parents=True, exist_ok=True)
    write_file(ctx.authority, "the front's authority\n")


def told(cloud: Cloud) -> DoorSettings:
    """What a controller's door was told, by which a host's condition is known; of its certificates
    there is one."""
    etc = cloud.etc / "door"
    ca = str(etc / "ca.pem")
    settings = DoorSettings(
        cloud="onestack",
        release="2026.2",
        controller="head",
        address="192.0.2.1",
        folder=str(cloud.data / "door"),
        ca=ca,
        ca_key="",
        authority=ca,
        peers=ca,
        peers_key="",
        peers_revoked=ca,
        purposes=(),
        accounts="",
        shared={},
        admit=(),
        edition=str(etc / "edition"),
    )
    (etc / "edition").write_text("e\n")
    (etc / "door.json").write_text(settings.to_json())
    return settings


@contextmanager
def open_door(folder: Path, address: str = LOOPBACK) -> Iterator[OpenDoor]:
    ctx = context(folder / "cloud")
    certified(ctx)
    data = folder / "cloud" / "data" / "door"
    data.mkdir(parents=True, mode=0o700)
    asked = verbs.spool(ctx.cloud)
    asked.mkdir(parents=True, mode=0o700)
    settings = DoorSettings(
        cloud="onestack",
        release=ctx.release.name,
        controller="controller",
        address="192.0.2.1",
        folder=str(data),
        ca=str(hosts.ca(ctx)),
        ca_key=str(authority.ca_key(ctx)),
        authority=str(ctx.authority),
        peers=str(peers.ca(ctx)),
        peers_key=str(peers.ca_key(ctx)),
        peers_revoked=str(peers.revoked(ctx)),
        purposes=PEERS,
        accounts="the secret of accounts",
        shared={"compute": Shared({"CONFIG_DEBUG_MODE": "y"}, {"neutron_metadata": "m" * 32})},
        admit=(),
        edition=str(hosts.edition(ctx.cloud.etc)),
        asked=str(asked),
    )
    write_file(hosts.edition(ctx.cloud.etc), "edition\n")
    calls: list[str] = []

    def admit() -> None:
        calls.append("up")
        app.hosts.admitted(m.identity for m in app.hosts.document().members)

    app = Door(settings, admit)
    place, sock, config = Place(address, free_port()), folder / "a.sock", folder / "haproxy.cfg"
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(echoing())
        services = {"messaging": f"{LOOPBACK}:{echo}", "image": f"{LOOPBACK}:{free_port()}"}
        config.write_text(
            Front(
                address=place.host,
                port=place.port,
                server=authority.server(ctx),
                ca=hosts.ca(ctx),
                revoked=authority.revoked(ctx),
                answers=sock,
                run=folder,
                services=services,
            ).text
        )
        server = stack.enter_context(_Server(sock, app))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        stack.callback(server.shutdown)
        front = HaproxyRun(config, place.port, address)
        stack.callback(front.stop)
        front.start()
        yield OpenDoor(ctx, app, place, folder, calls, front)


@contextmanager
def echoing() -> Iterator[int]:
    """A port at which a service says what it is told."""

    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(1000):
                self.request.sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((LOOPBACK, 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


class HaproxyRun:
    """HAProxy with a file; it listens at ``port``."""

    def __init__(self, config: Path, port: int, address: str = LOOPBACK) -> None:
        self._config, self._place = config, (address, port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self._config.with_suffix(".log")
        with log.open("w") as file:
            words = [str(HAPROXY), "-db", "-f", str(self._config)]
            self._process = subprocess.Popen(words, stdout=file, stderr=file)
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(self._place, 1):
                return
            assert self._process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
