"""Files and directories."""

from __future__ import annotations

import errno
import grp
import os
import subprocess
from pathlib import Path

import pytest

from onestack.deploy.undo import undo, undos
from onestack.host import files
from onestack.host.ledger import Ledger
from onestack.host.mounts import unmount
from onestack.model.change import Change
from onestack.model.errors import OnestackError
from tests.support.needs import needs_root


def apply(changes: list[Change]) -> list[str]:
    for change in changes:
        change.do()
    return [c.what for c in changes]


@needs_root
def test_a_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"

    def wanted() -> list[Change]:
        return list(files.ensure_file(path, "text\n", mode=0o640, group="daemon"))

    assert apply(wanted()) == [f"write {path}"]
    info = path.stat()
    assert path.read_text() == "text\n"
    assert (info.st_uid, info.st_gid) == (0, grp.getgrnam("daemon").gr_gid)
    assert info.st_mode & 0o7777 == 0o640
    assert wanted() == []
    path.write_text("other")
    assert apply(wanted()) == [f"write {path}"]
    path.chmod(0o666)
    assert apply(wanted()) == [f"give {path} to root:daemon, mode 640"]
    assert path.stat().st_mode & 0o7777 == 0o640
    assert wanted() == []
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_only_a_file_outside_the_root_is_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "etc" / "ledger.json")
    path = tmp_path / "outside"
    apply(list(files.ensure_file(path, "x", ledger=ledger)))
    (entry,) = ledger.entries()
    assert (entry.kind, entry.data) == ("file", {"path": str(path)})
    undo(entry, undos())
    assert not path.exists()
    undo(entry, undos())


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OnestackError) as caught:
        files.write_file(path, "new")
    assert "No space left" in caught.value.why
    assert "make room" in caught.value.cure
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(target)
    (tmp_path / ".link.onestack-new").symlink_to(target)
    apply(list(files.ensure_file(link, "ours")))
    assert target.read_text() == "mine"
    assert link.read_text() == "ours" and not link.is_symlink()


@needs_root
def test_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"

    def wanted() -> list[Change]:
        return list(files.ensure_directory(path, mode=0o750, owner="daemon", group="daemon"))

    assert apply(wanted()) == [f"make {path}"]
    assert path.stat().st_mode & 0o7777 == 0o750
    assert wanted() == []
    os.chown(path, 0, 0)
    assert apply(wanted()) == [f"give {path} to daemon:daemon, mode 750"]
    assert wanted() == []


def test_a_file_in_a_directorys_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (change,) = files.ensure_directory(tmp_path / "a")
    with pytest.raises(OnestackError, match="is not a directory"):
        change.do()


def test_an_unknown_user(tmp_path: Path) -> None:
    with pytest.raises(OnestackError, match="there is no user nobody-like-that"):
        files.write_file(tmp_path / "a", "", owner="nobody-like-that")


def test_remove_tree_takes_what_is_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    files.remove_tree(tree)
    files.remove_tree(tree)
    assert not tree.exists() and (outside / "kept").exists()


@needs_root
def test_remove_tree_does_not_go_through_a_mount(tmp_path: Path) -> None:
    share, tree = tmp_path / "share", tmp_path / "tree"
    (tree / "mounts" / "one").mkdir(parents=True)
    (tree / "first").write_text("")
    share.mkdir()
    (share / "kept").write_text("")
    subprocess.run(["mount", "--bind", share, tree / "mounts" / "one"], check=True)
    try:
        for path in (tree, tree / "mounts" / "one"):
            with pytest.raises(OnestackError, match=r"something is mounted there: \S+/mounts/one"):
                files.remove_tree(path)
        assert (tree / "first").exists()
        unmount(tree)
    finally:
        subprocess.run(["umount", "--quiet", tree / "mounts" / "one"])
    files.remove_tree(tree)
    assert (share / "kept").exists() and not tree.exists()
