"""netplan: the file that defines the NIC has a bridge with its place too, and is changed at once.

netplan joins lists of several files, so that a further file cannot take an address away. What
is written is given to netplan itself first, together with all other files.
While it is tried, the one that netplan writes for (`renderer`) is told, in /run.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from onestack.host.command import CommandFailed, run
from onestack.model.errors import OnestackError
from onestack.network.nic.managers import networkd, networkmanager
from onestack.network.nic.managers.networkd import Networkd
from onestack.network.nic.managers.networkmanager import NetworkManager
from onestack.network.nic.managers.told import (
    Command,
    Handover,
    Manager,
    Told,
    note,
    text_if_any,
    text_of,
    without_cloud_init,
)

FOLDER, OF_A_BOOT = "etc/netplan", "run/netplan"
PLACES = ("lib/netplan", "usr/lib/netplan", FOLDER, OF_A_BOOT)
"""A file hides those of its name in the places before."""
SECRET = 0o600
PROGRAM = "netplan"
KINDS = ("ethernets", "bonds", "vlans")
BRIDGES = ("bridges",)
MOVES = (
    *("addresses", "dhcp4", "dhcp6", "dhcp4-overrides", "dhcp6-overrides", "dhcp-identifier"),
    *("routes", "nameservers", "routing-policy", "gateway4", "gateway6", "accept-ra", "link-local"),
    *("ipv6-privacy", "ipv6-address-generation", "ipv6-address-token", "ipv6-mtu", "critical"),
    *("optional-addresses", "neigh-suppress", "ra-overrides"),
)
"""Keys about addresses; what is about the NIC stays with it."""
BOTH = ("renderer", "optional", "ignore-carrier", "activation-mode")
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
        backend = _backend(wanted, root)
        if isinstance(backend, NetworkManager) and networkmanager.asks_six(wanted, root):
            raise OnestackError(
                f"NetworkManager has an address of {wanted.nic} by DHCPv6, and netplan its files",
                f"netplan has no words for which client {wanted.bridge} is to be, and as another "
                "one it would get another address",
                f"give {wanted.nic} a static IPv6 address, or define it in NetworkManager itself",
            )
        name = identifier(wanted, root)
        source = place(wanted, root, name)
        texts: dict[Path, str | None] = without_cloud_init(wanted, root)
        known = networkd.identities(wanted, root)
        if isinstance(backend, Networkd) and known:
            # netplan has no word for it, and from its name the bridge would be another client.
            drop_in = f"10-netplan-{wanted.bridge}.network.d/onestack.conf"
            lines = [f"[{section}]\nIAID={number}\n" for section, number in known.items()]
            texts[root / networkd.LASTING / drop_in] = note(wanted) + "\n".join(lines)
        texts[root / FOLDER / source.name] = self._text(wanted, root, source, name)
        # what was tried is not needed any more
        texts |= {p: None for p, text in backend.trial(wanted, root).files.items() if text}
        generate: Command = (PROGRAM, "generate")
        apply = (generate, *_started(backend, wanted.bridge, name))
        back = (generate, *_started(backend, name))
        return Told(texts, apply, back, {root / FOLDER / source.name: SECRET})

    def _text(self, wanted: Handover, root: Path, source: Path, name: str) -> str:
        with tempfile.TemporaryDirectory(prefix="onestack-netplan-") as folder:
            alone, all_ = Path(folder, "alone"), Path(folder, "all")
            (alone / FOLDER).mkdir(parents=True)
            shutil.copy2(source, alone / FOLDER)
            for each in PLACES:
                if (root / each).is_dir():
                    shutil.copytree(root / each, all_ / each, dirs_exist_ok=True)
            try:
                said = _ask("get", "--root-dir", str(alone))
            except CommandFailed as error:
                raise OnestackError(
                    f"{source} means nothing without netplan's other files",
                    error.why,
                    f"put what belongs to {name} into one file",
                ) from error
            had = definition(_ask("get", "--root-dir", str(all_)), KINDS, name)
            text = edit(said, wanted, name)
            (all_ / FOLDER).mkdir(parents=True, exist_ok=True)
            (all_ / FOLDER / source.name).write_text(text)
            (all_ / FOLDER / source.name).chmod(SECRET)
            _ask("generate", "--root-dir", str(all_))
            _need_read(had, _ask("get", "--root-dir", str(all_)), wanted, name)
        return text


def place(wanted: Handover, root: Path, name: str) -> Path:
    """The one file that defines the NIC. Raises `OnestackError`."""
    files = {path.name: path for each in PLACES for path in sorted((root / each).glob("*.yaml"))}
    key = re.compile(rf"""(?m)^[^#\n]*?(?<![\w.:@-])["']?{re.escape(name)}["']?\s*:(\s|$)""")
    found = [path for _, path in sorted(files.items()) if key.search(text_of(path))]
    if not found:
        raise _undefined(name)
    if len(found) > 1:
        raise OnestackError(
            f"{name} is defined in {' and '.join(map(str, found))}",
            "several files cannot be changed at once: a machine that loses power in between "
            "would start without its network",
            f"put what belongs to {name} into one file; all of it together is: netplan get",
        )
    if found[0].is_relative_to(root / OF_A_BOOT):
        raise OnestackError(
            f"{name} is defined in {found[0]}",
            "something writes that file anew at each boot, and it counts before all others",
            f"move it to {root / FOLDER}, and have that something leave it alone",
        )
    return found[0]


def _need_read(had: dict[str, list[str]], said: str, wanted: Handover, name: str) -> None:
    """netplan itself says what all files mean together. Raises `OnestackError`."""
    has = definition(said, BRIDGES, wanted.bridge)
    wrong = [key for key in MOVES if has.get(key) != had.get(key)]
    left = definition(said, KINDS, name)
    still = {line.strip() for line in FALLBACK.splitlines()}
    wrong += [
        key
        for key, lines in left.items()
        if key in MOVES and not {line.strip() for line in lines} <= still
    ]
    if wrong:
        raise OnestackError(
            f"netplan would not give {wanted.bridge} what {name} has: {', '.join(wrong)}",
            "something in its other files says otherwise",
            "look at them: netplan get",
        )


def _started(backend: Manager, *names: str) -> tuple[Command, ...]:
    """NetworkManager gets connections of other names than those that were tried."""
    if isinstance(backend, Networkd):
        return networkd.RELOAD
    return (*networkmanager.RELOAD, *(networkmanager.up(f"netplan-{name}") for name in names))


def _ask(*words: str) -> str:
    return run([PROGRAM, *words], timeout=60).out


def _backend(wanted: Handover, root: Path) -> Manager:
    manager = root / "run/NetworkManager/devices" / str(wanted.index)
    if "managed=true" in text_if_any(manager):
        return NetworkManager()
    return Networkd()


def identifier(wanted: Handover, root: Path) -> str:
    """What netplan calls the NIC: another name than the kernel's where it matches by address."""
    state = text_if_any(root / networkd.STATE / str(wanted.index))
    found = re.search(r"^NETWORK_FILE=\S*?([^/\n]+)$", state, re.MULTILINE)
    if found and (named := _NETWORKD.match(found[1])):
        return named[1]
    if isinstance(_backend(wanted, root), NetworkManager):
        path, _ = networkmanager.current(wanted, root)
        return path.name.removeprefix("netplan-").removesuffix(".nmconnection")
    return wanted.nic


def edit(text: str, wanted: Handover, name: str) -> str:
    """netplan's own text of all, with a bridge in the place of ``name``. Raises `OnestackError`."""
    lines = text.splitlines()
    start, end = _block(lines, KINDS, name)
    entries = definition(text, KINDS, name)
    if "networkmanager" in entries:
        raise OnestackError(
            f"netplan has {name} from NetworkManager, which keeps its connections there",
            "it says more of them than netplan has words for, and writes them anew",
            "define the NIC in a file of your own",
        )
    _need_one(entries, wanted, name)
    moving = [line for key, some in entries.items() if key in MOVES + BOTH for line in some]
    staying = [line for key, some in entries.items() if key not in MOVES for line in some]
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


def _need_one(entries: Mapping[str, list[str]], wanted: Handover, name: str) -> None:
    """Raises `OnestackError` where the definition may fit other devices: all become ports."""
    pairs = [line.partition(":") for line in entries.get("match", [])[1:]]
    match = {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    if not match or "macaddress" in match:
        return
    if match.keys() != {"name"} or match["name"] != wanted.nic:
        fits = ", ".join(f"{key}: {value}" for key, value in match.items())
        raise OnestackError(
            f"netplan's {name} may be more devices than {wanted.nic}",
            f"it is whatever fits {fits}, and each would become a port of {wanted.bridge}",
            f"have it fit {wanted.nic} alone, by match: {{macaddress: ...}} or by the name",
        )


def definition(text: str, kinds: Iterable[str], name: str) -> dict[str, list[str]]:
    """The keys of one, with their lines. Raises `OnestackError`."""
    lines = text.splitlines()
    start, end = _block(lines, kinds, name)
    entries = _entries(lines[start + 1 : end])
    return {entry[0].strip().partition(":")[0]: entry for entry in entries}


def _block(lines: list[str], kinds: Iterable[str], name: str) -> tuple[int, int]:
    """The first line of the definition, and the line after its last."""
    kind = ""
    for number, line in enumerate(lines):
        if re.fullmatch(r"  [\w-]+:", line):
            kind = line.strip(" :")
        if kind in kinds and line.strip().strip('"').rstrip(":").strip('"') == name:
            if not re.match(r"    \S", line):
                continue
            end = number + 1
            while end < len(lines) and lines[end].startswith("      "):
                end += 1
            return number, end
    raise _undefined(name)


def _undefined(name: str) -> OnestackError:
    return OnestackError(
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
