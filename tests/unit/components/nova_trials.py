"""Trials of ours inside nova, run by the services' own Python (see test_nova_upstream.py)."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import libvirt
import nova.privsep
from lxml import etree
from nova import context, exception, objects, policy
from nova.compute import manager, power_state, vm_states
from nova.conf import CONF
from nova.console.securityproxy import rfb
from nova.virt.libvirt import driver, guest, migration
from nova.virt.libvirt import host as libvirt_host
from oslo_concurrency.processutils import ProcessExecutionError

import onestack.components.nova.inside.preload  # noqa: F401 -- first, for native threads
from onestack.components.nova.inside import (
    callers,
    cold_moves,
    files_elsewhere,
    moved_volumes,
    volumes,
    waiting,
)

GIB = 1 << 30
PATH = "/pool/volume-1"


class Domain:
    """As much of libvirt's as a resize asks for."""

    def __init__(self) -> None:
        self.resized: list[tuple[str, int, int]] = []

    def blockResize(self, disk: str, size: int, flags: int) -> None:
        self.resized.append((disk, size, flags))


def compute(domain: Domain, state: int = power_state.RUNNING) -> Any:
    made = object.__new__(driver.LibvirtDriver)
    made._host = mock.create_autospec(libvirt_host.Host, instance=True)
    made._host.get_guest.return_value = guest.Guest(domain)
    made._volume_api = SimpleNamespace()
    # upstream's own makes the volumes' drivers, from its table
    made.volume_drivers = {}
    mock.patch.object(guest.Guest, "get_power_state", return_value=state).start()
    return made


def attached(kind: str = "gpfs", **more: Any) -> dict[str, Any]:
    """What the drivers in `onestack.components.cinder.inside` tell of a volume."""
    data = {"name": "volume-1", "device_path": PATH, "discard": True, "encrypted": False}
    return {"driver_volume_type": kind, "data": data, "serial": "1", **more}


def grown() -> None:
    """A guest is told that its volume has grown; upstream alone refuses."""
    domain = Domain()
    here = ("gpfs", "local")
    for kind in here:
        try:
            compute(domain).extend_volume(None, attached(kind), None, 3 * GIB)
        except exception.ExtendVolumeNotSupported:
            continue
        raise AssertionError("upstream's driver tells guests itself: ours can go")
    assert domain.resized == []

    volumes.use_local_volumes()
    for kind in here:
        domain = Domain()
        compute(domain).extend_volume(None, attached(kind), None, 3 * GIB)
        # bytes, of the file or the device by its name
        assert [(disk, size) for disk, size, _ in domain.resized] == [(PATH, 3 * GIB)]

    asleep = Domain()
    compute(asleep, power_state.SHUTDOWN).extend_volume(None, attached(), None, 3 * GIB)
    assert asleep.resized == [], "it reads the size when it starts"


def grown_encrypted() -> None:
    """Of a volume's file the guest gets what is behind the header, which nova finds itself."""
    volumes.use_local_volumes()
    with tempfile.TemporaryDirectory() as place:
        key, file = Path(place, "key"), Path(place, "volume-1")
        key.write_text("ab" * 32)
        file.touch()
        cipher = "cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha512"
        words = ["qemu-img", "create", "-q", "-f", "luks"]
        words += ["--object", f"secret,id=k,file={key}"]
        words += ["-o", f"key-secret=k,iter-time=10,{cipher}", str(file), "0"]
        subprocess.run(words, check=True)
        # as cinder has made it, and grown it before it tells
        os.truncate(file, 3 * GIB)
        domain = Domain()
        one = compute(domain)
        info = attached()
        info["data"] |= {"device_path": str(file), "encrypted": True}
        how = {"provider": "luks", "encryption_key_id": "k"}
        asked = mock.patch.object(driver.encryptors, "get_encryption_metadata", return_value=how)
        # in this process: what nova does as root, reading suffices for
        nova.privsep.sys_admin_pctxt.set_client_mode(False)
        with asked:
            one.extend_volume(None, info, None, 3 * GIB)
        ((disk, size, _),) = domain.resized
        assert disk == str(file)
        assert 3 * GIB - (2 << 20) <= size < 3 * GIB and size % 512 == 0, size


def shared() -> None:
    """A volume of several guests: what libvirt is told, and what not of others."""
    volumes.use_local_volumes()
    one = compute(Domain())
    one._host.find_secret.return_value = None
    one.disk_cachemodes = {"file": "writeback"}
    disk = {"type": "disk", "dev": "vdb", "bus": "virtio"}
    xml = one._get_volume_config(attached(multiattach=True), disk).to_xml()
    xml = xml if isinstance(xml, str) else xml.decode()
    assert "<shareable/>" in xml, xml
    # Each guest's host would else keep what the other has written over.
    assert 'cache="none"' in xml and 'type="raw"' in xml and f'file="{PATH}"' in xml, xml
    xml = one._get_volume_config(attached(), disk).to_xml()
    assert "shareable" not in (xml if isinstance(xml, str) else xml.decode())


def a_device() -> None:
    """What libvirt is told of a volume that is a device of this host."""
    volumes.use_local_volumes()
    one = compute(Domain())
    one._host.find_secret.return_value = None
    one.disk_cachemodes = {}
    disk = {"type": "disk", "dev": "vdb", "bus": "virtio"}
    xml = one._get_volume_config(attached("local"), disk).to_xml()
    xml = xml if isinstance(xml, str) else xml.decode()
    assert 'disk type="block"' in xml and f'dev="{PATH}"' in xml, xml
    assert 'cache="none"' in xml and 'discard="unmap"' in xml, xml


def over_there(port: int = 10810, **more: Any) -> dict[str, Any]:
    """What cinder tells of a volume that is served."""
    data = {"name": "ab" * 15, "hosts": ["127.0.0.1"], "ports": [str(port)], "discard": True}
    return {"driver_volume_type": "nbd", "data": data | more, "serial": VOLUME}


VOLUME = "8a2c0a3e-6b0f-4b52-9d3e-0f0a3c2b1d4e"
DISK = {"type": "disk", "dev": "vdb", "bus": "virtio"}


def served() -> None:
    """What libvirt is told of a volume that the controller serves: TLS, and to wait for it."""
    volumes.use_local_volumes()
    one = compute(Domain())
    one._host.find_secret.return_value = None
    one.disk_cachemodes = {}
    told = one._get_volume_config(over_there(), DISK).format_dom()
    source = told.find("source")
    assert (told.get("type"), source.get("protocol"), source.get("tls")) == (
        "network",
        "nbd",
        "yes",
    )
    assert source.get("name") == "ab" * 15
    assert [dict(e.attrib) for e in source.findall("host")] == [
        {"name": "127.0.0.1", "port": "10810"}
    ]
    assert int(source.find("reconnect").get("delay")) > 3600
    driver_of = told.find("driver")
    assert [driver_of.get(f"{e}error_policy") for e in ("", "r")] == ["stop", "stop"]
    schema = Path("/usr/share/libvirt/schemas/domain.rng")
    if schema.exists():
        # which libvirt 9.0 passes over
        if "delay" not in Path(schema.parent, "storagecommon.rng").read_text():
            source.remove(source.find("reconnect"))
        guest_of = etree.fromstring(GUEST)
        guest_of.find("devices").append(told)
        rules = etree.RelaxNG(etree.parse(schema))
        assert rules.validate(guest_of), rules.error_log


GUEST = """<domain type='qemu'><name>a</name><memory>1</memory>
<os><type arch='x86_64'>hvm</type></os><devices></devices></domain>"""


