"""Where volumes are on this machine: a volume group, or the file pool where LVM cannot be had."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from onestack.answers.values import too_small
from onestack.components.cinder import backends
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.cloud import DEFAULT_NAME, Cloud
from onestack.model.context import Context
from onestack.model.declarations import StoreMount
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, refuse, warn
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.root_command import ANY, RootCommand
from onestack.storage import loopfile, lvm, pool, volume_group, volumes
from onestack.storage.pool import Pool
from onestack.storage.store import StoreRecord
from onestack.storage.volume_group import VolumeGroup
from onestack.storage.volumes import VolumeStore

SIZE = "CONFIG_CINDER_VOLUMES_SIZE"
SPARSE = "CONFIG_CINDER_VOLUMES_SPARSE"
CREATE = "CONFIG_CINDER_VOLUMES_CREATE"
NAME = "CONFIG_CINDER_VOLUME_NAME"
_PACKSTACKS_NAME = "cinder-volumes"

LVM_PACKAGES = ("lvm2", "thin-provisioning-tools", "acl")
FULL = 90.0
"""Per cent of a thin pool from which on it is told."""


def _wrong_size(text: str) -> str | None:
    return too_small(text, loopfile.SMALLEST, "a pool")


def _wrong_name(text: str) -> str | None:
    if re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,99}", text):
        return None
    return f"{text!r} cannot be a volume group's name: letters, digits and + _ . -"


KEYS = (
    Key(
        CREATE,
        "y",
        "Make the place that volumes are kept in. n: use the volume group that the operator has "
        f"made, called {NAME}; all of its free space becomes the thin pool of volumes.",
        Kind.FLAG,
    ),
    Key(
        NAME,
        _PACKSTACKS_NAME,
        "Name of the volume group. One that is made for a cloud of another name than "
        f"{DEFAULT_NAME} is {_PACKSTACKS_NAME}-CLOUD as long as this has its default.",
        check=_wrong_name,
    ),
    Key(
        SIZE,
        "20G",
        "Size of the pool that holds all volumes and snapshots: they never take more "
        "together, and a volume that does not fit ends in error. A larger value lets an "
        "existing pool grow; it never shrinks.",
        Kind.SIZE,
        check=_wrong_size,
    ),
    Key(
        SPARSE,
        "y",
        "Take disk space only as volumes are written, as packstack's file does; n takes all "
        "of it at once, so that no volume fails when the disk runs full.",
        Kind.FLAG,
    ),
)


def kind(ctx: Context) -> str:
    """`backends.VOLUME_GROUP`, `backends.FILE_POOL`, or nothing where volumes are elsewhere.

    What is there stays; a group is made where the kernel can have one.
    """
    wanted = {backends.VOLUME_GROUP, backends.FILE_POOL} & set(backends.named(ctx.answers))
    if not wanted:
        return ""
    match volumes.kept(ctx.cloud.root):
        case Pool():
            return backends.FILE_POOL
        case VolumeGroup():
            return backends.VOLUME_GROUP
    able = backends.VOLUME_GROUP in wanted and ctx.facts.device_mapper
    return backends.VOLUME_GROUP if able else backends.FILE_POOL


def chosen(ctx: Context) -> tuple[str, ...]:
    """Names of cinder's sections, and of what follows ``@`` in a volume's host."""
    here = (backends.VOLUME_GROUP, backends.FILE_POOL)
    return tuple(kind(ctx) if name in here else name for name in backends.named(ctx.answers))


def store(ctx: Context) -> VolumeStore:
    """As the answers want it."""
    if ctx.once(kind) == backends.FILE_POOL:
        return volume_pool(ctx.cloud)
    create, name = bool(ctx.answers[CREATE]), str(ctx.answers[NAME]) or _PACKSTACKS_NAME
    if create and name == _PACKSTACKS_NAME and ctx.cloud.name != DEFAULT_NAME:
        name = f"{name}-{ctx.cloud.name}"
    return VolumeGroup(ctx.cloud.root, name, create, _KEYS)


_KEYS = volume_group.Keys(SIZE, SPARSE, NAME, CREATE)


def volume_pool(cloud: Cloud) -> Pool:
    return Pool.at(cloud.root, SIZE, SPARSE)


def kept(cloud: Cloud) -> VolumeStore:
    """What the cloud has. Raises `OnestackError` when it has none."""
    match volumes.kept(cloud.root):
        case Pool():
            return volume_pool(cloud)
        case VolumeGroup():
            return VolumeGroup(cloud.root, keys=_KEYS)
    raise OnestackError(
        f"the cloud {cloud.name!r} has no volume pool",
        "it is made by `onestack up` when CONFIG_CINDER_INSTALL=y",
    )


def ensure(ctx: Context, server: str = "") -> Iterator[Change]:
    """The store of the size that the answers ask for, or larger; ``server`` may open it too."""
    of = pool.KIND if ctx.once(kind) == backends.FILE_POOL else volume_group.KIND
    user = ctx.cloud.user("cinder")
    wanted = StoreRecord(int(ctx.answers[SIZE]), of, user, bool(ctx.answers[SPARSE]), server)
    return store(ctx).ensure(wanted, Ledger.of(ctx.cloud))


def remove(cloud: Cloud) -> Iterator[Change]:
    if (there := volumes.kept(cloud.root)) is not None:
        yield from there.remove(Ledger.of(cloud))


def disk(ctx: Context) -> int:
    """Also of a sparse one: a promise that cannot be kept is none."""
    place = store(ctx)
    takes = not place.load() and (isinstance(place, Pool) or place.create)
    return place.length(int(ctx.answers[SIZE])) if takes else 0


def packages(ctx: Context) -> Iterable[str]:
    return LVM_PACKAGES if ctx.once(kind) == backends.VOLUME_GROUP else ()


def mounts(ctx: Context, servers: tuple[str, ...] = ()) -> Iterable[StoreMount]:
    """``servers`` are processes that serve it to others."""
    made_by = {
        backends.FILE_POOL: "onestack.storage.pool:Pool.at",
        backends.VOLUME_GROUP: "onestack.storage.volume_group:VolumeGroup.at",
    }
    yield StoreMount(
        "pool",
        made_by[ctx.once(kind)],
        owner="cinder-volume",
        # Guests' disks are files or devices of it.
        seen_by=("hypervisor", *servers),
        after=("cinder:pool",),
    )


def section(ctx: Context) -> Ini:
    """Cinder's, of what is here."""
    name = ctx.once(kind)
    inside = "onestack.components.cinder.inside"
    place = store(ctx)
    options: dict[str, Value] = {"volume_backend_name": name}
    if isinstance(place, Pool):
        options |= {
            "volume_driver": f"{inside}.filepool.FilePoolDriver",
            "filepool_directory": str(place.directory),
            "filepool_record": str(place.record),
        }
    else:
        options |= {
            "volume_driver": f"{inside}.volume_group.VolumeGroupDriver",
            "volume_group": place.name,
            "lvm_type": "thin",
            "volumegroup_attach": shlex.join(attach_command(ctx)),
            # The settings are given to the commands where they are run.
            "lvm_conf_file": "None",
            # No more than there is, so that no guest ever meets a full pool.
            "max_over_subscription_ratio": "1.0",
        }
    return {name: options}


