"""Volumes as their users have them: grown, shared, reverted, grouped, given away, saved, encrypted.

The demo's user does it all, with the unmodified clients; what a volume has is what its servers see.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, run, wait_until

pytestmark = pytest.mark.timeout(2400)

BARBICAN = "CONFIG_ONESTACK_BARBICAN_INSTALL"
ANSWERS = (
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_SWIFT_INSTALL=y",
    "CONFIG_CINDER_VOLUMES_SIZE=24G",
    f"{BARBICAN}=y",
)
GIB = 1 << 30
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=10"
ALONE = "-o BatchMode=yes -o LogLevel=ERROR"
WAIT = 180.0
NUL = "\\\\\\\\000"
"""As the innermost of three shells is to see it: backslash, 000."""


class Sitting:
    """The user demo, with two servers."""

    def __init__(self, cloud: CloudUnderTest, work: Path) -> None:
        self.cloud = cloud
        self.key = work / "key"
        self.addresses: dict[str, str] = {}

    def type(self, command: str, **more: Any) -> str:
        openrc = self.cloud.root / "etc" / "demo-openrc"
        return self.cloud.type(f". {openrc} && {command}", timeout=more.pop("timeout", 300), **more)

    def json(self, command: str) -> Any:
        return json.loads(self.type(f"openstack {command} -f json"))

    def refused(self, command: str) -> str:
        openrc = self.cloud.root / "etc" / "demo-openrc"
        done = self.cloud.inside(f". {openrc} && openstack {command}", expect=None, timeout=300)
        assert done.returncode != 0, done.stdout
        return str(done.stdout + done.stderr)

    # Servers

    def boot(self, name: str, source: str = "--image cirros") -> None:
        self.type(
            f"openstack server create --wait --flavor m1.nano {source} --network private "
            f"--key-name volumes-key --security-group volumes-open {name}"
        )
        address = self.json("floating ip create public")["floating_ip_address"]
        self.addresses[name] = address
        self.type(f"openstack server add floating ip {name} {address}")
        wait_until("ssh", lambda: self.ssh(name, "hostname").strip() == name, 300, 3)

    def ssh(self, name: str, command: str, expect: int | None = 0) -> str:
        where = f"cirros@{self.addresses[name]}"
        return self.cloud.type(
            f"ssh -i {self.key} {SSH} {ALONE} {where} '{command}'", timeout=400, expect=expect
        )

    def root(self, name: str, command: str) -> str:
        return self.ssh(name, f'sudo sh -c "{command}"')

    # Volumes

    def volume(self, name: str, words: str = "--size 1", state: str = "available") -> str:
        """The new volume's id."""
        made = self.json(f"volume create {words} {name}")
        self.state(name, state)
        return str(made["id"])

    def shown(self, name: str, kind: str = "volume") -> dict[str, Any]:
        """Clients write fields' names in two ways."""
        found = self.json(f"{kind} show {name}")
        return {key.lower().replace(" ", "_"): value for key, value in found.items()}

    def state(self, name: str, state: str, kind: str = "volume", seconds: float = WAIT) -> None:
        seen = ""

        def reached() -> bool:
            nonlocal seen
            seen = str(self.shown(name, kind)["status"])
            return seen == state or seen.startswith("error")

        wait_until(f"{kind} {name} to be {state}", reached, seconds)
        assert seen == state, f"{seen}\n{self.cloud.log_ends('cinder')}"

    def gone(self, name: str, kind: str = "volume") -> None:
        """Deleted, by whoever asked for it."""
        listed = f"openstack {kind} list -f value -c Name"
        wait_until("its end", lambda: name not in self.type(listed).split(), WAIT)

    def delete(self, *names: str) -> None:
        self.type(f"openstack volume delete {' '.join(names)}")
        for name in names:
            self.gone(name)

    def attach(self, server: str, volume: str) -> str:
        """Its device in the server."""
        self.type(f"openstack server add volume {server} {volume}")
        identity = self.json(f"volume show {volume}")["id"]
        look = f"grep -l {identity[:20]} /sys/block/vd?/serial"
        wait_until("the device", lambda: self.ssh(server, look, expect=None).strip(), 60)
        return "/dev/" + self.ssh(server, look).strip().split("/")[3]

    def detach(self, server: str, volume: str, state: str = "available") -> None:
        self.type(f"openstack server remove volume {server} {volume}")
        self.state(volume, state)

    def size(self, server: str, device: str) -> int:
        name = device.removeprefix("/dev/")
        return int(self.ssh(server, f"cat /sys/block/{name}/size")) * 512

    def write(self, server: str, device: str, text: str, at: int = 0) -> None:
        """The text and zeros, 4 KiB; ``at`` in MiB."""
        block = f"(printf {text}; cat /dev/zero) | head -c 4096"
        put = f"dd of={device} bs=4096 seek={at * 256} conv=notrunc,fsync 2>/dev/null"
        self.root(server, f"{block} | {put}")

    def read(self, server: str, device: str, at: int = 0) -> str:
        """What was written there, by this server or by another one."""
        get = f"dd if={device} bs=4096 skip={at * 256} count=1 2>/dev/null"
        fresh = "echo 3 >/proc/sys/vm/drop_caches"
        return self.root(server, f"{fresh}; {get} | tr -d {NUL}").strip()

    def zeros(self, server: str, device: str) -> bool:
        """Whether all of it is."""
        return self.root(server, f"tr -d {NUL} <{device} | wc -c").strip() == "0"

    def marked(self, name: str, text: str, words: str = "--size 1") -> None:
        """A new volume with the text, attached nowhere."""
        self.volume(name, words)
        self.write("one", self.attach("one", name), text)
        self.detach("one", name)

    def seen(self, name: str, at: int = 0, state: str = "available") -> str:
        """The text in a volume, by a server that has it for that long."""
        found = self.read("one", self.attach("one", name), at)
        self.detach("one", name, state)
        return found

    def messages(self, name: str) -> str:
        identity = self.shown(name)["id"]
        listed = self.json("--os-volume-api-version 3.5 volume message list")
        ours = (each for each in listed if each["Resource UUID"] == identity)
        return "\n".join(each["User Message"] for each in ours)

    def file(self, name: str) -> Path:
        pool = self.cloud.root / "data" / "cinder" / "volumes"
        return pool / f"volume-{self.json(f'volume show {name}')['id']}"

    def on_the_disk(self, name: str, text: str) -> bool:
        """Whether root finds ``text`` in the first 16 MiB of the volume's file."""
        look = f"head -c 16M {self.file(name)} | grep -c {text}"
        return self.cloud.inside(look, expect=None).returncode == 0


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sitting]:
    cloud = CloudUnderTest(os.environ.get("ONESTACK_TEST_NAME", "volumes"), answers=ANSWERS)
    with cloud.living(timeout=1200):
        made = Sitting(cloud, tmp_path_factory.mktemp("volumes"))
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made.key)])
        made.type(
            f"openstack keypair create --public-key {made.key}.pub volumes-key && "
            "openstack security group create volumes-open && "
            "openstack security group rule create --proto tcp --dst-port 22 volumes-open"
        )
        made.boot("one")
        made.boot("two")
        yield made


