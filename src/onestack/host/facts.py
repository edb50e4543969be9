"""What is known of this machine. Read-only; standard library only (preflight)."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from onestack.host import dpkg, kvm
from onestack.host.command import run
from onestack.host.netns import PUBLIC_ADDRESS
from onestack.model.cloud import CACHE, Cloud


@dataclass(frozen=True)
class HostFacts:
    """Facts of one run. What is slow, or true only once packages are there, is read when asked.

    Sizes are bytes.
    """

    os_id: str
    os_version: str
    os_name: str
    cores: int
    memory: int
    memory_available: int
    hostname: str
    hostname_address: str
    """What the hostname resolves to, or ``""``."""
    route_address: str
    """Our address on the way to the default gateway, or ``""`` without one."""
    public_address: str
    systemd: bool
    kvm_probe: Callable[[], kvm.Answer] = field(default=kvm.probe, repr=False, compare=False)

    @property
    def kvm_answer(self) -> kvm.Answer:
        """Asked anew each time, since QEMU may have been installed meanwhile; the probe
        keeps its answer on disk."""
        return self.kvm_probe()

    @property
    def kvm(self) -> bool:
        """Whether a guest truly runs on KVM (ask when QEMU is installed)."""
        return self.kvm_answer.works

    @cached_property
    def ovs_kernel(self) -> bool:
        """Whether the kernel has Open vSwitch's datapath, loaded or to be loaded."""
        return module_available("openvswitch")

    def package_version(self, name: str) -> str:
        """The version installed, else the one apt would install, else ``""``."""
        return dpkg.candidate(name)


def gather(cloud: Cloud, controller: str = "") -> HostFacts:
    """The facts of this machine for ``cloud``.

    ``controller`` is the answer ``CONFIG_CONTROLLER_HOST``, if the operator gave one.
    """
    release = os_release(_text("/etc/os-release"))
    memory = meminfo(_text("/proc/meminfo"))
    hostname = socket.gethostname()
    route = route_address()
    return HostFacts(
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_name=release.get("PRETTY_NAME", ""),
        cores=len(os.sched_getaffinity(0)),
        memory=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        hostname=hostname,
        hostname_address=resolve(hostname),
        route_address=route,
        public_address=controller or (PUBLIC_ADDRESS if cloud.netns else route or "127.0.0.1"),
        systemd=Path("/run/systemd/system").is_dir(),
        kvm_probe=lambda: kvm.probe(CACHE),
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def os_release(text: str) -> dict[str, str]:
    """The fields of /etc/os-release."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def meminfo(text: str) -> dict[str, int]:
    """The fields of /proc/meminfo, in bytes."""
    found = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[key] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def resolve(hostname: str) -> str:
    try:
        return str(socket.getaddrinfo(hostname, None)[0][4][0])
    except OSError:
        return ""


def gateway(table: str) -> str:
    """The default gateway with the lowest metric in ``table`` (/proc/net/route), or ``""``."""
    best: tuple[int, str] | None = None
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            address = str(ipaddress.ip_address(bytes.fromhex(fields[2])[::-1]))
            if best is None or int(fields[6]) < best[0]:
                best = (int(fields[6]), address)
    return best[1] if best else ""


def route_address() -> str:
    """The source address of the default route (connecting a UDP socket sends nothing)."""
    far = gateway(_text("/proc/net/route"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # A gateway of 0.0.0.0 is a device without one; any far address will do.
            probe.connect((far if far and far != "0.0.0.0" else "198.18.0.1", 9))
            return str(probe.getsockname()[0]) if far else ""
        except OSError:
            return ""


def module_available(name: str) -> bool:
    """Whether the kernel has ``name`` built in, loaded, or as a module to load."""
    if Path("/sys/module", name).is_dir():
        return True
    if not shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        return False
    return run(["modprobe", "--dry-run", "--quiet", name], check=False, timeout=20).ok


def disk_free(path: Path) -> int:
    """Bytes that root can still write where ``path`` is or will be."""
    while not path.exists():
        path = path.parent
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize
