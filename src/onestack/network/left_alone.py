"""Devices of the cloud's, which whoever configures the machine's network is to leave alone.

NetworkManager and systemd-networkd take what a pattern of theirs or a default fits: they would
ask DHCP for a tap, put an address on a bridge, or take it down. Files of their own kinds tell them.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onestack.host.command import run
from onestack.host.files import undo_file, write_file
from onestack.host.ledger import Ledger, LedgerEntry
from onestack.model.change import Change, Undo
from onestack.model.context import Context
from onestack.model.errors import NotInstalled, OnestackError
from onestack.model.findings import Finding, refuse
from onestack.network.bridges import Bridges
from onestack.network.nic.managers import networkd

OF_PORTS = tuple(f"{kind}????????-??" for kind in ("tap", "qvo", "qvb", "qbr", "qr-", "qg-"))
"""neutron's and nova's, each named by the begin of a port's or network's id."""
OF_TUNNELS = ("vxlan_sys_*", "genev_sys_*", "gre_sys")
SWITCHES = ("ovs-system", "ovs-netdev")
KIND = "file of what configures the network"
MANAGER, NETWORKD = "NetworkManager", "systemd-networkd"
RELOAD_MANAGER = ("nmcli", "general", "reload", "conf")
_ROOT = Path("/")


def patterns(ctx: Context, nics: Iterable[str] = ()) -> tuple[str, ...]:
    """The cloud's devices, with ``nics`` that are ports of its switch."""
    found = ctx.once(Bridges)
    bridges = (found.integration, found.tunnel, found.external, *found.all_mappings.values())
    guarded = ctx.cloud.device("mg-???")
    own = (*filter(None, bridges), *nics, guarded, *SWITCHES, *OF_TUNNELS, *OF_PORTS)
    return tuple(dict.fromkeys(own))


def manager_text(name: str, devices: Sequence[str]) -> str:
    each = ";".join(f"interface-name:{device}" for device in devices)
    return f"{_note(name)}[keyfile]\nunmanaged-devices+={each}\n"


def networkd_text(name: str, devices: Sequence[str]) -> str:
    return f"{_note(name)}[Match]\nName={' '.join(devices)}\n\n[Link]\nUnmanaged=yes\n"


def _note(name: str) -> str:
    return f"# The cloud {name!r} configures these devices itself. Made by onestack.\n"


def ensure_told(ctx: Context, nics: Iterable[str] = (), root: Path = _ROOT) -> Iterator[Change]:
    """Whoever of the two runs is told, and goes by it at once. Lasts until destroy."""
    if ctx.cloud.netns:
        # nobody of the machine's looks into a network of the cloud's own
        return
    devices, name = patterns(ctx, nics), ctx.cloud.name
    of_manager, of_networkd = _files(ctx, root)
    if (root / "run/NetworkManager").is_dir():
        yield from _ensure_read(ctx, MANAGER, of_manager, manager_text(name, devices))
    if networkd.running(root):
        yield from _ensure_read(ctx, NETWORKD, of_networkd, networkd_text(name, devices))


def _ensure_read(ctx: Context, who: str, path: Path, text: str) -> Iterator[Change]:
    """The file, and a note of it once it was read: who is killed in between tells it again."""
    read = _note_of(ctx, who)
    written = path.is_file() and path.read_text(errors="replace") == text
    if written and read.is_file() and read.read_text() == text:
        return

    def tell() -> None:
        Ledger.of(ctx.cloud).record(KIND, path=str(path), who=who)
        if not written:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, text)
        _reload(who)
        write_file(read, text)

    yield Change(f"have {who} read {path}" if written else f"write {path}", tell)


def ensure_untold(ctx: Context) -> Iterator[Change]:
    """No such files any more, and no entry of them."""
    for entry in Ledger.of(ctx.cloud).entries():
        if entry.kind == KIND:
            yield Change(f"remove {entry.data['path']}", functools.partial(_untell, ctx, entry))


def _untell(ctx: Context, entry: LedgerEntry) -> None:
    _note_of(ctx, entry.data["who"]).unlink(missing_ok=True)
    undo_told(entry.data)
    Ledger.of(ctx.cloud).forget(KIND, **entry.data)


def _note_of(ctx: Context, who: str) -> Path:
    return ctx.cloud.etc / f"told-{who}"


def _files(ctx: Context, root: Path) -> tuple[Path, Path]:
    """NetworkManager's and networkd's."""
    prefix = ctx.cloud.prefix
    return (
        root / f"etc/NetworkManager/conf.d/90-{prefix}.conf",
        root / f"etc/systemd/network/00-{prefix}-devices.network",
    )


def _reload(who: str) -> None:
    # One that has ended, or was removed, reads it when it starts.
    with contextlib.suppress(NotInstalled):
        run(RELOAD_MANAGER if who == MANAGER else networkd.RELOAD[0], check=False, timeout=30)


def undo_told(data: dict[str, Any]) -> None:
    """What was the operator's before, a NIC that the file names, is so again at once."""
    undo_file(data)
    _reload(data["who"])


UNDO: Mapping[str, Undo] = {KIND: undo_told}


def taken(ctx: Context, nics: Iterable[str] = ()) -> Iterator[Finding]:
    """Devices that NetworkManager configures all the same."""
    if ctx.cloud.netns:
        return
    try:
        said = run(["nmcli", "-t", "-f", "DEVICE,STATE", "device"], check=False, timeout=20)
    except OnestackError:
        return
    for device in managed(said.out, patterns(ctx, nics)):
        yield refuse(
            f"NetworkManager configures {device}, a device of the cloud's",
            "it may take its address or bring it down; a file of yours, or a command, says so",
            f"onestack up, then: nmcli device set {device} managed no",
        )


def managed(said: str, devices: Sequence[str]) -> Iterator[str]:
    """Of ``devices``, those that nmcli says are connected, or on the way there, by a profile."""
    for line in said.splitlines():
        device, _, state = line.rpartition(":")
        state = state.replace("\\", "")
        busy = state.startswith("connect") and "externally" not in state
        if busy and any(fnmatch.fnmatchcase(device, pattern) for pattern in devices):
            yield device