def test_types_are_offered_and_made_once(sitting: Sitting) -> None:
    names = {each["Name"] for each in sitting.json("volume type list")}
    assert {"multiattach", "luks"} <= names
    groups = sitting.json("--os-volume-api-version 3.11 volume group type list")
    assert "default" in {each["Name"] for each in groups}
    assert ": 0 changes in" in sitting.cloud.up().stdout


def test_a_server_sees_its_volume_grow(sitting: Sitting) -> None:
    sitting.volume("growing")
    device = sitting.attach("one", "growing")
    assert sitting.size("one", device) == GIB
    sitting.write("one", device, "before", 1023)
    sitting.type("openstack --os-volume-api-version 3.42 volume set --size 2 growing")
    wait_until("the new size", lambda: sitting.size("one", device) == 2 * GIB, 60)
    sitting.state("growing", "in-use")
    assert sitting.read("one", device, 1023) == "before"
    sitting.write("one", device, "after", 2047)
    sitting.type("openstack server reboot --hard --wait one")
    wait_until("ssh", lambda: sitting.ssh("one", "hostname", expect=None).strip() == "one", 300, 3)
    assert sitting.size("one", device) == 2 * GIB
    assert sitting.read("one", device, 2047) == "after"
    sitting.detach("one", "growing")
    sitting.delete("growing")


