"""Which host has what. The cases are data: ``placement/*.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onestack.cluster.placement import place
from onestack.model.errors import OnestackError
from onestack.model.host import EVERY_ROLE, Role

CASES = sorted((Path(__file__).parent / "placement").glob("*.json"))


def case(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_placement(path: Path) -> None:
    given = case(path)
    if "error" in given:
        with pytest.raises(OnestackError) as raised:
            place(given["processes"], given["hosts"])
        assert str(raised.value).splitlines() == given["error"]
        return
    placed = place(given["processes"], given["hosts"])
    assert {host: list(names) for host, names in placed.items()} == given["placed"]


def test_the_cases_know_every_role() -> None:
    named = {role for path in CASES for own in case(path)["processes"].values() for role in own}
    assert named == set(EVERY_ROLE)
    assert all(Role(role) for path in CASES for own in case(path)["hosts"].values() for role in own)
