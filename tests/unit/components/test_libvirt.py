"""libvirt's room: its places, who may talk to it, what guests run as and on."""

from __future__ import annotations

import dataclasses
import os
import pwd
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onestack.components import guests, hosts
from onestack.components.door import Door
from onestack.components.guests import Guests
from onestack.components.libvirt import Libvirt, undo
from onestack.components.openvswitch import Openvswitch
from onestack.deploy.undo import undo_all, undos
from onestack.host.ledger import Ledger
from onestack.kernel import proc
from onestack.model.context import Context
from onestack.model.process import Process
from tests.support.needs import needs_root
from tests.unit.components.rooms import MACHINE, content, context, context_on

ROOM = Libvirt()


def on(root: Path, kvm: bool, **given: str) -> Context:
    host = dataclasses.replace(
        MACHINE, kvm=kvm, kvm_reason="said so", kvm_device=True, kvm_group="daemon"
    )
    return context_on(host, root, **given)


def daemon(ctx: Context) -> Process:
    (process,) = ROOM.processes(ctx)
    return process


def settings(ctx: Context) -> dict[str, str]:
    lines = content(ctx, ROOM, "qemu.conf").splitlines()
    pairs = (line.split(" = ", 1) for line in lines if " = " in line)
    return {key: value.strip('"') for key, value in pairs}


def test_all_it_keeps_is_the_clouds(tmp_path: Path) -> None:
    ctx = on(tmp_path, kvm=False)
    mounts = daemon(ctx).mounts
    for place in ("/etc/libvirt", "/var/lib/libvirt", "/run", "/run/libvirt", "/var/cache/libvirt"):
        assert mounts[place].startswith(str(tmp_path))
    assert "/run/openvswitch" not in mounts
    with_switch = dataclasses.replace(ctx, components=(Openvswitch(),))
    assert daemon(with_switch).mounts["/run/openvswitch"] == f"{tmp_path}/run/openvswitch"


def test_its_group_alone_talks_to_it(tmp_path: Path) -> None:
    ctx = on(tmp_path, kvm=False)
    assert daemon(ctx).sockets == {"libvirtd.socket": f"unix:{tmp_path}/run/libvirt/libvirt-sock"}
    assert daemon(ctx).sockets_group == "onestack-libvirt"
    assert "listen_tcp" not in content(ctx, ROOM, "libvirtd.conf")


def test_a_kvm_that_does_not_work_is_out_of_reach(tmp_path: Path) -> None:
    ctx = on(tmp_path, kvm=False)
    hidden = daemon(ctx).mounts["/dev/kvm"]
    assert hidden == f"{tmp_path}/etc/libvirt/no-kvm"
    (file,) = (f for f in ROOM.files(ctx) if str(f.path) == hidden)
    assert (file.mode, file.group) == (0o600, "root")
    assert settings(ctx)["namespaces"] == "[]"
    assert settings(ctx)["group"] == "onestack-qemu"


def test_a_kvm_that_works_is_reached_by_its_group(tmp_path: Path) -> None:
    ctx = on(tmp_path, kvm=True)
    assert "/dev/kvm" not in daemon(ctx).mounts
    assert settings(ctx)["namespaces"] == '["mount"]'
    assert settings(ctx)["user"] == "onestack-qemu"
    assert settings(ctx)["group"] == "daemon"


def test_what_the_operator_says_of_kvm_counts(tmp_path: Path) -> None:
    ctx = on(tmp_path, kvm=False, CONFIG_NOVA_LIBVIRT_VIRT_TYPE="kvm")
    assert "/dev/kvm" not in daemon(ctx).mounts


def test_guests_outlive_libvirtd_but_not_the_cloud(tmp_path: Path) -> None:
    ctx = on(tmp_path, kvm=False)
    assert daemon(ctx).kill_group is False
    (keeper,) = Guests().processes(ctx)
    assert keeper.needs == ("hypervisor",)
    assert keeper.component != daemon(ctx).component
    assert keeper.stop_seconds > int(keeper.argv[-1])


