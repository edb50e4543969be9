"""Waiting for something that knows nothing of the operator's Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onestack.host.command import Aborted, abort

LOOK = 0.25
"""Seconds between looks whether the operator wants to stop."""


def patiently(call: Callable[[], None], what: str) -> None:
    """Run ``call`` to its end and raise what it raises.

    Raises `Aborted` when the operator stops the run meanwhile: the call is
    then left alone in its thread, so it must be one whose work goes on, or
    ends, well without us (a job or a start that the supervisor carries out).
    """
    failure: list[Exception] = []

    def follow() -> None:
        try:
            call()
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=follow, name=what, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK)
        if abort.is_set() and thread.is_alive():
            raise Aborted(f"{what} was stopped")
    if failure:
        raise failure[0]
