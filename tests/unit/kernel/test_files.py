"""Files are whole or not there, and locks keep whoever opens them anew out."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from onestack.kernel import files, locks


def test_a_file_is_replaced_at_once_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    files.write(path, "one", 0o640)
    files.write(path, b"two", 0o600)
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["kept"]


def test_what_a_killed_run_left_is_no_obstacle_and_no_way_out(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "kept", tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    files.temporary(path).symlink_to(elsewhere)
    files.write(path, "ours", 0o600)
    assert path.read_text() == "ours" and elsewhere.read_text() == "theirs"


def test_a_write_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    files.write(path, "old", 0o600)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new", 0o600)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("name", ["file", ""])
def test_a_lock_is_one_threads_as_well_as_one_programs(tmp_path: Path, name: str) -> None:
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with locks.held(tmp_path / name):
            order.append("second")

    with locks.held(tmp_path / name):
        other = threading.Thread(target=second)
        other.start()
        begun.wait()
        descriptor = os.open(tmp_path / name, os.O_RDONLY)
        assert not locks.attempt(descriptor)
        os.close(descriptor)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