def not_reached() -> None:
    """Nobody listens: it says where, and what may be in between."""
    volumes.use_local_volumes()
    with serving() as port:
        driver_of = compute(Domain())._get_volume_driver(over_there(port))
        driver_of.connect_volume(over_there(port), None)
    # as the supervisor holds it, whose daemon is dead
    with (
        socket.create_server(("127.0.0.1", 0)) as held,
        mock.patch.object(volumes, "REACHED", 0.1),
    ):
        for at in (port, held.getsockname()[1]):
            try:
                driver_of.connect_volume(over_there(at), None)
            except exception.InternalError as problem:
                assert f"not reached at 127.0.0.1, TCP port {at}" in str(problem)
                continue
            raise AssertionError("it was taken for reached")


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """The port of one who greets as NBD's servers do."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as line:
                        line.sendall(b"NBDMAGIC")

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def not_swapped() -> None:
    """For another volume below a guest, where one of the two is served."""
    asked: list[Any] = []
    upstream = mock.patch.object(
        driver.LibvirtDriver, "swap_volume", lambda self, context, old, new, *_: asked.append(new)
    )
    with upstream:
        volumes.refuse_to_swap()
        one = compute(Domain())
        for old, new in ((over_there(), attached()), (attached(), over_there())):
            try:
                one.swap_volume(None, old, new, None, "/dev/vdb", 0)
            except exception.VolumeRebaseFailed as problem:
                assert "detach it first" in str(problem)
                continue
            raise AssertionError("it was swapped")
        one.swap_volume(None, attached(), attached(), None, "/dev/vdb", 0)
        assert asked == [attached()]


def waits() -> None:
    """A guest goes on that a disk's error has stopped, once its volumes are reached."""
    resumed: list[str] = []

    def domain(name: str, why: int, port: int, wrong: str = "vdb") -> Any:
        source = f"<source protocol='nbd' name='x'><host name='127.0.0.1' port='{port}'/></source>"
        target = "<target dev='vdb'/>"
        target += f"<serial>{VOLUME}</serial>"
        text = f"<domain><devices><disk type='network'>{source}{target}</disk></devices></domain>"
        return SimpleNamespace(
            name=lambda: name,
            UUIDString=lambda: name,
            state=lambda: [libvirt.VIR_DOMAIN_PAUSED, why],
            XMLDesc=lambda flags: text if port else "<domain><devices/></domain>",
            diskErrors=lambda: {wrong: libvirt.VIR_DOMAIN_DISK_ERROR_UNSPEC},
            resume=lambda: resumed.append(name),
        )

    def ended() -> list[int]:
        raise libvirt.libvirtError("it ended meanwhile")

    error, user = libvirt.VIR_DOMAIN_PAUSED_IOERROR, libvirt.VIR_DOMAIN_PAUSED_USER
    states = {"both": ("paused", None), "pausing": ("active", "pausing")}

    def instance(context: Any, name: str) -> Any:
        if name == "deleted":
            raise exception.InstanceNotFound(instance_id=name)
        vm_state, task_state = states.get(name, ("active", None))
        return SimpleNamespace(vm_state=vm_state, task_state=task_state)

    now = 1000.0
    with (
        contextlib.ExitStack() as stack,
        serving() as there,
        # the supervisor's, whose daemon is dead
        socket.create_server(("127.0.0.1", 0)) as held,
        mock.patch.object(objects.Instance, "get_by_uuid", instance),
        mock.patch.object(waiting, "time", SimpleNamespace(monotonic=lambda: now)),
        mock.patch.object(waiting.LOG, "warning") as warned,
    ):
        away = held.getsockname()[1]
        gone = domain("gone", error, there)
        gone.state = ended
        all_of = [
            gone,
            domain("waits", error, there),
            domain("users", user, there),
            # whom a user has paused after that: libvirt keeps the first reason
            *(domain(name, error, there) for name in (*states, "deleted")),
            domain("still", error, away),
            domain("local", error, 0),
            domain("full", error, there, "vda"),
        ]
        connection = SimpleNamespace(listAllDomains=lambda flags: all_of)
        lacking = Path(stack.enter_context(tempfile.TemporaryDirectory()), "lacking.json")
        one = waiting.Waiting(SimpleNamespace(get_connection=lambda: connection), lacking)
        one.go_on()
        assert resumed == ["waits"] and json.loads(lacking.read_text()) == {}
        # In vain: the daemon is there, and has the volume for it no more.
        waits_on, all_of[:] = all_of[1], [all_of[1]]
        for _ in range(400):
            now += waiting.PAUSE
            one.go_on()
        assert 5 < len(resumed) < 20, len(resumed)
        assert VOLUME in str(warned.call_args.args), warned.call_args
        assert json.loads(lacking.read_text()) == {"waits": [VOLUME]}
        # It runs; then something is wrong again.
        all_of.clear()
        now += 2 * waiting.WENT_ON
        one.go_on()
        assert json.loads(lacking.read_text()) == {}
        all_of.append(waits_on)
        resumed.clear()
        for _ in range(3):
            now += waiting.PAUSE
            one.go_on()
        assert resumed == ["waits"] * 3


