"""Cinder's room: what it asks for, and what it says to its own log lines."""

from __future__ import annotations

import configparser
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import onestack
from onestack.answers.registry import registry
from onestack.components.cinder import Cinder
from onestack.components.cinder.local import volume_pool
from onestack.components.libvirt import Libvirt
from onestack.components.mariadb import Mariadb
from onestack.components.memcached import Memcached
from onestack.components.rabbitmq import Rabbitmq
from onestack.deploy.roster import attach_command, processes_of
from onestack.model.declarations import Scope
from onestack.model.process import AgentProbe
from onestack.model.root_command import Refused, chosen
from onestack.storage.pool import Pool
from tests.support.needs import needs_services, services_python
from tests.unit.components.rooms import answered, content, context


@pytest.fixture
def cinder() -> Cinder:
    return Cinder()


def test_everything_is_below_the_clouds_root(tmp_path: Path, cinder: Cinder) -> None:
    ctx = context(tmp_path, cinder, name="a")
    text = content(ctx, cinder, "cinder.conf")
    allowed = (str(tmp_path), str(ctx.release.services.place), str(ctx.release.program))
    for path in re.findall(r"(?<![\w:/.])/[\w./-]+", text):
        if path.startswith(("/v3", "/cinder", "/ ")) or path == "/":
            continue
        assert path.startswith(allowed), path
    assert ctx.internal in text
    assert "127.77.0.1" not in text


def test_both_kinds_of_clients_find_it(tmp_path: Path, cinder: Cinder) -> None:
    ctx = context(tmp_path, cinder)
    (identity,) = cinder.identity(ctx)
    assert {e.type: (e.port, e.path) for e in identity.endpoints} == {
        "block-storage": (8776, "/v3"),
        "volumev3": (8776, "/v3"),
    }


def test_the_driver_looks_where_the_pool_is(tmp_path: Path, cinder: Cinder) -> None:
    ctx = context(tmp_path, cinder)
    place = volume_pool(ctx.cloud)
    text = content(ctx, cinder, "cinder.conf")
    assert f"filepool_directory = {place.directory}\n" in text
    assert f"filepool_record = {place.record}\n" in text


def test_the_pool_is_mounted_before_the_volume_service_and_libvirt(
    tmp_path: Path, cinder: Cinder
) -> None:
    rooms = (Mariadb(), Rabbitmq(), Memcached(), cinder, Libvirt())
    ctx = context(tmp_path, *rooms, CONFIG_CINDER_BACKEND="lvm,nfs")
    specs = {spec.name: spec for own in processes_of(ctx).values() for spec in own}
    (store,) = cinder.stores(ctx)
    command = attach_command(ctx, store)
    assert command[-2:] == ("onestack.storage.pool:Pool.at", str(tmp_path))
    assert pkgutil.resolve_name(store.store)(tmp_path) == Pool.at(tmp_path)
    assert specs["cinder-volume"].prepare == (command,)
    assert specs["cinder-volume"].cleanup == ((*command, "--detach"),)
    # Guests have volumes open when libvirtd ends: the pool stays as it is.
    assert (specs["libvirtd"].prepare, specs["libvirtd"].cleanup) == ((command,), ())
    others = [s for n, s in specs.items() if n not in ("cinder-volume", "libvirtd")]
    assert not [c for spec in others for c in (*spec.prepare, *spec.cleanup) if command[-2] in c]
    without = context(tmp_path, *rooms, CONFIG_CINDER_BACKEND="nfs")
    assert not list(cinder.stores(without))
    (libvirtd,) = processes_of(without)["libvirt"]
    assert not libvirtd.prepare


def test_the_volume_service_shares_no_process(tmp_path: Path, cinder: Cinder) -> None:
    processes = {p.name: p for p in cinder.processes(context(tmp_path, cinder))}
    assert set(processes) == {"cinder-api", "cinder-volume", "cinder-purge"}
    held = {name: p.services for name, p in processes.items() if p.services}
    assert held == {"cinder-api": ("cinder-scheduler",)}
    probe = processes["cinder-api"].probe
    assert isinstance(probe, AgentProbe) and probe.binaries == ("cinder-scheduler",)
    assert processes.pop("cinder-purge").user == "onestack-cinder"
    for process in processes.values():
        assert process.user == "onestack-cinder"
        assert process.env["OS_CINDER_DISABLE_EVENTLET_PATCHING"] == "1"
        assert not process.capabilities
    first = processes["cinder-volume"].env["PATH"].split(":")[0]
    assert first.endswith("/onestack/runtime/in_place_of_sudo")


