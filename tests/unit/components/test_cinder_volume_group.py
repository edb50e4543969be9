"""The volume group in cinder's room, and upstream's driver with it (without device-mapper)."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from onestack.components.cinder import Cinder, local
from onestack.deploy.roster import attach_command, processes_of
from onestack.host.facts import HostFacts
from onestack.model.context import Context
from onestack.model.root_command import Refused, chosen
from onestack.storage.pool import Pool
from onestack.storage.store import StoreRecord
from onestack.storage.volume_group import GroupRecord, VolumeGroup
from tests.support.machines import with_device_mapper
from tests.support.needs import needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import MACHINE, answered, content, context, context_on

TRIALS = Path(__file__).with_name("cinder_volume_group_trials.py")
WITH = with_device_mapper(MACHINE)
IDENTITY = "11111111-2222-3333-4444-555555555555"


def there(root: Path, **given: str) -> Context:
    return context_on(WITH, root, Cinder(), **{"CONFIG_CINDER_BACKEND": "lvm"} | given)


def allowed(ctx: Context, *words: str) -> bool:
    """Whether cinder's user has them run as root."""
    (commands,) = Cinder().root_commands(ctx).values()
    try:
        return chosen(["cinder-rootwrap", "/etc/cinder/rootwrap.conf", *words], commands).as_root
    except Refused:
        return False


def save_pool(ctx: Context) -> None:
    Pool.at(ctx.cloud.root).save(StoreRecord(1, "xfs", "root"))


def save_group(ctx: Context, name: str = "cinder-volumes") -> None:
    group = VolumeGroup.at(ctx.cloud.root)
    group.home.mkdir(parents=True)
    group.record.write_text(GroupRecord(name, "tag", True, 1, True, ()).text)


def test_a_group_where_there_is_device_mapper(tmp_path: Path) -> None:
    with_it, without = there(tmp_path), context(tmp_path, Cinder())
    assert local.chosen(with_it) == ("lvm",)
    assert local.chosen(without) == ("filepool",)
    assert {"lvm2", "thin-provisioning-tools"} <= set(Cinder().packages(with_it))
    assert "lvm2" not in set(Cinder().packages(without))
    (store,) = Cinder().stores(with_it)
    assert store.store == "onestack.storage.volume_group:VolumeGroup.at"
    text = content(with_it, Cinder(), "cinder.conf")
    assert "enabled_backends = lvm\n" in text and "[lvm]\n" in text
    assert "volume_group = cinder-volumes\n" in text and "lvm_type = thin\n" in text
    assert "max_over_subscription_ratio = 1.0\n" in text and "filepool" not in text


def test_without_asking_it_is_a_file_pool(tmp_path: Path) -> None:
    ctx = context_on(WITH, tmp_path, Cinder())
    assert local.chosen(ctx) == ("filepool",) and not local.packages(ctx)


def test_what_is_there_stays(tmp_path: Path) -> None:
    """Also where the kernel has become another."""
    save_pool(there(tmp_path / "a"))
    save_group(there(tmp_path / "b"))
    assert local.chosen(there(tmp_path / "a")) == ("filepool",)
    assert local.chosen(context(tmp_path / "b", Cinder())) == ("lvm",)
    again = there(tmp_path / "b", CONFIG_CINDER_BACKEND="filepool")
    assert local.chosen(again) == ("lvm",)


@pytest.mark.parametrize(
    ("cloud", "answers", "name"),
    [
        ("onestack", {}, "cinder-volumes"),
        ("b", {}, "cinder-volumes-b"),
        ("b", {"CONFIG_CINDER_VOLUME_NAME": ""}, "cinder-volumes-b"),
        ("b", {"CONFIG_CINDER_VOLUME_NAME": "mine"}, "mine"),
        ("b", {"CONFIG_CINDER_VOLUMES_CREATE": "n"}, "cinder-volumes"),
    ],
)
def test_each_cloud_has_a_group_of_its_own(
    tmp_path: Path, cloud: str, answers: dict[str, str], name: str
) -> None:
    wanted = {"CONFIG_CINDER_BACKEND": "lvm"} | answers
    store = local.store(context_on(WITH, tmp_path, Cinder(), name=cloud, **wanted))
    assert isinstance(store, VolumeGroup) and store.name == name


@pytest.mark.parametrize("name", ["../x", "-x", "a b", "a/b"])
def test_names_that_no_group_can_have(name: str) -> None:
    answers, problems = answered(CONFIG_CINDER_VOLUME_NAME=name)
    assert answers is None and "volume group's name" in problems[0]


def test_a_machine_has_one_place_of_its_own() -> None:
    _, problems = answered(CONFIG_CINDER_BACKEND="lvm,filepool")
    assert "two kinds of one place" in problems[0]


def test_who_names_a_group_is_told_that_there_can_be_none(tmp_path: Path) -> None:
    def findings(facts: HostFacts, **given: str) -> list[str]:
        wanted = {"CONFIG_CINDER_BACKEND": "lvm"} | given
        ctx = context_on(facts, tmp_path, Cinder(), **wanted)
        return [str(finding) for finding in Cinder().preflight_checks(ctx)]

    assert not findings(MACHINE) and not findings(WITH, CONFIG_CINDER_VOLUMES_CREATE="n")
    (finding,) = findings(MACHINE, CONFIG_CINDER_VOLUMES_CREATE="n")
    assert "refuse: the volume group cinder-volumes cannot be used" in finding
    assert "modprobe dm_thin_pool" in finding
    pool = {"CONFIG_CINDER_VOLUMES_CREATE": "n", "CONFIG_CINDER_BACKEND": "filepool"}
    (finding,) = findings(WITH, **pool)
    assert "CONFIG_CINDER_BACKEND=lvm uses the group cinder-volumes" in finding
    save_pool(there(tmp_path))
    assert not findings(MACHINE, CONFIG_CINDER_VOLUMES_CREATE="n")


