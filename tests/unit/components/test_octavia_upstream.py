"""Ours inside Octavia, tried in the services' environment; the trials are in octavia_trials."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import onestack
from onestack.components.octavia import Octavia
from tests.support.needs import needs_services, services_python
from tests.unit.components.rooms import content, context

TRIALS = Path(__file__).with_name("octavia_trials.py")
NAMES = ("what_was_interrupted", "what_is_mended", "heartbeats", "who_stood_still_waits")


def tried(name: str, *further: str | Path) -> None:
    done = subprocess.run(
        [services_python(), "-W", "ignore", TRIALS, name, *further],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(onestack.__file__).parents[1])},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_services
@pytest.mark.parametrize("name", NAMES)
def test_trial(name: str) -> None:
    tried(name)


@needs_services
def test_no_certificates(tmp_path: Path) -> None:
    octavia = Octavia()
    ctx = context(
        tmp_path,
        octavia,
        CONFIG_LBAAS_INSTALL="y",
        CONFIG_NEUTRON_L2_AGENT="ovn",
        CONFIG_ONESTACK_OCTAVIA_PROVIDERS="amphora,ovn",
    )
    file = tmp_path / "octavia.conf"
    file.write_text(content(ctx, octavia, "octavia.conf"))
    tried("no_certificates", file)
