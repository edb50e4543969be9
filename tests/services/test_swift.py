"""Swift: objects of every kind, images and volume backups in it, a full disk, and a reboot."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.release.release import release
from tests.deploy.known_errors import unexpected
from tests.support.clouds import UUID, CloudUnderTest, table, wait_until

MIB = 1 << 20
OTHER = {
    "OS_USERNAME": "objects-other",
    "OS_PASSWORD": "of-a-test",
    "OS_PROJECT_NAME": "objects-other",
}
CURL = "curl -sS --cacert $OS_CACERT"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random bytes, ``big``, to upload."""
    place = tmp_path_factory.mktemp("objects")
    (place / "big").write_bytes(os.urandom(5 * MIB + 17))
    return place


@pytest.fixture(scope="module", autouse=True)
def swept(cloud: CloudUnderTest) -> Iterator[None]:
    if not any(p["name"] == "swift-proxy" for p in cloud.status()):
        pytest.skip("this cloud has no object store (CONFIG_SWIFT_INSTALL=y)")
    yield
    cloud.type("swift delete --all", expect=None, timeout=300)
    cloud.type("openstack user delete objects-other", expect=None)
    cloud.type("openstack project delete objects-other", expect=None)


def same(one: Path, other: Path) -> bool:
    return digest(one) == digest(other)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def url(cloud: CloudUnderTest) -> str:
    """Where the account is, as the catalog says."""
    found = re.search(r"StorageURL: (\S+)", cloud.type("swift stat -v"))
    assert found
    return found[1]


def as_other(cloud: CloudUnderTest, command: str, **more: object) -> str:
    words = " ".join(f"{name}={value}" for name, value in OTHER.items())
    return cloud.type(f"env -u OS_CLOUD {words} {command}", **more)


def space(cloud: CloudUnderTest) -> tuple[int, int]:
    """Used and free bytes of the object store's disk."""
    place = cloud.root / "data" / "swift" / "srv"
    used, free = cloud.type(f"df -B1 --output=used,avail {place}").splitlines()[1].split()
    return int(used), int(free)


