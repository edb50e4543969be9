"""What a deployment asks of the cloud's supervisor: `onestack.supervise.client.Client` does it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from onestack.model.process import SERVICES
from onestack.supervise.client import Explain
from onestack.supervise.protocol import Loaded, ProcessStatus, SupervisorStatus


class SupervisorClient(Protocol):
    def running(self) -> bool: ...

    def launch(self, python: Path, program: Path, roster: Path, /) -> None: ...

    def shutdown(self) -> None: ...

    def load(self) -> Loaded: ...

    def details(self) -> SupervisorStatus: ...

    def status(self, names: Iterable[str] | None = None) -> list[ProcessStatus]: ...

    def start(self, names: Iterable[str], /) -> None: ...

    def stop(self, names: Iterable[str], /) -> None: ...

    def pause(self, names: Iterable[str], /) -> None: ...

    def restart(self, names: Iterable[str], /) -> None: ...

    def wait(
        self, names: Iterable[str], seconds: float, /, *, explain: Explain | None = None
    ) -> None: ...

    def job(
        self,
        *,
        run: str,
        user: str,
        arguments: dict[str, Any],
        log: str,
        environment: str = SERVICES,
        component: str = "",
        explain: Explain | None = None,
    ) -> None: ...
