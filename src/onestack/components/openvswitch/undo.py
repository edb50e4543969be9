"""What Open vSwitch and its address translation leave in the kernel, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onestack.host import netns
from onestack.host.command import run
from onestack.model.change import Undo

TABLE = "nftables table"
DATAPATH = "kernel datapath"


def undo_table(data: dict[str, Any]) -> None:
    if not _gone(data):
        with netns.inside(data.get("netns")):
            # not there is well too
            run(["nft", "delete", "table", "inet", data["name"]], check=False, timeout=20)


def undo_datapath(data: dict[str, Any]) -> None:
    """Bridges of the kernel's datapath outlive ovs-vswitchd."""
    if not _gone(data):
        with netns.inside(data.get("netns")):
            if run(["ip", "link", "show", "dev", data["name"]], check=False, timeout=20).ok:
                run(["ovs-dpctl", "del-dp", data["name"]], timeout=20)


def _gone(data: dict[str, Any]) -> bool:
    """With its namespace all of it went."""
    return bool(data.get("netns")) and not netns.exists(data["netns"])


UNDO: Mapping[str, Undo] = {TABLE: undo_table, DATAPATH: undo_datapath}
