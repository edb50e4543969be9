"""Ours inside Octavia, tried in the services' environment; the trials are in octavia_trials."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import onestack
from tests.support.needs import needs_services, services_python

TRIALS = Path(__file__).with_name("octavia_trials.py")
NAMES = ("what_was_interrupted", "what_is_mended", "heartbeats", "who_stood_still_waits")


@needs_services
@pytest.mark.parametrize("name", NAMES)
def test_trial(name: str) -> None:
    done = subprocess.run(
        [services_python(), "-W", "ignore", TRIALS, name],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(onestack.__file__).parents[1])},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
