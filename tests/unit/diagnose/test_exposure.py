"""What listens beyond loopback, and is no frontend, is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.components.keystone import Keystone
from onestack.diagnose import exposure
from onestack.kernel import proc
from onestack.kernel.sockets import Listener
from onestack.model.findings import Severity
from tests.unit.components.rooms import MACHINE, context

OWN, ANOTHERS = 77, 78
PUBLIC = MACHINE.public_address


@pytest.mark.parametrize(
    ("address", "port", "pid", "found"),
    [
        ("0.0.0.0", 4369, OWN, True),
        ("::", 4369, OWN, True),
        (PUBLIC, 4369, OWN, True),
        (PUBLIC, 5000, OWN, False),  # the frontend
        ("0.0.0.0", 5000, OWN, True),
        ("127.77.0.1", 5672, OWN, False),
        ("::1", 5672, OWN, False),
        ("::ffff:127.0.0.1", 5672, OWN, False),
        ("0.0.0.0", 22, ANOTHERS, False),
    ],
)
def test_only_the_frontends_are_public(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    port: int,
    pid: int,
    found: bool,
) -> None:
    monkeypatch.setattr(proc, "belonging", lambda root: {OWN})
    ctx = context(tmp_path, Keystone())
    findings = list(exposure.judged(ctx, [Listener(address, port, 1, pid)]))
    assert bool(findings) is found
    for finding in findings:
        assert finding.severity is Severity.REFUSE
        assert f"{address}:{port}" in finding.what
