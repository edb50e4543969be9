"""Where it ends between the service and an amphora that is not heard of."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.components import service_guests
from onestack.components.octavia import Octavia, hops, layout
from onestack.database.passing import Passing
from onestack.database.upstream_tables import octavia
from onestack.database.upstream_tables.octavia import AmphoraRow
from onestack.host import nftables
from onestack.model.context import Context
from onestack.model.findings import Finding, Severity
from tests.unit.components.rooms import context

WELL = AmphoraRow("a", "b", "ALLOCATED", "s", "127.0.0.1", 5000, 5)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    given = {"CONFIG_LBAAS_INSTALL": "y", "CONFIG_NEUTRON_L2_AGENT": "openvswitch"}
    return context(tmp_path, Octavia(), **given)


@pytest.fixture
def said(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said of one amphora, with such a server and such a port."""

    def ask(
        row: AmphoraRow, server: dict[str, Any] | None = None, port: str = "ACTIVE"
    ) -> list[Finding]:
        class Compute:
            def server(self, identity: str) -> dict[str, Any] | None:
                return server

        class Neutron:
            def find(self, kind: str, **query: str) -> dict[str, str]:
                return {"id": "p", "status": port}

        monkeypatch.setattr(hops, "server_of", lambda ctx: None)
        monkeypatch.setattr(octavia, "amphorae", lambda server: (row,))
        monkeypatch.setattr(service_guests, "compute_of", lambda ctx: Compute())
        monkeypatch.setattr(hops, "neutron_of", lambda ctx: Neutron())
        return list(hops.examine(ctx))

    return ask


@pytest.fixture
def closed() -> Iterator[int]:
    """A port of this machine at which nobody is."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


def silent(**other: Any) -> AmphoraRow:
    return dataclasses.replace(WELL, silent=1000, **other)


def test_who_is_well_is_left_alone(said: Any) -> None:
    assert said(WELL) == []
    # One that boots has time.
    assert said(dataclasses.replace(WELL, status="BOOTING", silent=None, age=100)) == []
    assert said(silent(status="PENDING_DELETE")) == []


def test_one_that_could_not_be_made(said: Any) -> None:
    (finding,) = said(dataclasses.replace(WELL, status="ERROR", silent=None))
    assert finding.severity is Severity.WARN and "failover b" in finding.cure


@pytest.mark.parametrize(
    ("row", "server", "why"),
    [
        (silent(server=""), None, "nova was not asked"),
        (silent(), None, "is gone"),
        (silent(), {"status": "SHUTOFF"}, "is SHUTOFF"),
        (
            silent(),
            {"status": "ERROR", "fault": {"message": "No valid host was found."}},
            "No valid host",
        ),
        (silent(address=""), {"status": "ACTIVE"}, "has no address"),
    ],
)
def test_what_nova_says(
    said: Any, row: AmphoraRow, server: dict[str, Any] | None, why: str
) -> None:
    (finding,) = said(row, server)
    assert finding.severity is Severity.REFUSE
    assert "not for 1000 s" in finding.what and why in finding.why


@pytest.mark.parametrize(
    ("error", "port", "why"),
    [
        (ConnectionRefusedError(111, "x"), "ACTIVE", "the agent in it does not"),
        (OSError(101, "unreachable"), "ACTIVE", "no way to"),
        (TimeoutError("timed out"), "ACTIVE", "has not booted"),
        (OSError(113, "no route to host"), "DOWN", "is DOWN"),
    ],
)
def test_what_the_way_says(
    said: Any, monkeypatch: pytest.MonkeyPatch, error: OSError, port: str, why: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    (finding,) = said(silent(), {"status": "ACTIVE"}, port)
    assert why in finding.why and finding.cure


def test_nobody_at_the_port(said: Any, closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "AGENT", closed)
    (finding,) = said(silent(), {"status": "ACTIVE"})
    assert "nobody is at 127.0.0.1" in finding.why


def test_a_guard_that_is_gone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "examine", lambda ctx: ())
    monkeypatch.setattr(octavia, "in_passing", lambda server: [])
    anothers = {"table": {"family": "inet", "name": "anothers"}}
    rules = {"nftables": [{"metainfo": {}}, anothers]}
    monkeypatch.setattr(nftables, "ruleset", lambda namespace: rules)

    def found(carrier: str) -> list[Finding]:
        ctx = context(tmp_path, CONFIG_LBAAS_INSTALL="y", CONFIG_NEUTRON_L2_AGENT=carrier)
        return list(Octavia().health_checks(ctx))

    assert found("ovn") == []
    (finding,) = found("openvswitch")
    assert "onestack restart octavia-management" in finding.cure


def test_a_balancer_that_stays_pending_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its API takes neither failover nor delete of it."""
    monkeypatch.setattr(hops, "examine", lambda ctx: ())
    lasts = Passing("loadbalancer", "id", "web", "PENDING_UPDATE", 3 * 3600)
    monkeypatch.setattr(octavia, "in_passing", lambda server: [lasts])
    ctx = context(tmp_path, CONFIG_LBAAS_INSTALL="y", CONFIG_NEUTRON_L2_AGENT="ovn")
    (finding,) = Octavia().health_checks(ctx)
    assert finding.what == "loadbalancer web is PENDING_UPDATE for 3 h"
    assert finding.cure.startswith("onestack restart octavia: ")
    assert "failover" not in finding.cure
