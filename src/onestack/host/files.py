"""Files and directories: written whole or not at all, with their owner and mode."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.host.ledger import Ledger
from onestack.kernel import files as kernel_files
from onestack.kernel import mounts
from onestack.model.change import Change, Undo
from onestack.model.errors import NotYet, OnestackError


def uid_of(user: str) -> int:
    """Raises `NotYet` when there is no such user."""
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise NotYet(f"there is no user {user}", cure="run the same command again") from error


def gid_of(group: str) -> int:
    """Raises `NotYet` when there is no such group."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise NotYet(f"there is no group {group}", cure="run the same command again") from error


def write_file(
    path: Path,
    content: str | bytes,
    *,
    mode: int = 0o644,
    owner: str = "root",
    group: str = "root",
) -> None:
    """Replace ``path`` at once, as `onestack.kernel.files.write` does, by names of its owners.

    Raises `OnestackError` (with the cure for a full disk).
    """
    uid, gid = uid_of(owner), gid_of(group)
    try:
        kernel_files.write(path, content, mode, uid, gid)
    except OSError as error:
        raise explain(f"{path} cannot be written", path, error) from error


def explain(what: str, path: Path, error: OSError) -> OnestackError:
    """``error`` at ``path`` with its likely cure."""
    cure = ""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        cure = f"make room on the disk of {path} (df -h {path.parent}), then run the same command"
    elif error.errno == 30:  # EROFS
        cure = f"the file system of {path} is read-only: mount it read-write"
    return OnestackError(what, error.strerror or str(error), cure)


def same_owner(path: Path, uid: int, gid: int, mode: int) -> bool:
    """Whether ``path`` (not followed) has this owner, group and mode."""
    info = path.lstat()
    return (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (uid, gid, mode)


def ensure_file(
    path: Path,
    content: str | bytes,
    *,
    mode: int = 0o644,
    owner: str = "root",
    group: str = "root",
    ledger: Ledger | None = None,
) -> Iterator[Change]:
    """``path`` with ``content``, owner and mode; only what differs is changed.

    Give ``ledger`` for a file outside the cloud's root.
    """
    raw = content.encode() if isinstance(content, str) else content
    present = path.is_file() and not path.is_symlink()
    if not present or path.read_bytes() != raw:

        def write() -> None:
            if ledger is not None:
                ledger.record("file", path=str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, raw, mode=mode, owner=owner, group=group)

        yield Change(f"write {path}", write)
        return

    yield from ensure_owner(path, owner, group, mode)


def ensure_owner(path: Path, owner: str, group: str, mode: int) -> Iterator[Change]:
    """``path``, which exists, with this owner, group and mode (links are not followed)."""
    try:
        right = same_owner(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid, mode)
    except KeyError:
        right = False

    def mend() -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fchown(descriptor, uid_of(owner), gid_of(group))
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    if not right:
        yield Change(f"give {path} to {owner}:{group}, mode {mode:o}", mend)


def ensure_directory(
    path: Path,
    *,
    mode: int = 0o755,
    owner: str = "root",
    group: str = "root",
    ledger: Ledger | None = None,
    shared: bool = False,
) -> Iterator[Change]:
    """The directory ``path`` with owner and mode. Give ``ledger`` outside the cloud's root.

    One that is ``shared`` stays as long as there are clouds on the machine.
    """
    if path.is_dir() and not path.is_symlink():
        yield from ensure_owner(path, owner, group, mode)
        return

    def make() -> None:
        if path.is_symlink() or path.exists():
            raise OnestackError(
                f"{path} is not a directory",
                "something else has its place",
                f"move it away: mv {path} {path}.old",
            )
        if ledger is not None:
            ledger.record("directory", path=str(path), **({"shared": True} if shared else {}))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            os.chown(path, uid_of(owner), gid_of(group))
            path.chmod(mode)
        except OSError as error:
            raise explain(f"{path} cannot be made", path, error) from error

    yield Change(f"make {path}", make)


def ensure_no_file(path: Path) -> Iterator[Change]:
    """For a file below the cloud's root, which is in no ledger."""
    if path.exists():
        yield Change(f"remove {path}", path.unlink)


def remove_tree(path: Path) -> None:
    """Remove ``path`` and all below; nothing there is well too. Links are not followed.

    Raises `OnestackError`, before anything is removed, while something is mounted on it or
    below: a disk's or a share's files are not ours to remove.
    """
    if inside := mounts.within(path):
        raise OnestackError(
            f"{path} cannot be removed",
            f"something is mounted there: {', '.join(str(m.target) for m in inside)}",
            f"unmount it: umount {inside[-1].target}",
        )
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            remove_tree(path)
        except OSError as error:
            raise OnestackError(
                f"{path} cannot be removed",
                f"{error.filename or ''}: {error.strerror}",
                f"see what holds it: findmnt -R {path}",
            ) from error


def undo_file(data: dict[str, Any]) -> None:
    path = Path(data["path"])
    kernel_files.temporary(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def undo_directory(data: dict[str, Any]) -> None:
    """Only when empty: what others put there is theirs."""
    with contextlib.suppress(FileNotFoundError, OSError):
        Path(data["path"]).rmdir()


UNDO: Mapping[str, Undo] = {"file": undo_file, "directory": undo_directory}
