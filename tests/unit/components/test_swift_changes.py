"""What is said of answers that an object store, which is there already, cannot follow."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from onestack.components import swift as room
from onestack.components.swift import Swift, changes, config, devices
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding, Severity
from tests.unit.components.rooms import context

GIB = 1 << 30


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Three "disks", of which each that is there is a good one."""
    made = [tmp_path / name for name in "abc"]
    for disk in made:
        disk.touch()

    def check(disk: str, place: Path) -> str:
        if not Path(disk).exists():
            raise OnestackError(f"{disk} of CONFIG_SWIFT_STORAGES cannot hold objects", "gone", "-")
        return "xfs"

    monkeypatch.setattr(devices, "check_disk", check)
    monkeypatch.setattr(devices, "readable", lambda disk: Path(disk).exists())
    return made


def asked(tmp_path: Path, zones: int, replicas: int, *disks: Path, **more: str) -> dict[str, str]:
    return {
        "CONFIG_SWIFT_STORAGE_ZONES": str(zones),
        "CONFIG_SWIFT_STORAGE_REPLICAS": str(replicas),
        "CONFIG_SWIFT_STORAGES": ",".join(map(str, disks)),
        **more,
    }


def made(tmp_path: Path, given: dict[str, str]) -> None:
    """A store of these answers, as its records show it."""
    ctx = context(tmp_path, Swift(), **given)
    wanted = room.wanted_rings(ctx)
    config.directory(ctx).mkdir(parents=True, exist_ok=True)
    changes.rings_record(ctx).write_text(json.dumps(wanted))
    layout = changes.layout(ctx)
    devices.layout_file(tmp_path).write_text(json.dumps(layout.to_json()))
    file = devices.loop_file(tmp_path)
    if layout.in_file:
        file.image.parent.mkdir(parents=True, exist_ok=True)
        file.image.touch()
        file.record.write_text(json.dumps({"size": GIB, "kind": layout.kind}))


def said(tmp_path: Path, given: dict[str, str]) -> list[Finding]:
    return list(Swift().preflight_checks(context(tmp_path, Swift(), **given)))


def test_a_new_store_has_nothing_to_lose(tmp_path: Path, disks: list[Path]) -> None:
    assert said(tmp_path, asked(tmp_path, 3, 3)) == []
    assert said(tmp_path, asked(tmp_path, 3, 3, *disks)) == []
    disks[1].unlink()
    (finding,) = said(tmp_path, asked(tmp_path, 3, 3, *disks))
    assert finding.severity is Severity.REFUSE and str(disks[1]) in finding.what


@pytest.mark.parametrize(
    ("more", "severity", "says"),
    [
        ({}, None, ""),
        ({"CONFIG_SWIFT_STORAGE_FSTYPE": "xfs"}, Severity.REFUSE, "cannot become xfs"),
        ({"CONFIG_SWIFT_HASH": "another"}, Severity.REFUSE, "CONFIG_SWIFT_HASH"),
        ({"CONFIG_SWIFT_STORAGE_SIZE": "512M"}, Severity.WARN, "stays at 1G"),
        ({"CONFIG_SWIFT_STORAGES": "/dev/vdx"}, Severity.REFUSE, "is in a file"),
        ({"CONFIG_SWIFT_STORAGE_ZONES": "2"}, None, ""),
    ],
)
def test_a_file(tmp_path: Path, more: dict[str, str], severity: Severity, says: str) -> None:
    given = asked(tmp_path, 1, 1, CONFIG_SWIFT_STORAGE_SIZE="1G")
    made(tmp_path, given)
    found = said(tmp_path, {**given, **more})
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert all(says in f.what for f in found)


def test_disks_do_not_become_a_file(tmp_path: Path, disks: list[Path]) -> None:
    made(tmp_path, asked(tmp_path, 3, 3, *disks))
    (finding,) = said(tmp_path, asked(tmp_path, 3, 3))
    assert finding.severity is Severity.REFUSE and "in disks" in finding.what


