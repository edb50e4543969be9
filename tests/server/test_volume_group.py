"""The volume group where there is device-mapper: in a guest with Debian's kernel, without a cloud.

The guest is a service's (`onestack.images.service_guest`) with LVM in it; a second disk has the
trials, this program, and of the release what cinder's driver imports; a third is empty.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onestack
from onestack.components.cinder import Cinder, local
from onestack.images.service_guest import Recipe
from onestack.model.cloud import CACHE
from tests.support.machines import machine, with_device_mapper
from tests.support.needs import needs_root, needs_services, services_python
from tests.support.service_guest import ServiceGuest
from tests.unit.components.rooms import context_on

pytestmark = [needs_root, needs_services, pytest.mark.timeout(3600)]

HERE = Path(__file__).resolve().parent
RECIPE = Recipe(
    name="test-volume-group",
    title="a machine with LVM",
    packages=("lvm2", "thin-provisioning-tools", "fdisk", "acl", "python3-minimal"),
    tree=HERE / "volume_group",
    unpacked=("perl-base",),
    units=("trials.service",),
    modules=("dm_thin_pool", "dm_snapshot", "loop"),
    root_mib=9000,
)
ROOT = Path("/var/lib/trial")
SLOW = 1800.0
"""Seconds for a boot and its trials; a sixth of it where nothing else runs."""
START = """
export PYTHONPATH=/mnt/src PYTHONDONTWRITEBYTECODE=1
if test -e /srv/first; then
    python3 /mnt/volume_group_trials.py second; sync; poweroff -f
else
    touch /srv/first; python3 /mnt/volume_group_trials.py first; sync; echo b > /proc/sysrq-trigger
fi
"""
LEFT_OUT = ("tests", "nova", "neutron", "heat", "octavia", "horizon", "keystone", "glance")
"""Of the release, what cinder's driver needs not."""


def told() -> dict[str, Any]:
    """What the component says on such a machine."""
    ctx = context_on(with_device_mapper(machine()), ROOT, Cinder(), CONFIG_CINDER_BACKEND="lvm")
    _, program, python, *_ = local.attach_command(ctx)
    (commands,) = Cinder().root_commands(ctx).values()
    return {
        "root": str(ROOT),
        "user": ctx.cloud.user("cinder"),
        "group": "cinder-volumes",
        "section": {k: str(v) for k, v in local.section(ctx)["lvm"].items()},
        "allowed": [dataclasses.asdict(command) for command in commands],
        "links": {program.partition("=")[2]: "/mnt/src", python: "/usr/bin/python3"},
    }


def write_trials(place: Path) -> Path:
    """The disk with all that is run there."""
    tree = place / "trials"
    tree.mkdir()
    for script in HERE.glob("volume_group*_trials.py"):
        shutil.copy(script, tree)
    (tree / "start").write_text(START)
    (tree / "told.json").write_text(json.dumps(told()))
    left_out = shutil.ignore_patterns(*LEFT_OUT)
    (site,) = services_python().parents[1].glob("lib/python3*/site-packages")
    shutil.copytree(site, tree / "site", ignore=left_out, symlinks=True)
    # What has rooms of those names.
    shutil.copytree(Path(onestack.__file__).parent, tree / "src/onestack", symlinks=True)
    disk = place / "trials.raw"
    with disk.open("wb") as file:
        file.truncate(2 << 30)
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(tree), str(disk)]
    subprocess.run(words, check=True)
    shutil.rmtree(tree)
    return disk


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str]]:
    """Trial's name to what went wrong: nothing, if it went well."""
    with tempfile.TemporaryDirectory(prefix="group-", dir="/var/tmp") as name:
        place = Path(name)
        empty = place / "empty.raw"
        with empty.open("wb") as file:
            file.truncate(1 << 30)
        devices = []
        for disk, more in ((write_trials(place), ",readonly=on"), (empty, "")):
            devices += ["-drive", f"file={disk},format=raw,if=virtio{more}"]
        image = RECIPE.build(CACHE / "images")
        guest = ServiceGuest(place, image, None, devices, disk="10G")
        os.nice(19)
        guest.start()
        try:
            guest.wait('"ended": "second"', 2 * SLOW)
        finally:
            assert guest.process
            guest.process.kill()
            guest.process.wait()
        found = {}
        for line in guest.console().splitlines():
            if line.startswith("TRIAL "):
                said = json.loads(line[6:])
                name = said.get("well") or said.get("failed") or said.get("refused", "")
                found[name] = said.get("why", "")
        yield found


def test_all_trials_go_well(outcomes: dict[str, str]) -> None:
    expected = {
        "it_is_made_once",
        "another_clouds_group_is_refused",
        "volumes_live",
        "the_next_tenant_reads_zeros",
        "no_more_is_given_out_than_there_is",
        "what_an_upload_has_left_goes",
        "it_grows",
        "a_volume_is_kept",
        "the_driver_finds_it",
        "a_second_file_by_hand_is_adopted",
        "it_grows_onto_a_disk",
        "a_guests_own_groups_stay_the_guests",
        "detached_and_attached",
        "a_kept_volume_has_its_data",
        "all_is_there_again",
        "a_missing_disk_is_told",
        "space_is_taken_at_once",
        "destroy_leaves_nothing_of_it",
        "an_operators_group_is_used_and_left",
    }
    wrong = {name: why for name, why in outcomes.items() if why}
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())
    assert expected <= set(outcomes)
