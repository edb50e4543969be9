"""Imported into a supervisor, its reading of a roster has a defect."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from onestack.model.process import Roster


def broken(path: Path) -> Roster:
    raise KeyError("b")


mock.patch.object(Roster, "from_file", broken).start()
