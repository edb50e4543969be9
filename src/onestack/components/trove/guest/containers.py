"""Container images that are the guest's own files, written straight into docker's store.

The agent runs databases and backups in containers. All their images share one layer, a tree
of hard links to what the guest has anyway: they take no room, and nothing is ever pulled.
The store is that of docker 20.10 with the driver overlay2; what the agent asks a registry
for, although it is there, is answered by the guest itself (``registry`` in ``tree``).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onestack.images.debian_root import inside, prune

REGISTRY = "127.0.0.1:5050"
OURS = Path("usr/lib/database")
DOCKER = Path("var/lib/docker")
LAYER = "databases"
"""The name of its directory in the store; ``trust`` in ``tree`` knows it too."""
LINK = "ONESTACKDATABASES000000001"
"""A second, short one of 26 signs, as docker has it: mounts name layers by these."""
CREATED = "2026-01-01T00:00:00Z"

CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TARBALL = "application/vnd.docker.image.rootfs.diff.tar.gzip"

PATH = f"/{OURS}/bin:/usr/sbin:/usr/bin"
POSTGRESQL = "/usr/lib/postgresql/15/bin"
BACKUP = {
    "Env": [
        f"PATH=/opt/venv/bin:{POSTGRESQL}:{PATH}",
        "REQUESTS_CA_BUNDLE=/etc/ssl/cloud.pem",
    ],
    "WorkingDir": "/opt/trove/backup",
}
"""Of the containers that make backups and restore them: programs of the agent's distribution."""


@dataclass(frozen=True)
class ContainerImage:
    """One image: what runs in it, and how, as docker has it in ``config``."""

    name: str
    tag: str
    config: Mapping[str, object] = field(hash=False)


IMAGES = (
    ContainerImage(
        "mariadb",
        "10.11",
        {"Env": [f"PATH={PATH}"], "Entrypoint": ["mariadb-entrypoint"], "Cmd": ["mariadbd"]},
    ),
    ContainerImage(
        "postgresql",
        "15",
        {
            "Env": [f"PATH={POSTGRESQL}:{PATH}", "LANG=en_US.utf8"],
            "Entrypoint": ["postgresql-entrypoint"],
            "Cmd": ["postgres", "-c", "config_file=/etc/postgresql/postgresql.conf"],
            # What ends sessions, and does not wait until they end.
            "StopSignal": "SIGINT",
        },
    ),
    ContainerImage("db-backup-mariadb", "10.11", BACKUP),
    ContainerImage("db-backup-postgresql", "15", BACKUP),
)

LINKED = ("usr", "opt/venv", "opt/trove")
"""Of the guest's root, what the layer has as hard links."""
NOT_LINKED = frozenset(
    {
        *("usr/lib/modules", "usr/lib/systemd", "usr/lib/udev", "usr/lib/guest"),
        *("usr/lib/database/answers", "usr/lib/database/agent"),
        *("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2"),
        *("usr/sbin/runc", "usr/bin/docker-proxy"),
    }
)
COPIED = (
    *("passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"),
    *("alternatives", "ssl", "localtime", "timezone"),
)
"""Of the guest's ``/etc``; not linked, because the guest changes its own."""
EMPTY = {
    **dict.fromkeys(("proc", "sys", "dev", "run", "home", "var/log"), 0o755),
    **dict.fromkeys(("var/lib/mysql", "var/lib/postgresql"), 0o755),
    **dict.fromkeys(("tmp", "var/tmp"), 0o1777),
    "root": 0o700,
}

NO_OPTIONS = "etc/mysql/my.cnf"
"""MariaDB's programs are told to read it; a container that restores has no other."""

AGENT = (
    *("trove.cmd.guest", "trove.guestagent.dbaas", "trove.common.rpc.service"),
    *("trove.guestagent.datastore.mariadb.manager", "trove.guestagent.datastore.postgres.manager"),
    *("trove.guestagent.strategies.replication.mariadb_gtid", "kombu.transport.pyamqp"),
    *("trove.guestagent.strategies.replication.postgresql", "oslo_messaging._drivers.impl_rabbit"),
)
"""Modules that the guest itself imports."""
AGENTS_FOLDERS = ("var/log/trove", "opt/trove-guestagent")
"""Of its log, and of marks of what it has done."""
BACKUP_PROGRAM = ("backup.storage.swift", "backup.drivers.mariabackup", "backup.drivers.postgres")
"""Modules that a container imports, which makes a backup."""


def finish(root: Path) -> None:
    """What the guest's root lacks when packages, agent and ``tree`` are in it."""
    shutil.copytree(root / "usr/src/trove/backup", root / "opt/trove/backup")
    prune(root, ("opt/trove/backup/tests", "opt/trove/backup/Dockerfile"))
    compiled = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/trove"]
    inside(root, ["/opt/venv/bin/python3", *compiled])
    # Which trove's template of PostgreSQL's configuration names.
    inside(root, ["localedef", "-i", "en_US", "-f", "UTF-8", "en_US.UTF-8"])
    prune(root, ("usr/share/i18n",))
    try_programs(root)
    drop_setuid(root)
    for name in AGENTS_FOLDERS:
        (root / name).mkdir(mode=0o700)
    layer = root / DOCKER / "overlay2" / LAYER / "diff"
    size = make_layer(root, layer)
    write_store(root / DOCKER, IMAGES, size)
    write_answers(root / OURS / "answers", IMAGES)