def test_the_keeper_shuts_guests_down_when_it_is_told_to_end(tmp_path: Path) -> None:
    script, said = tmp_path / "keeper.sh", tmp_path / "said"
    script.write_text(guests.KEEPER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$2 $3 $4" >> {said}\n')
    python.chmod(0o755)
    words = ["/bin/sh", str(script), str(python), "run.py", "qemu:///x", "30"]
    keeper = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    assert "libvirt answers" in keeper.stdout.readline()
    assert said.read_text() == "ask qemu:///x \n"
    keeper.terminate()
    assert keeper.wait(10) == 0
    assert said.read_text().splitlines()[1:] == ["shut-down qemu:///x 30"]


@needs_root
def test_guests_left_behind_are_ended() -> None:
    user = "onestack-test-qemu"
    subprocess.run(["useradd", "--system", "--no-create-home", user], check=True)
    try:
        left = subprocess.Popen(["setpriv", "--reuid", user, "--clear-groups", "sleep", "60"])
        uid = pwd.getpwnam(user).pw_uid
        while left.pid not in proc.of_user(uid):
            assert left.poll() is None
        undo.undo_guests({"user": user})
        assert left.wait(5) == -15
        undo.undo_guests({"user": user})
    finally:
        subprocess.run(["userdel", user], check=True)
    undo.undo_guests({"user": user})


def test_the_compiled_in_user_is_there(tmp_path: Path) -> None:
    """Without it libvirtd ends at its start, whatever qemu.conf says."""
    assert "libvirt-qemu" in Libvirt().users(context(tmp_path))


@pytest.mark.parametrize("killed", [False, True])
def test_guests_go_on_when_the_supervisor_is_killed(tmp_path: Path, killed: bool) -> None:
    """The next supervisor ends what the old one left, and means no guest by that."""
    keeper, program, asked = (tmp_path / name for name in ("keeper.sh", "program", "asked"))
    keeper.write_text(guests.KEEPER)
    program.write_text(f"echo $1 >> {asked}\n")
    words = ["/bin/sh", str(keeper), "/bin/sh", str(program), "qemu:///toy", "1"]
    parent = (
        "import subprocess, sys; child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE);"
        "print(child.pid, child.stdout.readline(), flush=True); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, *words], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout
        pid = int(supervisor.stdout.readline().split()[0])
        watched = os.pidfd_open(pid)
        if killed:
            supervisor.kill()
            supervisor.wait()
        os.kill(pid, signal.SIGTERM)
        assert select.select([watched], [], [], 30)[0]
        os.close(watched)
    assert asked.read_text().split() == (["ask"] if killed else ["ask", "shut-down"])


def test_keys_of_encrypted_volumes_have_a_driver(tmp_path: Path) -> None:
    """In Debian 13 it is a package of its own, which apt only recommends."""
    name = "libvirt-daemon-driver-secret"
    for version, wanted in (("12", False), ("13", True)):
        host = dataclasses.replace(MACHINE, os_version=version)
        room = Libvirt()
        assert (name in set(room.packages(context_on(host, tmp_path, room)))) is wanted


def test_files_from_other_hosts_have_a_driver(tmp_path: Path) -> None:
    """Likewise, where servers move."""
    name = "libvirt-daemon-driver-storage"
    for version, move, wanted in (("12", "y", False), ("13", "y", True), ("13", "n", False)):
        host = dataclasses.replace(MACHINE, os_version=version)
        room, answers = Libvirt(), {hosts.JOIN: "y", hosts.MOVE: move}
        ctx = context_on(host, tmp_path, room, Door(), **answers)
        assert (name in set(room.packages(ctx))) is wanted


def test_nobody_removes_what_is_mounted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory can be removed though something is mounted on it elsewhere."""
    places = [tmp_path / name for name in ("new", "there")]
    places[1].mkdir()
    mounts = {str(place): tmp_path / "own" for place in places}
    monkeypatch.setattr(Libvirt, "_mounts", staticmethod(lambda ctx: mounts))
    first, second = (context(tmp_path / name, name=name) for name in ("one", "two"))
    for ctx in (first, second):
        (task,) = Libvirt().tasks(ctx)
        for change in task.ensure():
            change.do()
        assert not list(task.ensure())
    ends = [Ledger.of(ctx.cloud) for ctx in (first, second)]
    ends[0].hand_over(second.cloud.root)
    undo_all(ends[0], undos())
    for place in places:
        with pytest.raises(OSError, match="not empty"):
            place.rmdir()
    undo_all(ends[1], undos())
    assert [place.exists() for place in places] == [False, True]
    assert not list(places[1].iterdir())