def root_commands(ctx: Context) -> tuple[RootCommand, ...]:
    """What the driver does with LVM: in this group, with volumes and snapshots of cinder's."""
    if ctx.once(kind) != backends.VOLUME_GROUP:
        return ()
    place = store(ctx)
    assert isinstance(place, VolumeGroup)
    group, pool_name = re.escape(place.name), re.escape(f"{place.name}-pool")
    one = _thing("-")
    named = f"{group}/{one}"
    size = r"\d+(\.\d+)?g"
    settings = tuple(f"{k}={v}" for k, v in lvm.settings(place.lvm.home).items())

    def command(program: str, rest: str) -> RootCommand:
        words = ("cinder-rootwrap", ANY, program)
        return RootCommand(words, rest, ("LC_ALL=C",), leading=2, settings=settings)

    looks = "|".join(
        (
            r"--(noheadings?|unit=g|nosuffix|readonly|separator|ignoreskippedcluster)|-o|-C",
            r":|\||[A-Za-z_]+(,[A-Za-z_]+)*",
            rf"{group}(/({one}|{pool_name}))?|/dev/{group}/{pool_name}",
        )
    )
    retried = r"activation \{ retry_deactivation = 1\} (devices \{ ignore_suspended_devices = 1\})?"
    # device-mapper writes a name's own hyphens twice.
    node = f"/dev/mapper/{re.escape(place.name.replace('-', '--'))}-{_thing('--')}"
    adopt = ("cinder-rootwrap", ANY, *map(re.escape, attach_command(ctx)))
    return (
        command("lvs|vgs|pvs|lvdisplay", looks),
        command(
            "lvcreate", f"-T|-V|-n|--name|--snapshot|-k|y|{size}|{one}|{group}/{pool_name}|{named}"
        ),
        command("lvchange", f"-a|-K|-k|--yes|y|n|{named}|{group}/{pool_name}"),
        command("lvextend", f"-L|{size}|{named}"),
        command("lvremove", f"--config|{retried}|-f|{named}"),
        command("lvrename", f"{group}|{one}"),
        command("setfacl", f"--modify|user:{re.escape(ctx.cloud.user('cinder'))}:rw|{node}"),
        RootCommand(adopt, leading=2),
    )


