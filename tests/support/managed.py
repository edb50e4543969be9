"""Who configures a machine's network, at work in a test: /etc, /run and bus are the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onestack.host import debs
from onestack.kernel.linux import LIBC, MS_BIND, MS_PRIVATE, MS_REC, check, mount
from onestack.kernel.namespaces import CLONE_NEWNS, unshare
from tests.support.networks import soon

NETWORKD = Path("/lib/systemd/systemd-networkd")
READ_ONLY = 1
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
needs_networkd = pytest.mark.skipif(
    not (NETWORKD.exists() and shutil.which("dbus-daemon") and shutil.which("dnsmasq")),
    reason="needs systemd-networkd, dbus-daemon and dnsmasq",
)


@contextmanager
def own_places(place: Path) -> Iterator[None]:
    """The calling thread with an empty /run and /var/lib, and a copy of /etc below ``place``."""
    here = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    where = os.getcwd()
    try:
        unshare(CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        empty_run()
        etc = place / "etc"
        # what somebody makes there for a moment may be gone when its turn comes
        subprocess.run(["cp", "-a", "/etc", str(etc)], stderr=subprocess.DEVNULL)
        assert (etc / "passwd").is_file() and (etc / "systemd" / "network").is_dir()
        mount(str(etc), "/etc", None, MS_BIND)
        # NetworkManager keeps things there
        mount("tmpfs", "/var/lib", "tmpfs", 0)
        # where it is not writable nobody waits for udev
        mount("sysfs", "/sys", "sysfs", READ_ONLY)
        yield
    finally:
        check(LIBC.setns(here, CLONE_NEWNS), "setns")
        os.close(here)
        os.chdir(where)


def empty_run() -> None:
    """As after a boot."""
    mount("tmpfs", "/run", "tmpfs", 0)
    for name in ("dbus", "systemd/netif/links", "systemd/netif/leases", "systemd/network"):
        Path("/run", name).mkdir(parents=True)
    subprocess.run(["chown", "-R", "systemd-network", "/run/systemd/netif"], check=True)


@contextmanager
def bus() -> Iterator[None]:
    """The system's, in the calling thread's /run."""
    Path("/run/bus.conf").write_text(BUS)
    words = ["dbus-daemon", "--nofork", "--nopidfile", "--config-file=/run/bus.conf"]
    daemon = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        assert soon(Path("/run/dbus/system_bus_socket").exists)
        yield
    finally:
        daemon.terminate()
        daemon.wait(5)


@contextmanager
def networkd(log: Path) -> Iterator[None]:
    """In the calling thread's namespaces."""
    env = {**os.environ, "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_LOG_LEVEL": "info"}
    with bus(), _daemon([str(NETWORKD)], log, env):
        yield


@contextmanager
def network_manager(log: Path, tools: Path) -> Iterator[None]:
    """In the calling thread's namespaces, of the programs that `unpacked` has."""
    state = Path("/run/nm-state")
    state.mkdir()
    words = [str(tools / "NetworkManager"), "--debug", f"--state-file={state}/state"]
    with bus(), _daemon(words, log):
        yield


@contextmanager
def _daemon(words: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    with log.open("ab") as output:
        daemon = subprocess.Popen(words, env=env, stdout=output, stderr=output)
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait(20)


@contextmanager
def dhcp_server(namespace: int, leases: Path, more: str = "") -> Iterator[None]:
    """On the device ``far`` of that process's network: 192.0.2.50 to 99, router 192.0.2.1."""
    words = "--no-daemon --conf-file=/dev/null --port=0 --interface=far --dhcp-authoritative"
    pool = "--dhcp-range=192.0.2.50,192.0.2.99,1h --dhcp-option=3,192.0.2.1"
    enter = ["nsenter", "--target", str(namespace), "--net", "dnsmasq"]
    daemon = subprocess.Popen(
        [*enter, *words.split(), *pool.split(), *more.split(), f"--dhcp-leasefile={leases}"],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(5)


def configured(nic: str, log: Path) -> None:
    """Networkd has done with it."""

    until, state = time.monotonic() + 30, ""
    while state != "configured":
        assert time.monotonic() < until, f"{nic} is {state}\n{log.read_text()[-3000:]}"
        time.sleep(0.2)
        said = subprocess.run(["networkctl", "--no-pager", "--no-legend"], capture_output=True)
        lines = [line.split() for line in said.stdout.decode().splitlines()]
        state = next((line[-1] for line in lines if len(line) > 4 and line[1] == nic), "not there")


PACKAGES = (
    *("ifupdown", "isc-dhcp-client", "netplan.io", "libnetplan0", "network-manager", "libnm0"),
    *("libndp0", "python3-netifaces", "python3-yaml", "python3-rich", "python3-pygments"),
    *("python3-markdown-it", "python3-mdurl", "python3-dbus", "dhcpcd-base"),
)
PROGRAMS = {
    "nmcli": "usr/bin/nmcli",
    "NetworkManager": "usr/sbin/NetworkManager",
    "ifup": "sbin/ifup",
    "ifdown": "sbin/ifdown",
    "ifquery": "sbin/ifquery",
    "dhcpcd": "usr/sbin/dhcpcd",
    "dhclient": "sbin/dhclient",
    "netplan": "usr/share/netplan/netplan.script",
}
"""None of them may be installed: they would take this machine's own network."""


def unpacked(place: Path) -> Path:
    """A folder with programs that run out of their packages, which are not installed."""
    root, programs = place / "root", place / "bin"
    debs.unpack(PACKAGES, root)
    libraries = next((root / "usr/lib").glob("*-linux-gnu"))
    for library in libraries.glob("libnetplan.so.*"):
        # as Python looks for it
        (libraries / "libnetplan.so").unlink(missing_ok=True)
        (libraries / "libnetplan.so").symlink_to(library.name)
    programs.mkdir(exist_ok=True)
    for name, path in PROGRAMS.items():
        lines = [
            "#!/bin/sh",
            f"export LD_LIBRARY_PATH={libraries}",
            f"export PYTHONPATH={root}/usr/share/netplan:{root}/usr/lib/python3/dist-packages",
            # what netplan calls
            f"export NETPLAN_GENERATE_PATH={root}/usr/libexec/netplan/generate",
            f'exec {root / path} "$@"',
            "",
        ]
        (programs / name).write_text("\n".join(lines))
        (programs / name).chmod(0o755)
    return programs
