"""Servers whose making was interrupted, tried in the services' environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.needs import needs_services
from tests.support.trials import tried

TRIALS = Path(__file__).with_name("nova_interrupted_trials.py")


@needs_services
@pytest.mark.parametrize("trial", ["requests", "rescheduled", "explained", "unclaimed", "report"])
def test_none_stays_in_between_and_each_says_why(trial: str) -> None:
    tried(TRIALS, trial)
