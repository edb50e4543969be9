"""netplan: its whole configuration in one file, in which a bridge has the NIC's place.

netplan joins lists of several files, so that a further file cannot take an address away. What
the others say together is asked of netplan itself, and they are put aside until `detach`.
While it is tried, the one that netplan writes for (`renderer`) is told, in /run.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onestack.host.command import run
from onestack.model.errors import OnestackError
from onestack.network.nic.managers import networkd, networkmanager
from onestack.network.nic.managers.networkd import Networkd
from onestack.network.nic.managers.networkmanager import NetworkManager
from onestack.network.nic.managers.told import Command, Handover, Manager, Told, note

FOLDER = "etc/netplan"
PLACES = (FOLDER, "run/netplan", "usr/lib/netplan", "lib/netplan")
OURS = "90-onestack.yaml"
SECRET = 0o600
PROGRAM = "netplan"
KINDS = ("ethernets", "bonds", "vlans")
MOVES = (
    *("addresses", "dhcp4", "dhcp6", "dhcp4-overrides", "dhcp6-overrides", "dhcp-identifier"),
    *("routes", "nameservers", "routing-policy", "gateway4", "gateway6", "accept-ra", "link-local"),
    *("ipv6-privacy", "ipv6-address-generation", "ipv6-address-token", "ipv6-mtu", "critical"),
    *("optional-addresses", "neigh-suppress", "ra-overrides"),
)
"""Keys about addresses; what is about the NIC stays with it."""
FALLBACK = """      dhcp4: false
      dhcp6: false
      accept-ra: false
      link-local: []
"""
_NETWORKD = re.compile(r"^10-netplan-(.+)\.network$")


class Netplan:
    name = "netplan"
    runs_clients = False

    def trial(self, wanted: Handover, root: Path) -> Told:
        return _backend(wanted, root).trial(wanted, root)

    def lasting(self, wanted: Handover, root: Path) -> Told:
        """Raises `OnestackError` where netplan does not take it."""
        backend, name = _backend(wanted, root), identifier(wanted, root)
        gone: dict[Path, str | None] = {
            path: None for path, text in backend.trial(wanted, root).files.items() if text
        }
        texts: dict[Path, str | None] = dict.fromkeys(_files(root))
        texts[root / FOLDER / OURS] = self._text(wanted, root)
        identity = networkd.iaid(_read(root / networkd.LEASES / str(wanted.index)))
        if isinstance(backend, Networkd) and identity is not None:
            # netplan has no word for it, and from its name the bridge would be another client.
            drop_in = f"10-netplan-{wanted.bridge}.network.d/onestack.conf"
            lines = f"[DHCPv4]\nIAID={identity}\n\n[DHCPv6]\nIAID={identity}\n"
            texts[root / networkd.LASTING / drop_in] = note(wanted) + lines
        generate: Command = (PROGRAM, "generate")
        apply = (generate, *_started(backend, wanted.bridge, name))
        back = (generate, *_started(backend, name))
        modes = {root / FOLDER / OURS: SECRET}
        return Told({**texts, **gone}, apply, back, modes)

    def _text(self, wanted: Handover, root: Path) -> str:
        with tempfile.TemporaryDirectory(prefix="onestack-netplan-") as folder:
            scratch = Path(folder)
            for place in PLACES:
                if (root / place).is_dir() and not (scratch / place).exists():
                    shutil.copytree(root / place, scratch / place)
            text = edit(_ask("get", "--root-dir", folder), wanted, identifier(wanted, root))
            for place in PLACES:
                shutil.rmtree(scratch / place, ignore_errors=True)
            (scratch / FOLDER).mkdir(parents=True)
            (scratch / FOLDER / OURS).write_text(text)
            (scratch / FOLDER / OURS).chmod(SECRET)
            _ask("generate", "--root-dir", folder)
        return text


def _started(backend: Manager, *names: str) -> tuple[Command, ...]:
    """NetworkManager gets connections of other names than those that were tried."""
    if isinstance(backend, Networkd):
        return networkd.RELOAD
    return (*networkmanager.RELOAD, *(networkmanager.up(f"netplan-{name}") for name in names))


def _ask(*words: str) -> str:
    return run([PROGRAM, *words], timeout=60).out


def _files(root: Path) -> list[Path]:
    return sorted((root / FOLDER).glob("*.yaml"))


def _backend(wanted: Handover, root: Path) -> Manager:
    manager = root / "run/NetworkManager/devices" / str(wanted.index)
    if "managed=true" in _read(manager):
        return NetworkManager()
    return Networkd()


def identifier(wanted: Handover, root: Path) -> str:
    """What netplan calls the NIC: another name than the kernel's where it matches by address."""
    state = _read(root / networkd.STATE / str(wanted.index))
    found = re.search(r"^NETWORK_FILE=\S*?([^/]+)$", state, re.MULTILINE)
    if found and (named := _NETWORKD.match(found[1])):
        return named[1]
    if isinstance(_backend(wanted, root), NetworkManager):
        path, _ = networkmanager.current(wanted, root)
        return path.name.removeprefix("netplan-").removesuffix(".nmconnection")
    return wanted.nic


def edit(text: str, wanted: Handover, name: str) -> str:
    """netplan's own text of all, with a bridge in the place of ``name``. Raises `OnestackError`."""
    lines = text.splitlines()
    start, end = _block(lines, name)
    moving: list[str] = []
    staying: list[str] = []
    for entry in _entries(lines[start + 1 : end]):
        key = entry[0].strip().partition(":")[0]
        (moving if key in MOVES else staying).extend(entry)
    bridge = [
        f"    {wanted.bridge}:",
        f'      interfaces: ["{name}"]',
        f'      macaddress: "{wanted.mac}"',
        f"      mtu: {wanted.mtu}",
        "      parameters:",
        "        stp: false",
        "        forward-delay: 0",
        *moving,
    ]
    own = [lines[start], *staying, *FALLBACK.splitlines()]
    made = [*lines[:start], *own, *lines[end:]]
    if "  bridges:" in made:
        at = made.index("  bridges:") + 1
        made[at:at] = bridge
    else:
        made += ["  bridges:", *bridge]
    return note(wanted) + "\n".join(made) + "\n"


def _block(lines: list[str], name: str) -> tuple[int, int]:
    """The first line of the definition, and the line after its last."""
    kind = ""
    for number, line in enumerate(lines):
        if re.fullmatch(r"  [\w-]+:", line):
            kind = line.strip(" :")
        if kind in KINDS and line.strip().strip('"').rstrip(":").strip('"') == name:
            if not re.match(r"    \S", line):
                continue
            end = number + 1
            while end < len(lines) and lines[end].startswith("      "):
                end += 1
            return number, end
    raise OnestackError(
        f"netplan does not configure {name} as a NIC, a bond or a VLAN",
        "netplan get shows no such definition",
        "look at it: netplan get",
    )


def _entries(lines: list[str]) -> Iterator[list[str]]:
    """One key each, with what is below it. (Items of lists stand in the key's own column.)"""
    entry: list[str] = []
    for line in lines:
        if re.match(r"      [^\s-]", line) and entry:
            yield entry
            entry = []
        entry.append(line)
    if entry:
        yield entry


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