def grown_over_there() -> None:
    """QEMU is made to read, so that it connects again; then it is told of the size."""
    volumes.use_local_volumes()
    domain, said = Domain(), []
    resize, early = domain.blockResize, ["it has the old size still"]

    def too_early(disk: str, size: int, flags: int) -> None:
        if early:
            raise libvirt.libvirtError(early.pop())
        resize(disk, size, flags)

    domain.blockResize = too_early  # type: ignore[method-assign]

    def command(of: Any, text: str, flags: int) -> str:
        assert of is domain and not domain.resized
        asked = json.loads(text)
        said.append(asked.get("arguments", {}).get("command-line"))
        if asked["execute"] != "query-block":
            return json.dumps({"return": ""})
        disks = [
            {"qdev": f"/machine/peripheral/ua-{name}/virtio-backend", "inserted": inserted}
            for name, inserted in ((VOLUME, {"node-name": "disk"}), ("x", {"node-name": "no"}))
        ]
        return json.dumps({"return": [{"qdev": ""}, *disks]})

    one = compute(domain)
    one._host.get_guest.return_value.is_active = lambda: True
    one._host.get_guest.return_value.get_all_disks = lambda: [
        SimpleNamespace(serial=VOLUME, target_dev="vdb")
    ]
    with (
        mock.patch("libvirt_qemu.qemuMonitorCommand", command),
        mock.patch.object(driver.encryptors, "get_encryption_metadata", return_value={}),
    ):
        one.extend_volume(None, over_there(), None, 3 * GIB)
        assert said == [None, 'qemu-io disk "read 0 512"'] * 2
        assert {(disk, size) for disk, size, _ in domain.resized} == {("vdb", 3 * GIB)}
        try:
            one.extend_volume(None, over_there(encrypted=True), None, 3 * GIB)
        except exception.VolumeExtendFailed as problem:
            assert "stopped and started" in str(problem)
            return
    raise AssertionError("nothing was said")


SOURCES = {
    "file": f"<source file='{PATH}' index='1'/>",
    "network": "<source protocol='nbd' name='cd' tls='yes'><host name='a' port='1'/>"
    "<reconnect delay='1'/></source>",
}
MOVING = """<domain type='qemu'><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/disk'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='{kind}' device='disk'><driver name='qemu' type='raw' cache='none'/>{source}
<target dev='vdb' bus='virtio'/><serial>{serial}</serial>
<address type='pci' domain='0' bus='0' slot='9' function='0'/></disk></devices></domain>"""


def moved() -> None:
    """From a file to what is served, and back: what libvirt is told for the other host."""
    volumes.use_local_volumes()
    one = compute(Domain())
    one._host.find_secret.return_value = None
    one.disk_cachemodes = {}
    given: list[int] = []
    definition = [""]
    there = SimpleNamespace(
        XMLDesc=lambda flags: definition[0],
        migrateToURI3=lambda to, params, flags: given.append(flags),
    )
    moved_volumes.move_with_volumes()
    here = attached()
    here["serial"] = VOLUME
    for kind, told, unsafe in (("file", over_there(), True), ("network", here, False)):
        now = MOVING.format(kind=kind, source=SOURCES[kind], serial=VOLUME)
        definition[0] = now
        bdm = objects.migrate_data.LibvirtLiveMigrateBDMInfo(
            serial=VOLUME, dev="vdb", bus="virtio", type="disk"
        )
        bdm.connection_info = told
        data = objects.migrate_data.LibvirtLiveMigrateData(bdms=[bdm])
        made = migration._update_volume_xml(
            etree.fromstring(now), data, None, one._get_volume_config
        )
        local, volume = made.findall("./devices/disk")
        assert local.get("type") == "file" and local.find("source").get("file") == "/disk"
        (source,) = volume.findall("source")
        if kind == "file":
            assert (volume.get("type"), source.get("tls")) == ("network", "yes")
            assert source.get("file") is None and source.find("reconnect") is not None
        else:
            assert (volume.get("type"), source.get("file")) == ("file", PATH)
            assert source.get("protocol") is None
        assert volume.find("address").get("slot") == "9"
        text = etree.tostring(made, encoding="unicode")
        guest.Guest(there).migrate("there", flags=1, migrate_disks=["vda"], destination_xml=text)
        assert given.pop() == (1 | libvirt.VIR_MIGRATE_UNSAFE if unsafe else 1)
        # one whose volumes stay what they are is for libvirt to judge
        guest.Guest(there).migrate("there", flags=1, destination_xml=now)
        assert given.pop() == 1


