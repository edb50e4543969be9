"""Network namespaces, kernel settings, users and devices: real ones, taken away again."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.deploy.undo import undo, undo_all, undos
from onestack.host import facts, netns, sysctl, users
from onestack.host.ledger import Ledger
from onestack.kernel import mounts, namespaces
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from tests.support.needs import needs_root

pytestmark = needs_root


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "etc" / "ledger.json")
    yield ledger
    undo_all(ledger, undos())


@pytest.fixture
def namespace(ledger: Ledger) -> str:
    name = f"onestack-unit{os.getpid()}"
    for change in netns.ensure_netns(name, ledger):
        change.do()
    return name


def test_a_namespace_has_loopback_and_one_public_address(namespace: str, ledger: Ledger) -> None:
    assert list(netns.ensure_netns(namespace, ledger)) == []
    before = os.readlink("/proc/thread-self/ns/net")
    with netns.inside(namespace):
        assert os.readlink("/proc/thread-self/ns/net") != before
        for address in ("127.0.0.1", "127.77.0.1", netns.PUBLIC_ADDRESS):
            with socket.socket() as server, socket.socket() as client:
                server.bind((address, 0))
                server.listen()
                client.settimeout(5)
                client.connect(server.getsockname())
    assert os.readlink("/proc/thread-self/ns/net") == before


def test_threads_started_inside_are_inside(namespace: str) -> None:
    seen: list[str] = []
    with netns.inside(namespace):
        thread = threading.Thread(
            target=lambda: seen.append(os.readlink("/proc/thread-self/ns/net"))
        )
        thread.start()
        thread.join()
        assert seen == [os.readlink("/proc/thread-self/ns/net")]


def test_what_is_missing_of_a_namespace_is_added(namespace: str, ledger: Ledger) -> None:
    subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "down"], check=True)
    assert [c.what for c in netns.ensure_netns(namespace, ledger)] == [
        f"start loopback in {namespace}"
    ]


def test_a_namespace_gets_the_address_that_the_cloud_is_to_have(
    namespace: str, ledger: Ledger
) -> None:
    for public in ("127.0.0.1", netns.PUBLIC_ADDRESS):
        assert list(netns.ensure_netns(namespace, ledger, public)) == []
    (change,) = netns.ensure_netns(namespace, ledger, "192.0.2.77")
    change.do()
    assert list(netns.ensure_netns(namespace, ledger, "192.0.2.77")) == []
    with netns.inside(namespace), socket.socket() as server:
        server.bind(("192.0.2.77", 0))


def test_devices_of_a_namespace_are_facts_of_its_cloud(namespace: str) -> None:
    here = os.readlink("/proc/thread-self/ns/net")
    found = facts.gather(Cloud("a", Path("/nonexistent/a"), namespace))
    assert found.cloud_devices[netns.PUBLIC_DEVICE] == (f"{netns.PUBLIC_ADDRESS}/32",)
    assert found.cloud_devices["lo"] == ()
    assert netns.PUBLIC_DEVICE not in found.devices and "lo" in found.devices
    assert os.readlink("/proc/thread-self/ns/net") == here
    absent = facts.gather(Cloud("a", Path("/nonexistent/a"), "onestack-nowhere"))
    assert absent.cloud_devices == {} and absent.devices == found.devices


def test_a_file_without_a_namespace_is_replaced(ledger: Ledger) -> None:
    name = f"onestack-half{os.getpid()}"
    namespaces.NAMES.mkdir(exist_ok=True)
    (namespaces.NAMES / name).touch()
    assert not netns.exists(name)
    for change in netns.ensure_netns(name, ledger):
        change.do()
    assert netns.exists(name)
    undo_all(ledger, undos())
    assert not (namespaces.NAMES / name).exists()


def test_a_namespace_that_is_not_there() -> None:
    with pytest.raises(OnestackError, match="there is no network namespace nowhere"):
        netns.enter("nowhere")


def test_settings_are_put_back(namespace: str, ledger: Ledger) -> None:
    name = "net.ipv4.conf.lo.rp_filter"
    with netns.inside(namespace):
        old = sysctl.read(name)
        new = "1" if old != "1" else "2"
        (change,) = sysctl.ensure_sysctl({name: new}, ledger, namespace)
        assert change.what == f"set the kernel's {name} to {new} (was {old})"
        change.do()
        assert list(sysctl.ensure_sysctl({name: new}, ledger, namespace)) == []
    for entry in ledger.entries():
        if entry.kind == "sysctl":
            undo(entry, undos())
    with netns.inside(namespace):
        assert sysctl.read(name) == old


def test_the_last_cloud_puts_back_what_all_share(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other found it as it wanted it, and noted nothing."""
    monkeypatch.setattr(sysctl, "PROC", tmp_path)
    (tmp_path / "core").write_text("1\n")
    (tmp_path / "nic").write_text("0\n")
    for change in (
        *sysctl.ensure_sysctl({"core": "2"}, ledger, shared=True),
        *sysctl.ensure_sysctl({"nic": "1"}, ledger),
    ):
        change.do()
    successor = Ledger(tmp_path / "other" / "etc" / "ledger.json")
    assert list(sysctl.ensure_sysctl({"core": "2"}, successor, shared=True)) == []
    ledger.hand_over(tmp_path / "other")
    undo_all(ledger, undos())
    assert sysctl.read("core") == "2" and sysctl.read("nic") == "0"
    undo_all(successor, undos())
    assert sysctl.read("core") == "1"


def test_what_is_of_one_namespace_is_no_other_clouds(namespace: str, ledger: Ledger) -> None:
    with netns.inside(namespace):
        (change,) = sysctl.ensure_sysctl(
            {"net.ipv4.conf.lo.log_martians": "1"}, ledger, namespace, shared=True
        )
        change.do()
    assert "shared" not in ledger.entries()[-1].data


def test_a_setting_that_is_not_there(ledger: Ledger) -> None:
    (change,) = sysctl.ensure_sysctl({"net.no.such": "1"}, ledger)
    with pytest.raises(OnestackError, match=r"net\.no\.such cannot be set to 1"):
        change.do()
    assert ledger.entries() == []


def test_system_users(ledger: Ledger) -> None:
    name = f"onestack-u{os.getpid()}"
    for change in users.ensure_users([name, name], ledger):
        change.do()
    assert users.exists(name) and users.group_exists(name)
    assert list(users.ensure_users([name], ledger)) == []
    undo_all(ledger, undos())
    assert not users.exists(name) and not users.group_exists(name)
    users.undo_user({"name": name})


def test_mounts_are_undone_with_what_is_below(tmp_path: Path, ledger: Ledger) -> None:
    target = tmp_path / "target"
    for place in (target, target / "deep"):
        place.mkdir()
        ledger.record("mount", target=str(place))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
        assert mounts.is_mounted(place)
    undo_all(ledger, undos())
    assert not mounts.is_mounted(target) and not mounts.is_mounted(target / "deep")
