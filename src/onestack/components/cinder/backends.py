"""Other places for volumes than this machine's own: what upstream still has drivers for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers, at_least, split
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.secret import ON_STORAGE, Secret

KEY = "CONFIG_CINDER_BACKEND"
VOLUME_GROUP = "lvm"
FILE_POOL = "filepool"
"""What this machine can have (`onestack.components.cinder.local`): sections in cinder.conf, and
names after ``@`` in a volume's host."""
KNOWN = (VOLUME_GROUP, FILE_POOL, "nfs", "netapp", "solidfire")
REFUSED = {
    "gluster": "upstream removed the GlusterFS driver; use nfs",
    "vmdk": "it needs vCenter, which is not supported",
    "ceph": "Ceph is not supported yet",
}
_NETAPP = "CONFIG_CINDER_NETAPP_"
_SOLIDFIRE = "CONFIG_CINDER_SOLIDFIRE_"


def wrong_backend(text: str) -> str | None:
    asked = split(text)
    for name in asked:
        if name in REFUSED:
            return f"{name}: {REFUSED[name]}"
        if name not in KNOWN:
            return f"{name!r} is not one of {', '.join(KNOWN)}"
    if len(asked) != len(set(asked)):
        return "one of them stands there twice"
    if {VOLUME_GROUP, FILE_POOL} <= set(asked):
        return f"{VOLUME_GROUP} and {FILE_POOL} are two kinds of one place: name one of them"
    return None if asked else f"name at least one of {', '.join(KNOWN)}"


def _wrong_shares(text: str) -> str | None:
    wrong = [s for s in split(text) if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):/\S*", s)]
    return f"{wrong[0]!r} is not HOST:/EXPORT" if wrong else None


def _wrong_family(text: str) -> str | None:
    if text == "ontap_cluster":
        return None
    return "upstream removed the drivers of 7-Mode and E-Series; write ontap_cluster"


SECRETS = (
    Secret("cinder_netapp", f"{_NETAPP}PASSWORD", roles=ON_STORAGE, password=False, made=False),
    Secret(
        "cinder_solidfire", f"{_SOLIDFIRE}PASSWORD", roles=ON_STORAGE, password=False, made=False
    ),
)

