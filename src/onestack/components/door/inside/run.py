"""The door's answers, in a child of the supervisor (services' environment)."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from socket import socket

from onestack.cluster.settings import DoorSettings
from onestack.components.door.inside.app import Door
from onestack.model.errors import OnestackError
from onestack.model.process import Process
from onestack.runtime import wsgi

THREADS = 16
SECONDS = 900.0
"""What the controller's `up` may take; it waits for no image, and no guest."""


def answers(spec: Process, sockets: dict[str, socket]) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    settings = DoorSettings.read(Path(spec.arguments["settings"]))
    wsgi.serve(Door(settings, lambda: admit(settings.admit)), sockets["api"], THREADS)


def admit(command: tuple[str, ...], seconds: float = SECONDS) -> None:
    """Have the supervisor run the one command that the door may have run as root.

    Raises `OnestackError`.
    """
    cure = "on the controller: onestack up; then the same command here again"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise OnestackError(
            "the controller has not made ready for this host", f"it took {seconds:.0f} s", cure
        ) from None
    sys.stderr.write(done.stdout + done.stderr)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.strip()), "")
        raise OnestackError(
            "the controller could not make ready for this host",
            said.strip() or f"onestack up ended with {done.returncode} there",
            cure,
        )