def try_programs(root: Path) -> None:
    """All that they import is there. Raises `CommandFailed`."""
    python = ["/opt/venv/bin/python3", "-B", "-W", "ignore", "-c"]
    inside(root, [*python, f"import {', '.join(AGENT)}"])
    # An option of its command line, which it reads when it is imported.
    options = (
        "from oslo_config import cfg; cfg.CONF.register_opt(cfg.StrOpt('backup-encryption-key'))"
    )
    path = "import sys; sys.path.insert(0, '/opt/trove')"
    inside(root, [*python, f"{options}; {path}; import {', '.join(BACKUP_PROGRAM)}"])


def drop_setuid(root: Path) -> None:
    """No program lends its owner's rights: MariaDB's container runs with few limits."""
    for path in files(root):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def files(folder: Path) -> Iterator[Path]:
    """All that is not a folder below ``folder``."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


# -- the layer ---------------------------------------------------------------------


def make_layer(root: Path, layer: Path) -> int:
    """Fill ``layer`` from ``root``. Returns the bytes of its files."""
    layer.mkdir(parents=True)
    for name in LINKED:
        link_tree(root, Path(name), layer)
    for path in root.iterdir():
        if path.is_symlink():  # bin, lib …: into usr
            (layer / path.name).symlink_to(path.readlink())
    (layer / "etc").mkdir()
    for name in COPIED:
        source, place = root / "etc" / name, layer / "etc" / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, place, symlinks=True)
        elif source.is_symlink() or source.exists():
            shutil.copy2(source, place, follow_symlinks=False)
    for name, mode in EMPTY.items():
        (layer / name).mkdir(parents=True, exist_ok=True)
        (layer / name).chmod(mode)
    (layer / "var/run").symlink_to("/run")
    (layer / NO_OPTIONS).parent.mkdir()
    (layer / NO_OPTIONS).write_text("# none\n")
    return sum(path.lstat().st_size for path in files(layer))


def link_tree(root: Path, name: Path, layer: Path) -> None:
    """``layer``/``name`` as ``root``/``name`` is, its files by hard links."""
    if str(name) in NOT_LINKED:
        return
    source, place = root / name, layer / name
    if source.is_symlink():
        place.symlink_to(source.readlink())
    elif source.is_dir():
        place.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            link_tree(root, name / path.name, layer)
        shutil.copystat(source, place)
    else:
        place.hardlink_to(source)


# -- docker's store ----------------------------------------------------------------


def sha256(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def diff_id() -> str:
    """The layer's name by its content. Docker checks it only against what it pulls or pushes."""
    return sha256(LAYER.encode())


def configuration(image: ContainerImage) -> bytes:
    """The image itself: its digest is the image's ID."""
    return _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": image.config,
            "history": [{"created": CREATED, "created_by": "onestack"}],
            "rootfs": {"type": "layers", "diff_ids": [diff_id()]},
        }
    )


def manifest(image: ContainerImage) -> bytes:
    """What a registry has of the image. Its layer is never asked for."""
    config = configuration(image)
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(config), "digest": sha256(config)},
            "layers": [{"mediaType": TARBALL, "size": 1, "digest": diff_id()}],
        }
    )


def write_store(store: Path, images: Iterable[ContainerImage], size: int) -> None:
    """Make docker know ``images`` and their one layer, of ``size`` bytes."""
    overlay = store / "overlay2"
    _write(overlay / LAYER / "link", LINK)
    _write(overlay / LAYER / "committed", "")
    (overlay / "l").mkdir(exist_ok=True)
    (overlay / "l" / LINK).symlink_to(f"../{LAYER}/diff")
    known = store / "image/overlay2"
    # The chain of one layer is named as the layer.
    chain = known / "layerdb" / diff_id().replace(":", "/")
    _write(chain / "diff", diff_id())
    _write(chain / "cache-id", LAYER)
    _write(chain / "size", str(size))
    repositories: dict[str, dict[str, str]] = {}
    for image in images:
        config = configuration(image)
        content = known / "imagedb/content" / sha256(config).replace(":", "/")
        _write(content, config.decode())
        name = f"{REGISTRY}/{image.name}"
        repositories.setdefault(name, {}).update(
            {
                f"{name}:{image.tag}": sha256(config),
                f"{name}@{sha256(manifest(image))}": sha256(config),
            }
        )
    (known / "imagedb/metadata/sha256").mkdir(parents=True)
    _write(known / "repositories.json", json.dumps({"Repositories": repositories}))
    for place in (store, overlay):
        place.chmod(0o710)


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o600)


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


# -- the registry ------------------------------------------------------------------


def write_answers(place: Path, images: Iterable[ContainerImage]) -> None:
    """Each answer of the registry, whole, in a file named by method and path."""
    answers: dict[str, bytes] = {"/v2/index": http("200 OK", "application/json", b"{}")}
    for image in images:
        raw, config = manifest(image), configuration(image)
        told = http("200 OK", MANIFEST, raw)
        for name in (image.tag, sha256(raw)):
            answers[f"/v2/{image.name}/manifests/{name}"] = told
        answers[f"/v2/{image.name}/blobs/{sha256(config)}"] = http("200 OK", CONFIG, config)
    unknown = _json({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
    answers["/none"] = http("404 Not Found", "application/json", unknown)
    for path, answer in answers.items():
        for method in ("GET", "HEAD"):
            file = place / f"{method}{path}"
            file.parent.mkdir(parents=True, exist_ok=True)
            head, blank, body = answer.partition(b"\r\n\r\n")
            file.write_bytes(head + blank + (body if method == "GET" else b""))


def http(status: str, kind: str, body: bytes) -> bytes:
    """An answer of HTTP, as the protocol of docker's registries has it."""
    lines = (
        f"HTTP/1.1 {status}",
        "Docker-Distribution-Api-Version: registry/2.0",
        f"Docker-Content-Digest: {sha256(body)}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
