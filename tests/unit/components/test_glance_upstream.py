"""Ours inside glance, tried in the services' environment; the trials are in glance_trials."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import onestack
from tests.support.needs import needs_services, services_python

TRIALS = Path(__file__).with_name("glance_trials.py")


@needs_services
def test_reasons_of_failed_tasks(tmp_path: Path) -> None:
    done = subprocess.run(
        [services_python(), "-W", "ignore", TRIALS, "reasons"],
        env={
            "PYTHONPATH": str(Path(onestack.__file__).parents[1]),
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
