"""The kernel's part of a move: a bridge, a port of it, and what the NIC had."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from onestack.host.command import run
from onestack.model.errors import OnestackError
from onestack.network.nic import plan
from onestack.network.nic.facts import Device, gather, setting_path, settings_of

GEN_MODE = "ipv6/conf/addr_gen_mode"
PATIENCE = 10.0
"""Seconds in which what manages the network may still undo what is put back."""


def look(nic: str) -> Device:
    """The device as it is now. Raises `KeyError` where there is none."""
    settings = settings_of(nic)
    if mode := _get(GEN_MODE, nic):
        settings[GEN_MODE] = mode
    return gather().device(nic, settings)


def over(device: Device, bridge: str) -> None:
    """``device`` becomes a port of ``bridge``, made for it. Raises `OnestackError`."""
    lines = plan.over(device, bridge)
    batch(plan.make_bridge(device, bridge))
    for key, value in device.settings.items():
        if key != GEN_MODE:
            _set(key, bridge, value)
    _set(GEN_MODE, bridge, plan.QUIET)
    batch(lines)
    if GEN_MODE in device.settings:
        _set(GEN_MODE, device.name, plan.QUIET)
        _set(GEN_MODE, bridge, device.settings[GEN_MODE])
    batch(plan.leftovers(gather().device(device.name)), force=True)


def leave(device: Device, nic: str, bridge: str) -> None:
    """As `back`; where ``nic`` has been given all by somebody else, it only leaves."""
    if set(device.texts) <= set(gather().device(nic).texts):
        batch([f"link set dev {nic} nomaster", f"link delete dev {bridge}"], force=True)
    else:
        back(device, nic, bridge)


def over_again(device: Device, nic: str, bridge: str) -> None:
    """The way back from `back`: ``bridge`` as it was, whatever of it is there."""
    now = gather()
    if now.link(nic) is None:
        raise _gone(nic)
    if now.link(bridge) is None:
        batch(plan.make_bridge(device, bridge))
    for key, value in device.settings.items():
        if key != GEN_MODE:
            _set(key, bridge, value)
    port = [f"link set dev {bridge} up", f"link set dev {nic} up master {bridge}"]
    lines = [*plan.transfer(device, bridge, other=nic), f"address flush dev {nic}"]
    batch([*port, *lines, *plan.neighbours(device, bridge)], force=True)
    batch(plan.leftovers(gather().device(nic)), force=True)


def back(device: Device, nic: str, bridge: str) -> None:
    """``nic`` is by itself again, with what ``device`` (itself once, or the bridge now) has.

    Whatever of that is so already. Raises `OnestackError` where it does not come to be so.
    """
    until = time.monotonic() + PATIENCE
    while True:
        now = gather()
        if now.link(nic) is None:
            raise _gone(nic)
        if GEN_MODE in device.settings:
            _set(GEN_MODE, nic, device.settings[GEN_MODE])
        lines = plan.back(device, nic, bridge)
        if now.link(bridge) is None:
            lines = [line for line in lines if f" dev {bridge}" not in line]
        batch(lines, force=True)
        there = gather().device(nic)
        wrong = plan.difference(device, there)
        # Whoever has it back may have routes of other metrics for it than for a bridge.
        if device.name == bridge:
            wrong = device.missing(there)
        if not [each for each in wrong if " is new on " not in each]:
            return
        if time.monotonic() > until:
            raise OnestackError(
                f"{nic} is not as it was",
                "\n".join(wrong),
                f"set it by hand: ip address, ip route; look at it: ip address show {nic}",
            )
        time.sleep(0.5)


def _gone(nic: str) -> OnestackError:
    return OnestackError(
        f"there is no network device {nic} any more",
        "what it had cannot be given back to it",
        "plug it in, then run the same command again",
    )


def batch(lines: Sequence[str], *, force: bool = False) -> None:
    """As few runs of ip(8) as can be; with ``force`` what does not work is passed over."""
    for family, some in plan.runs(lines):
        options = [*([family] if family else []), *(["-force"] if force else [])]
        words = ["ip", *options, "-batch", "-"]
        run(words, stdin="\n".join(some) + "\n", check=not force, timeout=30, finish=True)


def _get(key: str, device: str) -> str:
    try:
        return setting_path(key, device).read_text().strip()
    except OSError:
        return ""


def _set(key: str, device: str, value: str) -> None:
    """As far as this kernel has it and takes it: a setting is no reason to lose the network."""
    path = setting_path(key, device)
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError:
        return


def undo(data: dict[str, Any]) -> None:
    """Of the journal: what `over` or `back` had begun."""
    device, nic, bridge = Device.of(data["device"]), data["nic"], data["bridge"]
    if data["verb"] == "attach":
        back(device, nic, bridge)
    else:
        over_again(device, nic, bridge)
