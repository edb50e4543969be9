"""Tempest's own code, and what it would skip in clouds of ours."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.components import ALL
from onestack.components.neutron.config import EXTENSION_DRIVERS
from onestack.components.tempest import config, skips
from onestack.components.tempest.inside.results import SKIPPED, Verdict
from onestack.model.ini import ini_text
from tests.support.needs import needs_services, needs_tempest, tempest_python
from tests.support.trials import tried
from tests.unit.components.rooms import context_on, machine
from tests.unit.components.test_tempest import FOUND, WANTED

TRIALS = Path(__file__).with_name("tempest_trials.py")
ON = (
    *("CONFIG_SWIFT_INSTALL", "CONFIG_HEAT_INSTALL", "CONFIG_HORIZON_INSTALL"),
    *("CONFIG_LBAAS_INSTALL", "CONFIG_ONESTACK_BARBICAN_INSTALL", "CONFIG_TROVE_INSTALL"),
    *("CONFIG_CEILOMETER_INSTALL", "CONFIG_AODH_INSTALL", "CONFIG_GNOCCHI_INSTALL"),
)
OBJECTS = (
    *("account_quotas", "bulk_delete", "bulk_upload", "container_quotas", "container_sync"),
    *("formpost", "s3api", "slo", "staticweb", "swift", "symlink", "tempurl", "versioned_writes"),
)
"""What the object store says of itself, in a cloud of ours."""
MOST = 800
"""Of more than six thousand tests, those that may skip themselves with everything on."""


@needs_tempest
def test_what_runs_is_told() -> None:
    tried(TRIALS, "running", python=tempest_python())


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = tried(TRIALS, "names", python=tempest_python(), timeout=600)
    place = tmp_path_factory.mktemp("tempest") / "names.json"
    # What some tests print when they are imported stands before it.
    place.write_text(told.stdout.splitlines()[-1])
    return place


def _extensions(agent: str) -> list[str]:
    plugins = ("ovn-router" if agent == "ovn" else "router", "qos", "trunk", "segments")
    answer = tried(TRIALS, "extensions", ",".join((*plugins, "port_forwarding")), _drivers())
    found: list[str] = json.loads(answer.stdout.splitlines()[-1])
    return found


@needs_services
def test_what_ovn_is_said_not_to_offer_it_does_not() -> None:
    said = [e for e, why in skips.listed().items() if why == "OVN's driver does not offer it"]
    names = {name for each in said for name in re.findall(r"[a-z]+(?:-[a-z]+)+", each)}
    assert len(names) >= 5
    assert names & set(_extensions("ovn")) == set()


@needs_tempest
@needs_services
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("agent", "on"), [("ovn", ON), ("openvswitch", ON), ("ovn", ())], ids=lambda v: str(v)[:12]
)
def test_each_reason_to_skip_is_listed(
    tmp_path: Path, names: Path, agent: str, on: tuple[str, ...]
) -> None:
    """As far as Tempest's own checks go without a cloud: by its options alone."""
    given = {**WANTED, **dict.fromkeys(on, "y"), "CONFIG_NEUTRON_L2_AGENT": agent}
    extensions = tuple(_extensions(agent))
    found = dataclasses.replace(FOUND, extensions=extensions, objects=OBJECTS)
    answers = registry().answers(given)
    rooms = [room for room in ALL if room.enabled(answers)]
    sections = config.sections(context_on(machine(), tmp_path, *rooms, **given), found)
    sections["DEFAULT"] = {"log_dir": str(tmp_path)}
    sections["oslo_concurrency"] = {"lock_path": str(tmp_path)}
    file = tmp_path / "tempest.conf"
    file.write_text(ini_text(sections))
    told = tried(TRIALS, "skips", file, names, python=tempest_python(), timeout=600)
    reasons = json.loads(told.stdout.splitlines()[-1])
    tests = [Verdict(name, SKIPPED, 0.0, reason) for name, reason in reasons.items()]
    assert [group for group in skips.grouped(tests) if not group.why] == []
    assert len(json.loads(names.read_text())) > 6000
    if on:
        assert 100 < len(tests) < MOST
        # Flags that the services' own settings bear out.
        said = {test.reason for test in tests}
        assert not any("enforce_scope is not enabled" in reason for reason in said)
        assert "Stable rescue not available." not in said


def _drivers() -> str:
    return ",".join(EXTENSION_DRIVERS)
