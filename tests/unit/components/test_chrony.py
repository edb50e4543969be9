"""The room of time: who sets the clock, what is measured, what is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.components.chrony import Chrony, leaves_alone, measure
from onestack.host import timekeeping
from onestack.host.timekeeping import Keeper
from onestack.model.context import Context
from onestack.model.findings import Severity
from tests.unit.components.rooms import MACHINE, content, context, context_on

ROOM = Chrony()
GIVEN = {"CONFIG_NTP_SERVERS": "192.0.2.1,ntp.example.com"}


def on(root: Path, *keepers: Keeper, may: bool = True) -> Context:
    host = dataclasses.replace(MACHINE, timekeepers=keepers, may_set_clock=may)
    return context_on(host, root, ROOM, **GIVEN)


def test_nothing_without_servers() -> None:
    assert not ROOM.enabled(registry().answers())
    assert ROOM.enabled(registry().answers(GIVEN))


def test_its_file(tmp_path: Path) -> None:
    text = content(context(tmp_path, ROOM, **GIVEN), ROOM, "chrony.conf")
    assert text.startswith("server 192.0.2.1 iburst\nserver ntp.example.com iburst\n")
    assert "\nport 0\n" in text and "\ncmdport 0\n" in text


def test_the_clock_is_set_where_nobody_else_does(tmp_path: Path) -> None:
    ctx = on(tmp_path)
    (process,) = ROOM.processes(ctx)
    assert "-x" not in process.argv and process.capabilities == ("sys_time",)
    assert process.user == "onestack-chrony"
    # Its own, from an earlier run, is nobody else.
    assert leaves_alone(on(tmp_path, Keeper(7, "chronyd", str(tmp_path)))) == ""


@pytest.mark.parametrize(
    ("keepers", "may", "why"),
    [
        ([Keeper(7, "systemd-timesyncd")], True, "systemd-timesyncd (process 7) keeps"),
        (
            [Keeper(8, "chronyd", "/var/lib/onestack-b")],
            True,
            "of the cloud in /var/lib/onestack-b",
        ),
        ([], False, "sys_time"),
    ],
)
def test_else_it_is_compared_only(
    tmp_path: Path, keepers: list[Keeper], may: bool, why: str
) -> None:
    ctx = on(tmp_path, *keepers, may=may)
    assert why in leaves_alone(ctx)
    (process,) = ROOM.processes(ctx)
    assert "-x" in process.argv and process.capabilities == ()
    said = {finding.what: finding.why for finding in ROOM.preflight_checks(ctx)}
    assert any("does not set it" in what and why in text for what, text in said.items())


def test_a_cloud_in_a_namespace_leaves_the_clock_alone(tmp_path: Path) -> None:
    ctx = on(tmp_path)
    inside = dataclasses.replace(ctx, cloud=dataclasses.replace(ctx.cloud, netns="onestack-x"))
    assert "namespace" in leaves_alone(inside)


def test_names_are_not_for_dhcp(tmp_path: Path) -> None:
    (finding,) = ROOM.preflight_checks(on(tmp_path))
    assert finding.what == "guests are not told of ntp.example.com"


def test_keepers_are_found_and_who_they_belong_to(tmp_path: Path) -> None:
    def process(pid: int, comm: str, words: bytes, variables: bytes = b"") -> None:
        place = tmp_path / str(pid)
        place.mkdir()
        (place / "comm").write_text(f"{comm}\n")
        (place / "cmdline").write_bytes(words)
        (place / "environ").write_bytes(variables)

    process(10, "systemd-timesyn", b"/lib/systemd/systemd-timesyncd\0")
    process(11, "chronyd", b"chronyd\0-d\0", b"A=b\0ONESTACK_SUPERVISED=/var/lib/onestack\0")
    process(12, "chronyd", b"chronyd\0-x\0")
    process(13, "bash", b"bash\0")
    (tmp_path / "self").mkdir()
    assert timekeeping.keepers(tmp_path) == [
        Keeper(10, "systemd-timesyncd"),
        Keeper(11, "chronyd", "/var/lib/onestack"),
    ]


@pytest.mark.parametrize(
    ("effective", "users", "may"),
    [
        ("000001ffffffffff", "0 0 4294967295", True),
        ("000001fffdffffff", "0 0 4294967295", False),
        ("000001ffffffffff", "0 100000 65536", False),
    ],
)
def test_who_may_set_it(tmp_path: Path, effective: str, users: str, may: bool) -> None:
    place = tmp_path / "self"
    place.mkdir()
    (place / "status").write_text(f"Name:\tx\nCapEff:\t{effective}\n")
    (place / "uid_map").write_text(f"         {users}\n")
    import os

    assert timekeeping.may_set(tmp_path) is (may and os.geteuid() == 0)


SOURCES = [
    ["^", "*", "192.0.2.1", "2", "6", "377", "12", "0.000000112", "0.000000104", "0.0002"],
    ["^", "?", "192.0.2.2", "0", "7", "0", "4294967295", "0.0", "0.0", "0.0"],
    ["^", "-", "192.0.2.3", "2", "6", "0", "900", "0.0", "0.0", "0.0"],
]
TRACKING = [["C0000201", "192.0.2.1", "3", "1795739928.2", "4.0996", "0.0", "0.7", "0.0"]]


def test_reports_are_understood() -> None:
    found = measure.understood(SOURCES, TRACKING)
    assert found.offset == 4.0996
    assert [s.answers for s in found.sources] == [True, False, False]
    assert [s.heard for s in found.sources] == [12.0, -1.0, 900.0]
    assert measure.understood(SOURCES[1:], TRACKING).offset is None


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (0.000001, "right to 0.1 ms"),
        (0.0123, "12.3 ms behind the servers' time"),
        (-2.5, "2.5 s ahead of the servers' time"),
    ],
)
def test_a_difference_in_words(offset: float, text: str) -> None:
    assert measure.behind(offset) == text


def test_the_doctor_names_the_dead_and_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = on(tmp_path)
    monkeypatch.setattr(
        measure, "ask", lambda program, socket: measure.understood(SOURCES, TRACKING)
    )
    found = list(ROOM.health_checks(ctx))
    assert [f.what for f in found] == [
        "the time server 192.0.2.2 has not answered since chronyd was started",
        "the time server 192.0.2.3 has not answered for 900 s",
        "the clock is 4.1 s behind the servers' time",
    ]
    # Nothing of it makes the cloud ill.
    assert {f.severity for f in found} == {Severity.WARN}


@pytest.mark.parametrize("text", ["192.0.2.1", "fd00::1", "ntp", "a.pool.ntp.org,192.0.2.1"])
def test_servers_that_can_be_meant(text: str) -> None:
    (key,) = ROOM.keys
    assert key.check is not None and key.check(text) is None


@pytest.mark.parametrize("text", ["192.0.2.300", "not a name", "a/b", "1.2"])
def test_servers_that_cannot(text: str) -> None:
    (key,) = ROOM.keys
    assert key.check is not None and "neither an address nor a name" in (key.check(text) or "")
