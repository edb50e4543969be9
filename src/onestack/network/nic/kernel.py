"""The kernel's part of a move: a bridge, a port of it, and what the NIC had."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
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


def complete(device: Device, target: str) -> list[str]:
    """Routes and rules of ``device`` that ``target`` has lost again, once more.

    What configures a network takes away what it does not know. Those that ``target`` cannot
    have are told: a route with an address that is another one now.
    """
    wanting = replace(plan.missing(device, gather().device(target)), addresses=())
    if not (wanting.routes or wanting.rules):
        return []
    batch(plan.transfer(wanting, target), force=True)
    return plan.told(plan.missing(wanting, gather().device(target)))


def over_again(device: Device, nic: str, bridge: str) -> None:
    """The way back from `back`: ``bridge`` as it was, whatever of it is there.

    Raises `OnestackError` where it does not come to be so.
    """
    until = time.monotonic() + PATIENCE
    port = [f"link set dev {bridge} up", f"link set dev {nic} up master {bridge}"]
    lines = [*plan.transfer(device, bridge, other=nic), f"address flush dev {nic}"]
    while True:
        now = gather()
        if now.link(nic) is None:
            raise _gone(nic)
        if now.link(bridge) is None:
            batch(plan.make_bridge(device, bridge))
        for key, value in device.settings.items():
            if key != GEN_MODE:
                _set(key, bridge, value)
        batch([*port, *lines, *plan.neighbours(device, bridge)], force=True)
        batch(plan.leftovers(gather().device(nic)), force=True)
        left = _lacking(device, gather().device(bridge))
        if not left:
            return
        _need_time(until, bridge, left)


def back(device: Device, nic: str, bridge: str) -> None:
    """``nic`` is by itself again, with what ``device`` (itself once, or the bridge now) has.

    Whatever of that is so already: of the bridge's what somebody has given ``nic`` meanwhile.
    Raises `OnestackError` where it does not come to be so.
    """
    once = device.name == nic
    until = time.monotonic() + PATIENCE
    while True:
        now = gather()
        if now.link(nic) is None:
            raise _gone(nic)
        if GEN_MODE in device.settings:
            _set(GEN_MODE, nic, device.settings[GEN_MODE])
        lines = plan.back(device, nic, bridge, None if once else now.device(nic))
        if now.link(bridge) is None:
            lines = [line for line in lines if f" dev {bridge}" not in line]
        batch(lines, force=True)
        there = gather().device(nic)
        wrong = [w for w in plan.difference(device, there) if " is new on " not in w]
        if not once:
            wrong = _lacking(device, there)
        if not wrong:
            return
        _need_time(until, nic, wrong)


def _lacking(device: Device, now: Device) -> list[str]:
    """What ``now``, another one, has not: whose own routes may have other metrics."""
    ways = plan.told(replace(plan.missing(device, now), addresses=()))
    return [*(f"the address {text}" for text in device.missing(now)), *ways]


def _need_time(until: float, device: str, left: Sequence[str]) -> None:
    if time.monotonic() > until:
        raise OnestackError(
            f"{device} is not as it was",
            "\n".join(left),
            f"set it by hand: ip address, ip route; look at it: ip address show {device}",
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


def undo_of_another_boot(data: dict[str, Any]) -> None:
    """What the boot since has made by files that are as before again: as it is, not as it was."""
    nic, bridge = data["nic"], data["bridge"]
    now = gather()
    if data["verb"] == "attach" and now.link(bridge):
        if now.link(nic):
            back(look(bridge), nic, bridge)
        else:
            batch([f"link delete dev {bridge}"])
    elif data["verb"] == "detach" and now.link(nic) and now.device(nic).needed:
        over_again(look(nic), nic, bridge)


def undo(data: dict[str, Any]) -> None:
    """Of the journal: what `over` or `back` had begun."""
    device, nic, bridge = Device.of(data["device"]), data["nic"], data["bridge"]
    if data["verb"] == "attach":
        back(device, nic, bridge)
    else:
        over_again(device, nic, bridge)