def _thing(hyphen: str) -> str:
    """Matches the name of a volume, of a snapshot, or of what is uploaded."""
    digits = hyphen.join(("[0-9a-f]{8}", *("[0-9a-f]{4}",) * 3, "[0-9a-f]{12}"))
    return f"(volume|_?snapshot|upload){hyphen}{digits}"


def attach_command(ctx: Context) -> tuple[str, ...]:
    """As the driver has it: what was added to the group becomes the pool's."""
    return (
        "env",
        f"PYTHONPATH={ctx.release.program}",
        str(ctx.release.services.python),
        *("-m", "onestack.storage.attach", "onestack.storage.volume_group:VolumeGroup.at"),
        str(ctx.cloud.root),
    )


def preflight_checks(ctx: Context) -> Iterable[Finding]:
    """Who names a group wants one."""
    if ctx.once(kind) != backends.FILE_POOL or volumes.kept(ctx.cloud.root):
        return
    if ctx.answers[CREATE]:
        return
    if backends.VOLUME_GROUP not in backends.named(ctx.answers):
        yield refuse(
            f"{CREATE}=n is of a volume group, and {backends.KEY} asks for none",
            "a file pool would be made all the same",
            f"{backends.KEY}=lvm uses the group {ctx.answers[NAME]}",
        )
        return
    yield refuse(
        f"the volume group {ctx.answers[NAME]} cannot be used",
        "this machine has no device-mapper with thin pools (/dev/mapper/control, the kernel's "
        f"dm_thin_pool), and {CREATE}=n wants the group",
        f"load the module (modprobe dm_thin_pool), or {CREATE}=y: then volumes are files",
    )


def health_checks(ctx: Context) -> Iterable[Finding]:
    """Of the group: a thin pool that is full stops who writes."""
    place = store(ctx)
    found = place.facts() if isinstance(place, VolumeGroup) else None
    if found is None:
        return
    grow = "onestack pool grow +10G, or onto a disk: onestack pool grow /dev/DISK"
    if found.metadata_percent >= FULL:
        yield warn(
            f"the thin pool of the volume group {found.place} is nearly full of its own account",
            f"its metadata have {found.metadata_percent:.0f} % of their room; when it is full, "
            "volumes can only be read",
            f"{grow}; or delete snapshots",
        )
    if found.stored * 100 >= found.size * FULL and found.provisioned > found.size:
        yield warn(
            f"the thin pool of the volume group {found.place} is nearly full",
            f"more is given out than it has, and {found.stored * 100 // found.size} % are written",
            grow,
        )
