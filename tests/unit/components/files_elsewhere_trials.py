"""Trials of files that go to another host, run by the services' own Python.

See test_files_elsewhere.py: the other host is a libvirtd at 127.0.0.2, whose folder of servers is
another one in the same place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import libvirt
from lxml import etree
from nova import exception, objects
from nova.conf import CONF
from nova.virt.libvirt import driver
from nova.virt.libvirt import utils as libvirt_utils
from nova.virt.libvirt.volume import remotefs

import onestack.components.nova.inside.preload  # noqa: F401 -- first, for native threads
from onestack.components.nova.inside import files_elsewhere

HOST = "127.0.0.2"
SERVER = "8a2c0a3e-6b0f-4b52-9d3e-0f0a3c2b1d4e"
MIB = 1 << 20


def nova(shown: str, port: str, folder: Path) -> Any:
    """Nova's own way to other hosts' files, as it comes to its own."""
    CONF.set_override("instances_path", str(folder))
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, daemon=True).start()
    files_elsewhere.copy_over_tls(shown, HOST)
    remotefs.SshDriver.keywords["port"] = int(port)
    return remotefs.RemoteFilesystem()


def refused(call: Any, *given: Any) -> str:
    try:
        call(*given)
    except (exception.MigrationError, exception.InstanceFaultRollback) as problem:
        return str(getattr(problem, "inner_exception", None) or problem)
    raise AssertionError(f"{given} was taken")


def goes(shown: str, port: str, here: str, there: str) -> None:
    """A folder, a sparse disk, and back."""
    folder, other = Path(here), Path(there)
    way = nova(shown, port, folder)
    own, its = folder / SERVER, other / SERVER
    own.mkdir()

    # upstream's question, before there is a folder and after
    one = object.__new__(driver.LibvirtDriver)
    one._remotefs = way
    one.get_host_ip_addr = lambda: "127.0.0.1"
    assert one._is_path_shared_with(HOST, str(own)) is False
    way.create_dir(HOST, str(own))
    way.create_dir(HOST, str(own))
    assert one._is_path_shared_with(HOST, str(own)) is False
    assert not [*own.iterdir(), *its.iterdir()]
    whose = its.stat()
    assert (whose.st_uid, whose.st_gid, whose.st_mode & 0o777) == (12345, 12346, 0o755)
    # hosts that share their disks
    with mock.patch.object(CONF, "instances_path", str(folder.parent / "shared")):
        both = folder.parent / "shared" / SERVER
        both.mkdir(parents=True)
        assert one._is_path_shared_with(HOST, str(both)) is True
        assert not [*both.iterdir()]
        # what is removed there would be the only one
        (both / "disk").write_text("it")
        way.remove_dir(HOST, str(both))
        assert [*both.iterdir()] == [both / "disk"] and (both / "disk").read_text() == "it"

    disk = own / "disk"
    with disk.open("wb") as file:
        for at in (0, 300, 700):
            file.seek(at * MIB)
            file.write(os.urandom(3 * MIB + 17))
        file.truncate(1024 * MIB + 5)
    disk.chmod(0o640)
    far: list[int] = []
    with mock.patch.object(files_elsewhere, "TOLD", 0.0), files_elsewhere.telling(far.append):
        libvirt_utils.copy_image(str(disk), str(disk), host=HOST)
    assert far and far == sorted(far) and far[-1] < 100
    arrived = its / "disk"
    about = arrived.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (12345, 12346, 0o640)
    assert about.st_size == 1024 * MIB + 5 and about.st_blocks * 512 < 16 * MIB, about
    subprocess.run(["cmp", disk, arrived], check=True)

    # in the place of what is there; and nothing at all
    (own / "disk.info").write_text("shorter")
    (its / "disk.info").write_text("longer than that, from a move that failed")
    way.copy_file(str(own / "disk.info"), f"{HOST}:{own}/disk.info")
    assert (its / "disk.info").read_text() == "shorter"
    (own / "empty").touch()
    way.copy_file(str(own / "empty"), f"{HOST}:{own}/empty")
    assert (its / "empty").read_bytes() == b""

    # the other way, by the name of a host: an image that glance has no more
    for address in ("127.0.0.1", HOST):
        node = SimpleNamespace(host_ip=address)
        find = mock.Mock(return_value=node)
        kind = objects.ComputeNode
        with mock.patch.object(kind, "get_first_node_by_host_for_old_compat", find):
            back = own / "back"
            libvirt_utils.copy_image(str(disk), str(back), host="head", receive=True)
        assert find.call_args.args[1] == "head"
        subprocess.run(["cmp", disk, back], check=True)
        assert back.stat().st_blocks * 512 < 16 * MIB
        back.unlink()
    assert sorted(p.name for p in own.iterdir()) == ["disk", "disk.info", "empty"]

    # nothing but servers' folders, and what is in them
    outside = ("/etc", str(folder), f"{own}/../../x", f"{own}/a/b", f"{folder}2/{SERVER}")
    for path in outside:
        for call in (way.create_dir, way.remove_dir, way.create_file, way.remove_file):
            assert "is no server's" in refused(call, HOST, path), path
        assert "is no server's" in refused(way.copy_file, str(disk), f"{HOST}:{path}")
        assert "is no server's" in refused(way.copy_file, f"{HOST}:{path}", str(disk))
    assert "is no server's" in refused(way.remove_dir, HOST, str(disk))

    way.remove_dir(HOST, str(own))
    assert not its.exists() and other.exists()
    way.remove_dir(HOST, str(own))


def not_heard(shown: str, port: str, here: str) -> None:
    """By one who does not know what is shown, and where nobody is: the server stays as it was."""
    way = nova(shown, port, Path(here))
    assert HOST in refused(way.create_dir, HOST, f"{here}/{SERVER}")
    remotefs.SshDriver.keywords["port"] = 1
    way = remotefs.RemoteFilesystem()
    told = refused(way.create_dir, HOST, f"{here}/{SERVER}")
    assert f"{HOST}:1" in told, told


def full(shown: str, port: str, here: str) -> None:
    """The other end's disk: it is said, and what had come takes no room."""
    way = nova(shown, port, Path(here))
    own = Path(here, SERVER)
    own.mkdir()
    for name, size in (("disk", 24), ("small", 6)):
        (own / name).write_bytes(os.urandom(size * MIB))
    way.create_dir(HOST, str(own))
    target = f"{HOST}:{own}/disk"
    told = refused(way.copy_file, str(own / "disk"), target)
    assert "No space left" in told, told
    # by so little that all of it was sent when libvirtd found out, which it does not say then
    for over in (100, 300, 1100):
        (own / "disk").write_bytes(os.urandom(16 * MIB + over * 1024))
        told = refused(way.copy_file, str(own / "disk"), target)
        assert "No space left" in told or "were written" in told, told
        with way.driver._connected(HOST) as there, files_elsewhere._folder(there, own) as pool:
            assert pool.listVolumes() == []
    way.copy_file(str(own / "small"), target)
    way.remove_dir(HOST, str(own))


