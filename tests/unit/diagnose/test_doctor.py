"""What the doctor makes of what it finds."""

from __future__ import annotations

import pytest

from onestack.diagnose.doctor import Diagnosis
from onestack.model.findings import Finding, info, refuse, warn


@pytest.mark.parametrize(
    ("remark", "well"),
    [
        (info("the clock is exact"), True),
        (warn("a time server does not answer"), True),
        (refuse("measures wait to be counted", cure="onestack restart gnocchi"), False),
    ],
)
def test_a_service_that_does_not_do_its_work_is_not_well(remark: Finding, well: bool) -> None:
    found = Diagnosis((), (remark,), True, 1, (), (), None)
    assert found.well is well
    assert found.to_json()["remarks"] == [remark.to_json()]
