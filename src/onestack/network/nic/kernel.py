"""The kernel's part of a move: a bridge, a port of it, and what the NIC had."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onestack.host.command import run
from onestack.model.errors import OnestackError
from onestack.network.nic import plan
from onestack.network.nic.facts import Device, Facts, gather, setting_path, settings_of

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


def taken(facts: Facts, nic: str, bridge: str) -> str:
    """What somebody has made ``nic`` a part of since, in place of ``bridge``: that stays so."""
    master = str((facts.link(nic) or {}).get("master", ""))
    return "" if master == bridge else master


def over_again(device: Device, nic: str, bridge: str) -> list[str]:
    """The way back from `back`: ``bridge`` as it was, whatever of it is there.

    Raises `OnestackError` where it does not come to have its addresses. What else it has not
    got, for people: the kernel may refuse what it once took, such as a route by an address that
    is not there any more.
    """
    until = time.monotonic() + PATIENCE
    port = [f"link set dev {bridge} up", f"link set dev {nic} up master {bridge}"]
    lines = [*plan.transfer(device, bridge, other=nic), f"address flush dev {nic}"]
    while True:
        now = gather()
        if now.link(nic) is None:
            raise _gone(nic)
        if taken(now, nic, bridge):
            return []
        if now.link(bridge) is None:
            batch(plan.make_bridge(device, bridge))
        for key, value in device.settings.items():
            if key != GEN_MODE:
                _set(key, bridge, value)
        batch([*port, *lines, *plan.neighbours(device, bridge)], force=True)
        batch(plan.leftovers(gather().device(nic)), force=True)
        there = gather().device(bridge)
        left = _ways(device, there)
        if _is_done(until, bridge, device.missing(there), left):
            return left


def back(device: Device, nic: str, bridge: str) -> list[str]:
    """``nic`` is by itself again, with what ``device`` (itself once, or the bridge now) has.

    Whatever of that is so already: of the bridge's what somebody has given ``nic`` meanwhile.
    Raises, and returns, as `over_again` does.
    """
    once = device.name == nic
    until = time.monotonic() + PATIENCE
    while True:
        now = gather()
        if now.link(nic) is None:
            raise _gone(nic)
        if taken(now, nic, bridge):
            drop(now, nic, bridge)
            return []
        if GEN_MODE in device.settings:
            _set(GEN_MODE, nic, device.settings[GEN_MODE])
        lines = plan.back(device, nic, bridge, None if once else now.device(nic))
        if now.link(bridge) is None:
            lines = [line for line in lines if f" dev {bridge}" not in line]
        batch(lines, force=True)
        there = gather().device(nic)
        left = plan.lost(device, there) if once else _ways(device, there)
        if _is_done(until, nic, device.missing(there), left):
            return left


def drop(facts: Facts, nic: str, bridge: str) -> None:
    """``bridge``, which has no wire any more, goes, and its rules name ``nic`` again.

    Not as long as others are in it. Raises `OnestackError` as `need_useless` does.
    """
    need_useless(facts, nic, bridge)
    if facts.link(bridge) and not facts.ports(bridge):
        device = replace(facts.device(bridge), addresses=(), routes=())
        batch([*plan.transfer(device, nic), f"link delete dev {bridge}"])


def need_useless(facts: Facts, nic: str, bridge: str) -> None:
    """Raises `OnestackError` where ``bridge`` without ``nic`` has what no other device has."""
    if not facts.link(bridge) or facts.ports(bridge):
        return
    others = {
        a["local"] for name in facts.addresses if name != bridge for a in facts.addresses[name]
    }
    own = [
        a
        for a in facts.addresses.get(bridge, ())
        if a.get("scope") != "link" and a["local"] not in others
    ]
    if own:
        texts = ", ".join(f"{each['local']}/{each['prefixlen']}" for each in own)
        raise OnestackError(
            f"{bridge} still has {texts}, and {nic} is in {taken(facts, nic, bridge)} now",
            f"without {nic} it has no wire, and without {bridge} nobody would have that",
            f"give it to another device, and take it away there: ip address flush dev {bridge}; "
            f"or put {nic} back: ip link set {nic} master {bridge}",
        )


def _ways(device: Device, now: Device) -> list[str]:
    """Routes and rules that ``now``, another one, has not: its own may have other metrics."""
    return plan.told(replace(plan.missing(device, now), addresses=()))


def _is_done(until: float, device: str, missing: Sequence[str], left: Sequence[str]) -> bool:
    """Whether all is there, or no more of it comes. Raises where addresses are ``missing``."""
    if not (missing or left):
        return True
    if time.monotonic() <= until:
        time.sleep(0.5)
        return False
    if missing:
        raise OnestackError(
            f"{device} is not as it was",
            f"it has not got {', '.join(missing)}",
            f"set it by hand: ip address, ip route; look at it: ip address show {device}",
        )
    return True


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
        done = run(words, stdin="\n".join(some) + "\n", check=False, timeout=30, finish=True)
        if not (force or done.ok):
            at = re.search(r"^Command failed -:(\d+)", done.err, re.MULTILINE)
            line = some[int(at[1]) - 1] if at else "-batch"
            raise OnestackError(
                f"ip {f'{family} ' if family else ''}{line} failed",
                done.err.strip() or f"it ended with exit code {done.code}",
                "what the kernel does not take (any more) has to be mended, or taken away first",
            )


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


def undo_of_another_boot(data: dict[str, Any]) -> list[str]:
    """What the boot since has made by files that are as before again: as it is, not as it was."""
    nic, bridge = data["nic"], data["bridge"]
    now = gather()
    if data["verb"] == "attach" and now.link(bridge):
        if now.link(nic):
            return back(look(bridge), nic, bridge)
        batch([f"link delete dev {bridge}"])
    elif data["verb"] == "detach" and now.link(nic) and now.device(nic).needed:
        return over_again(look(nic), nic, bridge)
    return []


def undo(data: dict[str, Any]) -> list[str]:
    """Of the journal: what `over` or `back` had begun."""
    device, nic, bridge = Device.of(data["device"]), data["nic"], data["bridge"]
    if data["verb"] == "attach":
        return back(device, nic, bridge)
    return over_again(device, nic, bridge)
