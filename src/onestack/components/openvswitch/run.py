"""The machine's own leg on the external network (a child of the warm parent).

The bridge lives in the switch's database, but its address and link state do
not: they go with a restart of a userspace switch and with a reboot. So a
process keeps them, and takes the address translation away when it ends.
"""

from __future__ import annotations

import ipaddress
import signal
import subprocess
import time
from pathlib import Path
from socket import socket

from onestack.supervise.spec import Process

LOOK_EVERY = 2.0
"""Seconds between looks at the bridge."""


def external_bridge(spec: Process, sockets: dict[str, socket]) -> None:
    """Keep the bridge up with its address; ``arguments`` as the room gives them."""
    arguments = spec.arguments
    bridge, address = arguments["bridge"], arguments["address"]
    state = Path(arguments["state"])
    state.unlink(missing_ok=True)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    _run(
        *arguments["vsctl"],
        "--may-exist",
        "add-br",
        bridge,
        *("--", "set", "bridge", bridge, f"datapath_type={arguments['datapath']}"),
    )
    _keep(bridge, address)
    if address:
        _translate(arguments["table"], bridge, address)
    state.write_text(f"{bridge} {address}\n")
    print(f"{bridge} is up{f' with {address}' if address else ''}", flush=True)
    while not ended:
        time.sleep(LOOK_EVERY)
        _keep(bridge, address)
    subprocess.run(["nft", "delete", "table", "ip", arguments["table"]], check=False)


def _keep(bridge: str, address: str) -> None:
    shown = subprocess.run(
        ["ip", "-o", "addr", "show", "dev", bridge, "up"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if address and f" {address} " not in shown:
        _run("ip", "addr", "replace", address, "dev", bridge)
        print(f"put {address} on {bridge}", flush=True)
    if not shown:
        _run("ip", "link", "set", bridge, "up")


def _translate(table: str, bridge: str, address: str) -> None:
    """Guests reach the outside as the machine itself, if it has an outside."""
    network = ipaddress.ip_interface(address).network
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    rules = f"""
table ip {table}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {network} oifname != "{bridge}" masquerade
  }}
}}
"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
