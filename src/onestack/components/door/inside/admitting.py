"""What a new host needs of the controller is made there: by `up`, which the supervisor runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from onestack.model.errors import OnestackError

SECONDS = 900.0
"""What the controller's `up` may take; it waits for no image, and no guest."""
SAID, CURE = "onestack: ", "  cure:"
"""Begin an error and its cure as a program is told them (`cli.output`)."""


def admit(command: tuple[str, ...], seconds: float = SECONDS) -> None:
    """Have the supervisor run the one command that the door may have run as root.

    Raises `OnestackError`.
    """
    cure = "on the controller: onestack up; then the same command here again"
    code, text = ran(command, seconds)
    if code is None:
        raise OnestackError(
            "the controller has not made ready for this host", f"it took {seconds:.0f} s", cure
        )
    if code:
        why, its = problem(text)
        raise OnestackError(
            "the controller could not make ready for this host",
            why or f"onestack up ended with {code} there",
            f"{its}\non the controller; then the same command here again" if its else cure,
        )


def ran(command: tuple[str, ...], seconds: float = SECONDS) -> tuple[int | None, str]:
    """How an `up` ended (``None``: not within ``seconds``; it goes on), and what it said.

    Raises `OSError`, and not for a full disk: that is what it may have to say.
    """
    # A file: `up` may start this very process anew, and goes on where nobody reads what it says.
    with open(os.memfd_create("up"), "w+", encoding="utf-8", errors="replace") as said:
        try:
            code: int | None = subprocess.run(
                command, stdout=said, stderr=said, timeout=seconds, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
        said.seek(0)
        text = said.read()
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
    return code, text


def problem(text: str) -> tuple[str, str]:
    """Of what `up` said, its error and the cure: the progress stands before it."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    begins = [number for number, line in enumerate(lines) if line.startswith(SAID)]
    found = lines[begins[-1] :] if begins else lines[-1:]
    cures = [number for number, line in enumerate(found) if line.startswith(CURE)]
    middle = cures[0] if cures else len(found)
    why = "\n".join(found[:middle]).removeprefix(SAID)
    return why, "\n".join(line[len(CURE) :].strip() for line in found[middle:])
