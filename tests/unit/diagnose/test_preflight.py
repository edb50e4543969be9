"""Each check of preflight, on machines that exist only here."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from onestack.diagnose import machine as looks
from onestack.diagnose import preflight
from onestack.diagnose.machine import Daemon, Machine, apt_problems, head
from onestack.diagnose.preflight import GIB, Needs, Subject, look
from onestack.host.command import CommandResult
from onestack.kernel.mounts import Mount
from onestack.kernel.sockets import Listener
from onestack.model.change import Change
from onestack.model.cloud import CACHE, Cloud
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Task
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.model.findings import (
    Finding,
    Severity,
    info,
    raise_refusals,
    refuse,
    warn,
)
from tests.support import machines
from tests.support.filters import filters_of
from tests.unit.deploy.toys import context

ROOT = Mount(Path("/"), "ext4", "/dev/vda", ("rw", "relatime"))
GOOD = machines.machine(
    "debian-12-kvm",
    hostname="here",
    hostname_address="127.0.1.1",
    memory=8 * GIB,
    memory_available=7 * GIB,
    public_address="192.0.2.2",
    systemd=True,
    packages={"a": "1", "b": "1"},
)


def machine(facts: dict[str, Any] | None = None, /, **looks: Any) -> Machine:
    """A machine that is fit, but for what is given."""
    return Machine(
        dataclasses.replace(GOOD, **(facts or {})),
        **{
            "user": lambda: 0,
            "python": (3, 11),
            "disk_free": lambda path: 100 * GIB,
            "mount_of": lambda path: ROOT,
            "closed_folder": lambda path: None,
            "listeners": list,
            "owners": list,
            "root_of": lambda pid: "",
            "apt_problems": lambda names: [],
            "index_problem": lambda requirement: "",
            "now": lambda: 1.8e9,
            "clock_synchronised": lambda: True,
            "daemons": lambda names: [],
            "open_files": lambda: 65536,
            "filters": lambda: {"nftables": []},
            "unit_of": lambda pid: "",
            "enforced": list,
            **looks,
        },
    )


def found(
    subject_machine: Machine, needs: Needs | None = None, cloud: Cloud | None = None
) -> list[Finding]:
    cloud = cloud or Cloud("onestack", Path("/nonexistent/onestack"))
    return look(Subject(cloud, subject_machine, needs or Needs(release_installed=True)))


def said(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(f.severity.value, f.what) for f in findings if f.what != "guests run on KVM"]


def test_a_good_machine_has_nothing_to_be_said_of() -> None:
    assert said(found(machine())) == []


@pytest.mark.parametrize(
    ("facts", "looks", "expected"),
    [
        ({}, {"user": lambda: 1000}, "refuse: onestack is not run by root"),
        ({"os_version": "11", "os_name": "Debian 11"}, {}, "refuse: Debian 11 is not supported"),
        ({"os_id": "ubuntu", "os_name": "Ubuntu"}, {}, "refuse: Ubuntu is not supported"),
        ({}, {"python": (3, 10)}, "refuse: Python 3.10 is too old"),
        ({"cores": 0}, {}, "refuse: there is no processor core to use"),
        ({"cores": 1}, {}, "info: there is one processor core"),
        ({"memory": 3 * GIB}, {}, "refuse: the machine has 3.0 GiB of memory"),
        ({"memory_available": GIB}, {}, "refuse: only 1.0 GiB of 8.0 GiB of memory is free"),
        ({"memory_available": 3 * GIB}, {}, "warn: 3.0 GiB of 8.0 GiB of memory is free"),
        ({"hostname_address": ""}, {}, "refuse: the hostname 'here' does not resolve"),
        ({}, {"disk_free": lambda p: GIB}, "refuse: 1.0 GiB is free on /"),
        ({}, {"open_files": lambda: 1024}, "refuse: a program may have only 1024 files open"),
        ({}, {"now": lambda: 1.0e9}, "refuse: the clock is wrong"),
        ({}, {"clock_synchronised": lambda: False}, "info: the clock is not synchronised"),
        (
            {"tun": False, "modules": ()},
            {},
            "refuse: there is no /dev/net/tun",
        ),
        (
            {"kvm": False, "kvm_reason": "no device"},
            {},
            "info: guests are emulated (TCG), which is slow",
        ),
        (
            {"nic": "eth0", "nic_managers": ("netplan", "systemd-networkd")},
            {},
            "info: eth0, the way to the outside, is configured by netplan and systemd-networkd",
        ),
    ],
)
def test_one_thing_wrong(facts: dict[str, Any], looks: dict[str, Any], expected: str) -> None:
    assert [f"{s}: {w}" for s, w in said(found(machine(facts, **looks)))] == [expected]


def test_a_running_cloud_has_its_memory_already() -> None:
    needs = Needs(release_installed=True, running=True)
    assert said(found(machine({"memory_available": GIB}), needs)) == []


def test_all_is_said_at_once_and_each_with_its_cure() -> None:
    findings = found(
        machine({"os_id": "x", "os_name": "X", "memory": GIB, "hostname_address": ""}), None
    )
    with pytest.raises(PreflightRefused) as caught:
        raise_refusals(findings)
    assert caught.value.exit_code == 3
    assert "3 things must be mended first" in caught.value.what
    for word in ("X is not supported", "1.0 GiB of memory", "'here' does not resolve"):
        assert word in caught.value.why
    assert "echo '127.0.1.1 here' >> /etc/hosts" in caught.value.cure
    assert all(f.cure for f in findings if f.severity is Severity.REFUSE)


def test_one_refusal_is_an_error_of_its_own() -> None:
    with pytest.raises(PreflightRefused) as caught:
        raise_refusals([refuse("a", "b", "c"), warn("d")])
    assert (caught.value.what, caught.value.why, caught.value.cure) == ("a", "b", "c")
    raise_refusals([warn("x"), info("y")])


@pytest.mark.parametrize(
    ("option", "severity", "word"),
    [
        ("ro", "refuse", "read-only"),
        ("noexec", "refuse", "noexec"),
        ("nodev", "warn", "nodev"),
        ("nosuid", "warn", "nosuid"),
    ],
)
def test_mount_options(option: str, severity: str, word: str) -> None:
    other = Mount(Path("/nonexistent"), "xfs", "/dev/vdb", ("rw", option))
    looks = {"mount_of": lambda path: ROOT if path == CACHE else other}
    (finding,) = [f for f in found(machine(**looks)) if f.severity is not Severity.INFO]
    assert finding.severity.value == severity
    assert word in finding.what and "/nonexistent/onestack" in finding.what
    assert finding.cure.startswith("mount -o remount,")


def test_room_is_added_up_per_file_system() -> None:
    needs = Needs(packages=("a",), root_bytes=3 * GIB)
    looks: dict[str, Any] = {"disk_free": lambda path: 5 * GIB}
    bare: dict[str, Any] = {"packages": {}}
    (finding,) = [f for f in found(machine(bare, **looks), needs) if "free on" in f.what]
    assert "need 7.0 GiB" in finding.why
    separate = {p: Mount(p, "ext4", str(p), ("rw",)) for p in (CACHE, Path("/usr"))}
    looks["mount_of"] = lambda path: separate.get(path, ROOT)
    assert not [f for f in found(machine(bare, **looks), needs) if "free on" in f.what]


def test_a_cloud_that_is_there_comes_up_again_on_a_full_disk() -> None:
    there = Needs(root_bytes=0, release_installed=True)
    looks = {"disk_free": lambda path: GIB // 5}
    assert [f for f in found(machine(**looks), there) if "free on" in f.what]
    looks = {"disk_free": lambda path: GIB // 3}
    assert not [f for f in found(machine(**looks), there) if "free on" in f.what]
    running, looks = dataclasses.replace(there, running=True), {"disk_free": lambda path: 0}
    assert not [f for f in found(machine(**looks), running) if "free on" in f.what]


PORT = Listener("0.0.0.0", 8774, 77)


def taken(root_of: str, pid: int = 4242) -> Machine:
    owner = dataclasses.replace(PORT, pid=pid)
    return machine(
        listeners=lambda: [PORT, Listener("127.0.0.1", 9292, 78)],
        owners=lambda wanted: [owner],
        root_of=lambda pid: root_of,
    )


NEEDS = Needs(
    ports=[("192.0.2.2", 8774, "nova-api"), ("192.0.2.2", 9292, "glance-api")],
    release_installed=True,
)


def test_a_taken_port_and_by_whom() -> None:
    (finding,) = [f for f in found(taken(""), NEEDS) if f.severity is Severity.REFUSE]
    assert finding.what == "port 8774 of 192.0.2.2 is taken"
    assert "process 4242" in finding.why and "nova-api" in finding.why
    assert "kill 4242" in finding.cure


def test_a_unit_is_stopped_as_one() -> None:
    """Killed, its process would be started again."""
    broker = dataclasses.replace(taken(""), unit_of=lambda pid: "rabbitmq-server.service")
    (finding,) = [f for f in found(broker, NEEDS) if f.severity is Severity.REFUSE]
    assert "(systemctl disable --now rabbitmq-server.service)" in finding.cure
    switch = machine(
        {"modules": ("openvswitch",)},
        daemons=lambda names: [Daemon(7, "ovs-vswitchd", "")],
        unit_of=lambda pid: "ovs-vswitchd.service",
    )
    (finding,) = [f for f in found(switch) if f.severity is Severity.REFUSE]
    assert "systemctl disable --now openvswitch-switch.service; or use --netns" in finding.cure


@pytest.mark.parametrize(
    ("unit", "program", "cure"),
    [
        ("docker.service", "docker-proxy", "docker ps --filter publish=8774 names the container"),
        ("ssh.service", "python3", "kill 4242"),
        ("ssh.service", "sshd", "another Port in /etc/ssh/sshd_config"),
        ("cron.service", "backup", "kill 4242"),
        ("dbus-broker.service", "x", "kill 4242"),
    ],
)
def test_what_is_stopped_is_no_more_than_that(unit: str, program: str, cure: str) -> None:
    """Neither all containers, nor the way in of who types it."""
    here = taken("")
    here = dataclasses.replace(here, unit_of=lambda pid: unit, program=lambda pid: program)
    (finding,) = [f for f in found(here, NEEDS) if f.severity is Severity.REFUSE]
    assert f"stop it ({cure}" in finding.cure and "disable" not in finding.cure


def test_a_socket_of_systemds_own() -> None:
    listener = dataclasses.replace(taken("").owners([])[0], pid=1)
    held = dataclasses.replace(taken(""), owners=lambda _: [listener])
    (finding,) = [f for f in found(held, NEEDS) if f.severity is Severity.REFUSE]
    assert "systemctl list-sockets names its unit" in finding.cure and "kill" not in finding.cure


def test_a_port_of_this_cloud_is_its_own() -> None:
    assert said(found(taken("/nonexistent/onestack"), NEEDS)) == []


def test_a_port_of_another_cloud() -> None:
    (finding,) = [f for f in found(taken("/srv/b"), NEEDS) if f.severity is Severity.REFUSE]
    assert "of the cloud in /srv/b" in finding.why
    assert "(onestack down --root /srv/b, " in finding.cure and "--netns" in finding.cure


def test_a_port_whose_owner_cannot_be_seen() -> None:
    (finding,) = [f for f in found(taken("", pid=0), NEEDS) if f.severity is Severity.REFUSE]
    assert "cannot be seen" in finding.why and "ss -ltnp" in finding.cure


def test_mirrors_are_asked_only_when_something_is_missing() -> None:
    asked: list[list[str]] = []

    def problems(names: Sequence[str]) -> list[tuple[str, str]]:
        asked.append(list(names))
        return [("http://mirror", "timed out")]

    needs = Needs(packages=("a", "b"), release_installed=True)
    assert said(found(machine(apt_problems=problems), needs)) == []
    assert asked == []
    findings = found(machine({"packages": {"a": "1"}}, apt_problems=problems), needs)
    assert asked == [["b"]]
    assert said(findings) == [("refuse", "the package mirror http://mirror is not reached")]
    needs = dataclasses.replace(needs, downloads=["fetch the pages"])
    (finding,) = [
        f for f in found(machine(apt_problems=problems), needs) if f.severity is Severity.REFUSE
    ]
    assert asked[1:] == [[]]
    assert finding.why == "timed out; wanted: fetch the pages"


def test_what_components_would_fetch_is_known_before(tmp_path: Path) -> None:
    class Rooms(Component):
        name = "rooms"

        def downloads(self, ctx: Context) -> Iterator[Task]:
            def look() -> Iterator[Change]:
                if not (tmp_path / "paper").exists():
                    yield Change("fetch the paper", lambda: pytest.fail("only looked at"))

            yield Task("paper", look)

    class Later(Component):
        name = "later"

        def downloads(self, ctx: Context) -> Iterator[Task]:
            raise ImportError("needs our own environment")

    ctx = context(tmp_path, Rooms(), Later())
    assert preflight.downloads_of(ctx) == ["fetch the paper"]
    (tmp_path / "paper").touch()
    assert preflight.downloads_of(ctx) == []


def test_an_index_that_could_not_be_asked_is_asked_by_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fresh machine's python3 has neither uv nor pip: the launcher's look says nothing of it."""

    def no_uv() -> str:
        raise OnestackError("uv is not there")

    answer = CommandResult((), 1, "", "/usr/bin/python3: No module named pip\n", 0.0)
    monkeypatch.setattr(looks, "uv_program", no_uv)
    monkeypatch.setattr(looks, "run", lambda *arguments, **more: answer)
    needs = Needs(requirement="keystone==30.0.0", release_installed=False)
    remote: preflight.Remote = {}
    first = Subject(
        Cloud("a", Path("/nonexistent/a")), machine(index_problem=looks.index_problem), needs
    )
    assert look(first, [preflight.check_index], remote) == [] and remote == {}
    second = Subject(
        Cloud("a", Path("/nonexistent/a")),
        machine(index_problem=lambda requirement: "no such package"),
        needs,
    )
    (finding,) = look(second, [preflight.check_index], remote)
    assert finding.severity is Severity.REFUSE and remote == {"check_index": [finding]}


