"""A supervisor of toy processes, in a root of its own below the temporary directory."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onestack.kernel import proc
from onestack.model.cloud import Cloud
from onestack.model.process import Process, Roster
from onestack.supervise.client import Client
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.states import State

SOURCE = Path(__file__).resolve().parents[3] / "src"
HERE = Path(__file__).resolve().parent

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="a supervisor is root's")


def toy(name: str, run: str = "forever", **more: Any) -> Process:
    """A Python process that runs a function of `toys`."""
    more.setdefault("user", "root")
    more.setdefault("component", "toys")
    return Process(name=name, run=f"toys:{run}", **more)


def program(name: str, *argv: str, **more: Any) -> Process:
    more.setdefault("user", "root")
    more.setdefault("component", "toys")
    return Process(name=name, argv=argv, **more)


def until(check: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Ask until the answer is true."""
    end = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
    return answer


class Bench:
    """A cloud of toys, and its supervisor."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cloud = Cloud("toys", root)
        self.client = Client(self.cloud)
        self.python = Path(sys.executable)
        self.path = f"{SOURCE}:{HERE}"

    def hurry(self) -> None:
        """Let the supervisor have short delays."""
        script = self.root / "python"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "hurry.py"} "$@"\n')
        script.chmod(0o755)
        self.python = script

    def roster(self, *processes: Process, **more: Any) -> Roster:
        more.setdefault("preload", ("toys",))
        return Roster("toys", str(self.root), more.pop("netns", None), processes=processes, **more)

    def launch(self, *processes: Process, **more: Any) -> Client:
        # not a directory but PYTHONPATH's text: the toys lie beside the tests
        self.client.launch(self.python, Path(self.path), self.roster(*processes, **more))
        return self.client

    def load(self, *processes: Process, **more: Any) -> Any:
        return self.client.load(self.roster(*processes, **more))

    def status(self, name: str) -> ProcessStatus:
        return next(s for s in self.client.status() if s.name == name)

    def sentence(self, name: str) -> str:
        return self.status(name).sentence

    def until_state(self, name: str, state: State, seconds: float = 5.0) -> ProcessStatus:
        found: ProcessStatus = until(
            lambda: (s := self.status(name)) and s.state is state and s, seconds
        )
        return found

    def log(self, name: str) -> str:
        return (self.root / "log" / f"{name}.log").read_text()

    def end(self) -> None:
        while left := proc.belonging(self.root):
            proc.send(left, signal.SIGKILL)
            time.sleep(0.01)
        shutil.rmtree(self.root)
