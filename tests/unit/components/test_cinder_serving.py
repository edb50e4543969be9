"""Volumes for servers on other hosts: what there is for each, and nothing where none may join."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
from pathlib import Path

import pytest

from onestack.components import ALL, hosts
from onestack.components.cinder import Cinder
from onestack.components.door import peers, volumes
from onestack.components.libvirt import Libvirt
from onestack.deploy.roster import attach_command, processes_of
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.process import Process
from tests.support.door import certified, free_port
from tests.support.joined import elsewhere, member
from tests.support.machines import with_device_mapper
from tests.support.needs import needs_root
from tests.support.peers import done
from tests.unit.components.rooms import context


def controller(root: Path, *names: str, **answers: str) -> Context:
    """With hosts of these names, numbered from 1 on."""
    rooms = tuple(r for r in ALL if r.name in ("cinder", "door", "libvirt", "nova"))
    ctx = context(root, *rooms, **{hosts.JOIN: "y", **answers})
    known = [
        dataclasses.replace(member(ctx, name, f"id-of-{name}"), number=number)
        for number, name in enumerate(names, 1)
    ]
    return dataclasses.replace(ctx, members=tuple(known))


def declared(ctx: Context) -> Declared:
    return Declared(next(r for r in ctx.components if isinstance(r, Cinder)), ctx)


def serving(ctx: Context) -> list[Process]:
    return [spec for spec in declared(ctx).processes if spec.name.startswith("cinder-nbd-")]


def text(ctx: Context, name: str) -> str:
    return next(file.content for file in declared(ctx).files if file.path.name == name)


def test_each_host_has_a_daemon_and_a_port_of_its_own(tmp_path: Path) -> None:
    ctx = controller(tmp_path, "web1", "web2")
    one, two = serving(ctx)
    assert (one.name, two.name) == ("cinder-nbd-web1", "cinder-nbd-web2")
    assert one.sockets["nbd"] == f"tcp:{ctx.public}:10810"
    assert two.sockets["nbd"] == f"tcp:{ctx.public}:10811"
    # whose certificate is heard, and which folder served
    assert one.argv[-1] == "CN=volumes:id-of-web1" and "id-of-web1" in one.argv
    assert {one.user, two.user} == {ctx.cloud.user("volumes")}
    told = json.loads(text(ctx, "hosts.json"))
    assert told["address"] == ctx.public
    place = told["hosts"]["web2"]
    assert (place["identity"], place["port"]) == ("id-of-web2", 10811)
    assert two.sockets["monitor"] == f"unix:{place['monitor']}"
    assert {(o.address, o.port.number) for o in declared(ctx).opened} == {
        (ctx.public, 10810),
        (ctx.public, 10811),
    }


def test_the_driver_finds_them_and_is_not_started_anew_for_a_host(tmp_path: Path) -> None:
    ctx = controller(tmp_path, "web1")
    config = text(ctx, "cinder.conf")
    assert f"filepool_hosts = {ctx.cloud.etc / 'cinder' / 'hosts.json'}" in config
    assert config == text(controller(tmp_path), "cinder.conf")
    service = next(p for p in declared(ctx).processes if p.name == "cinder-volume")
    assert not any("hosts.json" in file for file in service.files)


def test_the_pool_is_there_before_it_is_served(tmp_path: Path) -> None:
    names = ("cinder", "door", "libvirt", "mariadb", "memcached", "rabbitmq")
    ctx = controller(tmp_path, "web1")
    rooms = tuple(room for room in ALL if room.name in names)
    ctx = dataclasses.replace(ctx, components=rooms)
    found = {spec.name: spec for specs in processes_of(ctx).values() for spec in specs}
    (pool,) = (store for store in declared(ctx).stores)
    assert attach_command(ctx, pool) in found["cinder-nbd-web1"].prepare
    # what unmounts it is the volume service's
    assert not found["cinder-nbd-web1"].cleanup and found["cinder-volume"].cleanup


@pytest.mark.parametrize(
    "answers",
    [{hosts.JOIN: "n"}, {"CONFIG_CINDER_BACKEND": "nfs", "CONFIG_CINDER_NFS_MOUNTS": "a:/b"}],
)
def test_nothing_where_nobody_may_have_them(tmp_path: Path, answers: dict[str, str]) -> None:
    ctx = controller(tmp_path, "web1", **answers)
    assert not serving(ctx) and not declared(ctx).opened
    assert "filepool_hosts" not in text(ctx, "cinder.conf")
    assert not any(file.path.name == "hosts.json" for file in declared(ctx).files)
    assert ctx.cloud.user("volumes") not in declared(ctx).users
    assert not ctx.offers(hosts.VOLUMES)
    assert all(not store.seen_by[1:] for store in declared(ctx).stores)


def test_the_other_host_is_a_client_alone(tmp_path: Path) -> None:
    ctx = controller(tmp_path, "web1")
    there = elsewhere(ctx, ctx.members[0])
    assert not there.offers(hosts.VOLUMES)
    libvirt = next(r for r in there.components if isinstance(r, Libvirt))

    def qemu(of: Context) -> str:
        files = Declared(libvirt, of).files
        return next(file.content for file in files if file.path.name == "qemu.conf")

    assert 'nbd_tls_x509_cert_dir = "/etc/pki/libvirt-nbd"' in qemu(there)
    assert "nbd" not in qemu(ctx)


@needs_root
def test_the_controller_has_something_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cloud, "user", lambda self, service: "root")
    ctx = controller(tmp_path / "cloud", "web1")
    certified(ctx)

    def made() -> list[str]:
        return done(
            peers.ensure_authority(ctx, "root", ()),
            peers.ensure_own(ctx),
            peers.ensure_volumes(ctx),
        )

    assert any("volumes" in what for what in made())
    assert made() == []
    place = hosts.volumes(ctx)
    for name in ("ca-cert", "ca-crl", "server-cert", "server-key"):
        assert (place / f"{name}.pem").stat().st_mode & 0o777 == 0o640
    assert (place / "ca-cert.pem").read_text() == peers.ca(ctx).read_text()


def test_a_host_that_does_not_get_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = controller(tmp_path, "web1")
    there = elsewhere(ctx, ctx.members[0])
    assert there.joined is not None
    port = free_port()
    joined = dataclasses.replace(there.joined, controller="127.0.0.1", number=1)
    there = dataclasses.replace(there, joined=joined)
    monkeypatch.setattr(hosts, "volumes_port", lambda number: port)
    (found,) = volumes.findings(there)
    assert f"127.0.0.1, TCP port {port}" in found.what and "cinder-nbd-web1" in found.cure
    with socket.create_server(("127.0.0.1", port)) as held:
        # The supervisor's: a daemon greets, and this one is dead.
        monkeypatch.setattr(volumes, "SECONDS", 0.2)
        (found,) = volumes.findings(there)
        assert f"TCP port {port}" in found.what
        monkeypatch.setattr(volumes, "SECONDS", 10)

        def greet() -> None:
            for _ in range(2):
                with held.accept()[0] as line, contextlib.suppress(OSError):
                    line.sendall(b"NBDMAGIC")

        greeting = threading.Thread(target=greet)
        greeting.start()
        assert not list(volumes.findings(there))
        greeting.join()
        # what its compute service has of a server that stops again and again
        place = hosts.lacking(there)
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps({"a-server": ["a-volume"]}))
        monkeypatch.setattr(volumes, "greeted", lambda *place: None)
        (found,) = volumes.findings(there)
        assert "a-server" in found.what and "a-volume" in found.what
        place.write_text("{}")
        assert not list(volumes.findings(there))
    assert not list(volumes.findings(ctx))


def test_the_controller_says_whether_it_serves_and_no_answer(tmp_path: Path) -> None:
    """With `lvm` a controller whose kernel has no device-mapper has the file pool."""
    for able, joined in ((False, True), (True, False)):
        ctx = controller(tmp_path / str(able), "web1", CONFIG_CINDER_BACKEND="lvm")
        bare = dataclasses.replace(ctx.facts, modules=())
        facts = with_device_mapper(bare) if able else bare
        ctx = dataclasses.replace(ctx, host=dataclasses.replace(ctx.host, facts=facts))
        assert hosts.served(elsewhere(ctx, ctx.members[0])) is joined
