"""Waiting for something that knows nothing of the operator's Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from onestack.host.command import Aborted
from onestack.model.run import this_run, thread

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
        except Exception as error:  # noqa: BLE001
            failure.append(error)

    waiting = thread(follow, what)
    waiting.start()
    while waiting.is_alive():
        waiting.join(LOOK)
        if this_run().stop.is_set() and waiting.is_alive():
            raise Aborted(f"{what} was stopped")
    if failure:
        raise failure[0]
