"""Addresses of network devices, as facts have them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from onestack.model.errors import NotInstalled
from onestack.model.findings import Finding, refuse

Devices = Mapping[str, Sequence[str]]
"""Network devices and their global addresses, with prefix length."""


def in_subnet(subnet: str, present: Devices) -> tuple[str, str] | None:
    """The device with an address in ``subnet``, and that address."""
    wanted = ipaddress.ip_network(subnet, strict=False)
    for device, addresses in present.items():
        for address in addresses:
            if ipaddress.ip_interface(address).ip in wanted:
                return device, address.partition("/")[0]
    return None


def first_address(device: str, present: Devices) -> str:
    """The first global IPv4 address of ``device``. Raises `NotInstalled` without one.

    ``device`` may also be a subnet: the device is then the one with an address in it.
    Either may be made only together with the cloud's network namespace.
    """
    if "/" in device:
        if found := in_subnet(device, present):
            return found[1]
        raise NotInstalled(
            f"no network device has an address in {device}",
            "one of them is to be this host's end of tunnels",
            "look at them: ip -br address",
        )
    for address in map(ipaddress.ip_interface, present.get(device, ())):
        if address.version == 4:
            return str(address.ip)
    raise NotInstalled(
        f"the network device {device} cannot be this host's end of tunnels",
        "it has no IPv4 address" if device in present else "there is no such device",
        "leave CONFIG_NEUTRON_OVS_TUNNEL_IF (CONFIG_NEUTRON_OVN_TUNNEL_IF) empty, or name in it a "
        "device that has an address before the cloud is there",
    )


def wrong_tunnel_end(device: str, present: Devices) -> Iterator[Finding]:
    """Why tunnels cannot end at ``device``."""
    if not device:
        return
    try:
        first_address(device, present)
    except NotInstalled as missing:
        yield refuse(missing.what, missing.why, missing.cure)
