"""Name servers that systemd-resolved was told of a device by somebody who only runs at boot.

systemd-networkd and NetworkManager tell it of the bridge by themselves. What it knows of a
device goes with the device; so there is nothing to undo.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator

from onestack.host.command import environment, run

PROGRAM = "resolvectl"
WHAT = ("dns", "domain", "default-route")


def hand_over(source: str, target: str) -> None:
    """``target`` gets what ``source`` has, where resolved runs and knows anything of it."""
    if not shutil.which(PROGRAM, path=environment()["PATH"]):
        return
    for what in WHAT:
        said = run([PROGRAM, "--no-pager", what, source], check=False, timeout=10)
        if said.ok and (words := list(_words(said.out.splitlines()))):
            run([PROGRAM, what, target, *words], check=False, timeout=10)


def _words(lines: Iterable[str]) -> Iterator[str]:
    """``Link 2 (eno1): 192.0.2.53 example.org``."""
    for line in lines:
        if line.startswith("Link "):
            yield from line.partition("): ")[2].split()
