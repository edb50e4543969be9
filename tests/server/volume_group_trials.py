"""A volume group on a machine with device-mapper: run in a guest, as root, by Debian's Python.

``python volume_group_trials.py first|second [NAME…]``: before and after the power was cut. Each
trial is a function; what comes of it is a line of JSON on the console. LVM and the storage module
are real, and so is cinder's driver (`volume_group_driver_trials`), which runs as an unprivileged
user. In the supervisor's place stands `Broker`: it runs what the component's patterns allow, as
root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.model.codec import from_plain
from onestack.model.errors import OnestackError
from onestack.model.root_command import Refused, RootCommand, chosen
from onestack.storage import loop, volume_group
from onestack.storage.lvm import Lvm
from onestack.storage.store import StoreRecord
from onestack.storage.volume_group import Keys, VolumeGroup

HERE = Path(__file__).resolve().parent
TOLD = json.loads((HERE / "told.json").read_text())
"""What the component says: the cloud's root, its user, the group, what is allowed."""
ROOT, USER, GROUP = Path(TOLD["root"]), TOLD["user"], TOLD["group"]
KEYS = Keys("SIZE", "SPARSE", "NAME", "CREATE")
GIB, MIB = 1 << 30, 1 << 20
SIZE = 3 * GIB
SECOND = Path("/srv/second.img")
KEPT = "volume-11111111-2222-3333-4444-555555555555"
MARK = b"another tenant's secret " * 8
CHUNK, MARKED = 64 << 10, 8 * MIB
SOCKET = "/run/trials.sock"
SUDO = f"""#!/usr/bin/python3 -SIB
import json, socket, sys
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect({SOCKET!r})
    asking.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    answer = json.loads(asking.makefile().readline())
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""
Trial = Callable[[], None]


class Broker(socketserver.StreamRequestHandler):
    """As `onestack.supervise.root_broker`, of which it has the patterns and the environment."""

    allowed: ClassVar = [from_plain(RootCommand, one) for one in TOLD["allowed"]]

    def handle(self) -> None:
        command = json.loads(self.rfile.readline())
        try:
            known = chosen(command, self.allowed)
        except Refused as why:
            say("refused", " ".join(command), why=str(why))
            self.answer(126, "", f"this command is not run: {why}\n")
            return
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        environment |= dict(one.split("=", 1) for one in known.settings)
        as_user: dict[str, Any] = (
            {} if known.as_root else {"user": USER, "group": USER, "extra_groups": []}
        )
        done = subprocess.run(
            command[known.leading :],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            **as_user,
        )
        self.answer(done.returncode, done.stdout, done.stderr)

    def answer(self, code: int, out: str, err: str) -> None:
        self.wfile.write(json.dumps({"code": code, "out": out, "err": err}).encode() + b"\n")


def say(what: str, name: str, **more: str) -> None:
    print("TRIAL " + json.dumps({what: name, **more}), flush=True)


@contextlib.contextmanager
def broker() -> Iterator[None]:
    Path(SOCKET).unlink(missing_ok=True)
    server = socketserver.ThreadingUnixStreamServer(SOCKET, Broker)
    os.chmod(SOCKET, 0o666)
    place = Path("/run/trials/sudo")
    place.parent.mkdir(exist_ok=True)
    place.write_text(SUDO)
    place.chmod(0o755)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()


def driver(*names: str) -> None:
    """Trials of `volume_group_driver_trials`, as cinder's user. They tell by themselves."""
    with broker():
        subprocess.run(
            [sys.executable, str(HERE / "volume_group_driver_trials.py"), *names],
            env={
                "PYTHONPATH": f"{HERE}/src:{HERE}/site",
                "PATH": "/run/trials:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/tmp",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            user=USER,
            group=USER,
            extra_groups=[],
            check=False,
        )


def store(**changes: Any) -> VolumeGroup:
    return VolumeGroup(**{"root": ROOT, "name": GROUP, "create": True, "keys": KEYS, **changes})


def ledger(root: Path = ROOT) -> Ledger:
    return Ledger(root / "etc/ledger.json")


def settle(place: VolumeGroup, size: int = SIZE, sparse: bool = True) -> list[str]:
    """As ``up`` does it."""
    done = []
    for change in place.ensure(StoreRecord(size, "lvm", USER, sparse), ledger(place.root)):
        change.do()
        done.append(change.what)
    return done


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def refused(do: Callable[[], Any], text: str) -> None:
    try:
        do()
    except OnestackError as problem:
        assert re.search(text, str(problem)), problem
        return
    raise AssertionError(f"nothing was said of {text!r}")


# -- the first boot ----------------------------------------------------------------


def it_is_made_once() -> None:
    # whoever is killed at any command of LVM's goes on where it was
    def killed(left: int) -> Callable[..., Any]:
        def instead(self: Lvm, *words: Any, check: bool = True) -> Any:
            nonlocal left
            left -= words[0] in ("vgcreate", "lvcreate", "lvextend", "lvchange")
            if left < 0:
                raise KeyboardInterrupt
            return real(self, *words, check=check)

        return instead

    real, steps = Lvm.run, 0
    for steps in range(9):
        # one step each time, at first none
        Lvm.run = killed(min(steps, 1))  # type: ignore[method-assign]
        try:
            settle(store())
        except KeyboardInterrupt:
            assert store().load() is None
            if steps == 1:  # a boot in between
                loop.detach(store().image)
            continue
        finally:
            Lvm.run = real  # type: ignore[method-assign]
        break
    assert steps >= 3, steps
    assert settle(store()) == []
    known = store().known()
    assert (known.size, known.own) == (SIZE, True), known
    assert [one.file for one in known.files] == [store().image]
    entries = [entry for entry in ledger().entries() if entry.kind == "volume group"]
    assert [entry.data["tag"] for entry in entries] == [known.tag]
    assert store().attach() == []
    facts = store().facts()
    assert facts and (facts.size, facts.provisioned, facts.place) == (SIZE, 0, GROUP)
    assert store().image.stat().st_blocks * 512 < 200 * MIB
    # nothing of the machine's own LVM has been written to
    assert not list(Path("/etc/lvm/archive").glob(f"{GROUP}*"))
    assert "dmeventd" not in output("ps", "-A")


def another_clouds_group_is_refused() -> None:
    other = Path("/var/lib/other")
    refused(lambda: settle(store(root=other)), "is a volume group .* already(.|\n)*CREATE=n")
    assert ledger(other).entries() == []
    refused(lambda: settle(store(root=other, name="nowhere", create=False)), "no volume group")


def marker_is_read_again() -> bool:
    """Whether a new volume's parts that were never written show what a deleted one held."""
    full = MARK * (MARKED // len(MARK))
    # A pool gives its blocks in turn; one that was opened anew begins with what is free first.
    reopen()
    with made("volume-old") as place:
        write(place, full)
    reopen()
    with made("volume-new") as place:
        assert not read(place, MARKED).strip(b"\0"), "it does not begin with zeros"
        # a sector of each chunk, so that the pool must give a block for all of it
        write(place, bytes(512), *range(CHUNK // 2, MARKED, CHUNK))
        return MARK in read(place, MARKED)


def reopen() -> None:
    run(["vgchange", "-an", GROUP])
    run(["vgchange", "-ay", GROUP])


@contextlib.contextmanager
def made(name: str) -> Iterator[str]:
    """By the commands of upstream's driver."""
    run(["lvcreate", "-T", "-V", "1g", "-n", name, f"{GROUP}/{GROUP}-pool"])
    yield f"/dev/{GROUP}/{name}"
    run(["lvremove", "-f", f"{GROUP}/{name}"])


def write(place: str, data: bytes, *where: int) -> None:
    descriptor = os.open(place, os.O_RDWR)
    for at in where or (0,):
        os.pwrite(descriptor, data, at)
    os.fsync(descriptor)
    os.close(descriptor)


def read(place: str, length: int) -> bytes:
    with open(place, "rb") as file:
        return file.read(length)


def the_next_tenant_reads_zeros() -> None:
    assert not marker_is_read_again()
    # and this would have seen it
    run(["lvchange", "--zero", "n", f"{GROUP}/{GROUP}-pool"])
    try:
        told = [output("lvs", "-a", "-o", "+zero,chunk_size", GROUP), output("dmsetup", "table")]
        assert marker_is_read_again(), "\n".join(["the trial itself sees nothing", *told])
    finally:
        run(["lvchange", "--zero", "y", f"{GROUP}/{GROUP}-pool"])


def a_volume_is_kept() -> None:
    """For after the power cut."""
    run(["lvcreate", "-T", "-V", "1g", "-n", KEPT, f"{GROUP}/{GROUP}-pool"])
    write(f"/dev/{GROUP}/{KEPT}", b"kept")


def the_driver() -> None:
    driver(
        "volumes_live",
        "the_next_tenant_reads_zeros",
        "no_more_is_given_out_than_there_is",
        "what_an_upload_has_left_goes",
    )


def it_grows() -> None:
    store().grow(4 * GIB)
    facts = store().facts()
    assert facts and facts.size == 4 * GIB, facts
    store().grow(4 * GIB)
    assert settle(store(), 4 * GIB) == []
    refused(lambda: store().grow(GIB), "cannot shrink")
    # a run that was killed after the file had grown
    with store().image.open("r+b") as file:
        file.truncate(store().image.stat().st_size + 512 * MIB)
    store().grow(4 * GIB + 512 * MIB)
    facts = store().facts()
    assert facts and facts.size == 4 * GIB + 512 * MIB, facts


def a_second_file_by_hand_is_adopted() -> None:
    """As the notes have it."""
    before = store().known().size
    SECOND.parent.mkdir(exist_ok=True)
    run(["dd", "if=/dev/zero", f"of={SECOND}", "bs=1M", "count=0", "seek=1100"])
    device = output("losetup", "--find", "--show", "--partscan", str(SECOND))
    run(["fdisk", device], stdin="n\np\n1\n\n\nt\n8e\nw\n", check=False)
    run(["pvcreate", f"{device}p1"])
    run(["vgextend", GROUP, f"{device}p1"])
    # as the driver has it done, when it sees that the group has another size
    assert store().attach() == [f"gave the thin pool of {GROUP} all of its space"]
    known = store().known()
    assert [one.file for one in known.files] == [store().image, SECOND], known
    facts = store().facts()
    assert facts and facts.size > before + GIB and str(SECOND) in facts.device, facts


def it_grows_onto_a_disk() -> None:
    refused(lambda: store().grow_onto(Path("/dev/nothing")), "is no disk")
    refused(lambda: store().grow_onto(Path("/dev/vda")), "is in use|is not empty")
    run(["mkfs.ext4", "-q", "/dev/vdc"])
    refused(lambda: store().grow_onto(Path("/dev/vdc")), "not empty: it has ext4")
    run(["wipefs", "--all", "/dev/vdc"])
    before = store().facts()
    store().grow_onto(Path("/dev/vdc"))
    store().grow_onto(Path("/dev/vdc"))
    after = store().facts()
    assert before and after and after.size > before.size, after
    assert "/dev/vdc" in after.device


def a_guests_own_groups_stay_the_guests() -> None:
    """What a guest makes inside its volume is not seen by the cloud's commands."""
    run(["lvcreate", "--thin", "-V", "1G", "-n", "outer", f"{GROUP}/{GROUP}-pool"])
    inner = f"/dev/{GROUP}/outer"
    loud = ["--config", "devices { scan_lvs = 1 }"]
    run(["vgcreate", *loud, "guests", inner])
    assert "guests" in output("vgs", *loud)
    names = [row["vg_name"] for row in store().lvm.report("vgs", "vg_name")]
    assert names == [GROUP], names
    run(["lvremove", "-f", f"{GROUP}/outer"])


def detached_and_attached() -> None:
    assert store().detach() == []
    assert not loop.device_of(store().image) and not loop.device_of(SECOND)
    assert not Path(f"/dev/{GROUP}").exists()
    shown = store().facts()
    assert shown and shown.volumes == 1 and not loop.device_of(store().image), shown
    assert store().attach()
    with open(f"/dev/{GROUP}/{KEPT}", "rb"):
        assert store().detach() == [f"{GROUP} is in use and stays active"]


# -- after the power cut -----------------------------------------------------------


def all_is_there_again() -> None:
    assert not Path(f"/dev/{GROUP}/{KEPT}").exists()
    assert settle(store()) == []
    assert any("activated" in what for what in store().attach())
    assert store().attach() == []
    facts = store().facts()
    assert facts and facts.volumes == 1 and facts.size > 4 * GIB, facts
    assert loop.device_of(SECOND)
    assert read(f"/dev/{GROUP}/{KEPT}", 4) == b"kept"


def the_driver_finds_it() -> None:
    driver("a_kept_volume_has_its_data")


def a_missing_disk_is_told() -> None:
    store().detach()
    away = SECOND.with_suffix(".away")
    SECOND.rename(away)
    refused(lambda: store().attach(), f"{SECOND}, on which the volume group")
    away.rename(SECOND)
    store().attach()


def space_is_taken_at_once() -> None:
    assert settle(store(), sparse=False) == ["take the volume group's disk space"]
    assert settle(store(), sparse=False) == []
    info = store().image.stat()
    assert info.st_blocks * 512 >= info.st_size
    discards = store().lvm.report("lvs", "discards", "--select", f"lv_name={GROUP}-pool")
    assert discards == [{"discards": "nopassdown"}], discards


def destroy_leaves_nothing_of_it() -> None:
    (entry,) = (one for one in ledger().entries() if one.kind == "volume group")
    with open(f"/dev/{GROUP}/{KEPT}", "rb"):
        refused(lambda: volume_group.UNDO["volume group"](entry.data), "still in use")
    volume_group.UNDO["volume group"](entry.data)
    volume_group.UNDO["volume group"](entry.data)
    assert GROUP not in output("vgs") and not store().home.exists()
    assert SECOND.exists() and not loop.device_of(SECOND)
    assert output("pvs") == ""
    assert not Path(f"/dev/{GROUP}").exists()
    ledger().forget(entry.kind, **entry.data)


def an_operators_group_is_used_and_left() -> None:
    SECOND.unlink()
    run(["truncate", "--size", "2G", str(SECOND)])
    device = output("losetup", "--find", "--show", str(SECOND))
    run(["vgcreate", "mine", device])
    run(["lvcreate", "--size", "64M", "--name", "theirs", "mine"])
    place = store(name="mine", create=False)
    assert settle(place) == ["take the volume group mine for volumes"]
    assert settle(place) == []
    refused(lambda: place.grow(4 * GIB), "was not made by onestack")
    run(["lvcreate", "--thin", "-V", "1G", "-n", f"volume-{'0' * 8}", "mine/mine-pool"])
    assert place.detach() == []
    # a boot
    run(["vgchange", "-an", "mine"])
    loop.detach(SECOND)
    assert place.attach()
    assert Path(f"/dev/mine/volume-{'0' * 8}").exists()
    run(["lvchange", "--activate", "n", "mine"])
    run(["lvchange", "--zero", "n", "mine/mine-pool"])
    refused(lambda: place.attach(), "does not zero(.|\n)*lvchange --zero y")
    run(["lvchange", "--zero", "y", "mine/mine-pool"])
    place.attach()
    (remove,) = place.remove(ledger())
    assert "thin pool" in remove.what
    remove.do()
    assert output("lvs", "--noheadings", "-o", "lv_name", "mine") == "theirs"
    assert ledger().entries() == []


BOOTS: dict[str, tuple[Trial, ...]] = {
    "first": (
        it_is_made_once,
        the_next_tenant_reads_zeros,
        the_driver,
        a_volume_is_kept,
        it_grows,
        a_second_file_by_hand_is_adopted,
        another_clouds_group_is_refused,
        it_grows_onto_a_disk,
        a_guests_own_groups_stay_the_guests,
        detached_and_attached,
    ),
    "second": (
        all_is_there_again,
        the_driver_finds_it,
        a_missing_disk_is_told,
        space_is_taken_at_once,
        destroy_leaves_nothing_of_it,
        an_operators_group_is_used_and_left,
    ),
}


def main(boot: str, *names: str) -> None:
    if not ROOT.exists():
        with Path("/etc/passwd").open("a") as users, Path("/etc/group").open("a") as groups:
            users.write(f"{USER}:x:990:990::/tmp:/bin/sh\n")
            groups.write(f"{USER}:x:990:\n")
        (ROOT / "etc").mkdir(parents=True)
        for name, target in TOLD["links"].items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).symlink_to(target)
    for trial in (t for t in BOOTS[boot] if not names or t.__name__ in names):
        try:
            trial()
        except Exception:  # noqa: BLE001 -- told, whatever it is
            say("failed", trial.__name__, why=traceback.format_exc()[-3000:])
        else:
            say("well", trial.__name__)
    say("ended", boot)


if __name__ == "__main__":
    main(*sys.argv[1:])
