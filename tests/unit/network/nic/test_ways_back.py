"""What is stopped, in another's hands by now, refused by the kernel, or heard of and not asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onestack.host import clouds, nftables
from onestack.host.ledger import Ledger
from onestack.model.cloud import FORMAT, Cloud, CloudRecord, record_path
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.network.nic import gateway, guardian, kernel, operations, plan, sharing, texts
from onestack.network.nic.facts import Device, gather
from onestack.network.nic.journal import KEPT, TRYING, Journal, Record, Undo, boot
from onestack.network.nic.managers.told import Told
from onestack.network.nic.operations import Lost, attach, detach, recover
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.test_moves import (
    BRIDGE,
    destroy,
    guardians,
    ip_ping,
    killed,
    same,
    state,
    terms,
)
from tests.unit.network.nic.wire import GATEWAY, NIC, Wire, addresses, ip

pytestmark = needs_root
GUARDIAN = "onestack.network.nic.guardian"


def half_way(cloud: Cloud, tmp_path: Path) -> None:
    """Moved, and both the command and its guardian were killed."""

    def both(attaching: subprocess.Popen[str]) -> None:
        (found,) = guardians(cloud)
        os.kill(found, signal.SIGKILL)
        attaching.kill()

    killed(cloud, tmp_path, both)


RECOVER = """
import sys
from pathlib import Path
from onestack.model.cloud import Cloud
from onestack.network.nic.operations import recover, undo_nic
print("go", flush=True)
if sys.argv[2] == "recover":
    recover(Cloud("test", Path(sys.argv[1]), None))
else:
    undo_nic({"cloud": "test", "root": sys.argv[1], "netns": None, "nic": "eno1"})
print("went on", flush=True)
"""


@pytest.mark.parametrize("how", ["recover", "undo_nic"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whoever_is_stopped_while_it_is_put_back_leaves_nothing_half_put_back(
    far: Wire, cloud: Cloud, tmp_path: Path, number: signal.Signals, how: str
) -> None:
    """`up`, `nic` and `destroy` of a cloud whose move was killed."""
    before = state(NIC)
    half_way(cloud, tmp_path)
    words = [sys.executable, "-c", RECOVER, str(cloud.root), how]
    env = {**os.environ, "PYTHONPATH": "src"}
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(["ip", "-o", "monitor", "link"], stdout=pipe, text=True) as monitor,
        subprocess.Popen(words, env=env, stdout=pipe, stderr=pipe, text=True) as putting,
    ):
        assert monitor.stdout and putting.stdout
        assert next(line for line in monitor.stdout if NIC in line)
        putting.send_signal(number)
        said = putting.communicate()[0]
        monitor.kill()
    # It does not go on with what it was to do afterwards.
    assert "went on" not in said and putting.returncode != 0
    assert soon(lambda: Journal.of(cloud, NIC).read() is None), (cloud.log / "nic.log").read_text()
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert soon(lambda: guardians(cloud) == [])


def test_what_was_begun_is_put_back_where_no_guardian_can_be_had(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(NIC)
    half_way(cloud, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(guardian.Guardian, "__init__", full)
    assert recover(cloud) == [NIC]
    assert same(before, state(NIC)) == []


@pytest.mark.parametrize("seconds", ["inf", "1e300", "-200"])
def test_a_guardian_that_says_it_is_ready_is(tmp_path: Path, seconds: str) -> None:
    words = [sys.executable, "-m", GUARDIAN, str(tmp_path / "eno1.json"), seconds]
    env = {**os.environ, "PYTHONPATH": "src"}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as started:
        said, wrong = started.communicate(timeout=20)
    assert (said, wrong, started.returncode) == (b"ready\n", b"", 0)


def deaf(far: Wire) -> None:
    """Nothing of ours comes in at the far side any more, and it asks where we are."""
    for line in (
        "add table netdev f",
        "add chain netdev f i { type filter hook ingress device far priority 0; policy drop; }",
    ):
        far.inside("nft", line)
    far.inside("ip", "neigh", "flush", "dev", "far")


ASKS = """
while :; do
    ping -c1 -W1 192.0.2.5 >/dev/null 2>&1
    ping -c1 -W1 2001:db8::5 >/dev/null 2>&1
    ip neigh flush dev far
