"""Addresses of this machine's network devices."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket

from onestack.host.command import run
from onestack.model.errors import OnestackError


def devices(namespace: str | None = None) -> dict[str, list[str]]:
    """Network devices and their global addresses, with prefix length."""
    inside = ["-n", namespace] if namespace else []
    result = run(["ip", *inside, "-j", "addr", "show"], check=False)
    return {
        str(entry["ifname"]): [
            f"{address['local']}/{address['prefixlen']}"
            for address in entry.get("addr_info", ())
            if address.get("scope") == "global"
        ]
        for entry in json.loads(result.out or "[]")
        if "ifname" in entry
    }


def in_subnet(subnet: str, present: dict[str, list[str]]) -> tuple[str, str] | None:
    """The device with an address in ``subnet``, and that address."""
    wanted = ipaddress.ip_network(subnet, strict=False)
    for device, addresses in present.items():
        for address in addresses:
            if ipaddress.ip_interface(address).ip in wanted:
                return device, address.partition("/")[0]
    return None


def first_address(device: str, namespace: str | None = None) -> str:
    """The first global IPv4 address of ``device``. Raises `OnestackError` without one.

    ``device`` may also be a subnet: the device is then the one with an address in it.
    """
    inside = ["-n", namespace] if namespace else []
    if "/" in device:
        if found := in_subnet(device, devices(namespace)):
            return found[1]
        raise OnestackError(
            f"no network device has an address in {device}",
            "one of them is to be this host's end of tunnels",
            "look at them: ip -br address",
        )
    result = run(["ip", *inside, "-j", "-4", "addr", "show", "dev", device], check=False)
    for entry in json.loads(result.out or "[]"):
        for address in entry.get("addr_info", ()):
            if address.get("scope") == "global":
                return str(address["local"])
    raise OnestackError(
        f"the network device {device} cannot be this host's end of tunnels",
        result.err.strip() or "it has no IPv4 address",
        "give it an address, or name another device in CONFIG_NEUTRON_OVS_TUNNEL_IF "
        "(CONFIG_NEUTRON_OVN_TUNNEL_IF)",
    )


def machine_has(address: str) -> bool:
    """Whether a program here may listen at ``address``."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
