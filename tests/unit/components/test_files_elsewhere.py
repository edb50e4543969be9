"""Files of servers go to another host: a real libvirtd there, nova's own classes here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from onestack.cluster.protocol import GUESTS, LIBVIRT
from onestack.components import hosts
from onestack.components.libvirt import Libvirt
from onestack.model.cloud import Cloud
from tests.support.door import certified
from tests.support.libvirtd import libvirtd, needs_libvirtd
from tests.support.needs import needs_root, needs_services
from tests.support.peers import cloud, made, shown
from tests.support.trials import tried
from tests.unit.components.rooms import content

TRIALS = Path(__file__).with_name("files_elsewhere_trials.py")
pytestmark = [needs_root, needs_services, needs_libvirtd, pytest.mark.timeout(600)]
NUMBERS = 12345, 12346
"""Of nova's user and group at the other host: others than here."""


@dataclass(frozen=True)
class Elsewhere:
    """Another host, whose folder of servers is ``there``, in the place of ``here``."""

    port: int
    log: Path
    shown: Path
    guests: Path
    here: Path
    there: Path

    def tried(self, name: str, *more: Path, by: Path | None = None) -> None:
        try:
            tried(TRIALS, name, by or self.shown, str(self.port), self.here, *more)
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{self.log.read_text()}") from problem


@pytest.fixture
def elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Elsewhere]]:
    """Makes one: its folder is mounted so."""
    monkeypatch.setattr(Cloud, "user", lambda self, service: "root")
    ctx = cloud(tmp_path / "cloud")
    certified(ctx)
    made(ctx)
    room = Libvirt()
    files = {name: content(ctx, room, name) for name in ("libvirtd.conf", "qemu.conf")}
    here, there = tmp_path / "instances", tmp_path / "there"
    for path in (here, there):
        path.mkdir(mode=0o711)
    os.chown(there, *NUMBERS)
    other, _ = shown(ctx, LIBVIRT, tmp_path / "other", "other")
    guests, _ = shown(ctx, GUESTS, tmp_path / "guests", "other")
    with ExitStack() as stack:

        def make(mounted: str) -> Elsewhere:
            running = libvirtd(tmp_path / "places", hosts.pki(ctx), files, {here: mounted})
            port, log = stack.enter_context(running)
            return Elsewhere(port, log, other, guests, here, there)

        yield lambda mounted: make(mounted or f"--bind {there}")


def test_a_servers_files_go_there_and_back(elsewhere: Callable[[str], Elsewhere]) -> None:
    one = elsewhere("")
    one.tried("goes", one.there)
    heard = one.log.read_text().partition("virSecurityManagerNew")[2]
    assert heard.count("error :") == 1, "but for who looked whether it hears nothing is wrong there"


def test_who_is_not_heard_says_so(elsewhere: Callable[[str], Elsewhere]) -> None:
    one = elsewhere("")
    one.tried("not_heard", by=one.guests)
    assert not list(one.there.iterdir())


def test_a_disk_that_is_full(elsewhere: Callable[[str], Elsewhere]) -> None:
    elsewhere("-t tmpfs -o size=16m own").tried("full")


def test_who_is_killed_in_the_middle_goes_on(elsewhere: Callable[[str], Elsewhere]) -> None:
    one = elsewhere("")
    one.tried("killed", one.there)