def lost_again() -> None:
    """While it is told of that there is one: what is told next is that it is lost."""
    import libvirt

    from onestack.components.nova.inside import connection

    told: list[bool] = []

    def tell(enabled: bool, reason: str | None) -> None:
        told.append(enabled)
        if len(told) == 1:
            raise libvirt.libvirtError("End of file while reading data")

    host = SimpleNamespace(_conn_event_handler=tell, get_connection=lambda: None)
    connection.reconnect_at_once(host)
    host._conn_event_handler(True, None)
    host._conn_event_handler(False, "lost")
    assert told == [True, False, True], told


def console(host: str, port: str, ca: str, certificate: str, key: str) -> None:
    """Nova's proxy of consoles reaches a guest's screen by TLS; says ``refused`` where it does not.

    The user is one end of a pair of sockets, and does what noVNC does.
    """
    CONF.set_override("auth_schemes", ["vencrypt", "none"], "vnc")
    for option, value in (("ca_certs", ca), ("client_cert", certificate), ("client_key", key)):
        CONF.set_override(f"vencrypt_{option}", value, "vnc")
    user, proxy = socket.socketpair()
    user.settimeout(20)
    user.sendall(b"RFB 003.008\n" + b"\x01")
    with socket.create_connection((host, int(port)), 20) as plain:
        try:
            guest = rfb.RFBSecurityProxy().connect(proxy, plain)
            result = guest.recv(4)
        except (exception.SecurityProxyNegotiationFailed, ssl.SSLError, ConnectionError):
            result = b""
        if result != bytes(4):
            print("refused")
            return
        assert isinstance(guest, ssl.SSLSocket)
        guest.sendall(b"\x01")
        size = struct.unpack("!HH", guest.recv(4096)[:4])
        print(f"a screen of {size[0]}x{size[1]}")


def between_computes() -> None:
    """All that a compute calls at another one is what those admit, and there."""
    found = set(re.findall(r"self\.compute_rpcapi\.\s*([a-z_]+)\(", inspect.getsource(manager)))
    # these ask nobody
    assert found - {"reset_globals", "supports_numa_live_migration"} == callers.BETWEEN_COMPUTES
    assert all(hasattr(manager.ComputeManager, name) for name in callers.BETWEEN_COMPUTES)


def may_move(config: str) -> None:
    """Says whether nova with this file lets an administrator have a server moved as it runs."""
    CONF(["--config-file", config], project="nova")
    admin = context.RequestContext("somebody", "project", roles=["admin"], is_admin=True)
    rules = [f"os_compute_api:os-migrate-server:migrate_live{end}" for end in ("", ":host")]
    target = {"project_id": "project", "user_id": "somebody"}
    found = {policy.authorize(admin, rule, target, do_raise=False) for rule in rules}
    assert len(found) == 1
    print("yes" if found.pop() else "no")


class Cold:
    """A server with two disks on a host, by upstream's own method; what is done to it."""

    def __init__(self, place: str, moving: bool, state: str = vm_states.ACTIVE) -> None:
        CONF.set_override("instances_path", place)
        self.did: list[Any] = []
        one = self.driver = object.__new__(driver.LibvirtDriver)
        one.get_host_ip_addr = lambda: "192.0.2.1"
        one._remotefs = SimpleNamespace(
            create_file=self.said("create_file"),
            remove_file=self.said("remove_file"),
            create_dir=self.said("create_dir"),
            remove_dir=self.said("remove_dir"),
        )
        for name in ("power_off", "unplug_vifs", "_disconnect_volume", "finish_revert_migration"):
            setattr(one, name, self.said(name))
        self.folder = Path(place, SERVER)
        self.folder.mkdir()
        disks = [self.folder / name for name in ("disk", "disk.eph0")]
        for disk in disks:
            disk.write_text("it")
        one._get_instance_disk_info = lambda *_: [
            {"path": str(disk), "type": "qcow2"} for disk in disks
        ]
        flavor = SimpleNamespace(root_gb=1, ephemeral_gb=0)
        saved: list[int] = []
        self.saved, self.flavor = saved, flavor
        self.instance = SimpleNamespace(
            uuid=SERVER, vm_state=state, flavor=flavor, progress=0, save=self.save
        )
        cold_moves.refuse_or_finish(moving)

    def said(self, name: str) -> Any:
        return lambda *given, **more: self.did.append((name, *given, *more.items()))

    def save(self, expected_task_state: str) -> None:
        assert expected_task_state == "resize_migrating"
        self.saved.append(self.instance.progress)

    def goes(self, *volumes: Any, to: str = "192.0.2.2") -> Any:
        mapping = [{"connection_info": each} for each in volumes]
        info = {"block_device_mapping": mapping, "ephemerals": []}
        return self.driver.migrate_disk_and_power_off(
            None, self.instance, to, self.flavor, "network", info
        )

    def refused(self, *volumes: Any) -> Exception:
        try:
            self.goes(*volumes)
        except exception.InstanceFaultRollback as problem:
            inner: Exception = problem.inner_exception
            return inner
        raise AssertionError("it went")


