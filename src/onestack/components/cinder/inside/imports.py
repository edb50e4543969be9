"""Files that are no volumes yet, or no more, in a folder of the pool's (``import``).

Whoever is root puts a file there, raw, and has cinder manage it under its name; what cinder is
told to manage no more is there afterwards. A reference is a name in that folder and nothing else.
The files count as what they may grow to, as volumes do.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cinder import exception
from oslo_utils import units

from onestack.components.cinder.inside.pool_files import IMPORTS, PoolFiles
from onestack.kernel.files import sync_directory
from onestack.storage import reflink

KEY = "source-name"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


class Imports:
    def __init__(self, files: PoolFiles) -> None:
        self._files = files
        self.directory = files.directory / IMPORTS

    def make(self) -> None:
        """The folder, for this service and root alone."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        # The list that all in the pool inherit is one for files: nobody passes through.
        if stat.S_IMODE(self.directory.stat().st_mode) != 0o700:
            os.chmod(self.directory, 0o700)

    def size(self, reference: Mapping[str, Any]) -> int:
        """GiB of the volume that the file becomes: a part of one counts as one."""
        return int(-(-self._found(reference).stat().st_size // units.Gi))

    def take(self, reference: Mapping[str, Any], path: Path) -> None:
        """The file becomes ``path``, with the owner and access of a new volume.

        Cut short, the file is still in the folder, and is taken again.
        """
        source = self._found(reference)
        size = self.size(reference) * units.Gi
        with self._files.room_for(size - source.stat().st_size):
            reflink.clone(source, path, size)
            source.unlink()
        sync_directory(self.directory)

    def give(self, path: Path) -> None:
        """``path`` is in the folder, under its own name, and no volume any more."""
        self.make()
        try:
            os.replace(path, self.directory / path.name)
        except FileNotFoundError:
            if not (self.directory / path.name).exists():
                raise
        sync_directory(self.directory)
        sync_directory(path.parent)

    def listed(self) -> list[dict[str, Any]]:
        """As cinder's API lists what can be managed."""
        return [self._entry(path) for path in sorted(self.directory.iterdir())]

    def _entry(self, path: Path) -> dict[str, Any]:
        reference, why, size = {KEY: path.name}, None, 0
        try:
            size = self.size(reference)
        except exception.ManageExistingInvalidReference as problem:
            why = str(problem)
        return {
            "reference": reference,
            "size": size,
            "safe_to_manage": why is None,
            "reason_not_safe": why,
            "cinder_id": None,
            "extra_info": None,
        }

    def _found(self, reference: Mapping[str, Any]) -> Path:
        """Raises `ManageExistingInvalidReference` for what is no file of this folder."""
        name = reference.get(KEY) if isinstance(reference, Mapping) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            why = f"it must be {KEY}, the name of a file in {self.directory}, and no path"
            raise exception.ManageExistingInvalidReference(existing_ref=reference, reason=why)
        path = self.directory / name
        try:
            info = path.lstat()
        except FileNotFoundError:
            info = None
        # What it links to may be anybody's.
        if info is None or not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
            why = f"{path} is not there, or no plain file"
            raise exception.ManageExistingInvalidReference(existing_ref=reference, reason=why)
        if not info.st_size or not os.access(path, os.R_OK):
            why = f"{path} is empty, or cannot be read: chown it to {self._owner()}"
            raise exception.ManageExistingInvalidReference(existing_ref=reference, reason=why)
        return path

    def _owner(self) -> int:
        return self.directory.stat().st_uid
