"""Whether the kernel can limit traffic, tried in a network namespace that is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.host.command import CommandFailed, run

_FILTER = "tc qdisc add dev lo handle ffff: ingress && tc filter add dev lo parent ffff:"
_POLICE = "police rate 1mbit burst 10k"
TRIALS = {
    "what guests send": f"{_FILTER} protocol all prio 49 basic {_POLICE} conform-exceed drop",
    "what guests receive": "tc qdisc add dev lo root handle 1: htb default 1",
    "floating IPs": (
        f"{_FILTER} protocol ip prio 1 u32 match ip dst 192.0.2.1/32 {_POLICE} drop flowid :1"
    ),
}
"""As Open vSwitch and neutron's router ask for it."""
MODULES = "act_police, cls_basic, cls_u32 and sch_htb"


def unlimited() -> Iterator[str]:
    """Of what no limit would be kept."""
    for what, trial in TRIALS.items():
        try:
            run(["unshare", "--net", "sh", "-c", trial], timeout=20)
        except CommandFailed:
            yield what