def test_cinder_gets_no_root_by_its_sudo(tmp_path: Path, cinder: Cinder) -> None:
    """It asks for it to look at images, which are its own."""
    (commands,) = cinder.root_commands(context(tmp_path, cinder)).values()
    assert not any(command.as_root for command in commands)
    asked = ["cinder-rootwrap", "/etc/cinder/rootwrap.conf", "qemu-img", "info", "/a b"]
    known = chosen(asked, commands)
    assert asked[known.leading :] == ["qemu-img", "info", "/a b"]
    for other in (["id"], ["cinder-rootwrap", "/etc/cinder/rootwrap.conf"]):
        with pytest.raises(Refused):
            chosen(other, commands)


def test_nothing_that_is_preloaded_is_cinders_own(tmp_path: Path, cinder: Cinder) -> None:
    """cinder itself imports eventlet, which the zygote must not have."""
    assert not [m for m in cinder.preload(context(tmp_path, cinder)) if m.startswith("cinder")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("CONFIG_CINDER_BACKEND", "gluster", "upstream removed"),
        ("CONFIG_CINDER_BACKEND", "lvm,vmdk", "vCenter"),
        ("CONFIG_CINDER_BACKEND", "zfs", "not one of lvm, filepool, nfs"),
        ("CONFIG_CINDER_BACKEND", "nfs,nfs", "twice"),
        ("CONFIG_CINDER_NFS_MOUNTS", "server", "HOST:/EXPORT"),
        ("CONFIG_CINDER_NETAPP_STORAGE_FAMILY", "eseries", "write ontap_cluster"),
        ("CONFIG_CINDER_VOLUMES_SIZE", "10M", "at least 512M"),
        ("CONFIG_CINDER_VOLUMES_SIZE", "a lot", "20G or 512M"),
    ],
)
def test_answers_that_cannot_be_honoured(name: str, text: str, says: str) -> None:
    answers, problems = answered(**{name: text})
    assert answers is None
    assert says in problems[0]


