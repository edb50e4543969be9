"""What is known of this machine, as plain data. Read-only; standard library only (preflight).

Facts are gathered once a stage of a run and then only read: by declarations, by preflight,
by tests that keep the facts of other machines in files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import ipaddress
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onestack.host import dpkg, filters, kvm, links, netns, nftables, timekeeping
from onestack.host.filters import ClosedChain
from onestack.host.timekeeping import Keeper
from onestack.kernel import disk, mounts
from onestack.kernel.sockets import may_listen
from onestack.model.cloud import CACHE, Cloud
from onestack.model.errors import OnestackError

FORMAT = 3
"""Of what `HostFacts.to_json` writes; another meaning or field makes it another number."""
_THIN = "dm_thin_pool"
MODULES = ("br_netfilter", _THIN, "loop", "openvswitch", "tun", "xfs")
"""Modules of the kernel that are looked for."""
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""systemd-resolved writes itself (127.0.0.53) into the first and its servers into the second."""
_KVM = Path("/dev/kvm")
_MAPPER = Path("/dev/mapper/control")
IPV6 = Path("/proc/sys/net/ipv6")
"""Not there where the kernel was started with ``ipv6.disable=1``."""


@dataclass(frozen=True)
class HostFacts:
    """All of a machine that declarations may depend on. Sizes are bytes."""

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
    former_address: str
    """Where the cloud's front is until the next `up`, if not at ``public_address``; or ``""``."""
    public_here: bool
    """Whether a program of this machine may listen at ``public_address``."""
    nic: str
    """The device of the default route, or ``""``."""
    nic_managers: tuple[str, ...]
    """What configures ``nic``."""
    devices: Mapping[str, tuple[str, ...]]
    """The machine's network devices: name to global addresses, with prefix length."""
    cloud_devices: Mapping[str, tuple[str, ...]]
    """The same of the cloud's network namespace, empty before it is made; without one,
    the machine's own."""
    ipv6: bool
    """Whether devices can have IPv6 addresses where the cloud's networks are."""
    closed_forwarding: tuple[ClosedChain, ...]
    """What drops by itself what is forwarded where the cloud's networks are."""
    resolvers: tuple[str, ...]
    """Name servers that a guest could use too."""
    systemd: bool
    modules: tuple[str, ...]
    """Those of `MODULES` that the kernel has, loaded or to be loaded."""
    tun: bool
    """Whether there is a /dev/net/tun."""
    kvm: bool
    """Whether a guest truly runs on KVM: tried once QEMU is installed."""
    kvm_reason: str
    kvm_device: bool
    """Whether there is a /dev/kvm."""
    kvm_group: str
    """The group that may use it, or ``""`` where it is root's or anybody's."""
    timekeepers: tuple[Keeper, ...]
    """What sets the machine's clock."""
    may_set_clock: bool
    packages: Mapping[str, str]
    """Debian packages that are wholly installed, with their versions."""
    candidates: Mapping[str, str]
    """The version that apt would install, or ``""``, of packages that were asked about
    and are not installed."""
    format: int = FORMAT

    @property
    def ovs_kernel(self) -> bool:
        """Whether the kernel has Open vSwitch's datapath."""
        return "openvswitch" in self.modules

    @property
    def device_mapper(self) -> bool:
        """Whether a thin pool can be made here."""
        return _THIN in self.modules

    def device_of(self, address: str) -> str:
        """The machine's device that has ``address``, or ``""``."""
        for name, addresses in self.devices.items():
            if address in {each.partition("/")[0] for each in addresses}:
                return name
        return ""

    def package_version(self, name: str) -> str:
        """The version installed, else the one apt would install, else ``""``.

        Raises `KeyError` for a package that is not installed and was not asked about
        (`onestack.model.component.Component.versions`).
        """
        return self.packages.get(name) or self.candidates[name]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> HostFacts:
        """What `to_json` wrote. Raises `OnestackError` for anything else."""
        try:
            known: dict[str, Any] = json.loads(text)
            written = known["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise OnestackError("these are no facts of a machine", str(error)) from error
        if written != FORMAT:
            raise OnestackError(
                f"the facts of a machine are in the format {written!r}",
                f"this program knows the format {FORMAT}",
                "gather them with this program: onestack doctor --facts",
            )
        try:
            plain = {name: _frozen(each) for name, each in known.items()}
            plain["timekeepers"] = tuple(Keeper(**each) for each in plain["timekeepers"])
            closed = tuple(map(ClosedChain.from_plain, plain["closed_forwarding"]))
            return cls(**{**plain, "closed_forwarding": closed})
        except (TypeError, KeyError) as error:
            raise OnestackError("the facts of a machine are not whole", str(error)) from error


def _frozen(value: Any) -> Any:
    """JSON has lists where the facts have tuples."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return value


def gather(cloud: Cloud, controller: str = "", versions: Iterable[str] = ()) -> HostFacts:
    """The facts of this machine for ``cloud``.

    ``controller`` is the answer ``CONFIG_CONTROLLER_HOST``, if the operator gave one;
    ``versions`` are packages whose version counts also before they are installed.
    """
    release = os_release(_text("/etc/os-release"))
    memory = meminfo(_text("/proc/meminfo"))
    hostname = socket.gethostname()
    route = route_address()
    nic = links.default_nic(_text("/proc/net/route"))
    devices = _devices()
    before = address_before(cloud)
    public = public_address(controller, before, route, devices)
    if cloud.netns:
        # which has the address that it is given, whatever the machine has
        public = controller or netns.PUBLIC_ADDRESS
    packages = dpkg.installed()
    tried = kvm.probe(CACHE)
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
        public_address=public,
        former_address=before if before != public else "",
        public_here=may_listen(public),
        nic=nic,
        nic_managers=links.managers(nic) if nic else (),
        devices=devices,
        cloud_devices=_devices(cloud.netns) if cloud.netns else devices,
        ipv6=_ipv6(cloud.netns),
        closed_forwarding=closed_forwarding(cloud, nftables.ruleset(cloud.netns)),
        resolvers=resolvers(),
        systemd=Path("/run/systemd/system").is_dir(),
        modules=tuple(filter(_usable, MODULES)),
        tun=Path("/dev/net/tun").exists(),
        kvm=tried.works,
        kvm_reason=tried.reason,
        kvm_device=_KVM.exists(),
        kvm_group=group_of(_KVM),
        timekeepers=tuple(timekeeping.keepers()),
        may_set_clock=timekeeping.may_set(),
        packages=packages,
        candidates=dpkg.candidates(name for name in versions if name not in packages),
    )


def closed_forwarding(cloud: Cloud, rules: Mapping[str, Any]) -> tuple[ClosedChain, ...]:
    """What of ``rules``, those of the cloud's network, drops by itself what is forwarded there."""
    outside = ""
    with contextlib.suppress(OSError, OnestackError), netns.inside(cloud.netns):
        outside = links.default_nic(_text("/proc/thread-self/net/route"))
    return tuple(filters.closed_chains(rules, outside))


def _devices(namespace: str | None = None) -> dict[str, tuple[str, ...]]:
    """The devices of the machine or of a namespace, as far as they can be seen from here."""
    if namespace and not netns.exists(namespace):
        return {}
    with contextlib.suppress(OSError, OnestackError), netns.inside(namespace):
        return links.addresses()
    return {}


def _ipv6(namespace: str | None) -> bool:
    """Of a namespace that is not there yet, whether the kernel has IPv6 at all."""
    if namespace and not netns.exists(namespace):
        return IPV6.is_dir()
    with contextlib.suppress(OSError, OnestackError), netns.inside(namespace):
        return ipv6_on()
    return False


def ipv6_on(at: Path = IPV6) -> bool:
    """Whether new devices of the calling thread's network get IPv6 (ipv6.disable=1, sysctl)."""
    return _text(str(at / "conf/default/disable_ipv6")).strip() == "0"


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


def public_address(
    given: str, before: str, route: str, devices: Mapping[str, Iterable[str]]
) -> str:
    """Where a cloud's front is to be: as ``given``, else where it was ``before``, else ``route``.

    It stays as long as the machine has that address: a default route that is another one for a
    while (a VPN's) does not move a cloud. Nor does none at all: it comes back.
    """
    there = {each.partition("/")[0] for addresses in devices.values() for each in addresses}
    return given or (before if before in there else route or before or "127.0.0.1")


_OF_CLIENTS = re.compile(r'"auth_url": *"https://\[?([0-9A-Fa-f.:]+?)\]?:\d+/')


def address_before(cloud: Cloud) -> str:
    """Where its front was, or ``""``.

    A program before this one wrote it down for clients only.
    """
    if said := _text(str(cloud.address_file)).strip():
        return said
    found = _OF_CLIENTS.search(_text(str(cloud.etc / "clouds.yaml")))
    return found[1] if found else ""


def resolvers(files: Iterable[Path] = RESOLVERS) -> tuple[str, ...]:
    """Addresses from the first file that names any outside this host; empty without one."""
    for file in files:
        if found := tuple(usable(_text(str(file)))):
            return found
    return ()


def usable(text: str) -> Iterable[str]:
    """Name servers in ``text`` (resolv.conf(5)) that a guest can reach: no loopback, no link."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] != ["nameserver"] or len(words) < 2:
            continue
        try:
            address = ipaddress.ip_address(words[1])
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            yield str(address)


def group_of(device: Path) -> str:
    """The group that may use a device, or ``""`` where it is root's or anybody's, or not there."""
    try:
        info = device.stat()
        return grp.getgrgid(info.st_gid).gr_name if info.st_gid and info.st_mode & 0o060 else ""
    except (OSError, KeyError):
        return ""


def module_available(name: str, root: Path = Path("/")) -> bool:
    """Whether the kernel has ``name`` built in, loaded, or as a module to load."""
    if (root / "sys/module" / name).is_dir():
        return True
    if not shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        return False
    folder = root / "lib/modules" / os.uname().release
    for listed in ("modules.dep", "modules.builtin"):
        for line in _text(str(folder / listed)).splitlines():
            # kernel/net/openvswitch/openvswitch.ko.xz: …
            file = line.partition(":")[0].rpartition("/")[2]
            if file.partition(".")[0].replace("-", "_") == name:
                return True
    return False


def _usable(module: str) -> bool:
    """Available, and not only to the machine around this container."""
    return module_available(module) and (module != _THIN or _mapper_here())


def _mapper_here() -> bool:
    """Whether there is a /dev/mapper/control, or the kernel makes it as it loads the module."""
    return _MAPPER.exists() or any(
        mount.target == Path("/dev") and mount.kind == "devtmpfs" for mount in mounts.table()
    )


def disk_free(path: Path) -> int:
    """Bytes that root can still write where ``path`` is or will be."""
    while not path.exists():
        path = path.parent
    return disk.room(path)