def test_a_disk_that_is_gone_stops_nobody(tmp_path: Path, disks: list[Path]) -> None:
    given = asked(tmp_path, 3, 3, *disks)
    made(tmp_path, given)
    before = room.wanted_rings(context(tmp_path, Swift(), **given))
    disks[2].unlink()
    (finding,) = said(tmp_path, given)
    assert finding.severity is Severity.WARN and "onestack restart swift" in finding.cure
    # The rings stay what they are: it keeps its share.
    assert room.wanted_rings(context(tmp_path, Swift(), **given)) == before


@pytest.mark.parametrize(
    ("replicas", "left", "severity"),
    [
        (1, "ab", Severity.REFUSE),
        (2, "ab", None),
        (2, "a", Severity.REFUSE),
        (3, "a", None),
    ],
)
def test_disks_are_taken_out_while_copies_are_left(
    tmp_path: Path, disks: list[Path], replicas: int, left: str, severity: Severity | None
) -> None:
    made(tmp_path, asked(tmp_path, 3, replicas, *disks))
    kept = [disk for disk in disks if disk.name in left]
    found = said(tmp_path, asked(tmp_path, len(kept), 1, *kept))
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert all("some lie nowhere else" in f.why for f in found)


def test_a_dead_disk_can_always_be_taken_out(tmp_path: Path, disks: list[Path]) -> None:
    made(tmp_path, asked(tmp_path, 3, 1, *disks))
    disks[2].unlink()
    (finding,) = said(tmp_path, asked(tmp_path, 2, 1, *disks[:2]))
    assert finding.severity is Severity.WARN and "are lost" in finding.what


def test_no_disk_is_taken_out_while_its_other_copy_is_dead(
    tmp_path: Path, disks: list[Path]
) -> None:
    made(tmp_path, asked(tmp_path, 3, 2, *disks))
    disks[2].unlink()
    lost, refusal = said(tmp_path, asked(tmp_path, 2, 1, disks[0], disks[2]))
    assert lost.severity is Severity.WARN and str(disks[2]) in lost.what
    assert refusal.severity is Severity.REFUSE and f"{disks[1]} cannot be taken" in refusal.what
    # The dead one can.
    assert said(tmp_path, asked(tmp_path, 2, 2, *disks[:2])) == []


def test_a_disk_keeps_its_name_in_the_rings(tmp_path: Path, disks: list[Path]) -> None:
    """Also under its lasting name, which answers should have."""
    given = asked(tmp_path, 3, 1, *disks)
    made(tmp_path, given)
    lasting = tmp_path / "by-id" / "x"
    lasting.parent.mkdir()
    lasting.symlink_to(disks[1])
    renamed = asked(tmp_path, 3, 1, disks[0], lasting, disks[2])
    before, now = (context(tmp_path, Swift(), **answers) for answers in (given, renamed))
    assert said(tmp_path, renamed) == []
    assert room.wanted_rings(now) == room.wanted_rings(before)
    made(tmp_path, renamed)
    assert [d.name for d in changes.layout(now).devices] == ["a", "b", "c"]
    # What is no more than its old name may be another disk's now.
    other = tmp_path / "other" / "b"
    other.parent.mkdir()
    other.touch()
    (finding,) = said(tmp_path, asked(tmp_path, 3, 1, *disks[::2], lasting, other))
    assert f"{lasting} and {other} of" in finding.what and "list each disk once" in finding.cure
    (finding,) = said(tmp_path, asked(tmp_path, 3, 1, *disks, lasting))
    assert finding.severity is Severity.REFUSE and f"{disks[1]} and {lasting} of" in finding.what


def test_the_doctor_sees_what_is_not_mounted(tmp_path: Path, disks: list[Path]) -> None:
    given = asked(tmp_path, 3, 3, *disks)
    made(tmp_path, given)
    ctx = context(tmp_path, Swift(), **given)
    with pytest.raises(OnestackError, match="cannot be seen"):
        list(Swift().health_checks(ctx))
    lock = tmp_path / "run" / "supervisor" / "lock"
    lock.parent.mkdir(parents=True)
    one = subprocess.Popen(["sleep", "60"])
    try:
        lock.write_text(f"{one.pid}\n")
        disks[2].unlink()
        found = list(Swift().health_checks(ctx))
    finally:
        one.kill()
        one.wait()
    assert len(found) == 3 and str(disks[0]) in found[0].what
    assert found[0].cure == "onestack restart swift"
    assert "replace" in found[2].cure
