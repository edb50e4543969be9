"""What a trial has made so far, and how it asks for more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keystoneauth1.session import Session

from onestack.model.context import Context
from onestack.model.errors import OnestackError

Item = dict[str, Any]
NAME = "onestack-verify"
"""Of the project, the user, the flavor, and all in the project."""
SHOWN = 300
"""Characters of a service's refusal that are shown."""


class LeftOut(Exception):
    """A stage that is of no use here."""


@dataclass
class Made:
    ctx: Context
    session: Session | None = None
    """The trial's own user's, at the public addresses."""
    project: str = ""
    network: str = ""
    outside: Item = field(default_factory=dict)
    """The external network, as neutron has it."""
    port: Item = field(default_factory=dict)
    server: str = ""
    user: str = ""
    """Who logs in to the server."""
    address: str = ""
    """Its floating IP."""
    login: list[str] = field(default_factory=list)
    """The command that reaches it; the guest's own command follows."""
    volume: str = ""

    @property
    def folder(self) -> Path:
        """For the key to the server."""
        return self.ctx.cloud.run / "verify"

    def ask(
        self,
        service: str,
        path: str,
        body: Item | None = None,
        *,
        method: str = "",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """What the service answers: JSON, or bytes that are none. Raises `OnestackError`."""
        assert self.session, "a token comes first"
        how = method or ("GET" if body is None else "POST")
        answer = self.session.request(
            self.ctx.public_url(service) + path,
            how,
            json=body,
            data=data,
            headers={"Accept": "application/json", **(headers or {})},
            raise_exc=False,
        )
        if answer.status_code >= 400:
            said = answer.text[:SHOWN].strip()
            raise OnestackError(
                f"{how} {path.partition('?')[0]} answers {answer.status_code}",
                said,
                self.cure(service, said),
            )
        if "json" in answer.headers.get("Content-Type", "") and answer.content:
            return answer.json()
        return answer.content

    def cure(self, service: str, text: str) -> str:
        """What is known of such a text of the service's, else where to look."""
        room = next(
            (room.name for room in self.ctx.components for o in room.provides if o.name == service),
            service,
        )
        return self.ctx.model.likely(room, text) or f"see `onestack logs {room}`, `onestack doctor`"

    def wait(
        self,
        service: str,
        what: str,
        state: Callable[[], tuple[str, str]],
        good: str,
        seconds: float,
    ) -> None:
        """Until ``state`` is ``good``. It is a state, and why it is bad if it is.

        Raises `OnestackError` where it ends otherwise, or not in time.
        """
        until = time.monotonic() + seconds
        while (now := state())[0] != good:
            status, why = now
            if "error" in status.lower() or status.endswith("FAILED"):
                raise OnestackError(f"{what} is {status}", why, self.cure(service, why))
            if time.monotonic() > until:
                raise OnestackError(
                    f"{what} is {status or 'nothing'} after {seconds:.0f} s, and not {good}",
                    why,
                    self.cure(service, why),
                )
            time.sleep(0.5)
