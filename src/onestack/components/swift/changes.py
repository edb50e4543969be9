"""What another wish would do to an object store that is there already; and disks that fail it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onestack.answers.values import show_size
from onestack.components.swift import config, devices
from onestack.components.swift.devices import SIZE
from onestack.host.ledger import Ledger
from onestack.kernel import mounts
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, refuse, warn
from onestack.storage.store import StoreRecord

STORAGES = "CONFIG_SWIFT_STORAGES"


def rings_record(ctx: Context) -> Path:
    return config.directory(ctx) / "rings.json"


def kept_rings(ctx: Context) -> dict[str, Any]:
    """What the rings that are there were made of; nothing while there are none."""
    record = rings_record(ctx)
    found: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    return found


def hash_of(ctx: Context) -> str:
    return hashlib.sha256(config.suffix(ctx).encode()).hexdigest()


def check_hash(ctx: Context) -> None:
    """Raises `OnestackError` for another hash than the store was made with."""
    if kept_rings(ctx).get("hash", hash_of(ctx)) != hash_of(ctx):
        raise OnestackError(
            "CONFIG_SWIFT_HASH is not the one that the object store was made with",
            "it decides where an object lies: with another, none would be found again",
            "put the old value back",
        )


def layout(ctx: Context) -> devices.DeviceLayout:
    """What is wanted, under the names of what is there."""
    return devices.layout(ctx.answers, ctx.cloud.user("swift"), devices.known(ctx.cloud.root))


def preflight_checks(ctx: Context) -> Iterator[Finding]:
    """What is to be said before anything is touched."""
    wanted = layout(ctx)
    kept = kept_rings(ctx)
    before = devices.known(ctx.cloud.root) if kept else None
    try:
        check_hash(ctx)
    except OnestackError as problem:
        yield refuse(problem.what, problem.why, problem.cure)
    if before and before.in_file != wanted.in_file:
        here = "a file" if before.in_file else "disks"
        yield refuse(
            f"the object store is in {here}, which {STORAGES} would change",
            "what is there would not be found any more",
            f"put {STORAGES} back; or, if nothing is needed: `onestack up --purge --set "
            "CONFIG_SWIFT_INSTALL=n`, and then switch it on again",
        )
    elif wanted.in_file:
        yield from _file(ctx, wanted)
    else:
        yield from _disks(ctx, wanted, {device["name"] for device in kept.get("devices", ())})
        if before:
            yield from _given_up(before, wanted)


def _file(ctx: Context, wanted: devices.DeviceLayout) -> Iterator[Finding]:
    file = devices.loop_file(ctx.cloud.root)
    size = int(ctx.answers[SIZE])
    try:
        known = file.load()
        if known:
            # Looked at only: nothing is done with the changes.
            list(file.ensure(StoreRecord(size, wanted.kind), Ledger.of(ctx.cloud)))
    except OnestackError as problem:
        yield refuse(problem.what, problem.why, problem.cure)
        return
    if known and known.size > size:
        yield warn(
            f"the object store stays at {show_size(known.size)}",
            f"{SIZE}={show_size(size)} is smaller, and it never shrinks",
        )


def _disks(ctx: Context, wanted: devices.DeviceLayout, known: set[str]) -> Iterator[Finding]:
    for device in wanted.devices:
        same = [other.source for other in wanted.devices if other.name == device.name]
        if same[0] == device.source and len(same) > 1:
            yield refuse(
                f"{' and '.join(same)} of {STORAGES} would both be {device.name} to swift",
                "a disk keeps the name that it was first listed by",
                "list each disk once, a new one by its name under /dev/disk/by-id",
            )
        try:
            devices.check_disk(device.source, devices.srv(ctx.cloud.root) / device.name)
        except OnestackError as problem:
            # A store goes on without a disk that it has lost.
            say = warn if device.name in known else refuse
            cure = problem.cure if say is refuse else _replaced(device.source)
            yield say(problem.what, problem.why, cure)


def _given_up(before: devices.DeviceLayout, wanted: devices.DeviceLayout) -> Iterator[Finding]:
    """Copies lie in different zones: who gives up fewer zones than there are copies loses none."""
    kept = {os.path.realpath(device.source) for device in wanted.devices}
    gone = [device for device in before.devices if os.path.realpath(device.source) not in kept]
    dead = [device for device in before.devices if not devices.readable(device.source)]
    there = [device.source for device in gone if device not in dead]

    def all_copies(lost: list[devices.Device]) -> bool:
        return len({device.zone for device in lost}) >= before.replicas

    if there and all_copies(gone + dead):
        copies = "is one copy" if before.replicas == 1 else f"are {before.replicas} copies"
        yield refuse(
            f"{', '.join(there)} cannot be taken out of {STORAGES}",
            f"of each object there {copies}, and some lie nowhere else",
            f"list {'it' if len(there) == 1 else 'them'} again; a disk can be taken out when there "
            "are more copies (CONFIG_SWIFT_STORAGE_REPLICAS) than zones that go, all of them made",
        )
    elif gone and all_copies(gone):
        names = ", ".join(device.source for device in gone)
        yield warn(
            f"objects that lay on {names} alone are lost",
            "the disks are not there or dead, and have as many zones as an object has copies",
        )


def _replaced(disk: str) -> str:
    return (
        f"bring it back and run `onestack restart swift`; or replace {disk} in "
        f"{STORAGES} by another disk and run up again, which copies what was on it"
    )


def examine(ctx: Context) -> Iterator[Finding]:
    """Places of objects that are not mounted where the supervisor, and so swift, would see them."""
    known = devices.known(ctx.cloud.root)
    if known is None:
        return
    try:
        supervisor = (ctx.cloud.run / "supervisor" / "lock").read_text().strip()
        text = Path(f"/proc/{supervisor}/mountinfo").read_text()
    except OSError as problem:
        raise OnestackError("the object store's mounts cannot be seen", str(problem)) from problem
    targets = {mount.target for mount in mounts.table(text)}
    place = devices.srv(ctx.cloud.root)
    wanted = (
        {place: "the object store's file"}
        if known.in_file
        else {place / device.name: device.source for device in known.devices}
    )
    for target, source in wanted.items():
        if target not in targets:
            yield refuse(
                f"{source} is not mounted on {target}",
                "what it holds is read from other copies, if there are any",
                "onestack restart swift"
                if known.in_file or devices.readable(source)
                else _replaced(source),
            )
