"""Swift in three zones: in its file, with images; and on disks, of which one dies and comes back.

Two clouds, one after the other; the second has no more than keystone, glance and swift.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.release.release import release
from onestack.storage import loop
from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until

pytestmark = pytest.mark.timeout(1800)

NAME = os.environ.get("ONESTACK_TEST_NAME", "zones")
MIB = 1 << 20
FILE = (
    "CONFIG_NEUTRON_L2_AGENT=ovn",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_ONESTACK_IMAGE=y",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_SWIFT_STORAGE_ZONES=3",
    "CONFIG_SWIFT_STORAGE_REPLICAS=3",
    "CONFIG_SWIFT_STORAGE_FSTYPE=xfs",
    "CONFIG_SWIFT_STORAGE_SIZE=1G",
    "CONFIG_GLANCE_BACKEND=swift",
)
DISKS = (
    "CONFIG_NOVA_INSTALL=n",
    "CONFIG_NEUTRON_INSTALL=n",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_SWIFT_STORAGE_ZONES=3",
    "CONFIG_SWIFT_STORAGE_REPLICAS=3",
)
RINGS = """
import collections, json, sys
from swift.common import utils
utils.HASH_PATH_SUFFIX = b"of no matter"
from swift.common.ring import Ring
found = {}
for name in ("account", "container", "object"):
    ring = Ring(sys.argv[1], ring_name=name)
    found[name] = collections.Counter(
        " ".join(sorted(f"{n['device']}:{n['zone']}" for n in ring.get_part_nodes(part)))
        for part in range(ring.partition_count))
