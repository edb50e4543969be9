"""Networks that services have with their guests: apart from each other, where both are on."""

from __future__ import annotations

import pytest

from onestack.network.subnets import overlapping
from tests.unit.components.rooms import answered

OCTAVIA, TROVE = "CONFIG_ONESTACK_OCTAVIA_SUBNET", "CONFIG_ONESTACK_TROVE_SUBNET"
SWITCHES = {OCTAVIA: "CONFIG_LBAAS_INSTALL", TROVE: "CONFIG_TROVE_INSTALL"}


@pytest.mark.parametrize(("key", "other"), [(OCTAVIA, TROVE), (TROVE, OCTAVIA)])
def test_a_service_that_is_off_is_in_nobodys_way(key: str, other: str) -> None:
    # As in a file with every key, the other's network is given too.
    given = {SWITCHES[key]: "y", key: "198.18.0.0/16", other: "198.18.12.0/22"}
    answers, wrong = answered(**given)
    assert answers is not None, wrong
    assert list(overlapping(answers, key)) == []
    answers, wrong = answered(**given, **{SWITCHES[other]: "y"})
    assert answers is not None, wrong
    assert list(overlapping(answers, key)) == [
        f"{key}=198.18.0.0/16 overlaps 198.18.12.0/22 ({other})"
    ]
