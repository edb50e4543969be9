"""Trials of ours inside upstream: programs beside the tests, run in upstream's environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import onestack
from tests.support.needs import services_python

OURS = Path(onestack.__file__).parents[1]


def tried(
    trials: Path,
    name: str,
    *further: str | Path,
    python: Path | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """The trial ``name`` of the file ``trials``, once it has ended well.

    ``python`` is the services' own by default. ``env`` is all of its environment; by default this
    one's, with ours to be imported.
    """
    done = subprocess.run(
        [python or services_python(), "-W", "ignore", trials, name, *further],
        env=env or {**os.environ, "PYTHONPATH": str(OURS)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done
