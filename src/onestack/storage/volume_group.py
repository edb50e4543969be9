"""The volume group: LVM's, with a thin pool that all volumes are in.

onestack makes it on a file of its own, ``ROOT/data/volume-group/volumes.img``, or uses one that
the operator made. The thin pool has all of the group's space and gives zeros where nobody has
written. Disks and loop files that the operator adds by hand (``vgextend``) are found and
written down: at a boot loop devices are attached again, then the group's volumes are activated.

What onestack makes has a random tag, which stands in the cloud's ledger before it is made: a
group or a pool without it is another's, and is never removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.answers.values import show_size
from onestack.host.command import CommandFailed, run
from onestack.host.files import remove_tree, write_file
from onestack.host.ledger import Ledger
from onestack.kernel import locks
from onestack.model.change import Change, Undo
from onestack.model.errors import OnestackError
from onestack.storage import loop, loopfile
from onestack.storage.loop import Backing
from onestack.storage.loopfile import LoopFile
from onestack.storage.lvm import Lvm
from onestack.storage.store import PoolFacts, StoreRecord

KIND = "lvm"
EXTENT = 4 << 20
"""Bytes; LVM's own default, in which a group's space is given out."""
CHUNK = 64 << 10
"""Bytes of which a thin pool keeps account as one; of larger pools it is more."""
_LARGE = 8 << 40
_PER_CHUNK = 64
"""Bytes of metadata for each, as thin_metadata_size(8) counts: enough whatever is shared."""
_HEAD = 1 << 20
"""Bytes before a physical volume's first extent."""

_LEDGER = "volume group"
_WHOLE_POOL = "+100%FREE"


@dataclass(frozen=True)
class GroupRecord:
    """What is known of a cloud's group: ``group.json`` beside its file, written last."""

    name: str
    tag: str
    """What onestack made has it: the group, or only the pool in an operator's."""
    own: bool
    """Whether onestack made the group."""
    size: int
    """What volumes are offered in all, when it was last looked at; bytes."""
    sparse: bool
    files: tuple[Backing, ...]
    """Behind loop devices that are its physical volumes."""

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> GroupRecord:
        """Raises `TypeError` or `KeyError` for what is no record."""
        files = [Backing(Path(f["file"]), f["offset"], f["limit"]) for f in raw["files"]]
        return cls(**{**raw, "files": tuple(files)})

    @property
    def text(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str) + "\n"


@dataclass(frozen=True)
class Keys:
    """The answers that say it, by name: for what is said when something is wrong."""

    size: str = ""
    sparse: str = ""
    name: str = ""
    create: str = ""


@dataclass(frozen=True)
class _Group:
    """As LVM knows it now; sizes in bytes."""

    name: str
    tags: tuple[str, ...]
    free: int
    missing: int
    """How many of its physical volumes are not there."""
    devices: tuple[Path, ...]


@dataclass(frozen=True)
class _Pool:
    size: int
    metadata: int
    tags: tuple[str, ...]
    data_percent: float
    metadata_percent: float
    is_thin: bool
    zeroes: bool
    active: bool


