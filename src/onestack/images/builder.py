"""What a machine must be and have to build an image."""

from __future__ import annotations

import os
import platform
import shutil

from onestack.host.command import environment
from onestack.model.errors import OnestackError

PROGRAMS = {"mke2fs": "e2fsprogs", "qemu-img": "qemu-utils"}
"""Of this machine, and the packages they are in."""


def check_machine(title: str, other: str = "") -> None:
    """``other`` is what to do on another kind of machine. Raises `OnestackError`."""
    if platform.machine() != "x86_64":
        raise OnestackError(
            f"{title} cannot be built here",
            f"it is made for x86_64, and this machine is {platform.machine()}",
            other,
        )
    if os.geteuid() != 0:
        raise OnestackError(
            f"{title} can only be built by root",
            "the owners of the files in it are taken from files on this machine",
            "run it with sudo",
        )
    for program, package in PROGRAMS.items():
        if not shutil.which(program, path=environment()["PATH"]):
            raise OnestackError(
                f"{title} cannot be built yet",
                f"there is no {program} on this machine",
                f"apt-get install -y {package}",
            )
