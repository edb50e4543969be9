"""What is changed in gnocchi, tried in the services' environment; trials are in gnocchi_trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.needs import needs_services
from tests.support.trials import tried

TRIALS = Path(__file__).with_name("gnocchi_trials.py")


@needs_services
@pytest.mark.parametrize(
    "name", ["classes_are_made_alone", "a_changed_type_is_made_anew", "nobody_waits_for_ever"]
)
def test_trial(name: str) -> None:
    tried(TRIALS, name, timeout=180)
