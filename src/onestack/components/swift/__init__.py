"""Swift, the object store: proxy, storage servers and their upkeep, on a disk in a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from onestack.answers.values import Answers, too_small
from onestack.components import openstack
from onestack.components.swift import changes, config, devices
from onestack.components.swift.config import PORT, PORTS
from onestack.components.swift.known_errors import KNOWN_ERRORS
from onestack.host.command import run
from onestack.host.files import remove_tree, write_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Directory,
    Endpoint,
    Frontend,
    Identity,
    Scope,
    StoreMount,
    Task,
    TempestResources,
)
from onestack.model.findings import Finding
from onestack.model.host import Role
from onestack.model.ini import Ini
from onestack.model.key import Class, Key, Kind
from onestack.model.process import ApiProbe, ConnectProbe, HttpProbe, NotifyProbe, Process
from onestack.model.secret import CONTROLLER, ON_STORAGE, Secret
from onestack.storage import loopfile
from onestack.storage.store import StoreRecord

ROLES = ("ResellerAdmin", "SwiftOperator")
"""Roles that swift knows beside admin and member, as packstack made them."""

UPKEEP = {
    "object-updater": 60,
    "container-updater": 60,
    "object-expirer": 60,
    "object-replicator": 300,
    "container-replicator": 300,
    "account-replicator": 300,
    "account-reaper": 600,
    "object-auditor": 6 * 3600,
    "container-auditor": 3600,
    "account-auditor": 3600,
}
"""Seconds from one pass of a background worker to the next."""


def _wrong_count(text: str) -> str | None:
    return None if text.isdigit() and int(text) > 0 else "write a whole number from 1 on"


def _wrong_size(text: str) -> str | None:
    return too_small(text, loopfile.SMALLEST, "the object store")


def _wrong_hash(text: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9_.+/=-]+", text) else "write letters and digits"


_ACCOUNT = openstack.service_password("swift")


class Swift(Component):
    name = "swift"
    title = "Object store"
    clients = ("swift",)
    tempest_service = "swift"
    provides = (Capability("object-store", ("swift-proxy",), port=config.PORT),)
    zygote_isolated = True
    keys = (
        Key("CONFIG_SWIFT_INSTALL", "n", "Turn the object store on.", Kind.FLAG),
        _ACCOUNT.key,
        Key(
            "CONFIG_SWIFT_STORAGES",
            "",
            "Disks for objects, separated by commas, each with XFS or ext4 on it already. Use "
            "names that last, such as /dev/disk/by-id/…. Empty: a file of "
            "CONFIG_SWIFT_STORAGE_SIZE takes their place.",
            Kind.LIST,
        ),
        Key(
            "CONFIG_SWIFT_STORAGE_ZONES",
            "1",
            "Number of zones. Disks are dealt out to them; in a file each is a directory.",
            Kind.NUMBER,
            check=_wrong_count,
        ),
        Key(
            "CONFIG_SWIFT_STORAGE_REPLICAS",
            "1",
            "Copies of each object, each in another zone, so that the disks of a small zone may "
            "fill first. In a file all copies share one disk.",
            Kind.NUMBER,
            check=_wrong_count,
        ),
        Key(
            "CONFIG_SWIFT_STORAGE_FSTYPE",
            "ext4",
            "Filesystem in the object store's file. A disk keeps the one it has.",
            Kind.CHOICE,
            loopfile.KINDS,
        ),
        Key(
            devices.SIZE,
            "2G",
            "Size of the object store's file, when no disks are listed: all objects, with "
            "all their copies. A larger value lets it grow; it never shrinks.",
            Kind.SIZE,
            check=_wrong_size,
        ),
        Key(
            "CONFIG_SWIFT_HASH",
            "PW_PLACEHOLDER",
            "Secret that decides where an object lies; random if left alone. It can never "
            "change: no object would be found again.",
            Kind.SECRET,
            check=_wrong_hash,
        ),
        Key(
            "CONFIG_SWIFT_PROXY_HOSTS",
            "",
            "Havana: hosts of the object store's proxy.",
            Kind.LIST,
            outcome=Class.IGNORED,
            note="one machine: the service is where the controller is",
        ),
        Key(
            "CONFIG_SWIFT_STORAGE_HOSTS",
            "",
            "Havana: hosts of the object store, each HOST[/DEVICE].",
            Kind.LIST,
            outcome=Class.IGNORED,
            note="one machine; name its disks in CONFIG_SWIFT_STORAGES",
        ),
    )
    known_errors = KNOWN_ERRORS
    roles = ON_STORAGE
    secrets = (
        _ACCOUNT.secret,
        Secret("swift_hash_suffix", "CONFIG_SWIFT_HASH", roles=ON_STORAGE, password=False),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_SWIFT_INSTALL"])

    def validate(self, answers: Answers) -> Iterable[str]:
        return devices.validate(answers) if self.enabled(answers) else ()

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        return changes.preflight_checks(ctx)

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        return changes.examine(ctx)

    def packages(self, ctx: Context) -> Iterable[str]:
        yield "xfsprogs" if changes.layout(ctx).kind == "xfs" else "e2fsprogs"
        yield "rsync"

    def disk(self, ctx: Context) -> int:
        if not changes.layout(ctx).in_file or devices.loop_file(ctx.cloud.root).load():
            return 0
        return int(ctx.answers[devices.SIZE])

    def directories(self, ctx: Context) -> Iterable[Directory]:
        home, user = devices.home(ctx.cloud.root), ctx.cloud.user(self.name)
        # Root's: what is mounted here, and on what, is not swift's to change.
        yield Directory(home, "root", user, 0o750)
        yield Directory(devices.srv(ctx.cloud.root), "root", "root", 0o755)
        yield Directory(home / "cache", user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group = ctx.cloud.user(self.name)

        def file(name: str, sections: Any, roles: frozenset[Role] | None = None) -> ConfigFile:
            return ConfigFile(config.conf(ctx, name), config.text(sections), group, roles=roles)

        yield file("swift", config.swift(ctx))
        yield file("proxy-server", config.proxy(ctx), CONTROLLER)
        yield file("internal-client", config.internal_client(ctx))
        for kind in PORTS:
            yield file(f"{kind}-server", config.storage(ctx, kind))
        yield ConfigFile(self._rsync(ctx), config.rsync(ctx), group)
        yield ConfigFile(
            devices.layout_file(ctx.cloud.root),
            json.dumps(changes.layout(ctx).to_json(), indent=1) + "\n",
            mode=0o644,
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        path = "/v1/AUTH_%(project_id)s"
        yield Identity("swift", (Endpoint("swift", "object-store", PORT, path, "Object store"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("swift", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        # A first process begins with the rings in place; a change of them is seen in seconds.
        own = str(config.conf(ctx, "swift"))
        servers = {kind: str(config.conf(ctx, f"{kind}-server")) for kind in PORTS}
        where, layout = str(config.directory(ctx)), str(devices.layout_file(ctx.cloud.root))

        def process(name: str, arguments: dict[str, Any], files: Iterable[str], **more: Any) -> Any:
            return Process(
                name=f"swift-{name}",
                component=self.name,
                user=ctx.cloud.user(self.name),
                run=f"onestack.components.swift.inside.run:{name}",
                arguments={"directory": where, **arguments},
                files=(own, *files),
                roles=(Role.CONTROLLER if name == "proxy" else Role.STORAGE,),
                **more,
            )

        yield process(
            "storage",
            {"config": {f"{kind}-server": path for kind, path in servers.items()}},
            (*servers.values(), layout),
            sockets={
                f"{kind}-server": f"tcp:{ctx.internal}:{port}" for kind, port in PORTS.items()
            },
            probe=HttpProbe(f"http://{ctx.internal}:{PORTS['object']}/healthcheck"),
        )
        proxy = str(config.conf(ctx, "proxy-server"))
        yield process(
            "proxy",
            {"config": proxy},
            (proxy,),
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
            needs=("swift-storage", "cache"),
            probe=ApiProbe(f"http://{ctx.internal}:{PORT}/v1/AUTH_{{project_id}}?limit=1"),
        )
        # Also with one zone: what lies in another that was given up has to be brought away.
        yield Process(
            name="swift-rsync",
            component=self.name,
            user=ctx.cloud.user(self.name),
            argv=("/usr/bin/rsync", "--daemon", "--no-detach", f"--config={self._rsync(ctx)}"),
            files=(str(self._rsync(ctx)),),
            needs=("swift-storage",),
            roles=(Role.STORAGE,),
            probe=ConnectProbe(f"tcp:{ctx.internal}:{config.RSYNC}", hear="@RSYNCD:"),
        )
        # It begins anew, and soon, when objects are to lie elsewhere.
        yield process(
            "upkeep",
            {"config": servers, "seconds": UPKEEP},
            (*servers.values(), str(config.conf(ctx, "internal-client")), layout),
            needs=("swift-storage", "swift-rsync"),
            probe=NotifyProbe(),
        )

    def stores(self, ctx: Context) -> Iterable[StoreMount]:
        store = "onestack.components.swift.inside.places:Places"
        yield StoreMount("objects", store, owner="swift-storage", after=("swift:disk",))

    def zygote(self, ctx: Context) -> Iterable[str]:
        return ("eventlet", "onestack.components.swift.inside.preload")

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.cloudapi.keystone import ensure_roles

        yield Task("disk", lambda: ensure_disk(ctx), ("packages", "users"), before_start=True)
        yield Task(
            "rings",
            lambda: ensure_rings(ctx),
            ("release", "files:swift", "swift:disk"),
            before_start=True,
            scope=Scope.CLOUD,
        )
        yield Task(
            "roles", lambda: ensure_roles(ctx, ROLES), ("identity:swift",), scope=Scope.CLOUD
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return {
            "object-storage": {"operator_role": "member", "reseller_admin_role": ROLES[0]},
            "object-storage-feature-enabled": {
                "discoverable_apis": found.objects,
                "container_sync": "container_sync" in found.objects,
                "object_versioning": "versioned_writes" in found.objects,
            },
        }

    def purge(self, ctx: Context) -> Iterator[Change]:
        yield from devices.loop_file(ctx.cloud.root).remove(Ledger.of(ctx.cloud))
        where = config.directory(ctx)
        rings = [*where.glob("*.ring.gz"), *where.glob("rings*.json")]
        builders = where / "builders"
        if rings or builders.exists():

            def remove() -> None:
                for ring in rings:
                    ring.unlink(missing_ok=True)
                remove_tree(builders)

            yield Change("remove the rings of the object store", remove)
        if ctx.offers("identity"):
            from onestack.cloudapi.keystone import remove_roles

            yield from remove_roles(ctx, ROLES)

    @staticmethod
    def _rsync(ctx: Context) -> Path:
        return config.directory(ctx) / "rsyncd.conf"


def ensure_disk(ctx: Context) -> Iterator[Change]:
    """The file of the size that the answers ask for, or larger; or the disks, looked at."""
    layout = changes.layout(ctx)
    ledger = Ledger.of(ctx.cloud)
    if layout.in_file:
        wanted = StoreRecord(int(ctx.answers[devices.SIZE]), layout.kind)
        yield from devices.loop_file(ctx.cloud.root).ensure(wanted, ledger)
        return
    known = {entry.data.get("target") for entry in ledger.entries() if entry.kind == "mount"}
    for device in layout.devices:
        place = devices.srv(ctx.cloud.root) / device.name
        if str(place) not in known:
            devices.check_disk(device.source, place)
            yield Change(
                f"note that {device.source} will be mounted on {place}",
                lambda place=place: ledger.record("mount", target=str(place)),  # type: ignore[misc]
            )


def ensure_rings(ctx: Context) -> Iterator[Change]:
    """The rings that the answers describe. Raises `OnestackError` for another hash."""
    wanted, kept = wanted_rings(ctx), changes.kept_rings(ctx)
    changes.check_hash(ctx)
    where, record = config.directory(ctx), changes.rings_record(ctx)
    rings = [where / f"{kind}.ring.gz" for kind in PORTS]
    if kept == wanted and all(ring.exists() for ring in rings):
        return

    def make() -> None:
        text = json.dumps(wanted, indent=1, sort_keys=True) + "\n"
        asked = where / "rings.wanted.json"
        write_file(asked, text)
        builder = Path(__file__).with_name("inside") / "rings.py"
        run([ctx.release.services.python, "-I", builder, asked, where], timeout=120)
        os.rename(asked, record)

    names = ", ".join(device["name"] for device in wanted["devices"])
    copies = "1 copy" if wanted["replicas"] == 1 else f"{wanted['replicas']} copies"
    yield Change(f"make the rings of the object store: {copies} on {names}", make)


def wanted_rings(ctx: Context) -> dict[str, Any]:
    """What `onestack.components.swift.inside.rings` is told, and by what a change is seen."""
    layout = changes.layout(ctx)
    kept = {d["name"]: float(d["weight"]) for d in changes.kept_rings(ctx).get("devices", ())}
    return {
        "hash": changes.hash_of(ctx),
        "ip": ctx.internal,
        "ports": PORTS,
        "replicas": layout.replicas,
        "emptied": layout.in_file,
        # Of earlier rings this was not sure: they are made anew.
        "dispersed": True,
        "devices": [
            {"name": d.name, "zone": d.zone, "weight": _weight(d.source, kept.get(d.name))}
            for d in layout.devices
        ],
    }


def _weight(disk: str, known: float | None) -> float:
    """A disk's share of the objects: its size in GiB; zones of a file have equal ones.

    ``known`` is what it had, for one that is not there at the moment, or dying.
    """
    if not disk:
        return 100.0
    try:
        with open(disk, "rb") as file:
            return round(file.seek(0, os.SEEK_END) / (1 << 30), 2)
    except OSError:
        if known is None:
            raise
        return known
