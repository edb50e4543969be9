"""Files of the machine that are written with a way back."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onestack.host.command import run
from onestack.host.files import write_file
from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import Command, Told


def note(told: Told) -> list[dict[str, Any]]:
    """What stands there now and what will, for the journal."""
    found = []
    for path, text in told.files.items():
        before, mode = _now(path), told.modes.get(path, 0o644)
        if path.is_file():
            mode = stat.S_IMODE(path.stat().st_mode)
        found.append({"path": str(path), "before": before, "after": text, "mode": mode})
    return found


def write(notes: Iterable[Mapping[str, Any]]) -> None:
    for each in notes:
        _put(Path(each["path"]), each["after"], each["mode"])


def changed(notes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those that somebody has edited since."""
    return [
        each["path"]
        for each in notes
        if _now(Path(each["path"])) not in (each["before"], each["after"])
    ]


def restore(notes: Iterable[Mapping[str, Any]]) -> None:
    for each in reversed(list(notes)):
        _put(Path(each["path"]), each["before"], each["mode"])


def carry_out(commands: Iterable[Command], check: bool) -> None:
    for words in commands:
        try:
            run(words, timeout=90, check=check, finish=True)
        except OnestackError:
            if check:
                raise


def undo(data: dict[str, Any]) -> None:
    """Of the journal: the files as they were, and their readers told."""
    restore(data["files"])
    carry_out([tuple(words) for words in data["back"]], check=False)


def _now(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _put(path: Path, text: str | None, mode: int) -> None:
    if text is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text, mode=mode)
