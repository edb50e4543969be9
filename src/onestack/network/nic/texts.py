"""Files of the machine that are written with a way back."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from onestack.host.command import run
from onestack.host.files import write_file
from onestack.host.locks import file_lock
from onestack.kernel.files import sync_directory
from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import Command, Told

LOCK = Path("/run/onestack-network-files.lock")


def note(told: Told) -> list[dict[str, Any]]:
    """What stands there now and what will, for the journal."""
    found = []
    for path, text in told.files.items():
        before, mode = _now(path), told.modes.get(path, 0o644)
        if path.is_file():
            mode = stat.S_IMODE(path.stat().st_mode)
        each = {"path": str(path), "before": before, "after": text, "mode": mode}
        new = [str(folder) for folder in path.parents if not folder.exists()]
        found.append({**each, "folders": new, "mergeable": path in told.mergeable})
    return found


def present(paths: Iterable[Path]) -> dict[Path, str | None]:
    return {path: _now(path) for path in paths}


@contextmanager
def alone() -> Iterator[None]:
    """No other onestack writes files of the machine's network: one may configure several NICs."""
    with file_lock(LOCK, "another onestack writes files of the machine's network"):
        try:
            yield
        finally:
            LOCK.unlink(missing_ok=True)


def write(notes: Iterable[Mapping[str, Any]]) -> None:
    """In their order, each for good before the next one."""
    for each in notes:
        _put(Path(each["path"]), each["after"], each["mode"])


def changed(notes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those that somebody has edited since, so that ours cannot be taken out of them."""
    return [each["path"] for each in notes if not _returns(each)]


def former(note: Mapping[str, Any]) -> str | None:
    """What stands in a file once ours is gone from it: what others have changed stays."""
    now = _now(Path(note["path"]))
    if now in (note["before"], note["after"]) or not note.get("mergeable"):
        return _text(note["before"])
    merged = without(now, note["after"], note["before"])
    return _text(note["before"]) if merged is None else merged


def taken_back(notes: Iterable[Mapping[str, Any]], commands: tuple[Command, ...]) -> Told:
    """What a manager is told to have its files as before: the last that was written first."""
    known = list(notes)[::-1]
    files = {Path(each["path"]): former(each) for each in known}
    return Told(files, commands, commands, {Path(each["path"]): each["mode"] for each in known})


def _returns(note: Mapping[str, Any]) -> bool:
    now = _now(Path(note["path"]))
    if now in (note["before"], note["after"]):
        return True
    return bool(note.get("mergeable")) and without(now, note["after"], note["before"]) is not None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def without(now: str | None, after: str | None, before: str | None) -> str | None:
    """``now`` with what has made ``after`` of ``before`` undone; ``None`` where both touch."""
    if now is None or after is None or before is None:
        return None
    ours, lines = after.splitlines(keepends=True), list[str]()
    changes = [(change, before.splitlines(keepends=True)) for change in _changes(after, before)]
    changes += [(change, now.splitlines(keepends=True)) for change in _changes(after, now)]
    at = -1
    for (first, last, start, end), text in sorted(changes, key=lambda each: each[0][:2]):
        if first <= at:
            return None
        lines += [*ours[max(at, 0) : first], *text[start:end]]
        at = last
    return "".join([*lines, *ours[max(at, 0) :]])


def _changes(after: str, other: str) -> list[tuple[int, int, int, int]]:
    """Lines of ``after`` from and to, and of ``other`` that stand there instead."""
    one, two = after.splitlines(keepends=True), other.splitlines(keepends=True)
    matcher = SequenceMatcher(None, one, two, autojunk=False)
    return [(i, j, k, n) for what, i, j, k, n in matcher.get_opcodes() if what != "equal"]


def restore(notes: Iterable[Mapping[str, Any]]) -> None:
    """The last that was written is put back first."""
    for each in reversed(list(notes)):
        path = Path(each["path"])
        _put(path, former(each), each["mode"])
        tidy(each)


def tidy(note: Mapping[str, Any]) -> None:
    """Folders that were made for it go, as far as nobody else uses them."""
    for folder in note.get("folders", ()):
        with suppress(OSError):
            Path(folder).rmdir()


def carry_out(commands: Iterable[Command], check: bool) -> None:
    for words in commands:
        try:
            run(words, timeout=90, check=check, finish=True)
        except OnestackError:
            if check:
                raise


def undo(data: dict[str, Any]) -> Sequence[str]:
    """Of the journal: the files as they were, and their readers told."""
    restore(data["files"])
    carry_out([tuple(words) for words in data["back"]], check=False)
    return ()


def _now(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _put(path: Path, text: str | None, mode: int) -> None:
    if text is None:
        if path.exists():
            path.unlink()
            sync_directory(path.parent)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text, mode=mode)