SERVER = "5b8e0a3e-6b0f-4b52-9d3e-0f0a3c2b1d4e"


def refused_cold() -> None:
    """Before anything is done to it: where servers stay, and one that is bound to its host."""
    upstream = driver.LibvirtDriver.migrate_disk_and_power_off
    for moving, disks, why in (
        (False, (), "CONFIG_ONESTACK_MOVE=y"),
        (True, (attached(), attached("local")), "the volume 1 is in a volume group"),
    ):
        driver.LibvirtDriver.migrate_disk_and_power_off = upstream
        with tempfile.TemporaryDirectory() as place:
            one = Cold(place, moving)
            assert why in str(one.refused(*disks))
            assert one.did == [] and one.folder.is_dir()
            # with another flavor on the same host, which is nobody's move
            one.goes(*disks, to="192.0.2.1")
            assert Path(f"{one.folder}_resize", "disk").exists() and (one.folder / "disk").exists()


def said_by(log: mock.Mock) -> str:
    text, *values = log.call_args.args
    return str(text % tuple(values))


def failed_cold() -> None:
    """A copy that ends in the middle: the server is what it was, and the other end has nothing."""
    upstream = driver.LibvirtDriver.migrate_disk_and_power_off
    for state, runs in ((vm_states.ACTIVE, True), (vm_states.STOPPED, False)):
        for problem in (exception.MigrationError(reason="full"), OSError("no more")):
            driver.LibvirtDriver.migrate_disk_and_power_off = upstream
            with tempfile.TemporaryDirectory() as place:
                one = Cold(place, True, state)

                def away(*given: Any, did: list[Any] = one.did) -> None:
                    did.append(("remove_dir", *given))
                    raise exception.MigrationError(reason="it starts anew")

                one.driver._remotefs.remove_dir = away

                def copy(src: str, dst: str, host: str, problem: Any = problem, **_: Any) -> None:
                    files_elsewhere._copying.far(40)
                    if dst.endswith("eph0"):
                        raise problem

                with (
                    mock.patch.object(driver.libvirt_utils, "copy_image", copy),
                    mock.patch.object(cold_moves, "LOG") as log,
                ):
                    assert one.refused(attached()) is problem
                assert log.warning.call_count == 1 and one.instance.progress == 0
                assert "192.0.2.2" in (told := said_by(log.warning)) and str(one.folder) in told
                assert sorted(p.name for p in one.folder.iterdir()) == ["disk", "disk.eph0"]
                assert not Path(f"{one.folder}_resize").exists() and one.saved == [40, 40]
                # upstream, which says nothing of what stays, and once more
                removed = ("remove_dir", "192.0.2.2", str(one.folder))
                reverted, last = one.did[-2:]
                assert one.did.count(removed) == 2 and last == removed
                assert reverted[0] == "finish_revert_migration"
                assert reverted[-1] == ("power_on", runs)
    # who deletes it meanwhile wants it back nowhere
    driver.LibvirtDriver.migrate_disk_and_power_off = upstream
    with tempfile.TemporaryDirectory() as place:
        one = Cold(place, True)
        gone = exception.UnexpectedDeletingTaskStateError(
            instance_uuid=SERVER, expected={}, actual={}
        )
        with mock.patch.object(driver.libvirt_utils, "copy_image", side_effect=gone):
            try:
                one.goes()
            except exception.UnexpectedDeletingTaskStateError:
                assert "finish_revert_migration" not in [name for name, *_ in one.did]
            else:
                raise AssertionError("it went")


