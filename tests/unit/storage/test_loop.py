"""Loop devices and files that share blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.storage import loop, reflink


def test_device_of(tmp_path: Path) -> None:
    for name, file in (("loop0", "/pool/a.img"), ("loop7", "/pool/b.img")):
        place = tmp_path / name / "loop"
        place.mkdir(parents=True)
        (place / "backing_file").write_text(f"{file}\n")
    (tmp_path / "loop1").mkdir()
    assert loop.device_of(Path("/pool/b.img"), tmp_path) == Path("/dev/loop7")
    assert loop.device_of(Path("/pool/c.img"), tmp_path) is None


def test_clone_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(reflink.fcntl, "ioctl", fail)
    with pytest.raises(OSError, match="not supported"):
        reflink.clone(source, target)
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "target"]
    assert not reflink.supported(tmp_path)
