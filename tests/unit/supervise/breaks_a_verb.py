"""Imported into a supervisor, its reading of a roster has a defect."""

from __future__ import annotations

from pathlib import Path

from onestack.model.process import Roster


def broken(path: Path) -> Roster:
    raise KeyError("b")


Roster.from_file = broken  # type: ignore[method-assign]
