"""Ours inside neutron, tried in the services' environment; the trials are in neutron_trials."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import onestack
from onestack.release import program
from tests.support.needs import needs_services
from tests.support.trials import tried

TRIALS = Path(__file__).with_name("neutron_trials.py")
NAMES = (
    "gateways_to_local_networks",
    "gateways_to_be_rescheduled",
    "gateways_that_are_not_there",
    "large_segments",
    "mechanism_driver",
    "mechanism_driver_of_agents",
    "metadata_byte_for_byte",
    "metadata_port_without_mtu",
    "mtu_of_metadata_ports",
    "local_networks_are_wired",
    "networks_that_change_while_dhcp_starts",
    "programs_with_a_loader",
    "untagged_frames",
    "untagged_frames_of_many_at_once",
    "untagged_frames_that_are_anothers_by_now",
    "names_that_nobody_owns",
    "legs",
    "interface_drivers",
    "dead_ports",
    "workers",
    "warm_ovn",
    "warm_openvswitch",
    "warm_fwaas",
    "firewall_groups_of_one_router",
    "firewall_service_drivers",
)


pytestmark = needs_services


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as services find it: with the entry points by which neutron loads ours."""
    place = tmp_path_factory.mktemp("program")
    source = Path(onestack.__file__).parent
    (place / "onestack").symlink_to(source)
    information = place / program.DISTRIBUTION
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: onestack\nVersion: 0.1.0\n")
    shutil.copyfile(source / "release" / "entry_points.txt", information / "entry_points.txt")
    return place


@pytest.mark.parametrize("name", NAMES)
def test_trial(installed: Path, tmp_path: Path, name: str) -> None:
    # stevedore keeps a cache in the home directory
    env = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    tried(TRIALS, name, env=env, timeout=180)