class TestObjects:
    def test_upload_list_download(self, cloud: CloudUnderTest, work: Path) -> None:
        cloud.type(f"swift upload one {work}/big --object-name folder/big")
        assert cloud.type("swift list one").split() == ["folder/big"]
        cloud.type(f"swift download one folder/big -o {work}/back")
        assert same(work / "big", work / "back")
        cloud.type("openstack container create two")
        cloud.type(f"openstack object create two {work}/big --name big")
        assert "big" in cloud.type("openstack object list two -f value").split()
        cloud.type(f"openstack object save two big --file {work}/back2")
        assert same(work / "big", work / "back2")

    def test_metadata_longer_than_an_inode(self, cloud: CloudUnderTest) -> None:
        """ext4 by itself has 4 KiB for all attributes of a file."""
        headers = " ".join(f"-H 'X-Object-Meta-Key{n}: {'v' * 250}'" for n in range(14))
        cloud.type(f"swift post one folder/big {headers}")
        assert cloud.type("swift stat one folder/big").count("v" * 250) == 14

    def test_static_large_object(self, cloud: CloudUnderTest, work: Path) -> None:
        cloud.type(f"swift upload one {work}/big --object-name slo -S {MIB}")
        shown = cloud.type("swift stat one slo")
        assert "X-Static-Large-Object: True" in shown.replace("  ", "")
        assert len(cloud.type("swift list one_segments").split()) == 6
        cloud.type(f"swift download one slo -o {work}/slo")
        assert same(work / "big", work / "slo")

    def test_dynamic_large_object(self, cloud: CloudUnderTest, work: Path) -> None:
        for number in range(3):
            cloud.type(f"swift upload parts {work}/big --object-name dlo/{number}")
        cloud.type(
            f'{CURL} -f -X PUT -H "X-Auth-Token: $(openstack token issue -f value -c id)" '
            f"-H 'X-Object-Manifest: parts/dlo/' -H 'Content-Length: 0' {url(cloud)}/one/dlo"
        )
        cloud.type(f"swift download one dlo -o {work}/dlo")
        assert (work / "dlo").read_bytes() == (work / "big").read_bytes() * 3

    def test_temporary_url(self, cloud: CloudUnderTest, work: Path) -> None:
        cloud.type("swift post one -H 'X-Container-Meta-Temp-URL-Key: of-a-test'")
        account = url(cloud)
        place = account[account.index("/v1/") :] + "/one/folder/big"
        signed = cloud.type(f"swift tempurl GET 300 {place} of-a-test").strip()
        host = account[: account.index("/v1/")]
        cloud.type(f"{CURL} -f -o {work}/temp '{host}{signed}'")
        assert same(work / "big", work / "temp")
        for wrong in (place, signed.replace("temp_url_sig=", "temp_url_sig=0")):
            assert cloud.type(f"{CURL} -o /dev/null -w '%{{http_code}}' '{host}{wrong}'") == "401"

    def test_versions(self, cloud: CloudUnderTest, work: Path) -> None:
        cloud.type("swift post kept -H 'X-Versions-Enabled: true'")
        for text in ("first", "second"):
            (work / "text").write_text(text)
            cloud.type(f"swift upload kept {work}/text --object-name text")
        listed = cloud.type("swift list kept --versions").splitlines()
        ids = [line.split()[3] for line in listed if line.split()[-1] == "text"]
        assert len(ids) == 2
        oldest = cloud.type(f"swift download kept text --version-id {ids[-1]} -o -")
        assert (oldest, cloud.type("swift download kept text -o -")) == ("first", "second")
        cloud.type("swift delete kept --versions")

    def test_who_may_read(self, cloud: CloudUnderTest, work: Path) -> None:
        cloud.type("openstack project create objects-other")
        cloud.type("openstack user create objects-other --password of-a-test")
        cloud.type("openstack role add member --user objects-other --project objects-other")
        there = f"--os-storage-url {url(cloud)}"
        refused = "403 Forbidden"
        asked = f"swift {there} list one 2>&1"
        assert refused in as_other(cloud, asked, expect=None)
        cloud.type("swift post one --read-acl 'objects-other:objects-other'")
        assert "folder/big" in as_other(cloud, asked).split()
        as_other(cloud, f"swift {there} download one folder/big -o {work}/theirs")
        assert same(work / "big", work / "theirs")
        put = f"swift {there} upload one {work}/text 2>&1"
        assert refused in as_other(cloud, put, expect=None)
        cloud.type("swift post one --read-acl ''")
        assert refused in as_other(cloud, asked, expect=None)
        assert as_other(cloud, "swift list") == ""

    def test_a_public_web_site(self, cloud: CloudUnderTest, work: Path) -> None:
        (work / "index.html").write_text("<p>of a test</p>")
        cloud.type(f"swift upload web {work}/index.html --object-name index.html")
        cloud.type("swift post web --read-acl '.r:*,.rlistings' -m 'web-index:index.html'")
        assert cloud.type(f"{CURL} -f {url(cloud)}/web/") == "<p>of a test</p>"

    def test_s3(self, cloud: CloudUnderTest, work: Path) -> None:
        """With boto3, which glance brings along: a bucket, an object in parts, and back."""
        made = json.loads(cloud.type("openstack ec2 credentials create -f json"))
        host = url(cloud).partition("/v1/")[0]
        script = work / "s3.py"
        script.write_text(f"""
import boto3, os
from boto3.s3.transfer import TransferConfig
s3 = boto3.client("s3", endpoint_url="{host}", region_name="RegionOne",
                  verify=os.environ["OS_CACERT"], aws_access_key_id="{made["access"]}",
                  aws_secret_access_key="{made["secret"]}")
s3.create_bucket(Bucket="bucket")
parts = TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20)
s3.upload_file("{work}/big", "bucket", "big", Config=parts)
print([o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]])
s3.download_file("bucket", "big", "{work}/s3")
""")
        python = release().services.python
        assert cloud.type(f"{python} -W ignore {script}").strip() == "['big']"
        assert same(work / "big", work / "s3")
        assert cloud.type("swift list bucket").split() == ["big"]
        cloud.type(f"openstack ec2 credentials delete {made['access']}")

    def test_an_object_that_ends(self, cloud: CloudUnderTest, work: Path) -> None:
        cloud.type(f"swift upload short {work}/text --object-name text -H 'X-Delete-After: 2'")
        wait_until(
            "the object's end",
            lambda: "404" in cloud.type("swift stat short text 2>&1", expect=None),
            20,
        )
        wait_until("the listing without it", lambda: not cloud.type("swift list short"), 150, 3)


