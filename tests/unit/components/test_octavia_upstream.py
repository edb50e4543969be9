"""Ours inside Octavia, tried in the services' environment; the trials are in octavia_trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.components.octavia import Octavia
from tests.support.needs import needs_services
from tests.support.trials import tried
from tests.unit.components.rooms import content, context

TRIALS = Path(__file__).with_name("octavia_trials.py")
NAMES = ("what_was_interrupted", "what_is_mended", "heartbeats", "who_stood_still_waits")


@needs_services
@pytest.mark.parametrize("name", NAMES)
def test_trial(name: str) -> None:
    tried(TRIALS, name)


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
    tried(TRIALS, "no_certificates", file)
