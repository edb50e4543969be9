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
    words = [trials, name, *further]
    return _ended([python or services_python(), "-W", "ignore", *words], env, timeout)


def tried_text(program: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """A short one, of the test's own text, in the services' environment."""
    return _ended([services_python(), "-W", "ignore", "-c", program], None, timeout)


def _ended(
    words: list[str | Path], env: dict[str, str] | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words,
        env=env or {**os.environ, "PYTHONPATH": str(OURS)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done