class TestServices:
    def test_an_image_is_in_the_object_store(self, cloud: CloudUnderTest, work: Path) -> None:
        made = table(
            cloud.type(
                f"glance image-create --name in-swift --disk-format raw --container-format bare "
                f"--file {work}/big --store swift",
                timeout=120,
            )
        )
        assert made["status"] == "active" and made["stores"] == "swift"
        cloud.type(f"openstack image save in-swift --file {work}/image")
        assert same(work / "big", work / "image")
        # What was put into files before stays readable.
        cloud.type(f"openstack image save cirros --file {work}/cirros")
        assert (work / "cirros").stat().st_size > MIB
        cloud.type("openstack image delete in-swift")

    def test_a_volume_is_backed_up_and_restored(self, cloud: CloudUnderTest, work: Path) -> None:
        def status(kind: str, name: str) -> str:
            return cloud.type(f"openstack {kind} show {name} -f value -c status").strip()

        def until(kind: str, name: str, wanted: str = "available") -> None:
            wait_until(f"{kind} {name}", lambda: status(kind, name) == wanted, 180, 2)

        (work / "disk").write_bytes(os.urandom(3 * MIB) + bytes(20 * MIB) + os.urandom(MIB))
        cloud.type(f"openstack image create disk --disk-format raw --file {work}/disk", timeout=120)
        cloud.type("openstack volume create --image disk --size 1 source")
        until("volume", "source")
        backup = json.loads(
            cloud.type("openstack volume backup create source --name saved -f json")
        )["id"]
        assert re.fullmatch(UUID, backup)
        until("volume backup", "saved")
        assert "volumebackups" in cloud.type("swift list").split()
        restored = "restored"
        cloud.type(f"openstack volume backup restore saved {restored}")
        until("volume", restored)
        ids = [
            cloud.type(f"openstack volume show {name} -f value -c id").strip()
            for name in ("source", restored)
        ]
        place = cloud.root / "data" / "cinder" / "volumes"
        sums = cloud.type(f"cd {place} && sha256sum volume-{ids[0]} volume-{ids[1]}").split()[::2]
        assert sums[0] == sums[1]
        head = cloud.type(f"head -c {24 * MIB} {place}/volume-{ids[1]} | sha256sum").split()[0]
        assert head == digest(work / "disk")
        for name in ("source", restored):
            cloud.type(f"openstack volume delete {name}")
        cloud.type("openstack volume backup delete saved")
        cloud.type("openstack image delete disk")
        wait_until(
            "nothing left",
            lambda: (
                not cloud.type(
                    "openstack volume list -f value; openstack volume backup list -f value"
                ).strip()
            ),
            120,
            2,
        )


class TestDisk:
    def test_a_full_store_says_so(self, cloud: CloudUnderTest, work: Path) -> None:
        filler = cloud.root / "data" / "swift" / "srv" / "zone1" / "filler"
        cloud.type(f"fallocate -l {space(cloud)[1] - 40 * MIB} {filler}")
        with (work / "zeros").open("wb") as file:
            os.truncate(file.fileno(), 100 * MIB)
        # Larger than what buffers on the way hold: the answer must survive the rest.
        used = space(cloud)[0]
        refused = cloud.type(f"swift upload full {work}/zeros 2>&1", expect=None, timeout=300)
        assert "507" in refused and "The object store has room for" in refused
        # And nothing was lost, nor is anybody locked out.
        cloud.type(f"swift download one folder/big -o {work}/still")
        assert same(work / "big", work / "still")
        cloud.type(f"swift upload full {work}/text")
        assert space(cloud)[0] - used < MIB
        cloud.type(f"rm {filler}")

    def test_deleting_gives_the_space_back(self, cloud: CloudUnderTest, work: Path) -> None:
        before = space(cloud)[0]
        cloud.type(f"swift upload full {work}/zeros --object-name zeros")
        assert space(cloud)[0] - before >= 100 * MIB
        cloud.type("swift delete full")
        assert space(cloud)[0] - before < 2 * MIB

    def test_objects_outlive_a_reboot(self, cloud: CloudUnderTest, work: Path) -> None:
        image = cloud.root / "data" / "swift" / "disk.img"
        cloud.onestack("down", timeout=300)
        assert str(image) not in Path("/proc/mounts").read_text()
        assert not [
            backing
            for backing in Path("/sys/block").glob("loop*/loop/backing_file")
            if backing.read_text().strip() == str(image)
        ]
        cloud.up()
        cloud.type(f"swift download one folder/big -o {work}/after")
        assert same(work / "big", work / "after")

    def test_logs_are_clean(self, cloud: CloudUnderTest) -> None:
        ours = ("swift-", "glance-", "cinder-")
        lines = [line for line in cloud.error_lines() if line.startswith(ours)]
        assert unexpected(lines) == []

    def test_no_secret_in_the_logs(self, cloud: CloudUnderTest) -> None:
        for path in (cloud.root / "log").glob("swift-*.log"):
            text = path.read_text(errors="replace")
            assert "of-a-test" not in text
            assert not [n for n, v in cloud.secrets().items() if len(v) >= 12 and v in text]