def test_two_servers_have_one_volume(sitting: Sitting) -> None:
    sitting.volume("shared", "--size 1 --type multiattach")
    first, second = sitting.attach("one", "shared"), sitting.attach("two", "shared")
    sitting.write("one", first, "of-one")
    assert sitting.read("two", second) == "of-one"
    sitting.write("two", second, "of-two")
    assert sitting.read("one", first) == "of-two"
    # It grows while both have it, and both see it.
    sitting.type("openstack --os-volume-api-version 3.42 volume set --size 2 shared")
    wait_until("the new size", lambda: sitting.size("one", first) == 2 * GIB, 60)
    wait_until("the new size", lambda: sitting.size("two", second) == 2 * GIB, 60)
    sitting.write("one", first, "behind", 1500)
    assert sitting.read("two", second, 1500) == "behind"
    sitting.state("shared", "in-use")
    # One of them goes, and the other keeps it.
    sitting.detach("one", "shared", "in-use")
    sitting.write("two", second, "alone", 1)
    assert sitting.read("two", second, 1) == "alone"
    assert sitting.seen("shared", 1, "in-use") == "alone"
    sitting.detach("two", "shared")
    sitting.delete("shared")


def test_an_ordinary_volume_has_one_server(sitting: Sitting) -> None:
    sitting.volume("ordinary")
    sitting.attach("one", "ordinary")
    assert "already attached" in sitting.refused("server add volume two ordinary")
    sitting.detach("one", "ordinary")
    sitting.delete("ordinary")


def test_nobody_reads_a_deleted_volume(sitting: Sitting) -> None:
    """As large as before, so that it has the same room: blank, and what a volume grows by."""
    sitting.volume("secret")
    device = sitting.attach("one", "secret")
    fill = f"yes words-of-mine | head -c {128 << 20} | dd of={device} bs=64k conv=fsync"
    sitting.root("one", f"{fill} 2>/dev/null")
    sitting.detach("one", "secret")
    sitting.delete("secret")
    for name, grows in (("blank", False), ("grown", True)):
        sitting.volume(name)
        if grows:
            sitting.type(f"openstack volume set --size 2 {name}")
            sitting.state(name, "available")
        assert sitting.zeros("two", sitting.attach("two", name)), name
        sitting.detach("two", name)
        sitting.delete(name)


def test_a_volume_goes_back_to_its_snapshot(sitting: Sitting) -> None:
    sitting.marked("turned", "first")
    sitting.type("openstack volume snapshot create --volume turned then")
    sitting.state("then", "available", "volume snapshot")
    sitting.write("one", sitting.attach("one", "turned"), "later")
    assert "available" in sitting.refused("--os-volume-api-version 3.40 volume revert then")
    sitting.detach("one", "turned")
    sitting.type("openstack --os-volume-api-version 3.40 volume revert then")
    sitting.state("turned", "available")
    assert sitting.seen("turned") == "first"
    sitting.type("openstack volume snapshot delete then")


def test_a_volume_changes_its_type(sitting: Sitting) -> None:
    sitting.type("openstack volume set --type multiattach --retype-policy never turned")
    sitting.state("turned", "available")
    wait_until("the type", lambda: sitting.shown("turned")["type"] == "multiattach", 60)
    assert sitting.seen("turned") == "first"
    sitting.delete("turned")


def test_volumes_of_a_group(sitting: Sitting) -> None:
    for name in ("left", "right"):
        sitting.marked(name, f"of-{name}")
    sitting.type(
        "openstack --os-volume-api-version 3.14 volume group create "
        "--volume-group-type default --volume-type __DEFAULT__ --name pair"
    )
    new = "--os-volume-api-version 3.14 volume group"
    sitting.state("pair", "available", new)
    ids = ",".join(sitting.shown(name)["id"] for name in ("left", "right"))
    group = sitting.shown("pair", new)["id"]
    sitting.type(f"cinder --os-volume-api-version 3.14 group-update {group} --add-volumes {ids}")
    sitting.state("pair", "available", new)
    sitting.type(f"openstack {new} snapshot create pair --name moment")
    sitting.state("moment", "available", f"{new} snapshot")
    sitting.write("one", sitting.attach("one", "left"), "changed")
    sitting.detach("one", "left")
    before = {each["ID"] for each in sitting.json("volume list")}
    # The other client's command says nothing of a source that is no group, and is refused.
    moment = sitting.shown("moment", f"{new} snapshot")["id"]
    sitting.type(
        "cinder --os-volume-api-version 3.14 group-create-from-src "
        f"--group-snapshot {moment} --name again"
    )
    sitting.state("again", "available", new)
    copies = {each["ID"] for each in sitting.json("volume list")} - before
    assert sorted(sitting.seen(each) for each in copies) == ["of-left", "of-right"]
    sitting.type(f"openstack {new} delete --force again")
    sitting.gone("again", new)
    sitting.type(f"openstack {new} snapshot delete moment")
    sitting.gone("moment", f"{new} snapshot")
    sitting.type(f"openstack {new} delete --force pair")
    sitting.gone("pair", new)
    assert sitting.json("volume list") == []