def test_the_index_is_asked_only_when_the_release_is_missing() -> None:
    def problem(requirement: str) -> str:
        assert requirement == "a==1"
        return "dns error"

    needs = Needs(requirement="a==1")
    (finding,) = [
        f for f in found(machine(index_problem=problem), needs) if f.severity is Severity.REFUSE
    ]
    assert finding.what == "the Python package index is not reached"
    assert "dns error" in finding.why
    installed = dataclasses.replace(needs, release_installed=True)
    assert said(found(machine(index_problem=problem), installed)) == []


@pytest.mark.parametrize(
    ("filter_of", "cure"),
    [
        (
            "firewalld",
            "firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface=eth0 || "
            "firewall-cmd --get-default-zone) --add-port=8774/tcp --add-port=9292/tcp; ",
        ),
        ("ufw", "ufw allow in on eth0 proto tcp to any port 8774,9292"),
    ],
)
def test_a_filter_before_the_fronts(filter_of: str, cure: str) -> None:
    rules = filters_of(filter_of)
    facts = {"nic_managers": (), "devices": {"lo": (), "eth0": ("192.0.2.2/24",)}}
    shut = machine(facts, filters=lambda: rules)
    (finding,) = [f for f in found(shut, NEEDS) if f.severity is not Severity.INFO]
    assert finding.severity is Severity.WARN
    assert finding.what == "other machines do not reach the cloud"
    assert "to the ports 8774,9292" in finding.why and f"({filter_of} has set" in finding.why
    assert finding.cure.startswith(cure)
    # a network of the cloud's own has other rules
    inside = Cloud("a", Path("/nonexistent/a"), "onestack-a")
    assert said(found(shut, NEEDS, inside)) == []
    # nothing is to be reached there
    assert said(found(shut)) == []


