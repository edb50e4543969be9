"""A NIC moves and comes back, on real links."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from onestack.deploy.undo import undo_all
from onestack.host import clouds
from onestack.host.ledger import Ledger
from onestack.model.cloud import FORMAT, Cloud, CloudRecord, record_path
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.model.run import Run
from onestack.network.nic import guardian, kernel, operations, plan, sharing
from onestack.network.nic.facts import Device, gather
from onestack.network.nic.journal import KEPT, TRYING, Journal, Record, Undo, boot
from onestack.network.nic.managers.told import Told
from onestack.network.nic.operations import Lost, Terms, attach, detach, recover
from onestack.network.nic.transaction import Transaction
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.wire import GATEWAY, MAC, NIC, Wire, addresses, ip, show, wire

pytestmark = needs_root
BRIDGE = "br-eno1"
ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], 7), family=getattr(socket, sys.argv[2]))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    while some := client.recv(100):
        client.sendall(some)
"""


def terms(root: Path, **more: object) -> Terms:
    empty = root / "nothing"
    empty.mkdir(exist_ok=True)
    return Terms(root=empty, **more)  # type: ignore[arg-type]


def state(device: str) -> Device:
    return kernel.look(device)


def same(before: Device, now: Device) -> list[str]:
    return plan.difference(before, now)


class Session:
    """A connection that somebody has open from the far side's point of view."""

    def __init__(self, far: Wire, address: str) -> None:
        family = "AF_INET6" if ":" in address else "AF_INET"
        self.server = far.start(sys.executable, "-c", ECHO, address, family)
        assert self.server.stdout and self.server.stdout.readline() == "ready\n"
        self.socket = socket.create_connection((address, 7), 5)
        self.socket.settimeout(10)

    def lives(self) -> bool:
        self.socket.sendall(b"still")
        return self.socket.recv(100) == b"still"

    def end(self) -> None:
        self.socket.close()
        self.server.kill()
        self.server.wait()


