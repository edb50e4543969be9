"""Loop devices and files that share blocks."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from onestack.storage import loop, reflink
from tests.support.needs import needs_root


def test_device_of(tmp_path: Path) -> None:
    for name, file in (("loop0", "/pool/a.img"), ("loop7", "/pool/b.img")):
        place = tmp_path / name / "loop"
        place.mkdir(parents=True)
        (place / "backing_file").write_text(f"{file}\n")
    (tmp_path / "loop1").mkdir()
    assert loop.device_of(Path("/pool/b.img"), tmp_path) == Path("/dev/loop7")
    assert loop.device_of(Path("/pool/c.img"), tmp_path) is None


@needs_root
def test_a_device_of_another_file_of_that_name(tmp_path: Path) -> None:
    """As in a container, where another's root is at the same place."""
    file, other = tmp_path / "pool.img", tmp_path / "other"
    for path in (file, other):
        path.write_bytes(bytes(1 << 20))
    device = loop.attach(other)
    place = tmp_path / device.name / "loop"
    place.mkdir(parents=True)
    try:
        for name in (file, other):
            (place / "backing_file").write_text(f"{name}\n")
            assert loop.device_of(name, tmp_path) == (device if name == other else None)
    finally:
        loop.detach(other)


def test_clone_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "ioctl", fail)
    with pytest.raises(OSError, match="not supported"):
        reflink.clone(source, target)
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "target"]
    assert not reflink.supported(tmp_path)
