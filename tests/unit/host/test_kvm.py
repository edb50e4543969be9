"""The KVM probe, with programs that stand for QEMU's ways to end; and locks."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from onestack.host import kvm
from onestack.host.locks import file_lock, locked
from tests.support.needs import needs_root


def qemu(folder: Path, script: str) -> str:
    program = folder / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_the_boot_sector() -> None:
    assert len(kvm.BOOT_SECTOR) == 512
    assert kvm.BOOT_SECTOR[510:] == b"\x55\xaa"
    assert kvm.EXIT == 85


@pytest.mark.parametrize(
    ("script", "works", "reason"),
    [
        ("exit 85", True, "a guest ran on it"),
        ("echo 'no device' >&2; exit 1", False, "QEMU ended with 1: no device"),
        ("exit 0", False, "QEMU ended with 0: nothing said"),
        ("sleep 20", False, "did not run within 0.5 s"),
    ],
)
def test_how_it_ends(tmp_path: Path, script: str, works: bool, reason: str) -> None:
    answer = kvm.start_guest(qemu(tmp_path, script), seconds=0.5)
    assert answer.works is works
    assert reason in answer.reason


def test_the_answer_is_kept_until_the_next_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    qemu(tmp_path, f"echo x >> {count}; exit 85")
    monkeypatch.setenv("PATH", str(tmp_path) + ":/usr/bin:/bin")
    device = tmp_path / "kvm"
    assert kvm.probe(tmp_path, device).reason == f"there is no {device}"
    device.touch(mode=0o600)
    assert "only root may open" in kvm.probe(tmp_path, device).reason
    device.chmod(0o666)
    assert kvm.probe(tmp_path, device).works
    assert kvm.probe(tmp_path, device).works
    assert count.read_text() == "x\n"
    monkeypatch.setattr(kvm, "_boot_id", lambda: "another boot")
    assert kvm.probe(tmp_path, device).works
    assert count.read_text() == "x\nx\n"


def test_without_qemu_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(0o666)
    assert kvm.probe(tmp_path, device).reason == "QEMU is not installed yet"
    assert not (tmp_path / "kvm.json").exists()


@needs_root
@pytest.mark.parametrize(
    ("mode", "group", "usable"),
    [(0o666, 0, True), (0o660, 104, True), (0o660, 0, False), (0o600, 104, False)],
)
def test_who_may_open_the_device(tmp_path: Path, mode: int, group: int, usable: bool) -> None:
    device = tmp_path / "kvm"
    device.touch()
    os.chown(device, 0, group)
    device.chmod(mode)
    assert kvm.usable(device) is usable


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
def test_a_real_guest_runs_on_tcg() -> None:
    found = shutil.which("qemu-system-x86_64")
    assert found
    assert kvm.start_guest(found, "tcg", 30).works


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "below" / "lock"
    order: list[str] = []

    def other() -> None:
        with file_lock(path, "somebody else", order.append):
            order.append("other")

    with file_lock(path, "nobody"):
        assert locked(path)
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.3)
        order.append("mine")
    thread.join(10)
    assert order == ["waiting: somebody else", "mine", "other"]
    assert not locked(path)
    assert not locked(tmp_path / "none")