def test_a_volume_is_given_to_another_project(sitting: Sitting) -> None:
    sitting.marked("gift", "of-mine")
    offer = sitting.json("volume transfer request create gift")
    words = f"--auth-key {offer['auth_key']} {offer['id']}"
    sitting.cloud.type(f"openstack volume transfer request accept {words}")
    assert "gift" in sitting.cloud.type("openstack volume list")
    assert "gift" not in sitting.type("openstack volume list")
    sitting.cloud.type("openstack volume delete gift")


@pytest.mark.parametrize("words", ["--size 1", "--size 1 --type luks"])
def test_backups_of_a_volume_in_use(sitting: Sitting, words: str) -> None:
    """A whole one and one of what has changed since; both come back, as they were."""
    before = sitting.json("volume snapshot list")
    sitting.volume("saved", words)
    device = sitting.attach("one", "saved")
    sitting.write("one", device, "first")
    for name, more, text in (("whole", "", "later"), ("changes", "--incremental", "last")):
        sitting.type(f"openstack volume backup create --force {more} --name {name} saved")
        sitting.state(name, "available", "volume backup", 600)
        sitting.state("saved", "in-use")
        sitting.write("one", device, text)
    assert sitting.shown("changes", "volume backup")["is_incremental"] is True
    assert sitting.json("volume snapshot list") == before
    for name, text in (("whole", "first"), ("changes", "later")):
        sitting.type(f"openstack volume backup restore {name} back-{name}")
        sitting.state(f"back-{name}", "available", seconds=600)
        assert sitting.seen(f"back-{name}") == text
        sitting.delete(f"back-{name}")
    sitting.detach("one", "saved")
    sitting.delete("saved")
    for name in ("changes", "whole"):
        sitting.type(f"openstack volume backup delete {name}")
        sitting.gone(name, "volume backup")


def test_what_is_on_an_encrypted_volume_is_not_on_the_disk(sitting: Sitting) -> None:
    mark = f"hidden-{secrets.token_hex(8)}"
    sitting.marked("plain", mark)
    assert sitting.on_the_disk("plain", mark)
    sitting.delete("plain")
    sitting.marked("vault", mark, "--size 1 --type luks")
    assert sitting.json("volume show vault")["encrypted"] is True
    assert not sitting.on_the_disk("vault", mark)
    assert sitting.on_the_disk("vault", "LUKS")

    sitting.volume("copy", "--source vault --size 2")
    assert sitting.seen("copy") == mark
    sitting.delete("copy")
    sitting.type("openstack volume snapshot create --volume vault kept")
    sitting.state("kept", "available", "volume snapshot")
    sitting.volume("of-kept", "--snapshot kept --size 1")
    assert sitting.seen("of-kept") == mark
    sitting.delete("of-kept")
    sitting.type("openstack volume snapshot delete kept")
    sitting.gone("kept", "volume snapshot")

    device = sitting.attach("one", "vault")
    before = sitting.size("one", device)
    assert GIB - (2 << 20) <= before < GIB
    sitting.type("openstack --os-volume-api-version 3.42 volume set --size 2 vault")
    wait_until("the new size", lambda: sitting.size("one", device) == before + GIB, 60)
    assert sitting.read("one", device) == mark
    sitting.type("openstack server reboot --hard --wait one")
    wait_until("ssh", lambda: sitting.ssh("one", "hostname", expect=None).strip() == "one", 300, 3)
    assert sitting.read("one", device) == mark
    sitting.detach("one", "vault")
    sitting.delete("vault")