def test_the_disk_is_asked_for_what_is_made(tmp_path: Path) -> None:
    assert Cinder().disk(there(tmp_path)) > 20 << 30
    assert Cinder().disk(there(tmp_path, CONFIG_CINDER_VOLUMES_CREATE="n")) == 0
    save_group(there(tmp_path))
    assert Cinder().disk(there(tmp_path)) == 0


def test_the_group_is_active_before_the_volume_service_and_libvirt(tmp_path: Path) -> None:
    from onestack.components.libvirt import Libvirt
    from onestack.components.mariadb import Mariadb
    from onestack.components.memcached import Memcached
    from onestack.components.rabbitmq import Rabbitmq

    rooms = (Mariadb(), Rabbitmq(), Memcached(), Cinder(), Libvirt())
    ctx = context_on(WITH, tmp_path, *rooms, CONFIG_CINDER_BACKEND="lvm")
    specs = {spec.name: spec for own in processes_of(ctx).values() for spec in own}
    (store,) = Cinder().stores(ctx)
    command = attach_command(ctx, store)
    # the same that the driver has run when something was added
    assert command == local.attach_command(ctx)
    assert specs["cinder-volume"].prepare == specs["libvirtd"].prepare == (command,)
    assert specs["cinder-volume"].cleanup == ((*command, "--detach"),)
    text = content(ctx, Cinder(), "cinder.conf")
    assert f"volumegroup_attach = {shlex.join(command)}\n" in text
    assert allowed(ctx, *command)
    assert not allowed(ctx, *command, "--detach")
    assert not allowed(ctx, *command[:-1], "/elsewhere")


def test_root_touches_this_clouds_volumes_alone(tmp_path: Path) -> None:
    ctx = there(tmp_path)
    group, volume = "cinder-volumes", f"volume-{IDENTITY}"
    assert allowed(ctx, "lvremove", "-f", f"{group}/{volume}")
    assert allowed(ctx, "env", "LC_ALL=C", "lvs", group)
    for wrong in (
        ("lvremove", "-f", f"{group}/{group}-pool"),
        ("lvremove", "-f", group),
        ("lvremove", "-f", f"other/{volume}"),
        ("lvremove", "-f", f"{group}/root"),
        ("lvremove", "--config", "devices { dir = 1 }", "-f", f"{group}/{volume}"),
        ("lvs", "--config", "x"),
        ("env", "LVM_SYSTEM_DIR=/tmp", "lvs", group),
        ("vgremove", group),
        ("lvrename", group, "root", volume),
        ("lvcreate", "-n", volume, "--addtag", "x", group),
        ("setfacl", "--modify", "user:onestack-cinder:rw", "/dev/vda"),
        ("setfacl", "--modify", "user:nobody:rw", f"/dev/mapper/cinder--volumes-{volume}"),
        ("setfacl", "--modify", "user:onestack-cinder:rw", "/dev/mapper/cinder--volumes-x/../y"),
        ("qemu-img", "info", f"/dev/mapper/{volume}"),
    ):
        assert not allowed(ctx, *wrong), wrong
    # what is not root's is run by the asker itself, as before
    (commands,) = Cinder().root_commands(ctx).values()
    assert not chosen(["cinder-rootwrap", "x", "qemu-img", "info", "/a"], commands).as_root
    settings = {one for command in commands for one in command.settings}
    assert f"LVM_SYSTEM_DIR={tmp_path}/data/volume-group/lvm" in settings
    assert len(Cinder().root_commands(context(tmp_path, Cinder()))["onestack-cinder"]) == 1


@needs_services
def test_all_that_upstream_has_run_as_root_is_allowed(tmp_path: Path) -> None:
    asked = json.loads(tried(TRIALS, "commands").stdout.splitlines()[-1])
    ctx = there(tmp_path)
    programs = {words[2] if words[0] == "env" else words[0] for words in asked}
    assert programs >= {"lvs", "vgs", "pvs", "lvcreate", "lvchange", "lvextend", "lvremove"}
    assert programs >= {"lvrename", "setfacl", "lvdisplay"}
    user = ctx.cloud.user("cinder")
    for words in asked:
        if words[0] == "setfacl":
            assert words[2].startswith("user:")
            words[2] = f"user:{user}:rw"
        assert allowed(ctx, *words), words


@needs_services
@pytest.mark.parametrize(
    "name",
    [
        "connections_are_local_devices",
        "what_is_added_is_taken_in_once",
        "no_more_is_given_out_than_there_is",
        "what_an_upload_has_left_goes",
        "nothing_is_encrypted",
    ],
)
def test_upstreams_driver_with_ours(name: str) -> None:
    tried(TRIALS, name)


def test_the_service_has_no_further_name(tmp_path: Path) -> None:
    (volume,) = (p for p in Cinder().processes(there(tmp_path)) if p.name == "cinder-volume")
    assert volume.arguments["backend"] == "lvm"
