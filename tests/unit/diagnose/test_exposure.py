"""What listens beyond loopback, and is no frontend, is found."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from onestack.components.keystone import Keystone
from onestack.diagnose import exposure
from onestack.kernel import proc
from onestack.kernel.sockets import Listener
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Frontend, Opened, Port
from onestack.model.findings import Severity
from tests.unit.components.rooms import MACHINE, context

OWN, ANOTHERS = 77, 78
PUBLIC = MACHINE.public_address


@pytest.mark.parametrize(
    ("protocol", "address", "port", "pid", "found"),
    [
        ("tcp", "0.0.0.0", 4369, OWN, True),
        ("tcp", "::", 4369, OWN, True),
        ("tcp", PUBLIC, 4369, OWN, True),
        ("tcp", PUBLIC, 5000, OWN, False),  # the frontend
        ("tcp", "0.0.0.0", 5000, OWN, True),
        ("tcp", "127.77.0.1", 5672, OWN, False),
        ("tcp", "::1", 5672, OWN, False),
        ("tcp", "::ffff:127.0.0.1", 5672, OWN, False),
        ("tcp", "0.0.0.0", 22, ANOTHERS, False),
        ("udp", PUBLIC, 5000, OWN, True),  # frontends speak TCP
        ("udp", "0.0.0.0", 123, OWN, True),
        ("udp", "127.77.0.1", 123, OWN, False),
        ("udp", "0.0.0.0", 6081, 0, False),  # the kernel's, of a tunnel
    ],
)
def test_only_the_frontends_are_public(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    address: str,
    port: int,
    pid: int,
    found: bool,
) -> None:
    monkeypatch.setattr(proc, "belonging", lambda root: {OWN})
    ctx = context(tmp_path, Keystone())
    findings = list(exposure.judged(ctx, [Listener(address, port, 1, pid, protocol)]))
    assert bool(findings) is found
    for finding in findings:
        assert finding.severity is Severity.REFUSE
        assert f"{address}:{port} ({protocol.upper()})" in finding.what


class Guarded(Component):
    """Ports of a network of guests."""

    name = "guarded"

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("bus", 5671, "127.0.0.1:1", address="198.18.8.1", tcp=True)

    def opened(self, ctx: Context) -> Iterable[Opened]:
        yield Opened("198.18.8.1", Port("udp", 5555))


@pytest.mark.parametrize(
    ("protocol", "address", "port", "found"),
    [
        ("tcp", "198.18.8.1", 5671, False),
        ("tcp", PUBLIC, 5671, True),
        ("udp", "198.18.8.1", 5555, False),
        ("tcp", "198.18.8.1", 5555, True),
        ("udp", "0.0.0.0", 5555, True),
    ],
)
def test_what_is_declared_for_guests_is_for_guests(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    address: str,
    port: int,
    found: bool,
) -> None:
    monkeypatch.setattr(proc, "belonging", lambda root: {OWN})
    ctx = context(tmp_path, Guarded())
    findings = list(exposure.judged(ctx, [Listener(address, port, 1, OWN, protocol)]))
    assert bool(findings) is found


def test_what_takes_udp_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets of this process: one bound to a port as a service's is, one that only asks."""
    ctx = context(tmp_path)
    monkeypatch.setattr(proc, "belonging", lambda root: {os.getpid()})
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside,
    ):
        port = next(port for port in range(20000, 30000) if free(served, "0.0.0.0", port))
        asking.bind(("0.0.0.0", 0))
        assert free(inside, "127.0.0.1", port + 1)
        findings = exposure.exposed(ctx)
    assert len(findings) == 1 and f"0.0.0.0:{port} (UDP)" in findings[0].what


def free(one: socket.socket, address: str, port: int) -> bool:
    """Whether it is bound there now."""
    try:
        one.bind((address, port))
    except OSError:
        return False
    return True
