"""``onestack pool``: which store it is about, and what each takes."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from onestack.cli import pool
from onestack.cli.options import KEPT
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.storage.pool import Pool
from onestack.storage.store import DIRECTORY, PoolFacts, StoreRecord
from onestack.storage.volume_group import GroupRecord, VolumeGroup

GIB = 1 << 30


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    made = Cloud("pool", tmp_path)
    made.etc.mkdir()
    (made.etc / KEPT).write_text("[general]\nCONFIG_CINDER_VOLUMES_SIZE=20G\n")
    return made


def with_group(cloud: Cloud) -> None:
    place = VolumeGroup.at(cloud.root)
    place.home.mkdir(parents=True)
    place.record.write_text(GroupRecord("g", "t", True, 20 * GIB, True, ()).text)


def facts(size: int) -> PoolFacts:
    return PoolFacts("volume group", size, 0, "g", "/dev/loop0", 0, 0, 0)


def test_a_cloud_without_volumes(cloud: Cloud) -> None:
    with pytest.raises(OnestackError, match="has no volume pool"):
        pool.facts_of(cloud)


def test_a_file_pool_takes_no_disk(cloud: Cloud) -> None:
    place = Pool.at(cloud.root)
    place.save(StoreRecord(20 * GIB, DIRECTORY, "root"))
    place.directory.mkdir(parents=True)
    with pytest.raises(OnestackError, match="cannot grow onto /dev/sdb") as refused:
        pool.enlarge(cloud, "/dev/sdb")
    assert refused.value.cure == "name a size: onestack pool grow +10G"


@pytest.mark.parametrize(
    ("text", "method", "given", "after"),
    [
        ("+5G", "grow", 25 * GIB, "25G"),
        ("30G", "grow", 30 * GIB, "30G"),
        ("/dev/sdb", "grow_onto", Path("/dev/sdb"), "120G"),
    ],
)
def test_a_group_takes_sizes_and_disks(
    cloud: Cloud, text: str, method: str, given: object, after: str
) -> None:
    with_group(cloud)
    sizes = [facts(20 * GIB), facts(120 * GIB)]
    with (
        mock.patch.object(VolumeGroup, "facts", side_effect=sizes),
        mock.patch.object(VolumeGroup, method) as grown,
    ):
        pool.enlarge(cloud, text)
    grown.assert_called_once_with(given)
    # the answers of the next `up` say the same
    kept = (cloud.etc / KEPT).read_text()
    assert f"CONFIG_CINDER_VOLUMES_SIZE={after}\n" in kept
