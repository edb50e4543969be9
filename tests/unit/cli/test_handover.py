"""What the launcher's first look found, in a file without a name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.cli import handover
from onestack.cli.handover import VARIABLE, Handover
from onestack.model.cloud import Cloud
from onestack.model.findings import info, warn
from tests.support.machines import machine

CLOUD = Cloud("onestack", Path("/nonexistent/onestack"))
FOUND = Handover(machine("several-nics"), {"check_apt": [], "check_index": [warn("a", "b", "c")]})


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryFile() as file:
        # take() closes the one that it is given
        yield {VARIABLE: str(os.dup(file.fileno()))}


def test_it_arrives_once(env: dict[str, str]) -> None:
    handover.leave(CLOUD, FOUND, env)
    assert handover.take(CLOUD, env) == FOUND
    assert handover.take(CLOUD, env) == Handover()


def test_it_is_about_one_cloud(env: dict[str, str]) -> None:
    handover.leave(CLOUD, FOUND, env)
    inside = Cloud("onestack", CLOUD.root, "onestack-x")
    assert handover.take(inside, env) == Handover()


def test_what_was_left_first_is_forgotten(env: dict[str, str]) -> None:
    handover.leave(CLOUD, FOUND, env)
    later = Handover(machine(), {"check_apt": [info("x")]})
    handover.leave(CLOUD, later, env)
    assert handover.take(CLOUD, env) == later


def test_nothing_left_nothing_known(env: dict[str, str]) -> None:
    assert handover.take(CLOUD, env) == Handover()
    assert handover.take(CLOUD, {}) == Handover()
    assert handover.take(CLOUD, {VARIABLE: "no number"}) == Handover()
    assert handover.take(CLOUD, {VARIABLE: "99999"}) == Handover()


def test_a_file_with_a_name_is_not_trusted(tmp_path: Path) -> None:
    """Somebody else may have written it."""
    place = tmp_path / "file"
    with place.open("w+b") as file:
        env = {VARIABLE: str(file.fileno())}
        handover.leave(CLOUD, FOUND, env)
        assert place.read_bytes() == b""
        assert handover.take(CLOUD, env) == Handover()


def test_a_version_that_may_be_known_soon_is_asked_for_again(env: dict[str, str]) -> None:
    """Apt's lists may be fetched by the launcher, for python3-venv."""
    handover.leave(CLOUD, Handover(machine(candidates={"openvswitch-switch": ""})), env)
    assert handover.take(CLOUD, env) == Handover()


def test_nonsense_is_nothing(env: dict[str, str]) -> None:
    os.write(int(env[VARIABLE]), b"{]")
    assert handover.take(CLOUD, env) == Handover()
