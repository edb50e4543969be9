"""The machine's own leg on the external network (a child of the warm parent).

The bridge lives in the switch's database, but its address and link state do
not: they go with a restart of a userspace switch and with a reboot. So a
process keeps them: told by the kernel of every change, it is otherwise idle.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from onestack.supervise.spec import Process

# linux/rtnetlink.h: changes of links, and of their IPv4 and IPv6 addresses
_GROUPS = 0x1 | 0x10 | 0x100


def external_bridge(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Keep the bridge up with its address, until SIGTERM; ``arguments`` as the room gives them."""
    arguments = spec.arguments
    bridge, address = arguments["bridge"], arguments["address"]
    state = Path(arguments["state"])
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    before = _taken_away(state)
    run(
        *arguments["vsctl"],
        *("--timeout=30", "--may-exist", "add-br", bridge),
        *("--", "set", "bridge", bridge, f"datapath_type={arguments['datapath']}"),
    )
    if look(bridge) is None:
        # ovs-vsctl only tells; its exit code is 0
        raise SystemExit(f"ovs-vswitchd could not make {bridge}: its log says why")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, _GROUPS))
        kernel.setblocking(False)
        if before and before != address:
            # It may have gone already, with the bridge.
            run("ip", "address", "delete", before, "dev", bridge, check=False)
        keep(bridge, address)
        if address:
            translate(arguments["table"], bridge, address)
        state.write_text(address)
        print(f"{bridge} is up{f' with {address}' if address else ''}", flush=True)
        while awake not in select.select([kernel.fileno(), awake], [], [])[0]:
            if concerns(kernel, bridge):
                keep(bridge, address)
    print("the machine leaves the external network", flush=True)


def concerns(kernel: socket.socket, bridge: str) -> bool:
    """Whether anything of what the kernel has told names the bridge, or may have been lost."""
    found = False
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                # Links carry their name, IPv4 addresses a label that is the same,
                # IPv6 addresses (family 10, after the header of 16 bytes) neither.
                told = kernel.recv(65536)
                found |= bridge.encode() + b"\0" in told or told[16:17] == b"\x0a"
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True
    return found


def _taken_away(state: Path) -> str:
    """The address of an earlier start, from the file that says that we are ready."""
    try:
        return state.read_text().strip()
    except FileNotFoundError:
        return ""
    finally:
        state.unlink(missing_ok=True)


def keep(bridge: str, address: str) -> None:
    """The bridge up and with its address, if it is there at all."""
    device = look(bridge)
    if device is None:
        return
    present = {f"{a['local']}/{a['prefixlen']}" for a in device.get("addr_info", ())}
    if address and address not in present:
        run("ip", "address", "replace", address, "dev", bridge)
        print(f"put {address} on {bridge}", flush=True)
    if "UP" not in device["flags"]:
        run("ip", "link", "set", bridge, "up")


def look(bridge: str) -> dict[str, Any] | None:
    """What ``ip`` knows of the device, or ``None``."""
    shown = run("ip", "-json", "address", "show", "dev", bridge, check=False)
    found: list[dict[str, Any]] = json.loads(shown or "[]")
    return next((device for device in found if device), None)


def translate(table: str, bridge: str, address: str) -> None:
    """Guests reach the outside as the machine itself, if it has an outside."""
    network = ipaddress.ip_interface(address).network
    if network.version == 4:
        forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        if forwarding.read_text().strip() != "1":
            forwarding.write_text("1")
    family = "ip" if network.version == 4 else "ip6"
    rules = f"""
table inet {table}
delete table inet {table}
table inet {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    {family} saddr {network} oifname != "{bridge}" masquerade
  }}
}}
"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def run(*words: str, check: bool = True) -> str:
    """What the command printed. Raises `CalledProcessError`; its errors are in our log."""
    done = subprocess.run(
        words,
        check=check,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if check else subprocess.DEVNULL,
        text=True,
    )
    return done.stdout
