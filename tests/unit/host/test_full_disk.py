"""A full disk is told with its cure, whoever met it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from onestack.host import packages
from onestack.host.command import CommandFailed, CommandResult
from onestack.host.full_disk import full_disk_told
from onestack.model.errors import OnestackError
from tests.support.needs import needs_root
from tests.support.small_disks import small_disk


@needs_root
def test_also_of_a_whole_tree(tmp_path: Path) -> None:
    """Which is copied with one error for all of it, that has no number."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        (source / str(number)).write_bytes(bytes(1 << 20))
    (tmp_path / "small").mkdir()
    with (
        small_disk(tmp_path / "small", 2),
        pytest.raises(OnestackError, match="cannot be made") as caught,
        full_disk_told("the image cannot be made", tmp_path / "small"),
    ):
        shutil.copytree(source, tmp_path / "small/copy")
    assert caught.value.why.startswith("the disk is full\n[Errno 28] No space left on device")
    assert f"df -h {tmp_path}/small" in caught.value.cure
    with pytest.raises(shutil.Error), full_disk_told("the image cannot be made", tmp_path):
        # Not permitted, or whatever it is: another mistake.
        raise shutil.Error([("a", "b", "[Errno 1] Operation not permitted: 'b'")])


def test_a_full_disk_is_told_with_its_cure(tmp_path: Path) -> None:
    with (
        pytest.raises(OnestackError, match="cannot be made") as caught,
        full_disk_told("the image cannot be made", tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "df -h" in caught.value.cure
    said = CommandResult(("tar",), 2, "", "tar: x: Cannot write: No space left on device", 0.1)
    with (
        pytest.raises(OnestackError, match="cannot be made") as caught,
        full_disk_told("the image cannot be made", tmp_path),
    ):
        raise CommandFailed(said, "it ended with exit code 2")
    assert caught.value.why.startswith("the disk is full\nit ended")
    # What has found that out itself says it once.
    said = CommandResult(("apt-get",), 100, "", "write (28: No space left on device)", 0.1)
    with (
        pytest.raises(OnestackError, match="cannot be made") as caught,
        full_disk_told("the image cannot be made", tmp_path),
    ):
        raise packages.explained(said)
    assert caught.value.why.count("the disk is full") == 1
    assert f"df -h {tmp_path}" in caught.value.cure
    with pytest.raises(FileNotFoundError), full_disk_told("the image cannot be made", tmp_path):
        raise FileNotFoundError(errno.ENOENT, "another mistake")