KEYS: tuple[Key, ...] = (
    Key(
        KEY,
        "filepool",
        "Where volumes are kept, a comma-separated list. filepool: files in a file of "
        "CONFIG_CINDER_VOLUMES_SIZE with XFS inside; lvm: a volume group with a thin pool of that "
        "size, or a file pool where the kernel has no device-mapper; nfs: the "
        "shares of CONFIG_CINDER_NFS_MOUNTS; netapp, solidfire: by the keys of that name. "
        "Several are shown as pools; a volume type with volume_backend_name chooses one.",
        Kind.LIST,
        check=wrong_backend,
    ),
    Key(
        "CONFIG_CINDER_NFS_MOUNTS",
        "",
        "NFS shares for volumes, as HOST:/EXPORT,...",
        Kind.LIST,
        check=_wrong_shares,
    ),
    Key(f"{_NETAPP}HOSTNAME", "", "Address of the NetApp storage system."),
    Key(f"{_NETAPP}LOGIN", "", "NetApp's administrator."),
    Key(f"{_NETAPP}PASSWORD", "", "Its password.", Kind.SECRET),
    Key(f"{_NETAPP}SERVER_PORT", "80", "Port of NetApp's API.", Kind.NUMBER, check=at_least(1)),
    Key(
        f"{_NETAPP}STORAGE_FAMILY", "ontap_cluster", "NetApp's product family.", check=_wrong_family
    ),
    Key(
        f"{_NETAPP}TRANSPORT_TYPE",
        "http",
        "How NetApp's API is spoken to.",
        Kind.CHOICE,
        ("http", "https"),
    ),
    Key(
        f"{_NETAPP}STORAGE_PROTOCOL",
        "nfs",
        "How volumes are reached.",
        Kind.CHOICE,
        ("iscsi", "fc", "nfs"),
    ),
    Key(f"{_NETAPP}VSERVER", "", "Storage virtual machine with the volumes."),
    Key(
        f"{_NETAPP}SIZE_MULTIPLIER",
        "1.0",
        "Factor on the size asked for, to be sure of it (iscsi and fc).",
        Kind.RATIO,
    ),
    Key(
        f"{_NETAPP}EXPIRY_THRES_MINUTES",
        "720",
        "Minutes for which an unused image stays in the cache (nfs).",
        Kind.NUMBER,
    ),
    Key(
        f"{_NETAPP}THRES_AVL_SIZE_PERC_START",
        "20",
        "Per cent of free space at which the cache begins to be emptied (nfs).",
        Kind.NUMBER,
    ),
    Key(
        f"{_NETAPP}THRES_AVL_SIZE_PERC_STOP",
        "60",
        "Per cent of free space at which that ends (nfs).",
        Kind.NUMBER,
    ),
    Key(
        f"{_NETAPP}NFS_SHARES",
        "",
        "NetApp's NFS exports, as HOST:/EXPORT,... (nfs).",
        Kind.LIST,
        check=_wrong_shares,
    ),
    Key(
        f"{_NETAPP}NFS_SHARES_CONFIG",
        "",
        "File that lists the exports, a line each, if there is one already (nfs). Empty: made "
        "from the key above.",
        Kind.PATH,
    ),
    Key(f"{_SOLIDFIRE}HOSTNAME", "", "Address of the SolidFire cluster (MVIP)."),
    Key(f"{_SOLIDFIRE}LOGIN", "", "SolidFire's administrator."),
    Key(f"{_SOLIDFIRE}PASSWORD", "", "Its password.", Kind.SECRET),
)


def named(answers: Answers) -> tuple[str, ...]:
    """As the answer says it."""
    return tuple(answers[KEY])


def validate(answers: Answers) -> Iterable[str]:
    needed = {
        "nfs": {"CONFIG_CINDER_NFS_MOUNTS": "the shares"},
        "netapp": {
            f"{_NETAPP}HOSTNAME": "its address",
            f"{_NETAPP}LOGIN": "its administrator",
            f"{_NETAPP}PASSWORD": "his password",
            f"{_NETAPP}VSERVER": "the storage virtual machine",
        },
        "solidfire": {
            f"{_SOLIDFIRE}HOSTNAME": "its address",
            f"{_SOLIDFIRE}LOGIN": "its administrator",
            f"{_SOLIDFIRE}PASSWORD": "his password",
        },
    }
    for backend in named(answers):
        for key, what in needed.get(backend, {}).items():
            if not answers[key]:
                yield f"{KEY} has {backend}, which needs {key}, {what}"
    if "netapp" in named(answers) and answers[f"{_NETAPP}STORAGE_PROTOCOL"] == "nfs":
        shares, file = f"{_NETAPP}NFS_SHARES", f"{_NETAPP}NFS_SHARES_CONFIG"
        if not answers[shares] and not answers[file]:
            yield f"{_NETAPP}STORAGE_PROTOCOL=nfs needs {shares}, the exports"
        if not answers[shares] and answers[file] and not Path(str(answers[file])).is_file():
            yield f"{file}={answers[file]} is not there"
        start, stop = (int(answers[f"{_NETAPP}THRES_AVL_SIZE_PERC_{x}"]) for x in ("START", "STOP"))
        if start > stop:
            yield f"{_NETAPP}THRES_AVL_SIZE_PERC_START={start} is above …_STOP={stop}"


def packages(answers: Answers) -> Iterable[str]:
    backends = named(answers)
    if "nfs" in backends or _netapp_by_nfs(answers):
        yield "nfs-common"
    if "solidfire" in backends or ("netapp" in backends and not _netapp_by_nfs(answers)):
        yield from ("lsscsi", "open-iscsi")


