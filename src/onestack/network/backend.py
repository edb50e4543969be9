"""Which layer-2 agent carries a cloud's networks, and over which datapath."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.answers.values import Answers
    from onestack.host.facts import HostFacts

SWITCH = "openvswitch-switch"
UNDECIDED = "the kernel has no openvswitch module, and which Open vSwitch comes is not known yet"
"""The reason where it is decided anew once the package is installed."""

FIXED = {(3, 0): 5, (3, 1): 3, (3, 2): 3}
"""Series to the first patch release without the abort in the userspace conntrack
(Open vSwitch commit 6753b1086); from 3.3 on all have it."""


def datapath(host: HostFacts) -> str:
    """``system`` where the kernel has Open vSwitch's module, else ``netdev`` (userspace)."""
    return "system" if host.ovs_kernel else "netdev"


def conntrack_aborts(version: str) -> bool:
    """Whether ovs-vswitchd of this version ends itself in its userspace conntrack."""
    major, minor, patch = _numbers(version)
    return unfit_in_userspace(version) and patch < FIXED.get((major, minor), 1_000_000)


def unfit_in_userspace(version: str) -> bool:
    """Whether ovs-vswitchd of this version cannot carry what is sent to guests in userspace.

    Before 3.3 it forgets how long the segments of TCP are that the kernel hands it in one piece,
    and has them cut by the MTU of the port that they leave by. A router between an external
    network of 1500 and a tenant's of 1450 then drops them: 170 KB came through in 24 s, by 3.5.0
    5.5 GB in 6 s. Pings of any size went well.
    """
    return _numbers(version) < (3, 3, 0)


def _numbers(version: str) -> tuple[int, int, int]:
    """Zeros where it is none that is known."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)(?:\.(\d+))?", version)
    major, minor, patch = (int(n or 0) for n in found.groups()) if found else (0, 0, 0)
    return major, minor, patch


def l2_agent(answers: Answers, host: HostFacts) -> tuple[str, str]:
    """``ovn`` or ``openvswitch``, and the reason in one sentence."""
    wanted = str(answers["CONFIG_NEUTRON_L2_AGENT"])
    if wanted:
        return wanted, "CONFIG_NEUTRON_L2_AGENT says so"
    drivers = answers["CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS"]
    asked = [name for name in ("ovn", "openvswitch") if name in drivers]
    if len(asked) == 1:
        return asked[0], "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS says so"
    for name in ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES"):
        if tunnels := [kind for kind in answers[name] if kind in ("gre", "vxlan")]:
            return "openvswitch", f"{name} asks for {tunnels[0]}, which ovn cannot carry"
    if datapath(host) == "system":
        return "ovn", "the kernel has Open vSwitch's datapath"
    version = host.package_version(SWITCH)
    if not version:
        return "openvswitch", UNDECIDED
    if conntrack_aborts(version):
        return (
            "openvswitch",
            f"the kernel has no openvswitch module, and the userspace connection tracking "
            f"that OVN would need aborts in Open vSwitch {version}",
        )
    return "ovn", f"Open vSwitch {version} tracks connections safely in userspace"