def given_back() -> None:
    """A compute service that was killed as it copied: what upstream leaves is ended."""
    CONF.set_override("instances_path", "/instances")
    did: list[Any] = []
    migration = SimpleNamespace(
        status="migrating", dest_compute="web1", dest_host="192.0.2.2", save=lambda: None
    )

    # the second: upstream's own way, by ssh, where servers do not move any more
    away = [exception.MigrationError(reason="away"), ProcessExecutionError(stderr="no shell")]

    def remove(*given: Any) -> None:
        did.append(given)
        raise away[0]

    begun = mock.patch.object(
        manager.ComputeManager,
        "_init_instance",
        lambda self, context, one: did.append((one.uuid, one.progress)),
    )
    found = mock.patch.object(
        objects.Migration, "get_by_id_and_instance", lambda context, number, uuid: migration
    )
    with begun, found:
        cold_moves.give_back_at_start()
        service = object.__new__(manager.ComputeManager)
        service.host = "head"
        service.driver = SimpleNamespace(_remotefs=SimpleNamespace(remove_dir=remove))
        service._revert_allocation = lambda *given: did.append("allocation")

        def starts(host: str, task: str | None) -> list[Any]:
            did.clear()
            moves = SimpleNamespace(migration_id=3)
            one = SimpleNamespace(uuid=SERVER, host=host, task_state=task, migration_context=moves)
            one.progress = 40
            service._init_instance(None, one)
            return did

        path = ("192.0.2.2", f"/instances/{SERVER}")
        for host, task in (("head", None), ("head", "resize_migrated")):
            assert starts(host, task) == [(SERVER, 40)]
        assert starts("web1", "resize_migrating") == [(SERVER, 40)]
        assert migration.status == "migrating"
        while away:
            with mock.patch.object(cold_moves, "LOG") as log:
                assert starts("head", "resize_migrating") == [(SERVER, 0), "allocation", path]
            assert path[0] in (told := said_by(log.warning)) and path[1] in told
            assert not log.exception.called and migration.status == "error"
            away.pop(0)
        migration.dest_compute = "head"
        assert starts("head", "resize_migrating") == [(SERVER, 0), "allocation"]
        # and the other servers are not kept waiting by one
        service._revert_allocation = mock.Mock(side_effect=RuntimeError("placement"))
        assert starts("head", "resize_migrating") == [(SERVER, 0)]


def forgotten() -> None:
    """What upstream would wait for as it ends: a move to this host that the other has given up."""
    service = object.__new__(manager.ComputeManager)
    service._pending_dest_resizes = {"failed": 1, "goes": 2}
    ended: list[int] = []
    service._record_task_end = ended.append

    def found(admin: Any, wanted: dict[str, Any]) -> list[str]:
        assert {"pre-migrating", "migrating", "post-migrating"} == set(wanted["status"])
        return ["one"] if wanted["instance_uuid"] == "goes" else []

    with mock.patch.object(objects.MigrationList, "get_by_filters", found):
        cold_moves.forget_failed(service)
    assert ended == [1] and service._pending_dest_resizes == {"goes": 2}
    # who knows it is gone, or says nothing: what comes after that is to come
    silent = threading.Event()
    for answer in (mock.Mock(side_effect=RuntimeError("the bus")), lambda *_: silent.wait()):
        asked = mock.patch.object(objects.MigrationList, "get_by_filters", answer)
        with asked, mock.patch.object(cold_moves, "ASKING", 0.1):
            cold_moves.forget_failed(service)
    silent.set()
    # which upstream has from its start
    assert "self._pending_dest_resizes = {}" in inspect.getsource(manager.ComputeManager.__init__)


TRIALS = {
    call.__name__: call
    for call in (
        *(grown, grown_encrypted, shared, a_device, lost_again),
        *(served, not_reached, not_swapped, waits, grown_over_there, moved),
        *(console, between_computes, may_move),
        *(refused_cold, failed_cold, given_back, forgotten),
    )
}

if __name__ == "__main__":
    TRIALS[sys.argv[1]](*sys.argv[2:])