done
"""


def test_who_asks_for_us_and_does_not_hear_us_has_not_answered(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, over = state(NIC), kernel.over

    def cut(device: Device, bridge: str) -> None:
        over(device, bridge)
        deaf(far)

    monkeypatch.setattr(kernel, "over", cut)
    with far.start("sh", "-c", ASKS) as asking:
        try:
            with pytest.raises(Lost, match=r"192\.0\.2\.1 and .* did not answer at br-eno1"):
                attach(cloud, NIC, terms(tmp_path, after=3.0))
        finally:
            asking.kill()
    assert same(before, state(NIC)) == []


def test_who_asks_for_us_all_the_time_and_answers_has(far: Wire) -> None:
    """What it asks makes the kernel put off its own question."""
    with far.start("sh", "-c", ASKS) as asking:
        try:
            for _ in range(5):
                assert gateway.silent((GATEWAY, "2001:db8::1"), NIC, 3.0) == []
        finally:
            asking.kill()


def heard(monkeypatch: pytest.MonkeyPatch, far: Wire) -> None:
    """The far side asks for us in the moment between our two steps."""
    speak = gateway._speak

    def first_they(address: str, device: str) -> None:
        if not gateway._states(gateway._neighbour(address, device)):
            far.inside("ip", "neigh", "flush", "dev", "far")
            far.inside("ping", "-c1", "-W1", "192.0.2.5")
        speak(address, device)

    monkeypatch.setattr(gateway, "_speak", first_they)


def test_what_was_only_heard_is_asked_at_once(far: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(monkeypatch, far)
    assert gateway.silent((GATEWAY,), NIC, 2.0) == []


def taken(left: str = "") -> None:
    """The operator puts the NIC into a bridge of theirs; ours has an address still, or none."""
    ip("link add vmbr0 type bridge forward_delay 0")
    ip("link set vmbr0 up")
    ip(f"link set {NIC} master vmbr0")
    ip(f"address flush dev {BRIDGE}")
    if left:
        ip(f"address add {left} dev {BRIDGE}")
    ip("address add 192.0.2.5/24 dev vmbr0")
    ip("route replace default via 192.0.2.1 dev vmbr0")
    assert soon(lambda: "1 received" in ip_ping())


@pytest.mark.parametrize("gives", [destroy, lambda cloud: detach(cloud, NIC, operations.Terms())])
def test_a_nic_in_a_bridge_of_the_operators_stays_there(
    far: Wire, cloud: Cloud, tmp_path: Path, gives: Callable[[Cloud], None]
) -> None:
    """Routes that are left at ours lead nowhere, and its rules are the NIC's again."""
    rules = ip("rule"), ip("-6 rule")
    attach(cloud, NIC, terms(tmp_path))
    taken()
    assert BRIDGE in ip("-6 route")
    operations.need_returnable(cloud, NIC, terms(tmp_path))
    gives(cloud)
    assert "master vmbr0" in ip(f"link show {NIC}") and "1 received" in ip_ping()
    assert gather().link(BRIDGE) is None and Journal.of(cloud, NIC).read() is None
    assert (ip("rule"), ip("-6 rule")) == rules


def test_a_bridge_that_alone_has_an_address_does_not_go(
    far: Wire, cloud: Cloud, tmp_path: Path
) -> None:
    attach(cloud, NIC, terms(tmp_path))
    taken("198.51.100.9/24")
    had = addresses(BRIDGE)
    for refused in (operations.need_returnable, detach):
        with pytest.raises(OnestackError, match=r"br-eno1 still has 198\.51\.100\.9/24, .*vmbr0"):
            refused(cloud, NIC, terms(tmp_path))
    assert addresses(BRIDGE) == had and "1 received" in ip_ping()
    kept = Journal.of(cloud, NIC).read()
    assert kept and kept.state == KEPT
    ip(f"address flush dev {BRIDGE}")
    assert detach(cloud, NIC, terms(tmp_path)) == "eno1 stays in vmbr0, where somebody has put it."


