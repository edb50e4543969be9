"""Ours inside Octavia, tried in the services' environment; the trials are in octavia_trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.components.octavia import Octavia
from tests.support.mariadb import installed as needs_mariadb
from tests.support.mariadb import running
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
    tried(TRIALS, "no_certificates", configuration(tmp_path))


@needs_services
def test_an_agent_is_waited_for(tmp_path: Path) -> None:
    """As long as the room says, be the machine silent."""
    tried(TRIALS, "an_agent_is_waited_for", configuration(tmp_path), "900")


@needs_services
@needs_mariadb
def test_a_provider_is_faster_than_the_api(tmp_path: Path) -> None:
    file = configuration(tmp_path)
    with running(tmp_path) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE octavia")
        url = f"mysql+pymysql://root@localhost/octavia?unix_socket={tmp_path}/mariadb.sock"
        tried(TRIALS, "a_provider_is_faster_than_the_api", file, url)


def configuration(tmp_path: Path) -> Path:
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
    return file