def test_a_server_starts_from_an_encrypted_volume(sitting: Sitting) -> None:
    sitting.type("openstack volume create --image cirros --type luks --size 2 disk")
    sitting.state("disk", "available", seconds=600)
    assert not sitting.on_the_disk("disk", "vmlinuz")
    sitting.boot("three", "--volume disk")
    assert sitting.ssh("three", "hostname").strip() == "three"
    sitting.type("openstack server delete --wait three")
    sitting.state("disk", "available")
    sitting.delete("disk")


def test_a_file_is_managed_and_managed_no_more(sitting: Sitting) -> None:
    """What only the operator does: he has the pool, and the file is of a project of his then."""
    sitting.marked("known", "of-known")
    path, admin = sitting.file("known"), sitting.cloud.type
    identity = path.name.removeprefix("volume-")
    host = json.loads(admin(f"openstack volume show {identity} -f json"))["os-vol-host-attr:host"]
    admin(f"cinder unmanage {identity}")
    sitting.gone("known")
    folder = path.parent / "import"
    admin(f"test -f {folder}/{path.name} && test ! -e {path}")

    def status(name: str) -> str:
        listed = json.loads(admin("openstack volume list -f json"))
        return next((each["Status"] for each in listed if each["Name"] == name), "")

    admin(f"cinder manage --id-type source-name --name back {host} {path.name}")
    wait_until("the volume", lambda: status("back") == "available", 60)
    new = json.loads(admin("openstack volume show back -f json"))["id"]
    admin(f"head -c 4096 {path.parent}/volume-{new} | grep -q of-known")
    admin("openstack volume delete back")


def test_no_error_in_the_logs(sitting: Sitting) -> None:
    assert unexpected(sitting.cloud.error_lines()) == []


def test_whoever_gets_no_volume_is_told_why(sitting: Sitting) -> None:
    sitting.volume("too-large", "--size 60", "error")
    text = sitting.messages("too-large")
    assert re.search(r"takes 60 GiB: .* has [0-9.]+ GiB free", text), text
    assert "onestack pool grow" in text
    sitting.delete("too-large")
    sitting.volume("small")
    sitting.type("openstack volume set --size 60 small")
    wait_until("a message", lambda: "takes 59 GiB" in sitting.messages("small"), 60)
    sitting.state("small", "available")
    assert sitting.shown("small")["size"] == 1
    sitting.type("openstack volume set --type luks --retype-policy on-demand small")
    told = "A volume keeps its encryption"
    wait_until("the message", lambda: told in sitting.messages("small"), 60)
    sitting.state("small", "available")
    assert sitting.shown("small")["type"] != "luks"
    # An image of a disk as large as the volume leaves no room for the header.
    sitting.type("cinder upload-to-image --disk-format raw small whole")
    ready = "openstack image show whole -f value -c status"
    wait_until("the image", lambda: sitting.type(ready, expect=None).strip() == "active", 600)
    sitting.volume("no-room", "--image whole --type luks --size 1", "error")
    assert "ask for 2 GiB" in sitting.messages("no-room")
    sitting.delete("no-room", "small")
    sitting.type("openstack image delete whole")


def test_no_file_outside_of_the_folder_is_managed(sitting: Sitting) -> None:
    sitting.volume("another")
    path, admin = sitting.file("another"), sitting.cloud.type
    identity = path.name.removeprefix("volume-")
    host = json.loads(admin(f"openstack volume show {identity} -f json"))["os-vol-host-attr:host"]
    words = f"cinder manage --id-type source-name --name wrong {host} ../{path.name}"
    admin(words, expect=None)

    def status() -> str:
        listed = json.loads(admin("openstack volume list -f json"))
        return next((each["Status"] for each in listed if each["Name"] == "wrong"), "")

    wait_until("an end", lambda: status() in ("", "error", "error_managing"), 60)
    sitting.state("another", "available")
    admin(f"test -f {path}")
    admin("openstack volume delete --force wrong", expect=None)
    admin(f"test -f {path}")
    sitting.delete("another")


def test_without_a_key_manager_nothing_is_encrypted(sitting: Sitting) -> None:
    """Aloud, with the cure; the type stays, for when there is one again."""
    answers = tuple(answer for answer in ANSWERS if not answer.startswith(BARBICAN))
    sitting.cloud.answers = (*answers, f"{BARBICAN}=n")
    sitting.cloud.up()
    said = sitting.refused("volume create --size 1 --type luks open")
    assert f"{BARBICAN}=y" in said
    sitting.volume("plain")
    sitting.delete("plain")