@pytest.mark.parametrize("start", ["this", "another"])
@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_no_way_back_takes_it_out_of_there(
    far: Wire, cloud: Cloud, tmp_path: Path, verb: str, start: str
) -> None:
    """It was killed, and the operator has helped themselves."""
    before = state(NIC)
    kernel.over(before, BRIDGE)
    device = before if verb == "attach" else state(BRIDGE)
    told = {"verb": verb, "device": device.plain, "nic": NIC, "bridge": BRIDGE}
    if verb == "detach":
        kernel.back(device, NIC, BRIDGE)
        ip(f"address flush dev {NIC}")
        ip(f"link add {BRIDGE} type bridge")
    taken()
    journal = Journal.of(cloud, NIC)
    journal.path.parent.mkdir(parents=True)
    begun = boot() if start == "this" else start
    journal.write(Record(NIC, BRIDGE, TRYING, boot=begun, undo=(Undo("kernel", told),)))
    assert recover(cloud) == [NIC] and journal.read() is None
    assert "master vmbr0" in ip(f"link show {NIC}") and "1 received" in ip_ping()


OWN_START = "from onestack.network.nic.journal import boot; print(boot(), end='')"


def test_a_container_that_is_started_anew_has_nothing_of_what_was_done_to_devices(
    far: Wire, cloud: Cloud
) -> None:
    """It is in the same boot of the machine; its first process is another one."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", OWN_START]
    env = {**os.environ, "PYTHONPATH": "src"}
    once = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert once.split()[0] == boot().split()[0] and once != boot() == boot()
    before, journal = state(NIC), Journal.of(cloud, NIC)
    journal.path.parent.mkdir(parents=True)
    told = {"verb": "attach", "device": before.plain, "nic": NIC, "bridge": BRIDGE}
    journal.write(Record(NIC, BRIDGE, TRYING, boot=once, undo=(Undo("kernel", told),)))
    ip(f"address flush dev {NIC}")
    ip(f"address add 192.0.2.9/24 dev {NIC}")
    now = addresses(NIC)
    assert recover(cloud) == [NIC] and addresses(NIC) == now and journal.read() is None


def stale(device: str) -> None:
    """A route that the kernel keeps, and would not take any more."""
    ip(f"address add 198.51.100.2/24 dev {device}")
    ip(f"route add 10.50.0.0/16 via 198.51.100.1 dev {device}")
    ip(f"address delete 198.51.100.2/24 dev {device}")


def test_a_route_that_the_kernel_would_not_take_now_is_told_and_no_more(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "PATIENCE", 1.0)
    before, said = state(NIC), list[str]()
    attach(cloud, NIC, terms(tmp_path))
    stale(BRIDGE)
    # it is declined: all else is as it was, and the next one is not kept from anything
    with pytest.raises(Lost):
        detach(cloud, NIC, terms(tmp_path, confirm=lambda _: False, tell=said.append))
    lost = "the route 10.50.0.0/16 table main via 198.51.100.1 dev"
    assert any(f"has not got again: {lost} {BRIDGE}" in line for line in said), said
    assert same(before, state(BRIDGE)) == []
    stale(BRIDGE)
    said.clear()
    assert detach(cloud, NIC, terms(tmp_path, tell=said.append))
    assert f"eno1 has not got: {lost} br-eno1" in " ".join(said)
    assert same(before, state(NIC)) == [] and Journal.of(cloud, NIC).read() is None


def test_a_nic_that_has_such_a_route_does_not_move(far: Wire, cloud: Cloud, tmp_path: Path) -> None:
    stale(NIC)
    before = state(NIC)
    with pytest.raises(OnestackError, match=r"route replace 10\.50\.0\.0/16 .* failed"):
        attach(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == [] and Journal.of(cloud, NIC).read() is None
    assert "10.50.0.0/16" in ip("route") and gather().link(BRIDGE) is None


def test_addresses_are_demanded_of_a_way_back(far: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "PATIENCE", 0.5)
    before, batch = state(NIC), kernel.batch
    kernel.over(before, BRIDGE)

    def some(lines: list[str], *, force: bool = False) -> None:
        batch([line for line in lines if "replace 192.0.2.6" not in line], force=force)

    monkeypatch.setattr(kernel, "batch", some)
    with pytest.raises(OnestackError, match="eno1 is not as it was") as failed:
        kernel.back(before, NIC, BRIDGE)
    assert failed.value.why == "it has not got 192.0.2.6/24"
    assert plan.lost(before, state(NIC)) == []


MUTE = "#!/bin/sh\necho 'Error: JSON support not compiled-in' >&2\nexit 1\n"


@pytest.mark.parametrize("program", [MUTE, "#!/bin/sh\necho Segmentation fault\n"])
def test_a_filter_that_cannot_be_looked_at_is_for_the_operator_too(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    before, mute = state(NIC), tmp_path / "bin" / "nft"
    mute.parent.mkdir()
    mute.write_text(program)
    mute.chmod(0o755)
    monkeypatch.setenv("PATH", f"{mute.parent}:{os.environ['PATH']}")
    assert nftables.ruleset() == {"nftables": []}
    for refused in (attach, operations.need_movable):
        with pytest.raises(PreflightRefused, match="packet filter cannot be looked at"):
            refused(cloud, NIC, terms(tmp_path))
    assert same(before, state(NIC)) == []
    said: list[str] = []
    attach(cloud, NIC, terms(tmp_path, confirm=lambda _: True, tell=said.append))
    assert "where the packet filter names eno1, it must name br-eno1 too" in said[0]


class Editing:
    """Who configures the NIC by one file."""

    name, runs_clients = "ifupdown", False

    def __init__(self, path: Path) -> None:
        self.path = path

    def trial(self, *_: object) -> Told:
        return Told()

    def lasting(self, *_: object) -> Told:
        return Told({self.path: self.path.read_text().replace(NIC, BRIDGE)})


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "interfaces"
    path.write_text("iface eno1\n")
    monkeypatch.setattr(operations, "manager_of", lambda *_: Editing(path))
    return path


def test_what_was_edited_while_the_operator_was_asked_stays(
    far: Wire, cloud: Cloud, tmp_path: Path, edited: Path
) -> None:
    before, more = state(NIC), "iface eno1\niface eno2\n"

    def ask(_: float) -> bool:
        edited.write_text(more)
        return True

    with pytest.raises(Lost, match="interfaces was changed meanwhile"):
        attach(cloud, NIC, terms(tmp_path, confirm=ask))
    assert edited.read_text() == more and same(before, state(NIC)) == []
    attach(cloud, NIC, terms(tmp_path))
    assert edited.read_text() == more.replace(NIC, BRIDGE)


def test_files_are_written_by_one_onestack_at_a_time(
    far: Wire, cloud: Cloud, tmp_path: Path, edited: Path
) -> None:
    """Two NICs of one file: whoever comes second sees what the first has written."""
    more, alone = "iface eno1\niface eno2\n", texts.alone()

    def meanwhile() -> None:
        time.sleep(1)
        edited.write_text(more)
        alone.__exit__(None, None, None)

    alone.__enter__()
    other = threading.Thread(target=meanwhile)
    other.start()
    with pytest.raises(Lost, match="interfaces was changed meanwhile"):
        attach(cloud, NIC, terms(tmp_path))
    other.join()
    assert edited.read_text() == more and not texts.LOCK.exists()


def test_a_cloud_that_is_being_removed_is_no_heir(
    far: Wire, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins to be so while the other looks for one: one of the two comes first."""
    before, other, cache = state(NIC), Cloud("b", tmp_path / "b", None), tmp_path / "cache"
    (cache / "clouds").mkdir(parents=True)
    monkeypatch.setattr(clouds, "CACHE", cache)
    other.etc.mkdir(parents=True)
    record_path(other.root).write_text(CloudRecord("b", None, FORMAT).text)
    staying = {"b": other.root}
    monkeypatch.setattr(clouds, "staying", lambda _: staying)
    attach(cloud, NIC, terms(tmp_path))
    pair = plan.Pair.of(NIC, "br-ex-b")
    Ledger.of(other).record(sharing.PAIR, outer=pair.outer, netns=None)
    ip(f"link add {pair.outer} master {BRIDGE} type veth peer name {pair.inner}")
    with ThreadPoolExecutor() as pool:
        with clouds.alone():
            leaving = pool.submit(detach, cloud, NIC, terms(tmp_path))
            time.sleep(0.5)
            assert not leaving.done() and Journal.of(other, NIC).read() is None
            # what the other's destroy does with the lock, and soon
            staying.clear()
            ip(f"link delete {pair.outer}")
        assert leaving.result()
    assert same(before, state(NIC)) == [] and gather().link(BRIDGE) is None
    assert Journal.of(other, NIC).read() is None
