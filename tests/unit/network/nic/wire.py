"""A machine with one NIC and a gateway on its other end, each in a network namespace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import networks
from tests.support.networks import soon

NIC, GATEWAY = "eno1", "192.0.2.1"
MAC = "02:00:00:00:00:05"

MACHINE = f"""
link set eno1 address {MAC} mtu 1400
link set eno1 up
address add 192.0.2.5/24 broadcast + dev eno1
address add 192.0.2.6/24 dev eno1 label eno1:1
address add 203.0.113.9/25 dev eno1 noprefixroute valid_lft 3600 preferred_lft 1800
-6 address add 2001:db8::5/64 dev eno1 nodad
-6 address add 2001:db8:1::5/64 dev eno1 nodad noprefixroute valid_lft 3000 preferred_lft 2000
route add default via 192.0.2.1 dev eno1 metric 100 proto dhcp src 192.0.2.5 mtu 1300
route add 203.0.113.0/25 dev eno1 proto kernel scope link src 203.0.113.9 metric 100
route add 10.0.0.0/8 via 192.0.2.254 dev eno1
route add 10.9.0.0/16 via 203.0.115.254 dev eno1 onlink table 100
route add blackhole 10.66.0.0/16
route add 10.77.0.0/16 nexthop via 192.0.2.1 dev eno1 nexthop via 192.0.2.2 dev eno1 weight 2
-6 route add default via 2001:db8::1 dev eno1 proto ra expires 1500 pref high
-6 route add 2001:db8:9::/48 via 2001:db8::1 dev eno1 metric 50
rule add iif eno1 lookup 100 pref 1000
rule add from 203.0.113.9 oif eno1 lookup 100 pref 1001
-6 rule add iif eno1 lookup 100 pref 1000
neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eno1
"""
"""All that can hang on a NIC."""


class Wire:
    """What is on the far side of `NIC`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def inside(self, *words: str, check: bool = True) -> str:
        enter = ["nsenter", "--target", str(self.pid), "--net", *words]
        return subprocess.run(enter, capture_output=True, text=True, check=check).stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        enter = ["nsenter", "--target", str(self.pid), "--net", *words]
        return subprocess.Popen(enter, stdout=subprocess.PIPE, text=True)


def ip(line: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True)
    assert not check or done.returncode == 0, (line, done.stderr)
    return done.stdout


def show(line: str) -> Any:
    return json.loads(ip(f"-json {line}") or "[]")


def addresses(device: str) -> list[str]:
    (found,) = [d for d in show("address") if d.get("ifname") == device]
    return sorted(f"{a['local']}/{a['prefixlen']}" for a in found["addr_info"])


@contextmanager
def wire(machine: str = MACHINE) -> Iterator[Wire]:
    """The calling thread is the machine. Needs root."""
    with networks.alone():
        mine = os.stat("/proc/thread-self/ns/net").st_ino
        with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as gateway:
            assert soon(lambda: os.stat(f"/proc/{gateway.pid}/ns/net").st_ino != mine)
            far = Wire(gateway.pid)
            ip("link set lo up")
            ip(f"link add {NIC} type veth peer name far netns {gateway.pid}")
            for line in (
                "link set lo up",
                "link set far address 02:00:00:00:00:01 mtu 1400 up",
                f"address add {GATEWAY}/24 dev far",
                "address add 203.0.113.1/25 dev far",
                "-6 address add 2001:db8::1/64 dev far nodad",
            ):
                far.inside("ip", *line.split())
            for line in machine.strip().splitlines():
                ip(line)
            try:
                yield far
            finally:
                gateway.kill()
