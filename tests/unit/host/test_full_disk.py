"""A full disk is told with its cure, whoever met it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from onestack.host.command import CommandFailed, CommandResult
from onestack.host.full_disk import full_disk_told
from onestack.model.errors import OnestackError


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
    assert caught.value.why.startswith("the disk is full")
    with pytest.raises(FileNotFoundError), full_disk_told("the image cannot be made", tmp_path):
        raise FileNotFoundError(errno.ENOENT, "another mistake")
