"""The zygotes of one supervisor: those that some process is forked from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from onestack.model.process import Roster, ZygoteSpec
from onestack.supervise.child import Child
from onestack.supervise.loop import Loop, log
from onestack.supervise.protocol import PreloadStatus
from onestack.supervise.supervised import Supervised
from onestack.supervise.zygote import Zygote


class Parent(Protocol):
    loop: Loop
    root: Path
    roster: Roster
    processes: dict[str, Supervised]

    def fork(self, child: Child) -> tuple[int, int]: ...

    def python(self, environment: str) -> str: ...

    def settle_soon(self) -> None: ...


class Zygotes:
    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._known: dict[str, Zygote] = {}

    def settle(self) -> None:
        """Start those that are used, end those that are not; one whose spec has changed anew."""
        used = {p.spec.zygote for p in self._parent.processes.values() if p.spec.zygote}
        for name, zygote in list(self._known.items()):
            if name not in used or not self._is_as_wanted(zygote):
                zygote.end()
                del self._known[name]
        for name in sorted(used - self._known.keys()):
            self._start(name)

    def _start(self, name: str) -> None:
        parent = self._parent
        spec = parent.roster.zygotes.get(name, ZygoteSpec(()))
        python = parent.python(spec.environment)
        if not python:
            log(f"zygote {name}: there is no environment {spec.environment!r}")
            return
        zygote = Zygote(
            *(name, spec, python), parent.loop, parent.root, parent.fork, parent.settle_soon
        )
        self._known[name] = zygote
        zygote.start()

    def _is_as_wanted(self, zygote: Zygote) -> bool:
        spec = self._parent.roster.zygotes.get(zygote.name)
        python = self._parent.python(zygote.spec.environment)
        return zygote.spec == spec and zygote.python == python

    def fork(self, child: Child) -> tuple[int, int]:
        """From the zygote that the child names. Raises `OSError`."""
        zygote = self._known.get(child.zygote)
        if zygote is None:
            raise OSError(0, f"there is no zygote {child.zygote!r}")
        return zygote.fork(child)

    def ready(self) -> list[str]:
        return [name for name, zygote in self._known.items() if zygote.done]

    def listing(self) -> dict[str, PreloadStatus]:
        return {name: zygote.status for name, zygote in self._known.items()}

    def end(self) -> None:
        """End all, and wait until they have ended; what they forked goes on."""
        for zygote in self._known.values():
            zygote.end()