def test_all_that_the_nic_had_is_on_the_bridge_and_back_again(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    before = state(NIC)
    assert len(before.addresses) == 6 and len(before.rules) == 3
    sessions = [Session(far, GATEWAY), Session(far, "2001:db8::1")]
    try:
        assert attach(cloud, NIC, terms(tmp_path)) == BRIDGE
        assert all(session.lives() for session in sessions)
        moved = state(BRIDGE)
        assert same(before, moved) == []
        assert (moved.mac, moved.mtu) == (MAC, 1400)
        assert addresses(NIC) == [] and not state(NIC).needed
        (port,) = show(f"link show dev {NIC}")
        assert port["master"] == BRIDGE
        (default,) = show("-4 route show default")
        assert default["dev"] == BRIDGE and default["prefsrc"] == "192.0.2.5"
        assert default["metrics"] == [{"mtu": 1300}]
        labels = [a["label"] for a in show(f"-4 address show dev {BRIDGE}")[0]["addr_info"]]
        assert "br-eno1:1" in labels
        # a second time there is nothing to do
        assert attach(cloud, NIC, terms(tmp_path)) == BRIDGE
        assert [e.kind for e in Ledger.of(cloud).entries()] == ["nic"]
        assert detach(cloud, NIC, terms(tmp_path))
        assert all(session.lives() for session in sessions)
    finally:
        for session in sessions:
            session.end()
    assert same(before, state(NIC)) == []
    assert gather().link(BRIDGE) is None
    assert Ledger.of(cloud).entries() == []
    assert not detach(cloud, NIC, terms(tmp_path))


def test_no_packet_is_lost_on_the_way(far: Wire, cloud: Cloud, tmp_path: Path) -> None:
    """Asked every 2 ms from the far side, an address answers before, while and after it moves."""
    ping = far.start("ping", "-i", "0.002", "-c", "1500", "-q", "192.0.2.5")
    time.sleep(0.3)
    attach(cloud, NIC, terms(tmp_path))
    said = ping.communicate()[0]
    lost = 1500 - int(said.split(" received")[0].rpartition(" ")[2])
    assert lost <= 50, said  # a tenth of a second


def test_where_the_gateway_does_not_answer_afterwards_all_is_as_before(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch that lets only one port of its own through would do it."""
    before = state(NIC)
    over = kernel.over

    def cut(device: Device, bridge: str) -> None:
        over(device, bridge)
        far.inside("ip", "link", "set", "far", "down")

    monkeypatch.setattr(kernel, "over", cut)
    back = kernel.back

    def mended(device: Device, nic: str, bridge: str) -> list[str]:
        far.inside("ip", "link", "set", "far", "up")
        return back(device, nic, bridge)

    monkeypatch.setattr(kernel, "back", mended)
    with pytest.raises(Lost, match="did not answer at br-eno1"):
        attach(cloud, NIC, terms(tmp_path, after=2.0))
    assert same(before, state(NIC)) == []
    assert gather().link(BRIDGE) is None and Journal.of(cloud, NIC).read() is None
    assert {n["dst"] for n in before.neighbours if "PERMANENT" in n["state"]} == {"192.0.2.77"}
    assert soon(lambda: "0% packet loss" in ip_ping())


def ip_ping() -> str:
    words = ["ping", "-c", "1", "-W", "1", GATEWAY]
    return subprocess.run(words, capture_output=True, text=True).stdout


def test_a_gateway_that_does_not_answer_even_now_is_said_before_anything_is_touched(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    far.inside("ip", "address", "flush", "dev", "far")
    before = state(NIC)
    # a dry run says it too
    for refused in (attach, operations.need_movable):
        with pytest.raises(PreflightRefused, match=r"192\.0\.2\.1 and .* not answer at eno1"):
            refused(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == [] and Ledger.of(cloud).entries() == []


def test_a_gateway_that_was_written_down_by_hand_stays_so_and_is_pinged(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    """It answers no ARP, as routers of some carriers do not."""
    ip(f"neigh replace {GATEWAY} lladdr 02:00:00:00:00:01 dev {NIC}")
    ip(f"-6 neigh replace 2001:db8::1 lladdr 02:00:00:00:00:01 dev {NIC}")
    for line in (
        "link set far arp off",
        f"neigh replace 192.0.2.5 lladdr {MAC} dev far",
        f"-6 neigh replace 2001:db8::5 lladdr {MAC} dev far",
    ):
        far.inside("ip", *line.split())
    before = state(NIC)
    attach(cloud, NIC, terms(tmp_path))
    assert same(before, state(BRIDGE)) == [] and "1 received" in ip_ping()
    detach(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == [] and "1 received" in ip_ping()
    far.inside("ip", "address", "flush", "dev", "far")
    with pytest.raises(PreflightRefused, match="does not answer at eno1"):
        attach(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == []


def known(device: str) -> dict[str, str]:
    return {n["dst"]: n.get("lladdr", "") for n in show(f"neigh show dev {device}")}


def test_a_refused_move_leaves_its_neighbours_too(far: Wire, cloud: Cloud, tmp_path: Path) -> None:
    ip_ping()
    before = known(NIC)
    far.inside("ip", "link", "set", "far", "arp", "off")
    with pytest.raises(PreflightRefused, match="does not answer at eno1"):
        attach(cloud, NIC, terms(tmp_path))
    assert known(NIC)[GATEWAY] == before[GATEWAY] == "02:00:00:00:00:01"


def test_one_of_two_gateways_that_is_silent_even_now_tells_nothing(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    far.inside("ip", "address", "delete", f"{GATEWAY}/24", "dev", "far")
    assert attach(cloud, NIC, terms(tmp_path)) == BRIDGE


def test_an_operator_who_does_not_confirm_has_it_back(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    before, seen = state(NIC), []

    def ask(seconds: float) -> bool:
        seen.append((seconds, gather().link(BRIDGE) is not None))
        return False

    with pytest.raises(Lost, match="nobody confirmed within 5 s"):
        attach(cloud, NIC, terms(tmp_path, confirm=ask, timeout=5.0))
    assert seen == [(5.0, True)]
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert attach(cloud, NIC, terms(tmp_path, confirm=lambda _: True)) == BRIDGE


def kill(attaching: subprocess.Popen[str]) -> None:
    attaching.kill()


PROGRAM = """
import sys, time
from pathlib import Path
from onestack.model.cloud import Cloud
from onestack.network.nic.operations import Terms, attach

def ask(seconds):
    print("asked", flush=True)
    time.sleep(600)

cloud = Cloud("test", Path(sys.argv[1]), None)
attach(cloud, "eno1", Terms(confirm=ask, timeout=600.0, root=Path(sys.argv[2])))
"""


def killed(
    cloud: Cloud, tmp_path: Path, how: Callable[[subprocess.Popen[str]], None] = kill
) -> None:
    """An `attach` that has moved the NIC and is then killed."""
    empty = tmp_path / "nothing"
    empty.mkdir(exist_ok=True)
    env = {**os.environ, "PYTHONPATH": "src"}
    words = [sys.executable, "-c", PROGRAM, str(cloud.root), str(empty)]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as attaching:
        assert attaching.stdout and attaching.stdout.readline() == "asked\n"
        assert gather().link(BRIDGE) is not None
        how(attaching)
    # what the kernel had freed, and nobody took away
    sharing._lock(NIC).unlink(missing_ok=True)


def test_killed_half_way_the_guardian_puts_it_back(far: Wire, cloud: Cloud, tmp_path: Path) -> None:
    before = state(NIC)
    killed(cloud, tmp_path)
    assert soon(lambda: Journal.of(cloud, NIC).read() is None), (cloud.log / "nic.log").read_text()
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert "eno1: put back" in (cloud.log / "nic.log").read_text()


@pytest.mark.parametrize("gap", [0.005, 0.03])
def test_stopped_and_stopped_again_while_it_is_put_back_it_is_put_back(
    far: Wire, cloud: Cloud, tmp_path: Path, gap: float
) -> None:
    before = state(NIC)

    def stop(attaching: subprocess.Popen[str]) -> None:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            attaching.send_signal(number)
            time.sleep(gap)
        attaching.wait(30)

    killed(cloud, tmp_path, stop)
    assert Journal.of(cloud, NIC).read() is None
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert guardians(cloud) == []


@pytest.mark.parametrize("error", [OnestackError("not now"), OSError(28, "full"), SystemExit()])
def test_what_cannot_be_put_back_by_us_is_by_the_guardian(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = state(NIC)

    def fails(*_: object) -> bool:
        raise error

    monkeypatch.setattr(guardian, "roll_back", fails)
    with pytest.raises(SystemExit if isinstance(error, SystemExit) else Lost):
        attach(cloud, NIC, terms(tmp_path, confirm=lambda _: False))
    assert Journal.of(cloud, NIC).read() is None
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None


def test_a_step_that_cannot_be_undone_keeps_no_other_from_it(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    before, blocked = state(NIC), tmp_path / "blocked"
    note = {"path": str(blocked / "file"), "before": "then\n", "after": None, "mode": 0o644}
    told = {"verb": "attach", "device": before.plain, "nic": NIC, "bridge": BRIDGE}
    stack = (Undo("kernel", told), Undo("files", {"files": [note], "back": []}))
    journal = Journal.of(cloud, NIC)
    journal.path.parent.mkdir(parents=True)
    journal.write(Record(NIC, BRIDGE, TRYING, boot=boot(), undo=stack))
    kernel.over(before, BRIDGE)
    blocked.touch()
    with pytest.raises(OnestackError, match=r"not all .* put back") as failed:
        recover(cloud)
    assert str(blocked) in failed.value.why
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    left = journal.read()
    assert left and [undo.kind for undo in left.undo] == ["files"]
    blocked.unlink()
    assert recover(cloud) == [NIC]
    assert (blocked / "file").read_text() == "then\n" and journal.read() is None


def guardians(cloud: Cloud) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        if b"onestack.network.nic.guardian" in words and str(cloud.root).encode() in words:
            found.append(int(place.parent.name))
    return found


def test_killed_together_with_its_guardian_the_next_start_puts_it_back(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    before = state(NIC)

    def both(attaching: subprocess.Popen[str]) -> None:
        (guardian,) = guardians(cloud)
        os.kill(guardian, signal.SIGKILL)
        attaching.kill()

    killed(cloud, tmp_path, both)
    assert operations.unfinished(cloud) == [NIC]
    assert gather().link(BRIDGE) is not None
    assert recover(cloud) == [NIC]
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert recover(cloud) == []


@pytest.mark.parametrize("lasting", [False, True])
def test_after_a_power_cut_what_the_boot_has_made_by_the_files_is_put_back(
    far: Wire, cloud: Cloud, tmp_path: Path, lasting: bool
) -> None:
    """What the NIC has is what that boot gave it: not what it had when the move was begun."""
    edited, journal = tmp_path / "interfaces", Journal.of(cloud, NIC)
    told = Told({edited: "with the bridge\n"})
    edited.write_text("without\n")
    begun = Record(NIC, BRIDGE, TRYING, "attach", "", boot())
    moving, device = Transaction(journal, begun), state(NIC)
    operations._kernel(moving, "attach", device, NIC, BRIDGE)
    if lasting:
        operations._files(moving, told)
    else:
        kernel.back(device, NIC, BRIDGE)
    cut(journal)
    has = BRIDGE if lasting else NIC
    ip(f"address delete 192.0.2.5/24 dev {has}")
    ip(f"address add 192.0.2.9/24 dev {has}")
    before = state(has)
    assert recover(cloud) == [NIC]
    assert edited.read_text() == "without\n" and journal.read() is None
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert attach(cloud, NIC, terms(tmp_path)) == BRIDGE


def test_after_a_power_cut_while_it_is_given_back_it_has_not_been(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    edited, journal = tmp_path / "interfaces", Journal.of(cloud, NIC)
    edited.write_text("with the bridge\n")
    note = {"path": str(edited), "before": "without\n", "after": "with the bridge\n", "mode": 0o644}
    attach(cloud, NIC, terms(tmp_path))
    kept = journal.read()
    assert kept
    kept = replace(kept, files=(note,))
    begun = Record(NIC, BRIDGE, TRYING, "detach", "", boot(), before=asdict(kept))
    moving, device = Transaction(journal, begun), state(BRIDGE)
    operations._files(moving, Told({edited: "without\n"}))
    operations._kernel(moving, "detach", device, NIC, BRIDGE)
    cut(journal)
    before = state(NIC)
    assert recover(cloud) == [NIC]
    assert edited.read_text() == "with the bridge\n" and journal.read() == kept
    assert same(before, state(BRIDGE)) == [] and addresses(NIC) == []
    assert detach(cloud, NIC, terms(tmp_path))
    assert edited.read_text() == "without\n" and same(before, state(NIC)) == []


def cut(journal: Journal) -> None:
    """As if the machine had been switched off, and had come up with the devices as they are."""
    found = journal.read()
    assert found
    journal.write(replace(found, boot="another"))


@pytest.mark.parametrize("step", range(6))
def test_a_move_that_stops_anywhere_is_put_back(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As if the machine's ip(8) had refused one of the lines."""
    before, batch = state(NIC), kernel.batch

    def some(lines: list[str], *, force: bool = False) -> None:
        if not force and any("master" in line for line in lines):
            lines = [*lines[: 2 + 3 * step], "link set dev nowhere up"]
        batch(lines, force=force)

    monkeypatch.setattr(kernel, "batch", some)
    with pytest.raises(OnestackError, match="failed"):
        attach(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None


def test_destroy_gives_it_back(far: Wire, cloud: Cloud, tmp_path: Path) -> None:
    before = state(NIC)
    attach(cloud, NIC, terms(tmp_path))
    record = Journal.of(cloud, NIC).read()
    assert record and record.state == KEPT
    ip("link add br-ex-eno1 type veth peer name to-br-ex-eno1")
    ip(f"link set br-ex-eno1 master {BRIDGE}")
    Ledger.of(cloud).record("nic pair", outer="br-ex-eno1", netns=None)
    destroy(cloud)
    assert same(before, state(NIC)) == []
    known = gather()
    assert known.link(BRIDGE) is None and known.link("br-ex-eno1") is None
    destroy(cloud)


def test_an_operator_who_does_not_confirm_that_it_is_given_back_keeps_the_bridge(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    attach(cloud, NIC, terms(tmp_path))
    before, kept = state(BRIDGE), Journal.of(cloud, NIC).read()
    with pytest.raises(Lost):
        detach(cloud, NIC, terms(tmp_path, confirm=lambda _: False))
    assert same(before, state(BRIDGE)) == [] and addresses(NIC) == []
    assert Journal.of(cloud, NIC).read() == kept
    assert detach(cloud, NIC, terms(tmp_path))


def test_what_was_begun_is_put_back_in_a_run_that_was_stopped(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where ip(8) needs its time."""
    before, slow = state(NIC), tmp_path / "slow" / "ip"
    told = {"verb": "attach", "device": before.plain, "nic": NIC, "bridge": BRIDGE}
    journal = Journal.of(cloud, NIC)
    journal.path.parent.mkdir(parents=True)
    journal.write(Record(NIC, BRIDGE, TRYING, boot=boot(), undo=(Undo("kernel", told),)))
    kernel.over(before, BRIDGE)
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 0.4\nexec {shutil.which("ip")} "$@"\n')
    slow.chmod(0o755)
    run = Run()
    run.stop.set()
    with monkeypatch.context() as patched, run.at_work():
        patched.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
        assert recover(cloud) == [NIC]
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None


UNNUMBERED = """
link set eno1 up
address add 198.51.100.7/32 dev lo
route add default via 192.0.2.1 dev eno1 onlink src 198.51.100.7
rule add iif eno1 lookup 100 pref 1000
"""


def test_a_nic_without_an_address_of_its_own_has_its_routes_back(
    cloud: Cloud, tmp_path: Path
) -> None:
    """As servers with one address of their own on the loopback have it."""
    with wire(UNNUMBERED) as far:
        far.inside("ip", "route", "add", "198.51.100.7/32", "dev", "far")
        before = state(NIC)
        attach(cloud, NIC, terms(tmp_path))
        assert same(before, state(BRIDGE)) == []
        assert detach(cloud, NIC, terms(tmp_path))
        assert same(before, state(NIC)) == [] and before.routes and before.rules


def test_what_somebody_else_gives_back_is_left_so_and_the_rest_is_added(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    """What configures the network knows addresses and its default route, and nothing by hand."""
    attach(cloud, NIC, terms(tmp_path))
    had = state(BRIDGE)
    for line in (
        "address add 192.0.2.5/24 dev eno1",
        "route add default via 192.0.2.1 dev eno1 metric 77 proto dhcp src 192.0.2.5 mtu 1300",
        "rule add iif eno1 lookup 100 pref 1000",
    ):
        ip(line)
    kernel.back(had, NIC, BRIDGE)
    now = state(NIC)
    assert plan.told(plan.missing(had, now)) == []
    assert [r["metric"] for r in now.routes if r["dst"] == "default" and r["family"] == 4] == [77]
    assert [r for r in show("rule") if BRIDGE in r.values()] == []


def test_what_a_manager_sweeps_away_is_put_there_again(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as networkd: routes and rules that its files do not have."""
    before = state(NIC)
    swept = iter(("route delete 10.0.0.0/8", "rule delete pref 1001"))

    def sweep(*_: object) -> list[dict[str, Any]]:
        for line in swept:
            ip(line)
        return []

    monkeypatch.setattr(operations, "_files", sweep)
    attach(cloud, NIC, terms(tmp_path))
    assert next(swept, "") == "" and same(before, state(BRIDGE)) == []


def test_a_filter_that_names_the_nic_is_for_the_operator_to_see(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    rules = 'chain in { iifname vmap { "eno1" : accept }; }'
    subprocess.run(["nft", "-f", "-"], input=f"table inet f {{ {rules}; }}", text=True, check=True)
    before = state(NIC)
    with pytest.raises(PreflightRefused, match="names eno1: in of the table inet f"):
        attach(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == []
    said: list[str] = []
    attach(cloud, NIC, terms(tmp_path, confirm=lambda _: True, tell=said.append))
    assert "these rules must name br-eno1 too" in said[0]
    detach(cloud, NIC, terms(tmp_path))
    # one that names the bridge, and no more: another rule lets it in
    subprocess.run(["nft", "add", "rule", "inet", "f", "in", "iifname", "br-eno1"], check=True)
    attach(cloud, NIC, terms(tmp_path))


@pytest.fixture
def other(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A second cloud in the machine's own network, which knows of the first."""
    both = [cloud, Cloud("b", tmp_path / "b", None)]
    for each in both:
        each.etc.mkdir(parents=True, exist_ok=True)
        record_path(each.root).write_text(CloudRecord(each.name, None, FORMAT).text)

    def others(cloud: Cloud, _: Path) -> dict[str, dict[str, Any]]:
        return {e.name: {"root": str(e.root)} for e in both if e.name != cloud.name}

    monkeypatch.setattr(clouds, "_others", others)
    return both[1]


def test_one_works_on_a_nic_at_a_time(
    far: Wire, cloud: Cloud, other: Cloud, tmp_path: Path
) -> None:
    before = state(NIC)

    def meanwhile(attaching: subprocess.Popen[str]) -> None:
        moved = state(BRIDGE)
        for cloud_of in (other, cloud):
            with pytest.raises(sharing.BeingMoved, match="another onestack works on eno1"):
                attach(cloud_of, NIC, terms(tmp_path))
        assert same(moved, state(BRIDGE)) == []
        (guardian,) = guardians(cloud)
        os.kill(guardian, signal.SIGKILL)
        attaching.kill()

    killed(cloud, tmp_path, meanwhile)
    with pytest.raises(OnestackError, match="was begun for the cloud 'test'") as begun:
        attach(other, NIC, terms(tmp_path))
    assert f"onestack up --name test --root {cloud.root}" in begun.value.cure
    assert recover(cloud) == [NIC]
    assert same(before, state(NIC)) == []
    assert attach(other, NIC, terms(tmp_path)) == BRIDGE
    assert attach(cloud, NIC, terms(tmp_path)) == BRIDGE
    assert Journal.of(cloud, NIC).read() is None
    assert not sharing.busy(NIC) and not sharing._lock(NIC).exists()


def test_the_last_of_two_clouds_gives_the_nic_back(
    far: Wire, cloud: Cloud, other: Cloud, tmp_path: Path
) -> None:
    before = state(NIC)
    attach(cloud, NIC, terms(tmp_path))
    for each in (cloud, other):
        pair = plan.Pair.of(NIC, f"br-ex-{each.name}")
        for change in operations.ensure_pair_noted(each, pair, tmp_path):
            change.do()
        ip(f"link add {pair.outer} master {BRIDGE} type veth peer name {pair.inner}")
    moved = state(BRIDGE)
    destroy(cloud)
    assert same(moved, state(BRIDGE)) == []
    assert Journal.of(cloud, NIC).read() is None and Ledger.of(cloud).entries() == []
    kept = Journal.of(other, NIC).read()
    assert kept and (kept.state, kept.bridge) == (KEPT, BRIDGE)
    destroy(other)
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert Ledger.of(other).entries() == [] and Journal.of(other, NIC).read() is None


def destroy(cloud: Cloud) -> None:
    undo_all(Ledger.of(cloud), operations.UNDO)


def test_what_others_have_put_into_the_bridge_is_not_cut_off(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    attach(cloud, NIC, terms(tmp_path))
    ip("link add other type veth peer name its-end")
    ip(f"link set other master {BRIDGE}")
    for refused in (detach, operations.need_returnable):
        with pytest.raises(OnestackError, match="other is in br-eno1 too"):
            refused(cloud, NIC, terms(tmp_path))
    operations.need_returnable(cloud, NIC, terms(tmp_path), ["other"])
    assert "192.0.2.5/24" in addresses(BRIDGE)


def test_what_hangs_on_nothing_else_is_left_to_the_switch(cloud: Cloud, tmp_path: Path) -> None:
    with wire("link set eno1 up") as _:
        ip(f"address flush dev {NIC}")
        assert attach(cloud, NIC, terms(tmp_path)) == ""
        ip("link add vmbr0 type bridge")
        ip(f"link set {NIC} master vmbr0")
        assert attach(cloud, NIC, terms(tmp_path)) == "vmbr0"
        assert Ledger.of(cloud).entries() == []
