"""What Open vSwitch leaves in the kernel, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onestack.host import netns
from onestack.host.command import run
from onestack.model.change import Undo

DATAPATH = "kernel datapath"


def undo_datapath(data: dict[str, Any]) -> None:
    """Bridges of the kernel's datapath outlive ovs-vswitchd."""
    if not data.get("netns") or netns.exists(data["netns"]):
        with netns.inside(data.get("netns")):
            if run(["ip", "link", "show", "dev", data["name"]], check=False, timeout=20).ok:
                run(["ovs-dpctl", "del-dp", data["name"]], timeout=20)


UNDO: Mapping[str, Undo] = {DATAPATH: undo_datapath}
