"""What is changed in gnocchi, tried in the services' environment; trials are in gnocchi_trials."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import onestack
from tests.support.needs import needs_services, services_python

TRIALS = Path(__file__).with_name("gnocchi_trials.py")


@needs_services
@pytest.mark.parametrize(
    "name", ["classes_are_made_alone", "a_changed_type_is_made_anew", "nobody_waits_for_ever"]
)
def test_trial(name: str) -> None:
    done = subprocess.run(
        [services_python(), "-W", "ignore", TRIALS, name],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(onestack.__file__).parents[1])},
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