@pytest.mark.parametrize(
    ("text", "size"), [("20G", 20 << 30), ("512M", 512 << 20), ("1T", 1 << 40), ("20GiB", 20 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    answers, problems = answered(CONFIG_CINDER_VOLUMES_SIZE=text, CONFIG_CINDER_BACKEND="lvm")
    assert not problems
    assert answers is not None
    assert answers["CONFIG_CINDER_VOLUMES_SIZE"] == size


def test_it_can_be_left_out(cinder: Cinder) -> None:
    assert not cinder.enabled(registry().answers({"CONFIG_CINDER_INSTALL": "n"}))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "Insufficient free space for volume creation on host vm@filepool#filepool "
            "(requested / avail): 50/20.0",
            "onestack pool",
        ),
        # That one does not say whether it is the room or the type: both are named, and what tells.
        ("No valid backend was found. No weighed backends available", "onestack pool show"),
        ("No valid backend was found. No weighed backends available", "volume type show TYPE"),
        ("No valid backend was found. No weighed backends available", "Filter results"),
        (
            "Image 2f6d0a3e-0000-4000-8000-000000000001 is unacceptable: Image has a backing file",
            "qemu-img info",
        ),
        (
            "Bad or unexpected response from the storage volume backend API: the pool is not "
            "mounted on /x; restart the volume service",
            "onestack restart cinder",
        ),
        (
            "Object PUT failed: http://x/volumebackups/y 507 Insufficient Storage",
            "CONFIG_SWIFT_STORAGE_SIZE",
        ),
        ("the filesystem of /x cannot share blocks between files", "XFS or btrfs"),
        ("The key of volume 1 could not be had: no", "Barbican runs"),
        ("Insufficient free space on /x for image conversion.", "df -h"),
        ("(1045, \"Access denied for user 'cinder'@'localhost'\")", "run up again"),
        ("Image virtual size is 2GB and doesn't fit in a volume of size 1GB.", "larger"),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, cinder: Cinder, line: str, says: str | None) -> None:
    text = context(tmp_path, cinder).model.likely("cinder", line)
    assert (says in text) if says and text else text is None and says is None


def test_each_back_end_has_a_section_a_process_and_a_probe_of_its_own(
    tmp_path: Path, cinder: Cinder
) -> None:
    ctx = context(
        tmp_path,
        cinder,
        CONFIG_CINDER_BACKEND="lvm,nfs,netapp,solidfire",
        CONFIG_CINDER_NFS_MOUNTS="a:/x,[fd00::1]:/y",
        CONFIG_CINDER_NETAPP_NFS_SHARES="n:/z",
        CONFIG_CINDER_SOLIDFIRE_PASSWORD="geheim",
    )
    found = {p.name: p for p in cinder.processes(ctx)}
    names = {"cinder-volume"} | {f"cinder-volume-{b}" for b in ("nfs", "netapp", "solidfire")}
    assert names <= set(found)
    probe = found["cinder-volume-nfs"].probe
    assert isinstance(probe, AgentProbe) and probe.binaries == ("cinder-volume@nfs",)
    assert [store.owner for store in cinder.stores(ctx)] == ["cinder-volume"]
    text = content(ctx, cinder, "cinder.conf")
    assert "enabled_backends = filepool,nfs,netapp,solidfire" in text
    assert "[solidfire]" in text and "san_password = geheim" in text
    assert content(ctx, cinder, "nfs_shares") == "a:/x\n[fd00::1]:/y\n"
    assert {"nfs-common", "open-iscsi"} <= set(cinder.packages(ctx))
    assert "geheim" not in str([p.argv for p in found.values()])


def test_the_pool_offers_volumes_for_several_servers(tmp_path: Path, cinder: Cinder) -> None:
    tasks = {task.name: task for task in cinder.tasks(context(tmp_path, cinder))}
    assert tasks["types"].needs == ("capability:block-storage",)
    assert tasks["types"].scope is Scope.CLOUD


def test_backups_are_files_where_there_is_no_object_store(tmp_path: Path, cinder: Cinder) -> None:
    ctx = context(tmp_path, cinder, CONFIG_ONESTACK_CINDER_BACKUP="y")
    declared = ctx.model["cinder"]
    (backup,) = (p for p in declared.processes if p.name == "cinder-backup")
    assert "cinder-volume" in backup.needs and "object-store" not in backup.needs
    file = configparser.RawConfigParser(strict=False)
    file.read_string(content(ctx, cinder, "cinder.conf"))
    defaults = file["DEFAULT"]
    place = Path(defaults["backup_posix_path"])
    (directory,) = (d for d in declared.directories if d.path == place)
    assert (directory.mode, directory.user) == (0o700, ctx.cloud.user("cinder"))
    # Upstream's default is a chunk of 1.9 GiB in memory.
    assert int(defaults["backup_file_size"]) <= 16 << 20
    assert int(defaults["backup_file_size"]) % 32768 == 0
    without = context(tmp_path, cinder)
    assert "cinder-backup" not in {p.name for p in without.model["cinder"].processes}
    assert "backup_driver" not in content(without, cinder, "cinder.conf")


def test_without_the_pool_no_pool_is_made(tmp_path: Path, cinder: Cinder) -> None:
    given = {"CONFIG_CINDER_BACKEND": "nfs", "CONFIG_CINDER_NFS_MOUNTS": "a:/x"}
    ctx = context(tmp_path, cinder, **given)
    assert list(cinder.tasks(ctx)) == []
    assert cinder.disk(ctx) == 0
    assert "filepool" not in content(ctx, cinder, "cinder.conf")


def test_what_a_back_end_lacks_is_named(cinder: Cinder) -> None:
    answers, _ = answered(CONFIG_CINDER_BACKEND="nfs,netapp,solidfire")
    assert answers is not None
    said = "\n".join(cinder.validate(answers))
    for key in ("NFS_MOUNTS", "NETAPP_LOGIN", "NETAPP_NFS_SHARES", "SOLIDFIRE_HOSTNAME"):
        assert f"CONFIG_CINDER_{key}" in said


ANNOUNCED = """
from types import SimpleNamespace
from onestack.components.cinder.inside import run

told = []
upstream = SimpleNamespace(
    start=lambda: told.append("listens"),
    stop=lambda: told.append("hears no more"),
    wait=lambda: told.append("finishes"),
    manager=SimpleNamespace(
        publish_service_capabilities=lambda context: told.append(context.is_admin)
    ),
)
service = run._Announced(upstream)
service.start()
service.stop()
assert told == ["listens", True, "hears no more", "finishes"], told
"""


@needs_services
def test_the_scheduler_hears_of_a_service_that_starts() -> None:
    """Once it listens, for the scheduler may just have asked; then both know of each other."""
    source = Path(onestack.__file__).parents[1]
    subprocess.run(
        [services_python(), "-c", ANNOUNCED],
        env={"PYTHONPATH": str(source), "OS_CINDER_DISABLE_EVENTLET_PATCHING": "1"},
        check=True,
        timeout=120,
    )
