"""Services of oslo's shape under `service.serve`."""

from __future__ import annotations

import re
import time

import pytest

from onestack.model.process import NotifyProbe
from tests.unit.supervise.bench import Bench, needs_root, toy

pytestmark = needs_root


@pytest.mark.parametrize("kind", ["good", "swallows", "hangs"])
def test_they_end_by_term(bench: Bench, kind: str) -> None:
    client = bench.launch(
        toy("it", "oslo_like", arguments={"kind": kind}, probe=NotifyProbe(), stop_seconds=20.0)
    )
    client.start()
    client.wait(seconds=5)
    began = time.monotonic()
    client.stop()
    took = time.monotonic() - began
    assert took < 3 if kind != "hangs" else took < 6
    assert re.search(r"starts\n(stops\n)?", bench.log("it"))
    assert ("stops" in bench.log("it")) == (kind != "hangs")
    assert "killed" not in bench.log("supervisor")
