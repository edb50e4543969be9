"""A volume, and the disk that the server sees it as."""

from __future__ import annotations

import time

from onestack.diagnose.trial.made import NAME, Made
from onestack.diagnose.trial.server import disks
from onestack.model.errors import OnestackError

GIB = 1
SECTORS = GIB * 1024**3 // 512
READY = 120.0
SEEN = 60.0
"""Seconds in which a running guest has a new disk."""
_MESSAGES = {"OpenStack-API-Version": "volume 3.5"}
"""Since then one can ask why something of a user's has failed."""


def make(made: Made) -> str:
    body = {"volume": {"name": NAME, "size": GIB}}
    made.volume = made.ask("block-storage", "/volumes", body)["volume"]["id"]
    _wait(made, "available")
    return f"of {GIB} GiB"


def attach(made: Made) -> str:
    before = disks(made) if made.login else {}
    if made.login and not before:
        raise OnestackError(
            "the guest does not tell which disks it has",
            "it was reached by ssh before",
            "the same again; see `onestack doctor`",
        )
    path = f"/servers/{made.server}/os-volume_attachments"
    body = {"volumeAttachment": {"volumeId": made.volume}}
    device = made.ask("compute", path, body)["volumeAttachment"].get("device") or "a disk"
    _wait(made, "in-use")
    if not made.login:
        return f"attached as {device}; nobody could look into the guest"
    until = time.monotonic() + SEEN
    while True:
        now = disks(made)
        if fresh := [disk for disk in now if disk not in before and now[disk] == SECTORS]:
            return f"seen as {fresh[0]}"
        if time.monotonic() > until:
            raise OnestackError(
                f"the guest does not see it within {SEEN:.0f} s",
                f"nova has attached it as {device}; the guest has {', '.join(sorted(now))}",
                "see `onestack logs nova-compute`",
            )
        time.sleep(1)


def _wait(made: Made, good: str) -> None:
    def state() -> tuple[str, str]:
        status = made.ask("block-storage", f"/volumes/{made.volume}")["volume"]["status"]
        return status, _why(made) if "error" in status else ""

    made.wait("block-storage", "the volume", state, good, READY)


def _why(made: Made) -> str:
    path = f"/messages?resource_uuid={made.volume}"
    found = made.ask("block-storage", path, headers=_MESSAGES)["messages"]
    return "; ".join(each["user_message"] for each in found)
