"""What is known about lines of the logs: its cures can be typed, and its page is current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.cli.logs import OTHERS
from onestack.cli.main import VERBS
from onestack.components import ALL
from onestack.diagnose import known_errors
from onestack.model.declarations import KnownError
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

PAGE = Path(__file__).resolve().parents[3] / "docs" / "known-errors.md"
EACH = [(component, known) for component in ALL for known in known_errors.of(component)]
NAMED = ("restart", "logs", "status")
"""Verbs that a component or a process is named to."""


def wrong(said: str, names: set[str]) -> list[str]:
    """Commands of ours in ``said`` that nobody can type, where there are such ``names``."""
    found = []
    for command in re.findall(r"onestack ([^`]+)", said):
        verb, *more = command.split()
        if verb not in VERBS:
            found.append(f"{verb} is no verb")
        elif verb in NAMED and more and not set(more[0].split("/")) <= names:
            found.append(f"{more[0]} is no component and no process")
    return found


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Of components and their processes, in either layout."""
    found = {component.name for component in ALL} | set(OTHERS)
    for agent in ("ovn", "openvswitch"):
        ctx = context(tmp_path_factory.mktemp(agent), *ALL, CONFIG_NEUTRON_L2_AGENT=agent)
        write_upstream(ctx)
        found |= {spec.name for declared in ctx.model for spec in declared.processes}
    return found


@pytest.mark.parametrize(("component", "known"), EACH, ids=lambda v: getattr(v, "name", None))
def test_a_cure_names_what_there_is(component: object, known: KnownError, names: set[str]) -> None:
    re.compile(known.pattern)
    assert known.cause and not known.cause.endswith(".")
    assert not wrong(f"{known.cause}; {known.cure}", names)
    for place in re.findall(r"{(\w+)}", known.cause + known.cure):
        assert place in ("root", "data", "log", "public", "internal", *registry().keys)


def test_what_nobody_can_type_is_found(names: set[str]) -> None:
    assert wrong("`onestack mend`", names) == ["mend is no verb"]
    assert wrong("`onestack restart novva`, then up", names)
    assert not wrong("see `onestack logs nova-api`; `onestack restart neutron/neutron-api`", names)


def test_places_are_the_clouds(tmp_path: Path) -> None:
    ctx = context(tmp_path, *ALL)
    said = ctx.model.likely("gnocchi", "Errno 28: No space left on device")
    assert said == f"the disk of {tmp_path}/data is full; make room: `df -h {tmp_path}/data`"


def test_the_committed_page_is_current() -> None:
    """If not: ./onestack doctor --markdown > docs/known-errors.md"""
    assert PAGE.read_text() == known_errors.text(ALL)
