"""Addresses of this machine's network devices."""

from __future__ import annotations

import json

from onestack.errors import OnestackError
from onestack.host.command import run


def first_address(device: str, namespace: str | None = None) -> str:
    """The first global IPv4 address of ``device``. Raises `OnestackError` without one."""
    inside = ["-n", namespace] if namespace else []
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