def killed(shown: str, port: str, here: str, there: str) -> None:
    """In the middle of a file; then once more."""
    own, its = Path(here, SERVER), Path(there, SERVER)
    own.mkdir()
    (own / "disk").write_bytes(os.urandom(24 * MIB))
    if not (child := os.fork()):
        way, read = nova(shown, port, Path(here)), os.pread
        way.create_dir(HOST, str(own))

        def half(file: int, size: int, at: int) -> bytes:
            if at > 12 * MIB:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(file, size, at)

        with mock.patch.object(os, "pread", half):
            way.copy_file(str(own / "disk"), f"{HOST}:{own}/disk")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (its / "disk").exists()

    way = nova(shown, port, Path(here))
    assert len(pools(way)) == 2, "what was open, and the folder of all"
    way.create_dir(HOST, str(own))
    way.copy_file(str(own / "disk"), f"{HOST}:{own}/disk")
    subprocess.run(["cmp", own / "disk", its / "disk"], check=True)
    way.remove_dir(HOST, str(own))
    assert not its.exists() and pools(way) == [here]


def pools(way: Any) -> list[str]:
    """Folders that the other host's libvirtd has open."""
    with way.driver._connected(HOST) as there:
        texts = [pool.XMLDesc() for pool in there.listAllStoragePools()]
        return [str(etree.fromstring(text).findtext("./target/path")) for text in texts]


TRIALS = {call.__name__: call for call in (goes, not_heard, full, killed)}

if __name__ == "__main__":
    TRIALS[sys.argv[1]](*sys.argv[2:])