@dataclass(frozen=True)
class VolumeGroup:
    """A store (`onestack.storage.store`) without a mount: volumes are devices of the machine."""

    root: Path
    """The cloud's."""
    name: str = ""
    """What answers call it. Empty: only one that is made already is meant."""
    create: bool = True
    """Whether it is to be made; else the operator has."""
    keys: Keys = Keys()

    title = "the volume group"

    @classmethod
    def at(cls, root: Path) -> VolumeGroup:
        return cls(root)

    @property
    def home(self) -> Path:
        return self.root / "data" / "volume-group"

    @property
    def image(self) -> Path:
        """Its own file. There is none where the operator made the group."""
        return self.home / "volumes.img"

    @property
    def record(self) -> Path:
        return self.home / "group.json"

    @property
    def lvm(self) -> Lvm:
        return Lvm(settings_at(self.root))

    def length(self, size: int) -> int:
        """The bytes of the file that offers ``size`` bytes to volumes."""
        return _HEAD + _extents(size) + 2 * metadata_size(size)

    # `onestack.storage.store`

    def check(self, wanted: StoreRecord) -> None:
        """Changes nothing. Raises when it is not to be had, or not so much of it."""
        known = self.load()
        if known is None:
            ours = self._tag(Ledger(self.root / "etc" / "ledger.json"))
            self._check_name(self._named(self.name), ours)
            if not self.create:
                return
        elif not known.own:
            return
        there = self.image.stat().st_size if self.image.exists() else 0
        more = wanted.size - known.size if known else self.length(wanted.size) - there
        loopfile.check_disk(self.image, self.title, wanted.size, more, self.keys.size)

    def ensure(self, wanted: StoreRecord, ledger: Ledger) -> Iterator[Change]:
        """Made, or taken as the operator made it; then it grows and never shrinks."""
        known = self.load()
        if known is None:
            self.check(wanted)
            size = show_size(wanted.size)
            what = (
                f"make {self.title} {self.name} of {size} in {self.home}"
                if self.create
                else f"take the volume group {self.name} for volumes"
            )
            yield Change(what, lambda: self._make(wanted, ledger))
            return
        self._check_stays(known.name)
        if not known.own:
            return
        self._file(known).check_there(self.record)
        if known.sparse and not wanted.sparse:
            cure = f"free some space, or leave {self.keys.sparse}=y"
            missing = self._file(known).missing
            loopfile.check_disk(self.image, self.title, known.size, missing, self.keys.size, cure)
            yield Change(f"take {self.title}'s disk space", self._fill_file)
        if known.size < wanted.size:
            self.check(wanted)
            yield Change(
                f"grow {self.title} from {show_size(known.size)} to {show_size(wanted.size)}",
                lambda: self.grow(wanted.size),
            )

    def attach(self) -> list[str]:
        """Loop devices, then the volumes; and what was added to the group is the pool's."""
        known = self.known()
        with self._locked():
            self.lvm.prepare()
            done = [f"attached {b.file} to {d}" for b, d in self._attach_files(known)]
            return [*done, *self._settle(known)]

    def detach(self) -> list[str]:
        """An operator's group stays as it is."""
        known = self.load()
        if known is None:
            return []
        with self._locked():
            group = self._find(known)
            if group is None:
                return []
            known = self._adopted(known, group)
            if not known.own:
                return []
            if self._in_use(known.name):
                return [f"{known.name} is in use and stays active"]
            self.lvm.run("vgchange", "--activate", "n", known.name)
            for one in known.files:
                loop.detach(one.file)
        return []

    def grow(self, size: int) -> None:
        """To ``size`` bytes in all, by its own file. May be repeated.

        Raises `OnestackError` for a size below the present one, when the disk has no room, or
        where the group is the operator's.
        """
        known = self.known()
        if not known.own:
            raise OnestackError(
                f"the volume group {known.name} cannot grow by a file",
                "it was not made by onestack",
                f"name a disk (onestack pool grow /dev/DISK), or vgextend {known.name} yourself",
            )
        with self._opened(known) as (group, pool):
            if size < pool.size:
                raise OnestackError(
                    f"{self.title} cannot shrink to {show_size(size)}",
                    f"it has {show_size(pool.size)}, and only grows",
                    f"name a size above {show_size(pool.size)}",
                )
            file, device = self._file(known), loop.attach(self.image)
            self._see_length(device)
            group = self._there(known)
            more = _extents(size) - pool.size + 2 * max(0, metadata_size(size) - pool.metadata)
            if (lacking := more - group.free) > 0:
                loopfile.check_disk(self.image, self.title, size, lacking, self.keys.size)
                file.lengthen(self.image.stat().st_size + lacking)
                self._see_length(device)
            self._settle(known)

    def grow_onto(self, disk: Path) -> None:
        """Take a whole disk, or a partition, that has nothing on it. May be repeated."""
        known = self.known()
        if not stat.S_ISBLK(disk.stat().st_mode if disk.exists() else 0):
            raise OnestackError(f"{disk} is no disk", cure="see which there are: lsblk")
        with self._opened(known) as (group, _):
            if disk.resolve() in {device.resolve() for device in group.devices}:
                return
            self._check_empty(disk)
            self.lvm.run("vgextend", known.name, disk)
            self._settle(known)

    def remove(self, ledger: Ledger) -> Iterator[Change]:
        if data := self._noted(ledger):

            def do() -> None:
                _undo(data)
                ledger.forget(_LEDGER, **data)

            known = self.load()
            whole = known is None or known.own
            what = "volume group" if whole else "thin pool in the volume group"
            yield Change(f"remove the {what} {data['name']}, and all volumes", do)

    def facts(self) -> PoolFacts | None:
        known = self.load()
        if known is None:
            return None
        with self._opened(known, activate=False) as (group, pool):
            rows = self.lvm.report(
                "lvs",
                "lv_name,lv_size",
                "--select",
                f"pool_lv={_pool_name(known.name)} && vg_name={known.name}",
            )
        names = [row["lv_name"] for row in rows]
        return PoolFacts(
            kind="volume group",
            size=pool.size,
            stored=int(pool.size * pool.data_percent / 100),
            place=known.name,
            device=", ".join(map(_shown, group.devices)),
            provisioned=sum(int(row["lv_size"]) for row in rows),
            volumes=sum(name.startswith("volume-") for name in names),
            snapshots=sum(name.startswith("_snapshot-") for name in names),
            metadata_percent=pool.metadata_percent,
        )

    # Its parts

    def load(self) -> GroupRecord | None:
        """``None`` while there is none. Raises `OnestackError` for a damaged record."""
        try:
            return GroupRecord.from_json(json.loads(self.record.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise OnestackError(
                f"the record of {self.title}, {self.record}, cannot be read",
                str(problem),
                "remove it and run onestack up: the group is found by its tag",
            ) from problem

    def known(self) -> GroupRecord:
        """As `load`, and `OnestackError` when there is none."""
        if record := self.load():
            return record
        raise OnestackError(
            f"{self.title} is not there", f"{self.record} is missing", "run onestack up"
        )

    def _make(self, wanted: StoreRecord, ledger: Ledger) -> None:
        tag = self._tag(ledger)
        if not tag:
            tag = f"onestack-{secrets.token_hex(8)}"
            ledger.record(_LEDGER, root=str(self.root), name=self.name, tag=tag)
        known = GroupRecord(self.name, tag, self.create, 0, wanted.sparse, ())
        self.home.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self.lvm.prepare()
            if self.create:
                if not self.image.exists():
                    self._file(known).make(self.length(wanted.size))
                device = loop.attach(self.image)
                begun = self._find(known)
                if begun is None:
                    # Not the machine's to activate, which would write of it into /etc/lvm.
                    own = ("--addtag", tag, "--setautoactivation", "n")
                    self.lvm.run("vgcreate", *own, self.name, device)
                else:
                    self._check_stays(begun.name)
            self._settle(known)

    def _settle(self, known: GroupRecord) -> list[str]:
        """Whoever holds the lock makes of a group that is there what the cloud needs."""
        group = self._there(known)
        if group.missing:
            raise OnestackError(
                f"{group.missing} of the disks of the volume group {known.name} are not there",
                f"there are {', '.join(map(_shown, group.devices)) or 'none'}; which it misses "
                f"tells: vgs -o pv_name,pv_uuid,devices {known.name}",
                "connect them, or attach their files (losetup --partscan), then run "
                "onestack restart cinder",
            )
        found = self._adopted(known, group)
        pool = self._pool(known.name) or self._make_pool(known, group)
        self._check_pool(known, pool)
        done = []
        if known.tag in pool.tags and self._widen(known, pool):
            done.append(f"gave the thin pool of {known.name} all of its space")
            pool = self._pool(known.name) or pool
        if not pool.active:
            named = _pool_name(known.name)
            volumes = f"vg_name={known.name} && (lv_name={named} || pool_lv={named})"
            self.lvm.run("lvchange", "--activate", "y", "--select", volumes)
            done.append(f"activated the volumes of {known.name}")
        self._save(dataclasses.replace(found, size=pool.size))
        return done

    def _adopted(self, known: GroupRecord, group: _Group) -> GroupRecord:
        """With all loop files that are in the group now."""
        behind = (loop.backing(device) for device in group.devices)
        files = tuple(dict.fromkeys(filter(None, behind)))
        found = dataclasses.replace(known, files=files)
        if known.size and found != known and not group.missing:
            self._save(found)
        return found

    def _make_pool(self, known: GroupRecord, group: _Group) -> _Pool:
        """Small, and then as large as the group has room for."""
        size = ("--size", f"{EXTENT}b", "--chunksize", f"{_chunk(group.free)}b")
        metadata = ("--poolmetadatasize", f"{_metadata_within(group.free)}b", "--zero", "y")
        discards = ("--discards", "passdown" if known.sparse or not known.own else "nopassdown")
        name = ("--name", _pool_name(known.name), "--addtag", known.tag)
        kind = ("--type", "thin-pool", "--yes")
        self.lvm.run("lvcreate", *kind, *size, *metadata, *discards, *name, known.name)
        made = self._pool(known.name)
        assert made is not None
        return made

    def _check_pool(self, known: GroupRecord, pool: _Pool) -> None:
        named = f"{known.name}/{_pool_name(known.name)}"
        if not pool.is_thin:
            raise OnestackError(
                f"{named} is no thin pool",
                "volumes are made in the thin pool of that name",
                f"rename it (lvrename), or choose another group ({self.keys.name})",
            )
        if not pool.zeroes:
            raise OnestackError(
                f"the thin pool {named} does not zero its blocks",
                "a new volume would show what a deleted one held",
                f"lvchange --zero y {named}",
            )

    def _widen(self, known: GroupRecord, pool: _Pool) -> bool:
        """The pool gets what its group has free; False when that is nothing."""
        named = f"{known.name}/{_pool_name(known.name)}"
        free = self._there(known).free
        wanted = _metadata_within(pool.size + 2 * pool.metadata + free)
        if wanted > pool.metadata and free >= EXTENT:
            self.lvm.run("lvextend", "--poolmetadatasize", f"{wanted}b", named)
            free = self._there(known).free
        if free < EXTENT:
            return False
        self.lvm.run("lvextend", "--extents", _WHOLE_POOL, named)
        return True

    def _check_name(self, group: _Group | None, ours: str) -> None:
        """Whether the name that the answers give is free, or that of a group, as they want it."""
        if not self.create and group is None:
            raise OnestackError(
                f"there is no volume group {self.name}",
                f"{self.keys.create}=n uses one that is made by hand",
                f"make it (vgcreate {self.name} /dev/DISK), name another ({self.keys.name}), or "
                f"let onestack make one: {self.keys.create}=y",
            )
        if self.create and group is not None and ours not in group.tags:
            raise OnestackError(
                f"there is a volume group {self.name} already",
                "it was not made by this cloud, and may hold another's volumes",
                f"use it as it is ({self.keys.create}=n), or choose another name "
                f"({self.keys.name}=…)",
            )

    def _check_stays(self, name: str) -> None:
        if name != self.name:
            raise OnestackError(
                f"the volume group {name} cannot become {self.name}",
                "it is the cloud's, and volumes may be in it",
                f"leave {self.keys.name}={name}",
            )

    def _check_empty(self, disk: Path) -> None:
        """Raises `OnestackError` where anything is on it or uses it."""
        found = run(["wipefs", "--noheadings", "--output", "TYPE", disk], timeout=30).out.split()
        rows = self.lvm.report("pvs", "vg_name", "--select", f"pv_name={disk.resolve()}")
        if rows and not any(row["vg_name"] for row in rows):
            return  # of an attempt that was cut short
        try:
            os.close(os.open(disk, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as problem:
            raise OnestackError(
                f"{disk} is in use", problem.strerror or "", f"see by what: lsblk {disk}"
            ) from problem
        if found:
            raise OnestackError(
                f"{disk} is not empty: it has {', '.join(found)}",
                "what is on it would be lost",
                f"if nobody needs it any more: wipefs --all {disk}",
            )

    def _see_length(self, device: Path) -> None:
        loop.resized(device)
        self.lvm.run("pvresize", device)

    def _fill_file(self) -> None:
        known = self.known()
        with self._opened(known):
            self.lvm.run(
                "lvchange", "--discards", "nopassdown", f"{known.name}/{_pool_name(known.name)}"
            )
            self._file(known).fill()
            self._save(dataclasses.replace(self.known(), sparse=False))

    def _file(self, known: GroupRecord) -> LoopFile:
        # It is mounted nowhere.
        return LoopFile(self.image, self.home, self.title, known.sparse)

    def _attach_files(self, known: GroupRecord) -> Iterator[tuple[Backing, Path]]:
        """Those that are not attached yet, and the devices that they get."""
        for one in known.files:
            if not one.file.exists():
                raise OnestackError(
                    f"{one.file}, on which the volume group {known.name} is, is not there",
                    "it was removed, moved, or its disk is not mounted yet",
                    "put it back, then run onestack restart cinder",
                )
            if one.file == self.image:
                if not loop.device_of(one.file):
                    yield one, loop.attach(one.file)
            elif device := loop.attach_as_it_was(one):
                yield one, device

    @contextlib.contextmanager
    def _opened(self, known: GroupRecord, activate: bool = True) -> Iterator[tuple[_Group, _Pool]]:
        """The group and its pool, attached for a while where they are not."""
        with self._locked():
            self.lvm.prepare()
            before = self._pool_active(known)
            attached = list(self._attach_files(known))
            try:
                if activate and not before:
                    self._settle(known)
                pool = self._pool(known.name)
                if pool is None:
                    raise OnestackError(
                        f"the volume group {known.name} has no thin pool",
                        f"{_pool_name(known.name)} was removed",
                        "run onestack up",
                    )
                yield self._there(known), pool
            finally:
                if attached and not before:
                    if activate:
                        self.lvm.run("vgchange", "--activate", "n", known.name, check=False)
                    for _, device in attached:
                        run(["losetup", "--detach", device], timeout=30, finish=True)

    def _pool_active(self, known: GroupRecord) -> bool:
        pool = self._pool(known.name)
        return pool is not None and pool.active

    def _save(self, record: GroupRecord) -> None:
        write_file(self.record, record.text, mode=0o644)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time attaches, adopts, grows."""
        self.home.mkdir(parents=True, exist_ok=True)
        with locks.held(self.home / ".lock"):
            yield

    def _tag(self, ledger: Ledger) -> str:
        """The one that the cloud's group has or will have; empty before it is chosen."""
        return str(self._noted(ledger).get("tag", ""))

    def _noted(self, ledger: Ledger) -> dict[str, Any]:
        """What the ledger has of it: a cloud has one group."""
        found = (e.data for e in ledger.entries() if e.kind == _LEDGER)
        return next((data for data in found if data["root"] == str(self.root)), {})

    def _find(self, known: GroupRecord) -> _Group | None:
        """The group of the record: its own by its tag, an operator's by its name."""
        if not known.own:
            return self._named(known.name)
        return self._one(f"vg_tags={known.tag}", known.tag)

    def _there(self, known: GroupRecord) -> _Group:
        """As `_find`; raises `OnestackError` when it is gone."""
        if group := self._find(known):
            return group
        raise OnestackError(
            f"the volume group {known.name} is gone",
            "none of its physical volumes is there, or it was removed by hand",
            "connect its disks; its metadata as they were last are in "
            f"{self.lvm.home}/backup/{known.name} (vgcfgrestore)",
        )

    def _named(self, name: str) -> _Group | None:
        return self._one(f"vg_name={name}", name)

    def _one(self, select: str, what: str) -> _Group | None:
        fields = "vg_name,vg_uuid,vg_tags,vg_free,vg_missing_pv_count"
        rows = self.lvm.report("vgs", fields, "--select", select)
        if len(rows) > 1:
            raise OnestackError(
                f"there are {len(rows)} volume groups {rows[0]['vg_name']}",
                f"LVM tells them apart by their UUIDs alone: {what}",
                f"give the other one another name: vgrename UUID NAME ("
                f"{', '.join(row['vg_uuid'] for row in rows)})",
            )
        for row in rows:
            there = self.lvm.report("pvs", "pv_name", "--select", f"vg_uuid={row['vg_uuid']}")
            return _Group(
                name=row["vg_name"],
                tags=_tags(row["vg_tags"]),
                free=int(row["vg_free"]),
                missing=int(row["vg_missing_pv_count"]),
                devices=tuple(
                    Path(pv["pv_name"]) for pv in there if pv["pv_name"].startswith("/dev/")
                ),
            )
        return None

    def _pool(self, group: str) -> _Pool | None:
        fields = "lv_size,lv_metadata_size,lv_tags,data_percent,metadata_percent,lv_attr"
        select = f"vg_name={group} && lv_name={_pool_name(group)}"
        for row in self.lvm.report("lvs", fields, "--select", select):
            return _Pool(
                size=int(row["lv_size"]),
                metadata=int(row["lv_metadata_size"] or 0),
                tags=_tags(row["lv_tags"]),
                data_percent=float(row["data_percent"] or 0),
                metadata_percent=float(row["metadata_percent"] or 0),
                # lvs(8): kind, …, state (5th), …, zeroes (8th)
                is_thin=row["lv_attr"][0] == "t",
                active=row["lv_attr"][4] == "a",
                zeroes=row["lv_attr"][7] == "z",
            )
        return None

    def _in_use(self, group: str) -> bool:
        """Whether anybody has one of its volumes open."""
        rows = self.lvm.report("lvs", "lv_attr", "--select", f"vg_name={group} && lv_attr=~^V")
        return any(row["lv_attr"][5] == "o" for row in rows)


def settings_at(root: Path) -> Path:
    """Where LVM's settings are for the cloud at ``root``."""
    return root / "data" / "volume-group" / "lvm"


def metadata_size(size: int) -> int:
    """Bytes of metadata for a thin pool of ``size`` bytes."""
    return _extents(max(EXTENT, size // _chunk(size) * _PER_CHUNK))


def _metadata_within(total: int) -> int:
    """Of what is left of ``total`` bytes without them, and without their spare."""
    return metadata_size(total - 2 * metadata_size(total))


def _chunk(size: int) -> int:
    """Metadata are at most 16 GiB: a larger pool has larger chunks. It can double its size."""
    chunk = CHUNK
    while size > _LARGE * (chunk // CHUNK):
        chunk *= 2
    return chunk


def _extents(size: int) -> int:
    return -(-size // EXTENT) * EXTENT


def _pool_name(group: str) -> str:
    """As upstream's driver looks for it."""
    return f"{group}-pool"


def _tags(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _shown(device: Path) -> str:
    """For people: with the file behind a loop device."""
    behind = loop.backing(device)
    return f"{device} ({behind.file})" if behind else str(device)


def _undo(data: dict[str, Any]) -> None:
    """Nothing without the tag is touched; a loop file of the operator's stays."""
    group = VolumeGroup.at(Path(data["root"]))
    lvm, tag = group.lvm, data["tag"]
    known = group.load()
    files = known.files if known else (Backing(group.image),)
    attached = []
    if group.home.exists():
        lvm.prepare()
        there = dataclasses.replace(
            known or GroupRecord(data["name"], tag, True, 0, True, ()),
            files=tuple(one for one in files if one.file.exists()),
        )
        attached = [device for _, device in group._attach_files(there)]
    whole = lvm.report("vgs", "vg_name,vg_uuid", "--select", f"vg_tags={tag}")
    for row in whole:
        devices = lvm.report("pvs", "pv_name", "--select", f"vg_uuid={row['vg_uuid']}")
        _end(lvm, row["vg_name"], "vgremove", "--force", "--yes", row["vg_name"])
        for pv in (d["pv_name"] for d in devices if d["pv_name"].startswith("/dev/")):
            lvm.run("pvremove", "--force", "--yes", pv)
    for row in lvm.report("lvs", "vg_name,lv_name", "--select", f"lv_tags={tag}"):
        named = f"{row['vg_name']}/{row['lv_name']}"
        _end(lvm, named, "lvremove", "--force", "--yes", named)
    for device in attached:
        run(["losetup", "--detach", device], timeout=30, check=False, finish=True)
    for one in files if whole else ():
        loop.detach(one.file)
    loop.detach(group.image)
    remove_tree(group.home)


def _end(lvm: Lvm, what: str, *words: str) -> None:
    result = lvm.run(*words, check=False)
    if result.ok:
        return
    if re.search("in use|is used by|busy", result.err):
        raise OnestackError(
            f"{what} is still in use",
            result.err.strip(),
            "delete the instances that have volumes, or `onestack down`; then the same again",
        )
    raise CommandFailed(result, f"{what} cannot be removed")


UNDO: Mapping[str, Undo] = {_LEDGER: _undo}
