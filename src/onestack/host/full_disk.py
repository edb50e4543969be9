"""A disk that is full is told as one, whoever meets it: the kernel's word, or a program's."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onestack.host.command import CommandFailed
from onestack.host.files import explain
from onestack.model.errors import OnestackError, no_room

SAID = (
    r"No space left on device|ENOSPC|Could not allocate (block|inode)|\berror 28\b"
    r"|don't have enough free space|Wrote only \d+ of \d+ bytes"
)
"""A pattern: how programs say it."""
FULL = "the disk is full"
OF_THE_DISK = (errno.EROFS, errno.EIO)


@contextmanager
def full_disk_told(what: str, place: Path) -> Iterator[None]:
    """``what`` failed where the disk of ``place`` is the reason, with the likely cure.

    Raises `OnestackError` for an `OSError` of the disk, and for a program that said the same;
    what is raised for another reason goes on as it is.
    """
    try:
        yield
    except OSError as error:
        if full := no_room(error):
            raise OnestackError(what, f"{FULL}\n{full.why}", _cure(place)) from error
        if error.errno not in OF_THE_DISK:
            raise
        raise explain(what, place, error) from error
    except CommandFailed as error:
        if not re.search(SAID, error.result.out + error.result.err):
            raise
        said = error.why.removeprefix(f"{FULL}\n")
        raise OnestackError(what, f"{FULL}\n{said}", _cure(place)) from error


def _cure(place: Path) -> str:
    return f"make room (df -h {place}), then run the same command again"