def accepted(*asked: dict[str, Any]) -> dict[str, Any]:
    """Rules that drop all that comes in but what is asked for."""
    place = {"family": "inet", "table": "own"}
    rule = {"rule": {**place, "chain": "in", "expr": [*asked, {"accept": None}]}}
    base = {"chain": {**place, "name": "in", "hook": "input", "policy": "drop"}}
    return {"nftables": [{"metainfo": {}}, base, rule]}


def by(device: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": device}}


LAN = {"payload": {"protocol": "ip", "field": "saddr"}}
FROM = {"match": {"op": "==", "left": LAN, "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}
TWO = {"lo": ("192.0.2.9/32",), "eth0": ("203.0.113.5/24",), "eth1": ("192.0.2.2/24",)}


@pytest.mark.parametrize(
    ("facts", "rules", "cure"),
    [
        # where the cloud is not is no matter: the way to the internet, and a VPN's
        ({"nic": "eth0"}, accepted(by("eth1")), ""),
        ({"nic": "wg0"}, accepted(by("eth1")), ""),
        ({"nic": ""}, accepted(by("eth0")), "nft insert rule inet own in iifname eth1 tcp dport"),
        ({"nic": "eth0"}, accepted(by("eth0")), "nft insert rule inet own in iifname eth1 tcp"),
        # a cloud for this machine alone
        ({"public_address": "127.0.0.1"}, filters_of("ufw"), ""),
        ({"public_address": "192.0.2.9"}, filters_of("ufw"), ""),
        # what nobody knows opens nothing to everybody
        ({"nic": "eth1"}, accepted(FROM), ""),
        ({"nic": "eth1"}, accepted(by("eth1"), FROM), ""),
    ],
)
def test_a_filter_where_the_cloud_is(
    facts: dict[str, Any], rules: dict[str, Any], cure: str
) -> None:
    here = {"nic_managers": (), "devices": TWO, **facts}
    address = here.get("public_address", "192.0.2.2")
    wanted = Needs(ports=[(address, 8774, "nova")], release_installed=True)
    told = [f for f in found(machine(here, filters=lambda: rules), wanted) if "reach" in f.what]
    assert [f.cure[: len(cure)] for f in told] == ([cure] if cure else [])


PROFILES = """/usr/sbin/dnsmasq//libvirt_leaseshelper (enforce)
/usr/sbin/dnsmasq (enforce)
/usr/bin/man (enforce)
haproxy (complain)
libvirtd (enforce)
radvd (enforce)
"""


def test_profiles_in_the_way_of_what_services_start(tmp_path: Path) -> None:
    file = tmp_path / "profiles"
    file.write_text(PROFILES)
    kept = machine(enforced=lambda: looks.enforced(file))
    needs = Needs(release_installed=True, started=("dnsmasq", "haproxy", "radvd"))
    assert said(found(kept, needs)) == [
        ("warn", "AppArmor lets dnsmasq have only files of the machine's own"),
        ("warn", "AppArmor lets radvd have only files of the machine's own"),
    ]
    # of a cloud that has nothing of the kind
    assert said(found(kept)) == []
    assert looks.enforced(tmp_path / "none") == []


def test_daemons_of_others() -> None:
    theirs = [Daemon(7, "ovs-vswitchd", ""), Daemon(8, "libvirtd", "/srv/other-cloud")]
    with_module = machine({"modules": ("openvswitch",)}, daemons=lambda names: theirs)
    (finding,) = [f for f in found(with_module) if f.severity is not Severity.INFO]
    assert finding.severity is Severity.REFUSE and "process 7" in finding.what
    without = machine({"modules": ()}, daemons=lambda names: theirs)
    assert [f.severity for f in found(without) if f.severity is not Severity.INFO] == [
        Severity.WARN
    ]
    inside = Cloud("a", Path("/nonexistent/a"), "onestack-a")
    assert said(found(with_module, cloud=inside)) == []


def test_other_machines_are_asked_beside_the_rest_and_once() -> None:
    """The mirror waits until the index is asked too: one after the other, it would for ever."""
    both = threading.Barrier(2, timeout=20)
    asked: list[str] = []

    def mirrors(names: Sequence[str]) -> list[tuple[str, str]]:
        both.wait()
        asked.append("mirrors")
        return [("http://mirror", "timed out")]

    def index(requirement: str) -> str:
        both.wait()
        asked.append("index")
        return ""

    needs = Needs(packages=("missing",), requirement="a==1")
    subject = Subject(
        Cloud("onestack", Path("/nonexistent/onestack")),
        machine(apt_problems=mirrors, index_problem=index),
        needs,
    )
    remote: preflight.Remote = {}
    first = look(subject, remote=remote)
    assert sorted(asked) == ["index", "mirrors"]
    assert set(remote) == {"check_apt", "check_index"} and remote["check_index"] == []
    assert look(subject, remote=remote) == first and len(asked) == 2
    assert [f.what for f in remote["check_apt"]] == [
        "the package mirror http://mirror is not reached"
    ]


def test_a_defect_of_a_check_beside_is_not_lost() -> None:
    def broken(names: Sequence[str]) -> list[tuple[str, str]]:
        raise AttributeError("ours")

    with pytest.raises(AttributeError, match="ours"):
        found(machine(apt_problems=broken), Needs(packages=("missing",), release_installed=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small-memory", "refuse: the machine has 2.0 GiB of memory"),
        ("one-core", "info: there is one processor core"),
        ("container", "refuse: there is no /dev/net/tun"),
        ("unresolved-hostname", "refuse: the hostname 'somewhere' does not resolve"),
        (
            "networkmanager",
            "info: wlan0, the way to the outside, is configured by NetworkManager",
        ),
        (
            "debian-12-systemd",
            "info: eth0, the way to the outside, is configured by ifupdown",
        ),
    ],
)
def test_kept_machines(name: str, expected: str) -> None:
    fit = machine()
    there = dataclasses.replace(fit, facts=machines.machine(name))
    assert expected in [f"{s}: {w}" for s, w in said(found(there))]


def test_a_root_with_other_things_in_it(tmp_path: Path) -> None:
    cloud = Cloud("onestack", tmp_path)
    assert said(found(machine(), cloud=cloud)) == []
    (tmp_path / "etc").mkdir()
    (tmp_path / "lost+found").mkdir()
    assert said(found(machine(), cloud=cloud)) == []
    (tmp_path / "photos").mkdir()
    (finding,) = [f for f in found(machine(), cloud=cloud) if f.severity is Severity.REFUSE]
    assert "photos" in finding.why
    (tmp_path / "etc" / "cloud.json").write_text("{}")
    assert said(found(machine(), cloud=cloud)) == []


def test_a_folder_that_services_do_not_get_through() -> None:
    # not pytest's own, which nobody else gets through either
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        top = Path(place)
        assert top.stat().st_mode & 0o777 == 0o700
        root = top / "clouds" / "a"
        assert looks.closed_folder(root) == top
        top.chmod(0o711)
        assert looks.closed_folder(root) is None
        top.joinpath("clouds").mkdir(mode=0o700)
        assert looks.closed_folder(root) == top / "clouds"
    closed = machine(closed_folder=lambda path: None if path == CACHE else Path("/srv"))
    (finding,) = [f for f in found(closed) if f.severity is Severity.REFUSE]
    assert finding.what == "nobody but its owner gets through /srv"
    assert finding.cure == "chmod o+x /srv, or choose another --root"


def test_a_check_that_cannot_look_does_not_hide_the_others() -> None:
    def broken(path: Path) -> int:
        raise OnestackError("statvfs broke")

    findings = said(found(machine({"os_id": "x", "os_name": "X"}, disk_free=broken)))
    assert ("warn", "the check disk failed") in findings
    assert ("refuse", "X is not supported") in findings


def test_head(tmp_path: Path) -> None:
    assert head("http://127.0.0.1:9/x", {}) != ""
    assert head("cdrom:[Debian]", {}) == ""
    assert head(f"file:{tmp_path}", {}) == ""
    assert "is not there" in head("file:///nonexistent/mirror", {})


ENVIRONMENT = {"http_proxy": "http://env:1", "no_proxy": "near"}


@pytest.mark.parametrize(
    ("url", "told", "env", "expected"),
    [
        ("http://far/x", {}, {}, ""),
        ("http://far/x", {}, ENVIRONMENT, "http://env:1"),
        # as apt does, which was tried
        ("https://far/x", {}, ENVIRONMENT, "http://env:1"),
        ("https://far/x", {}, {**ENVIRONMENT, "https_proxy": "http://tls:2"}, "http://tls:2"),
        ("https://far/x", {"http": "http://apt:3"}, ENVIRONMENT, "http://apt:3"),
        ("http://far/x", {"http": "DIRECT"}, ENVIRONMENT, ""),
        ("http://far/x", {"http": "http://apt:3", "http::far": "DIRECT"}, {}, ""),
        ("http://other/x", {"http::far": "http://apt:3"}, ENVIRONMENT, "http://env:1"),
    ],
)
def test_the_proxy_that_apt_takes(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    told: dict[str, str],
    env: dict[str, str],
    expected: str,
) -> None:
    without_proxies(monkeypatch)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert looks.proxy_of(url, told) == expected


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_what_apt_is_told_of_proxies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By apt itself."""
    (tmp_path / "apt.conf").write_text(
        'Acquire::http::Proxy "http://apt:3";\nAcquire::http::proxy::near "DIRECT";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    told = looks.apt_proxies()
    assert {"http": "http://apt:3", "http::near": "DIRECT"}.items() <= told.items()


def test_a_mirror_is_asked_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("http_proxy", place)
        assert head("http://mirror.invalid/debian", {}) == ""
        assert head("http://mirror.invalid/debian", {"http": "DIRECT"}) != ""
        monkeypatch.setenv("no_proxy", "mirror.invalid")
        assert head("http://mirror.invalid/debian", {}) != ""
        server.shutdown()
    assert asked == ["http://mirror.invalid/debian"]


def test_a_mirror_that_sends_to_another_scheme_is_asked_by_that_ones_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_proxies(monkeypatch)
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(301)
            self.send_header("Location", "https://mirror.invalid/debian")
            self.end_headers()

        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(503, "tunnels are shut")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("http_proxy", place)
        # that of https is the same where nobody says another, as apt has it
        assert "503" in head("http://mirror.invalid/debian", {})
        assert "503" not in head("http://mirror.invalid/debian", {"https": "DIRECT"})
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        assert "refused" in head("http://mirror.invalid/debian", {})
        server.shutdown()
    first = "http://mirror.invalid/debian"
    assert asked == [first, "mirror.invalid:443", first, first]


@pytest.mark.parametrize(
    "proxy",
    [
        "http://u:s3cret@proxy:port",
        "http:u:s3cret@h",
        "http://u:pa/s3cret@proxy:3128",
        "[",
        "http://[",
    ],
)
@pytest.mark.parametrize("kind", ["http", "https"])
def test_a_proxy_whose_address_is_none(
    monkeypatch: pytest.MonkeyPatch, proxy: str, kind: str
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("http_proxy", proxy)
    why = head(f"{kind}://mirror.invalid/x", {})
    assert why and "s3cret" not in why


def test_who_has_no_proxy_is_told_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)
    needs = Needs(packages=("missing",), release_installed=True)
    far = machine(apt_problems=lambda names: [("http://mirror", "timed out")])

    def cure() -> str:
        (finding,) = [f for f in found(far, needs) if f.severity is Severity.REFUSE]
        return finding.cure

    # a proxy's URL may have a password, and sudo keeps what it is started with
    assert "sudo --preserve-env=http_proxy,https_proxy,no_proxy ./onestack" in cure()
    assert "http_proxy=URL" not in cure()
    monkeypatch.setenv("http_proxy", "http://env:1")
    assert "sudo" not in cure()


def test_apt_without_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{tmp_path}/none";\nDir::Etc::SourceParts "{tmp_path}/none.d";\n'
        f'Dir::State::Lists "{tmp_path}/lists";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    ((site, why),) = apt_problems(["no-such-package"])
    assert site == "/etc/apt/sources.list*" and "no source" in why


def test_mirrors_are_known_without_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By apt itself, which has only its sources."""
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text("deb http://mirror.invalid/debian bookworm main\n")
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{tmp_path}/lists";\nDir::Cache "{tmp_path}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    monkeypatch.setattr("onestack.diagnose.machine.head", lambda url, proxies: f"asked for {url}")
    ((site, why),) = apt_problems(["no-such-package"])
    assert site == "http://mirror.invalid"
    assert why == "asked for http://mirror.invalid/debian/dists/bookworm/InRelease"
    assert apt_problems([]) == [(site, why)]


def test_what_lies_in_apts_cache_needs_no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(argv: list[str], **_: object) -> CommandResult:
        asked.append(argv[-1])
        return CommandResult(tuple(argv), 0, "", "", 0.0)

    monkeypatch.setattr("onestack.diagnose.machine.run", run)
    assert apt_problems(["haproxy"]) == []
    assert asked == ["haproxy"]


def test_apts_own_trouble_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "E: The list of sources could not be read.\n"
    monkeypatch.setattr(
        "onestack.diagnose.machine.run",
        lambda argv, **_: CommandResult(tuple(argv), 100, "", words, 0.0),
    )
    ((_, why),) = apt_problems(["haproxy"])
    assert why == "E: The list of sources could not be read."


def test_it_runs_with_the_systems_python_alone(tmp_path: Path) -> None:
    source = Path(preflight.__file__).resolve().parents[2]
    words = "/usr/bin/python3 -S -m onestack.cli.bootstrap onestack.cli.main up --name unit"
    done = subprocess.run(
        [*words.split(), "--root", "/x"],
        env={"PYTHONPATH": str(source), "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert ("cure:" in done.stderr) == (done.returncode == 3)
    assert not Path("/x").exists()


def test_obstacles_are_the_components_findings(tmp_path: Path) -> None:
    class Narrow(Component):
        name = "narrow"

        def preflight_checks(self, ctx: Context) -> list[Finding]:
            return [refuse("it does not fit", "too wide", "make it narrower")]

    class Blind(Component):
        title = "Blind"

        def preflight_checks(self, ctx: Context) -> list[Finding]:
            raise OSError("it is dark")

    ctx = context(tmp_path, Narrow(), Blind())
    one, other = preflight.component_checks(ctx)
    assert (one.severity, one.what) == (Severity.REFUSE, "it does not fit")
    assert (other.severity, other.why) == (Severity.WARN, "it is dark")