def mounts(answers: Answers) -> bool:
    """Whether volumes are files on shares that must be mounted."""
    return "nfs" in named(answers) or _netapp_by_nfs(answers)


def _netapp_by_nfs(answers: Answers) -> bool:
    return "netapp" in named(answers) and answers[f"{_NETAPP}STORAGE_PROTOCOL"] == "nfs"


def files(ctx: Context) -> Iterable[ConfigFile]:
    """The lists of shares."""
    answers, group = ctx.answers, ctx.cloud.user("cinder")
    if "nfs" in named(answers):
        shares = answers["CONFIG_CINDER_NFS_MOUNTS"]
        yield ConfigFile(_shares(ctx, "nfs"), "".join(f"{s}\n" for s in shares), group)
    if _netapp_by_nfs(answers) and (shares := answers[f"{_NETAPP}NFS_SHARES"]):
        yield ConfigFile(_shares(ctx, "netapp"), "".join(f"{s}\n" for s in shares), group)


def sections(ctx: Context) -> Ini:
    """A section for each back-end but this machine's own."""
    makers = {"nfs": _nfs, "netapp": _netapp, "solidfire": _solidfire}
    return {
        name: {"volume_backend_name": name, **makers[name](ctx)}
        for name in named(ctx.answers)
        if name in makers
    }


def _shares(ctx: Context, backend: str) -> Path:
    return ctx.cloud.etc / "cinder" / f"{backend}_shares"


def _mounted(ctx: Context, shares: str) -> dict[str, Value]:
    return {
        "nfs_shares_config": shares,
        "nfs_mount_point_base": str(ctx.cloud.data / "cinder" / "mounts"),
        # Files are cinder's, and QEMU's while a guest has them: not root's.
        "nas_secure_file_operations": "true",
        "nas_secure_file_permissions": "true",
    }


def _nfs(ctx: Context) -> dict[str, Value]:
    return {
        "volume_driver": "cinder.volume.drivers.nfs.NfsDriver",
        "nfs_snapshot_support": True,
        "nfs_sparsed_volumes": True,
        **_mounted(ctx, str(_shares(ctx, "nfs"))),
    }


def _netapp(ctx: Context) -> dict[str, Value]:
    def answer(name: str) -> Value:
        value: Value = ctx.answers[f"{_NETAPP}{name}"]
        return value

    options: dict[str, Value] = {
        "volume_driver": "cinder.volume.drivers.netapp.common.NetAppDriver",
        "netapp_storage_family": answer("STORAGE_FAMILY"),
        "netapp_storage_protocol": answer("STORAGE_PROTOCOL"),
        "netapp_server_hostname": answer("HOSTNAME"),
        "netapp_server_port": answer("SERVER_PORT"),
        "netapp_transport_type": answer("TRANSPORT_TYPE"),
        "netapp_login": answer("LOGIN"),
        "netapp_password": ctx.secrets["cinder_netapp"],
        "netapp_vserver": answer("VSERVER"),
    }
    if not _netapp_by_nfs(ctx.answers):
        return options | {"netapp_size_multiplier": answer("SIZE_MULTIPLIER")}
    made = answer("NFS_SHARES")
    return {
        **options,
        "expiry_thres_minutes": answer("EXPIRY_THRES_MINUTES"),
        "thres_avl_size_perc_start": answer("THRES_AVL_SIZE_PERC_START"),
        "thres_avl_size_perc_stop": answer("THRES_AVL_SIZE_PERC_STOP"),
        **_mounted(ctx, str(_shares(ctx, "netapp") if made else answer("NFS_SHARES_CONFIG"))),
    }


def _solidfire(ctx: Context) -> dict[str, Value]:
    return {
        "volume_driver": "cinder.volume.drivers.solidfire.SolidFireDriver",
        "san_ip": str(ctx.answers[f"{_SOLIDFIRE}HOSTNAME"]),
        "san_login": str(ctx.answers[f"{_SOLIDFIRE}LOGIN"]),
        "san_password": ctx.secrets["cinder_solidfire"],
    }
