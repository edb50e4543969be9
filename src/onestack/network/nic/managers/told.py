"""What is common to all: what is handed over, and what a manager is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from onestack.model.errors import OnestackError

Command = tuple[str, ...]


@dataclass(frozen=True)
class Handover:
    """``bridge`` gets what ``nic`` had; ``index`` is the kernel's number of the NIC."""

    nic: str
    bridge: str
    mac: str
    mtu: int
    index: int = 0


@dataclass(frozen=True)
class Told:
    """Files (``None``: it goes), commands once they are written, and once they are put back.

    Files are written in their order, and put back in the other one: power may go after each,
    and whatever boot follows has its network. So one of them is what counts, and is last of
    those that are new or changed; the ones before it mean nothing without it.
    """

    files: Mapping[Path, str | None] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    back: tuple[Command, ...] = ()
    modes: Mapping[Path, int] = field(default_factory=dict)
    """Of files that are not there yet, where it is not 0644."""
    mergeable: frozenset[Path] = frozenset()
    """Those that others edit too: ours goes out of them, and theirs stays."""


class Manager(Protocol):
    """``root`` is the machine's root directory, another one in tests."""

    @property
    def name(self) -> str: ...

    @property
    def runs_clients(self) -> bool:
        """Whether it leaves DHCP to a program that is started for a device."""

    def trial(self, wanted: Handover, root: Path) -> Told:
        """Until the operator keeps it: nothing of it is there after a reboot."""

    def lasting(self, wanted: Handover, root: Path) -> Told:
        """For good. Raises `OnestackError` for what it cannot be told."""


def renamed(text: str, nic: str, name: str) -> str:
    """``text`` with ``name`` wherever ``nic`` stands as a word; ``nic.5`` is another device."""
    return re.sub(rf"(?<![\w.@-]){re.escape(nic)}(?![\w.@-])", name, text)


NOTE = "# {bridge} has the place of {nic}, for the cloud's networks. Made by onestack.\n"


def note(wanted: Handover) -> str:
    return NOTE.format(bridge=wanted.bridge, nic=wanted.nic)


def text_of(path: Path) -> str:
    """Raises `OnestackError` for one that is not of UTF-8, which could not be put back as it is."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OnestackError(
            f"{path} cannot be read",
            f"it is no text of UTF-8: {error}",
            "write it as such: iconv -f latin1 -t utf-8",
        ) from error


def text_if_any(path: Path) -> str:
    """Nothing for what is not there, or not to be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


CLOUD_INIT = "etc/cloud/cloud.cfg"


def without_cloud_init(wanted: Handover, root: Path) -> dict[Path, str | None]:
    """Where it may write the machine's network anew at a boot it is told not to, as it says."""
    if not (root / CLOUD_INIT).is_file():
        return {}
    path = root / f"{CLOUD_INIT}.d" / f"99-onestack-{wanted.nic}.cfg"
    return {path: note(wanted) + "network: {config: disabled}\n"}
