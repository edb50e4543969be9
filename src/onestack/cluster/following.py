"""Hosts keep up with their controller: what is asked and said for it, and what is made of that.

A host asks every few seconds for one word that changes with anything that it would be told. Where
that is another than the one that it was brought up with, it brings itself up. What it says when it
asks is kept by the door: a host has no place at which it could be asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.cluster import protocol
from onestack.cluster.protocol import Following, Standing
from onestack.kernel.files import write
from onestack.model.codec import from_plain, to_plain

INTERVAL = 15.0
"""Seconds between two questions of a host."""
SILENT = 6 * INTERVAL
"""Seconds after which a host that has said nothing counts as away."""
LONGEST_UP = 960.0
"""Seconds for which one that brings itself up may say nothing."""
DAY = 86400.0
LONGEST = 2000
"""Characters of a problem that are kept: who sends them may be anybody by now."""


def revision(standing: Standing) -> str:
    """Changes with all that a host is told; says nothing of it."""
    return hashlib.sha256(protocol.said(standing)).hexdigest()


@dataclass(frozen=True)
class Heard:
    """What a host said last, and when, in seconds since 1970 by the controller's clock."""

    said: Following
    at: float


@dataclass(frozen=True)
class Reports:
    """``folder`` is the door's own. Files of a few bytes, by the hosts' identities."""

    folder: Path

    @classmethod
    def below(cls, folder: Path) -> Reports:
        """Beside the list of hosts, which is in ``folder``."""
        return cls(folder / "heard")

    def put(self, identity: str, said: Following) -> None:
        """Raises `OSError`."""
        text = json.dumps(to_plain(_fit(said))) + "\n"
        path = self._path(identity)
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == text:
                os.utime(path)
                return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write(path, text, 0o600)

    def of(self, identity: str) -> Heard | None:
        """``None`` for one that was never heard of."""
        try:
            said, at = read(self._path(identity), protocol.LONGEST)
            return Heard(_fit(from_plain(Following, said)), at)
        except (OSError, ValueError, RecursionError):
            return None

    def keep_only(self, identities: Collection[str]) -> None:
        """Forget hosts that are none any more."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob("*.json"):
                if path.stem not in identities:
                    path.unlink()

    def _path(self, identity: str) -> Path:
        return self.folder / f"{identity}.json"


def read(path: Path, most: int) -> tuple[Any, float]:
    """JSON of a plain file of at most so many bytes, whoever put it there, and when it was changed.

    Raises `OSError`, `ValueError` and `RecursionError`.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no file")
        return json.loads(file.read(most)), found.st_mtime


def shown(text: str, longest: int = LONGEST) -> str:
    """As it may be shown on a terminal, whoever wrote it."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text[:longest])


def pause(again: float) -> float:
    """Seconds until a try, whatever was told of them: no number at all, too."""
    return min(max(0.0, again), DAY)


def _fit(said: Following) -> Following:
    return Following(
        shown(said.revision, 64),
        shown(said.edition, 64),
        said.trying,
        shown(said.problem),
        pause(said.again),
    )


@dataclass(frozen=True)
class Condition:
    """How far a host has come. ``word`` is for scripts, ``sentence`` goes on after its name."""

    word: str
    sentence: str
    problem: str = ""
    """The host's own words, if it tried and could not."""

    @property
    def well(self) -> bool:
        """Whether nobody has to do anything."""
        return self.word in ("current", "following", "joining")


JOINING = Condition("joining", "is joining: the controller has not made what it needs yet")


def condition(
    heard: Heard | None, wanted: str, edition: str, now: float | None = None
) -> Condition:
    """Of a host that should have ``wanted``, by a controller whose onestack is ``edition``."""
    now = time.time() if now is None else now
    if heard is None:
        return Condition("unheard", "was not heard of since it joined, or has an older onestack")
    said = heard.said
    if now - heard.at > (LONGEST_UP if said.trying else SILENT):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(heard.at))
        return Condition("away", f"is away since {since}")
    if said.edition != edition:
        return Condition("other", "has another onestack than the controller, and does not follow")
    if said.revision == wanted and not said.problem:
        return Condition("current", "is up to date")
    if said.trying:
        return Condition("following", "brings itself up, now")
    if said.problem:
        first = said.problem.splitlines()[0]
        again = f"tries again in {max(0, round(said.again - (now - heard.at)))} s"
        return Condition("failed", f"could not follow, and {again}: {first}", said.problem)
    return Condition("following", "follows by itself within a minute")