print(json.dumps(found))
"""


def srv(cloud: CloudUnderTest) -> Path:
    return cloud.root / "data" / "swift" / "srv"


def lying(cloud: CloudUnderTest, digest: str) -> set[str]:
    """The devices with a file of an object whose content has this SHA-256."""
    place = srv(cloud)
    found = cloud.type(f"find {place}/*/objects -name '*.data' -exec sha256sum {{}} + || true")
    lines = [line.split() for line in found.splitlines()]
    return {Path(path).relative_to(place).parts[0] for sum_, path in lines if sum_ == digest}


def rings(cloud: CloudUnderTest) -> dict[str, dict[str, int]]:
    """For each ring, how many partitions lie on which devices (``NAME:ZONE …``)."""
    words = [str(release().services.python), "-W", "ignore", "-c", RINGS]
    found: dict[str, dict[str, int]] = json.loads(run([*words, f"{cloud.root}/etc/swift"]).stdout)
    return found


def put(cloud: CloudUnderTest, work: Path, name: str, size: int = MIB + 1) -> str:
    """An object of random bytes in the container ``c``; its SHA-256."""
    (work / name).write_bytes(os.urandom(size))
    cloud.type(f"swift upload c {work}/{name} --object-name {name}", timeout=300)
    return hashlib.sha256((work / name).read_bytes()).hexdigest()


def got(cloud: CloudUnderTest, name: str) -> str:
    return cloud.type(f"swift download c {name} -o - | sha256sum").split()[0]


def listed(cloud: CloudUnderTest) -> set[str]:
    return set(cloud.type("swift list c").split())


def up(cloud: CloudUnderTest, **answers: str) -> str:
    """What it says while it works."""
    words = [w for key, value in answers.items() for w in ("--set", f"CONFIG_SWIFT_{key}={value}")]
    return cloud.onestack("up", *words, timeout=900).stderr


def refused(cloud: CloudUnderTest, **answers: str) -> str:
    """Why `up` does not take these answers. Nothing is touched."""

    def state() -> object:
        kept = (cloud.root / "etc" / "answers.txt").read_text()
        return kept, sorted((p["name"], p["pid"]) for p in cloud.status())

    before = state()
    words = [w for key, value in answers.items() for w in ("--set", f"CONFIG_SWIFT_{key}={value}")]
    says = cloud.onestack("up", *words, expect=3).stderr
    assert state() == before
    return says


@pytest.fixture(scope="class")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zones")


@pytest.fixture(scope="class")
def in_file() -> Iterator[CloudUnderTest]:
    with CloudUnderTest(NAME, answers=FILE).living(timeout=1200) as cloud:
        yield cloud


@pytest.fixture(scope="class")
def objects(in_file: CloudUnderTest, work: Path) -> dict[str, str]:
    """Name to SHA-256."""
    return {name: put(in_file, work, name) for name in ("one", "two", "three", "four")}


class TestFile:
    def test_copies_lie_in_three_zones(
        self, in_file: CloudUnderTest, objects: dict[str, str]
    ) -> None:
        everywhere = {"zone1:1 zone2:2 zone3:3": 1024}
        assert rings(in_file) == dict.fromkeys(("account", "container", "object"), everywhere)
        assert in_file.type(f"findmnt -no FSTYPE {srv(in_file)}").strip() == "xfs"
        for digest in objects.values():
            assert lying(in_file, digest) == {"zone1", "zone2", "zone3"}
        databases = in_file.type(f"find {srv(in_file)} -name '*.db'").split()
        for kind in ("accounts", "containers"):
            there = {Path(p).relative_to(srv(in_file)).parts[:2] for p in databases}
            assert {zone for zone, what in there if what == kind} == {"zone1", "zone2", "zone3"}

    def test_an_image_lies_there(self, in_file: CloudUnderTest, work: Path) -> None:
        image = json.loads(in_file.type("openstack image show cirros -f json"))
        assert image["properties"]["stores"] == "swift"
        assert not list((in_file.root / "data" / "glance" / "images").iterdir())
        in_file.type(f"openstack image save cirros --file {work}/cirros")
        digest = hashlib.sha256((work / "cirros").read_bytes()).hexdigest()
        assert lying(in_file, digest) == {"zone1", "zone2", "zone3"}

    def test_it_outlives_a_reboot_and_boots_a_server(
        self, in_file: CloudUnderTest, objects: dict[str, str]
    ) -> None:
        in_file.onestack("down", timeout=300)
        in_file.up()
        assert {name: got(in_file, name) for name in objects} == objects
        # No compute host has it in its cache yet.
        in_file.type("openstack network create n")
        in_file.type("openstack subnet create --network n --subnet-range 192.168.66.0/24 n")
        in_file.type(
            "openstack server create --flavor m1.nano --image cirros --network n --wait s",
            timeout=300,
        )
        wait_until(
            "the server's prompt",
            lambda: "login:" in in_file.type("openstack console log show s"),
            300,
            2,
        )
        in_file.type("openstack server delete --wait s && openstack network delete n")

    def test_it_grows_in_use(self, in_file: CloudUnderTest, objects: dict[str, str]) -> None:
        def size() -> int:
            return int(in_file.type(f"df -BM --output=size {srv(in_file)} | tail -1").strip(" M\n"))

        before = size()
        pids = {p["name"]: p["pid"] for p in in_file.status()}
        says = up(in_file, STORAGE_SIZE="1536M")
        assert "grow the object store's file from 1G to 1536M" in says
        assert size() - before > 490
        assert {p["name"]: p["pid"] for p in in_file.status()} == pids
        assert {name: got(in_file, name) for name in objects} == objects
        assert (
            "it never shrinks"
            in in_file.onestack("up", "--dry-run", "--set", "CONFIG_SWIFT_STORAGE_SIZE=1G").stderr
        )

    def test_what_would_lose_objects_is_refused(self, in_file: CloudUnderTest) -> None:
        assert "cannot become ext4" in refused(in_file, STORAGE_FSTYPE="ext4")
        assert "lies" in refused(in_file, HASH="another")
        says = refused(in_file, STORAGES="/dev/vdx", STORAGE_ZONES="1", STORAGE_REPLICAS="1")
        assert "what is there would not be found any more" in says
        assert "1.0 GiB must stay so" in refused(in_file, STORAGE_SIZE="90000G")

    def test_fewer_copies_then_fewer_zones(
        self, in_file: CloudUnderTest, objects: dict[str, str]
    ) -> None:
        up(in_file, STORAGE_REPLICAS="2")
        assert all(len(places.split()) == 2 for places in rings(in_file)["object"])
        wait_until(
            "two copies of each",
            lambda: all(len(lying(in_file, digest)) == 2 for digest in objects.values()),
            600,
            5,
        )
        up(in_file, STORAGE_ZONES="2")
        assert set(rings(in_file)["object"]) == {"zone1:1 zone2:2"}
        assert {name: got(in_file, name) for name in objects} == objects
        wait_until(
            "the third zone is empty",
            lambda: all(lying(in_file, d) == {"zone1", "zone2"} for d in objects.values()),
            600,
            5,
        )
        assert {name: got(in_file, name) for name in objects} == objects
        assert listed(in_file) == objects.keys()

    def test_logs_are_clean(self, in_file: CloudUnderTest) -> None:
        lines = [line for line in in_file.error_lines() if line.startswith(("swift-", "glance-"))]
        assert unexpected(lines) == []


class Disk:
    """A disk that can be pulled out: a loop device, under a name that lasts."""

    def __init__(self, place: Path, name: str, kind: str) -> None:
        self.image, self.name = place / f"{name}.img", place / name
        self.image.touch()
        os.truncate(self.image, 600 * MIB)
        run([f"mkfs.{kind}", "-q", str(self.image)])
        self.plug()

    def plug(self) -> None:
        self.name.symlink_to(loop.attach(self.image))

    def pull(self, cloud: CloudUnderTest) -> None:
        """As a dead one looks: nothing is mounted there any more, and it has no name."""
        cloud.type(f"umount --lazy {srv(cloud)}/{self.name.name}")
        loop.detach(self.image)
        self.name.unlink()

    def remove(self) -> None:
        loop.detach(self.image)
        self.name.unlink(missing_ok=True)
        self.image.unlink()


@pytest.fixture(scope="class")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Disk]]:
    place = tmp_path_factory.mktemp("disks")
    kinds = {"a": "ext4", "b": "xfs", "c": "ext4"}
    made = [Disk(place, name, kind) for name, kind in kinds.items()]
    yield made
    if not os.environ.get("ONESTACK_TEST_KEEP"):
        for disk in made:
            disk.remove()


@pytest.fixture(scope="class")
def on_disks(disks: list[Disk]) -> Iterator[CloudUnderTest]:
    names = ",".join(str(disk.name) for disk in disks)
    asked = (*DISKS, f"CONFIG_SWIFT_STORAGES={names}")
    with CloudUnderTest(NAME, answers=asked).living(timeout=1200) as cloud:
        yield cloud


class TestDisks:
    def test_copies_lie_on_three_disks(self, on_disks: CloudUnderTest, work: Path) -> None:
        assert lying(on_disks, put(on_disks, work, "one")) == {"a", "b", "c"}
        kinds = [on_disks.type(f"findmnt -no FSTYPE {srv(on_disks)}/{d}").strip() for d in "abc"]
        assert kinds == ["ext4", "xfs", "ext4"]
        assert not (on_disks.root / "data" / "swift" / "disk.img").exists()

    def test_a_disk_dies_and_comes_back(
        self, on_disks: CloudUnderTest, disks: list[Disk], work: Path
    ) -> None:
        disks[2].pull(on_disks)
        assert got(on_disks, "one") == hashlib.sha256((work / "one").read_bytes()).hexdigest()
        digest = put(on_disks, work, "two")
        assert lying(on_disks, digest) == {"a", "b"}
        assert got(on_disks, "two") == digest
        doctor = on_disks.onestack("doctor", expect=None).stdout
        assert f"{disks[2].name} is not mounted on {srv(on_disks)}/c" in doctor
        # A reboot meanwhile: the others are enough.
        on_disks.onestack("down", timeout=300)
        says = on_disks.up()
        assert f"note: {disks[2].name} of CONFIG_SWIFT_STORAGES cannot hold" in says.stderr
        assert got(on_disks, "two") == digest
        on_disks.type(f"swift delete c one && ! test -e {srv(on_disks)}/c/objects")
        disks[2].plug()
        assert "onestack restart swift" in on_disks.onestack("doctor", expect=None).stdout
        on_disks.onestack("restart", "swift", timeout=120)
        wait_until("the copy on the new disk", lambda: lying(on_disks, digest) == {*"abc"}, 600, 5)
        wait_until("its listing too", lambda: listed(on_disks) == {"two"}, 600, 5)
        assert "is not mounted on" not in on_disks.onestack("doctor", expect=None).stdout

    def test_two_copies_on_three_disks(
        self, on_disks: CloudUnderTest, disks: list[Disk], work: Path
    ) -> None:
        """A copy that would be on the dead disk goes to the third, and moves when it is back."""
        up(on_disks, STORAGE_REPLICAS="2")
        assert all(len(places.split()) == 2 for places in rings(on_disks)["object"])
        digest = put(on_disks, work, "three")
        home = lying(on_disks, digest)
        assert len(home) == 2
        lost = next(disk for disk in disks if disk.name.name in home)
        lost.pull(on_disks)
        assert got(on_disks, "three") == digest
        again = put(on_disks, work, "three")
        assert lying(on_disks, again) == {*"abc"} - {lost.name.name}
        lost.plug()
        on_disks.onestack("restart", "swift", timeout=120)
        wait_until("the copy at home", lambda: lying(on_disks, again) == home, 600, 5)
        assert got(on_disks, "three") == again

    def test_a_disk_is_taken_out(
        self, on_disks: CloudUnderTest, disks: list[Disk], work: Path
    ) -> None:
        def on_both(digest: str) -> bool:
            return lying(on_disks, digest) == {*"ab"}

        a, b, _ = (str(disk.name) for disk in disks)
        says = refused(on_disks, STORAGES=a, STORAGE_ZONES="1", STORAGE_REPLICAS="1")
        assert "some lie nowhere else" in says
        up(on_disks, STORAGES=f"{a},{b}", STORAGE_ZONES="2")
        assert set(rings(on_disks)["object"]) == {"a:1 b:2"}
        on_disks.inside(f"findmnt {srv(on_disks)}/c", expect=1)
        for name in ("two", "three"):
            digest = hashlib.sha256((work / name).read_bytes()).hexdigest()
            assert got(on_disks, name) == digest
            wait_until(f"{name} on both", functools.partial(on_both, digest), 600, 5)

    def test_logs_say_no_more_than_that_a_disk_was_gone(self, on_disks: CloudUnderTest) -> None:
        gone = re.compile("not mounted|unmounted|Insufficient Storage|507|handoff")
        lines = [line for line in on_disks.error_lines() if line.startswith("swift-")]
        assert [line for line in unexpected(lines) if not gone.search(line)] == []

    def test_a_dying_disk_stops_nobody(
        self, on_disks: CloudUnderTest, disks: list[Disk], work: Path
    ) -> None:
        """It is there, and every read of it fails."""
        a, b, _ = disks
        up(on_disks, STORAGES=f"{a.name},{b.name}", STORAGE_ZONES="2", STORAGE_REPLICAS="2")
        kept = {name: got(on_disks, name) for name in listed(on_disks)}
        on_disks.type(f"xfs_io -x -c shutdown {srv(on_disks)}/b")
        os.truncate(b.image, 0)
        kept["four"] = put(on_disks, work, "four")
        on_disks.onestack("restart", "swift", timeout=120)
        kept["five"] = put(on_disks, work, "five")
        assert lying(on_disks, kept["five"]) == {"a"}
        assert {name: got(on_disks, name) for name in kept} == kept
        assert "it cannot be read" in on_disks.onestack("doctor", expect=None).stdout
        up(on_disks, STORAGES=str(a.name), STORAGE_ZONES="1", STORAGE_REPLICAS="1")
        assert set(rings(on_disks)["object"]) == {"a:1"}
        assert {name: got(on_disks, name) for name in kept} == kept
