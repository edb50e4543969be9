"""Devices of the cloud's, which whoever configures the machine's network is to leave alone.

NetworkManager and systemd-networkd take what a pattern of theirs or a default fits: they would
ask DHCP for a tap, put an address on a bridge, or take it down. Files of their own kinds tell them.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from onestack.host.command import run
from onestack.host.files import ensure_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import NotInstalled, OnestackError
from onestack.model.findings import Finding, refuse
from onestack.network.bridges import Bridges
from onestack.network.nic.managers import networkd

OF_PORTS = tuple(f"{kind}????????-??" for kind in ("tap", "qvo", "qvb", "qbr", "qr-", "qg-"))
"""neutron's and nova's, each named by the begin of a port's or network's id."""
OF_TUNNELS = ("vxlan_sys_*", "genev_sys_*", "gre_sys")
SWITCHES = ("ovs-system", "ovs-netdev")
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
    devices, ledger = patterns(ctx, nics), Ledger.of(ctx.cloud)
    name = ctx.cloud.name
    of_manager, of_networkd = _files(ctx, root)
    if (root / "run/NetworkManager").is_dir():
        changes = ensure_file(of_manager, manager_text(name, devices), ledger=ledger)
        yield from _reloaded(changes, RELOAD_MANAGER)
    if networkd.running(root):
        changes = ensure_file(of_networkd, networkd_text(name, devices), ledger=ledger)
        yield from _reloaded(changes, networkd.RELOAD[0])


def ensure_untold(ctx: Context, root: Path = _ROOT) -> Iterator[Change]:
    """No such files any more, and no entry of them."""
    reload = (RELOAD_MANAGER, networkd.RELOAD[0])
    for path, command in zip(_files(ctx, root), reload, strict=True):
        if path.exists():
            yield from _reloaded([Change(f"remove {path}", _removal(ctx, path))], command)


def _removal(ctx: Context, path: Path) -> Callable[[], None]:
    def remove() -> None:
        path.unlink(missing_ok=True)
        Ledger.of(ctx.cloud).forget("file", path=str(path))

    return remove


def _files(ctx: Context, root: Path) -> tuple[Path, Path]:
    """NetworkManager's and networkd's."""
    prefix = ctx.cloud.prefix
    return (
        root / f"etc/NetworkManager/conf.d/90-{prefix}.conf",
        root / f"etc/systemd/network/00-{prefix}-devices.network",
    )


def _reloaded(changes: Iterable[Change], command: Sequence[str]) -> Iterator[Change]:
    for change in changes:
        yield Change(change.what, functools.partial(_tell, change, command))


def _tell(change: Change, command: Sequence[str]) -> None:
    change.do()
    # One that has ended, or was removed, reads it when it starts.
    with contextlib.suppress(NotInstalled):
        run(command, check=False, timeout=30)


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
