"""ifupdown: the stanzas about addresses become a bridge's; what is about the NIC stays with it.

The bridge is made by ip(8) in lines of its stanza, so that no other package is needed. One file
is changed, at once: after a power cut a boot reads it as it was, or as it is to be.
"""

from __future__ import annotations

import fnmatch
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onestack.host.command import environment, run
from onestack.model.errors import OnestackError
from onestack.network.nic.managers.told import (
    Handover,
    Told,
    renamed,
    text_of,
    without_cloud_init,
)

MAIN = "etc/network/interfaces"
STATE = "run/network/ifstate"
MARK = "# onestack:"
PROGRAM = "ifquery"
_STANZAS = ("iface", "mapping", "source", "source-directory", "rename", "template")
_STARTS, _WITHOUT = ("auto", "allow-"), ("no-auto-down", "no-scripts")
_HOOKS = ("pre-up", "up", "post-up", "pre-down", "down", "post-down")
_NICS = re.compile(
    r"(bond|vlan|team|wpa|wireless|link|ethernet|hardware|offload|driver|dcb)[-_]|slaves$|hwaddress$"
)
"""Options that are about the NIC itself, whoever reads them."""
_DEVICE = (
    *("ethtool", "tc", "mii-tool", "ifenslave", "iw", "iwconfig", "vconfig", "wpa_supplicant"),
    "modprobe",
)
_ADDRESSES = (
    "ip",
    "ifconfig",
    "route",
    "iptables",
    "ip6tables",
    "nft",
    "sysctl",
    "arp",
    "echo",
    "test",
    "[",
)
"""Programs that do their work for a bridge as for a NIC."""


class Ifupdown:
    name = "ifupdown"
    runs_clients = True

    def trial(self, wanted: Handover, root: Path) -> Told:
        """It is asked only at boot and by ifup."""
        return Told()

    def lasting(self, wanted: Handover, root: Path) -> Told:
        """Raises `OnestackError` for what cannot be told, and where ifupdown reads it otherwise."""
        texts = {path: text_of(path) for path in places(root)}
        path = _place(texts, wanted, root)
        edited = edit(
            texts[path], wanted, any(_is_hot(text, wanted.nic) for text in texts.values())
        )
        _need_read(texts, {**texts, path: edited}, wanted, root)
        files: dict[Path, str | None] = {**without_cloud_init(wanted, root), path: edited}
        state, line = root / STATE, f"{wanted.bridge}={wanted.bridge}\n"
        if state.is_file() and line not in (said := state.read_text()).splitlines(keepends=True):
            # What it believes is up: for ifdown until the next boot.
            files[state] = said + line
        if state.with_name(f"{state.name}.{wanted.nic}").is_file():
            files[state.with_name(f"{state.name}.{wanted.bridge}")] = f"{wanted.bridge}\n"
        return Told(files, mergeable=frozenset({path}))


def forget(bridge: str, root: Path) -> None:
    """It does not believe any more that the bridge is up."""
    state = root / STATE
    state.with_name(f"{state.name}.{bridge}").unlink(missing_ok=True)
    if state.is_file():
        lines = state.read_text().splitlines(keepends=True)
        left = [line for line in lines if line.partition("=")[0] != bridge]
        if left != lines:
            state.write_text("".join(left))


@dataclass
class Block:
    """Lines as they stand, each with those that continue it, and as ifupdown reads them."""

    head: str = ""
    words: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    """After the first one, comments too."""

    def is_of(self, nic: str) -> bool:
        return self.words[:1] == ["iface"] and _is_of(self.words[1], nic)

    @property
    def starts(self) -> list[str]:
        """What is started by it."""
        return self.words[1:] if self.words and self.words[0].startswith(_STARTS) else []


def logical(text: str) -> Iterator[tuple[str, str]]:
    """Each line as it stands and as it is read: joined where one ends with a backslash."""
    held: list[str] = []
    for raw in text.splitlines():
        if not held and raw.lstrip().startswith("#"):
            yield raw, ""
            continue
        held.append(raw)
        if raw.endswith("\\"):
            continue
        yield "\n".join(held), " ".join(line.removesuffix("\\") for line in held).strip()
        held = []
    if held:
        yield "\n".join(held), " ".join(line.removesuffix("\\") for line in held).strip()


def blocks(text: str) -> list[Block]:
    found = [Block()]
    for raw, line in logical(text):
        words = line.split()
        first = words[0] if words else ""
        if first in (*_STANZAS, *_WITHOUT) or first.startswith(_STARTS):
            found.append(Block(raw, words))
        else:
            found[-1].lines.append((raw, line))
    return found


def places(root: Path) -> list[Path]:
    """The file, and what it sources, as far as it is there."""
    found: list[Path] = []
    todo = [root / MAIN]
    while todo:
        path = todo.pop(0)
        if path in found or not path.is_file():
            continue
        found.append(path)
        for block in blocks(text_of(path)):
            todo += _sourced(block, path, root)
    return found


def _sourced(block: Block, path: Path, root: Path) -> list[Path]:
    if len(block.words) < 2 or block.words[0] not in ("source", "source-directory"):
        return []
    pattern = block.words[1]
    folder, pattern = (root, pattern[1:]) if pattern.startswith("/") else (path.parent, pattern)
    if block.words[0] == "source":
        # (a shell's patterns mean no hidden files)
        return sorted(each for each in folder.glob(pattern) if not each.name.startswith("."))
    known = [place for each in folder.glob(pattern) if each.is_dir() for place in each.iterdir()]
    return sorted(place for place in known if re.fullmatch(r"[\w-]+", place.name, re.ASCII))


def _place(texts: Mapping[Path, str], wanted: Handover, root: Path) -> Path:
    """The one file that has all about the NIC. Raises `OnestackError`."""
    nic, found = wanted.nic, list[Path]()
    for path, text in texts.items():
        for block in blocks(text):
            alias = any(_is_of(word, nic) and word != nic for word in block.starts)
            if (block.is_of(nic) or alias) and path not in found:
                found.append(path)
            _need_told(block, wanted)
    if found[:1] and found[0].is_relative_to(root / "run"):
        raise OnestackError(
            f"{nic} is configured by {found[0]}",
            "something writes that file anew at each boot",
            f"write the same into {root / MAIN}, and have that something leave {nic} alone",
        )
    if not found:
        raise OnestackError(
            f"{nic} is not in {root / MAIN}",
            "no stanza configures it there, nor in what it sources",
            "say what configures it, and set it there by hand",
        )
    if len(found) > 1:
        raise OnestackError(
            f"{nic} is configured by {' and '.join(map(str, found))}",
            "several files cannot be changed at once: a machine that loses power in between "
            "would start without its network",
            f"put all stanzas of {nic} into one file",
        )
    return found[0]


def _need_told(block: Block, wanted: Handover) -> None:
    """Raises `OnestackError` where it is about the NIC, and not by a stanza of its name."""
    nic = wanted.nic
    if block.words[:1] == ["mapping"] and _maps(block, nic):
        raise _unknown(wanted, f"{' '.join(block.words)} gives it another name")
    for word in block.starts:
        if "=" in word and _fits(word.partition("=")[0], nic):
            raise _unknown(wanted, f"{word} gives it another name")
    if not block.is_of(nic) and (line := _naming(block, wanted)):
        raise _unknown(wanted, f"the stanza of {block.words[1]} names it: {line}")


def _fits(word: str, nic: str) -> bool:
    """A name that is to be started, or a pattern of such: ``/eno*``."""
    if not word.startswith("/"):
        return word == nic
    return fnmatch.fnmatch(nic, word[1:].partition("/")[0])


def _is_hot(text: str, nic: str) -> bool:
    """Whether it is started once it is there."""
    hot = [block for block in blocks(text) if block.words[:1] == ["allow-hotplug"]]
    return any(_fits(word, nic) for block in hot for word in block.starts)


def _naming(block: Block, wanted: Handover) -> str:
    """A command of another device's that is about what moves."""
    if block.words[:1] != ["iface"]:
        return ""
    for _, line in block.lines:
        word, rest = [*line.split(None, 1), "", ""][:2]
        parts = [p for p in re.split(r"[;&|]+|\bthen\b|\bdo\b", rest) if _name(p, wanted) != p]
        if word in _HOOKS and any(_kind(part.split(), wanted) == "addresses" for part in parts):
            return line
    return ""


def _maps(block: Block, nic: str) -> bool:
    return any(fnmatch.fnmatch(nic, pattern) for pattern in block.words[1:])


def _unknown(wanted: Handover, why: str) -> OnestackError:
    return OnestackError(
        f"/{MAIN} has something about {wanted.nic} that cannot be told of a bridge",
        why,
        f"write the stanza of {wanted.nic} without it, or move {wanted.nic} by hand",
    )


def edit(text: str, wanted: Handover, hot: bool | None = None) -> str:
    """The stanzas of ``wanted.nic`` and of its aliases, for the bridge. Raises `OnestackError`.

    ``hot``: the NIC is started once it is there, by what another file says.
    """
    hot = _is_hot(text, wanted.nic) if hot is None else hot
    found = blocks(text)
    _need_known(found, wanted)
    own, made, told = _own(found, wanted), list[str](), False
    joined = any(wanted.nic in b.starts and b.words[0] in ("auto", "allow-auto") for b in found)
    for block in found:
        if not block.is_of(wanted.nic):
            if head := _start(block, wanted):
                made.append(head)
            made += [raw for raw, _ in block.lines]
            continue
        last: list[str] = []
        if not told and block.words[1] == wanted.nic:
            told = True
            if not joined:
                made.append(f"auto {'' if hot else wanted.nic + ' '}{wanted.bridge}")
            made += [f"iface {wanted.nic} inet manual", *own]
            made += [*(_joining(wanted) if hot else []), ""]
            made += [_name(block.head, wanted), *_first(wanted)]
            last = _last(wanted, hot)
        else:
            made.append(_name(block.head, wanted))
        alias = block.words[1] != wanted.nic
        end = max((n for n, (_, line) in enumerate(block.lines, 1) if line), default=0)
        for raw, line in block.lines[:end]:
            if alias or not line or not _stays(line, wanted):
                made.append(_name(raw, wanted) if line else raw)
        made += [*last, *(raw for raw, _ in block.lines[end:])]
    return "\n".join(made) + "\n"


def _own(found: Iterable[Block], wanted: Handover) -> list[str]:
    """Lines about the NIC itself, each once."""
    kept: dict[str, str] = {}
    for block in found:
        if block.is_of(wanted.nic) and block.words[1] == wanted.nic:
            kept |= {line: raw for raw, line in block.lines if line and _stays(line, wanted)}
    return list(kept.values())


def _need_known(found: Iterable[Block], wanted: Handover) -> None:
    for block in found:
        if not block.is_of(wanted.nic):
            continue
        if len(block.words) != 4:
            raise _unknown(wanted, f"the line: {' '.join(block.words)}")
        name = _name(block.words[1], wanted)
        if len(name) > 15:
            raise _unknown(wanted, f"{block.words[1]} would be {name}: longer than names may be")


def _start(block: Block, wanted: Handover) -> str:
    """Right after the NIC its bridge is started: whatever comes then may need its addresses."""
    nic, first = wanted.nic, block.words[0] if block.words else ""
    names = block.words[1:]
    if first in ("auto", "allow-auto", *_WITHOUT) and nic in names:
        at = names.index(nic) + 1
        names = [*names[:at], wanted.bridge, *names[at:]]
    if first.startswith(_STARTS) or first in _WITHOUT:
        names = [_name(n, wanted) if _is_of(n, nic) and n != nic else n for n in names]
    return block.head if names == block.words[1:] else " ".join([first, *names])


def _first(wanted: Handover) -> list[str]:
    """The bridge is there for whatever the operator's lines do before it has addresses."""
    bridge, add = wanted.bridge, f"address {wanted.mac} mtu {wanted.mtu} type bridge"
    return [
        f"    {MARK} {bridge} has the place of {wanted.nic}, for the cloud's networks",
        f"    pre-up ip link show dev {bridge} >/dev/null 2>&1 || ip link add {bridge} {add} "
        "stp_state 0 forward_delay 0 mcast_snooping 0",
    ]


def _joining(wanted: Handover) -> list[str]:
    """The NIC may come when the bridge has waited long enough, or once more."""
    nic, bridge = wanted.nic, wanted.bridge
    return [
        f"    up ifup {bridge} || true",
        f"    up ip link set dev {nic} mtu {wanted.mtu} up master {bridge} || true",
    ]


def _last(wanted: Handover, hot: bool) -> list[str]:
    """The NIC is its port once these lines are done, one of which may have made the NIC."""
    nic, bridge = wanted.nic, wanted.bridge
    wait = f"for n in 1 2 3 4 5 6 7 8 9; do test -e /sys/class/net/{nic} && break; sleep 1; done"
    return [
        *([f"    pre-up {wait}"] if hot else []),
        f"    pre-up ip link set dev {nic} mtu {wanted.mtu} up master {bridge}",
        # What a router may have given it before that, while it was up by itself.
        f"    pre-up ip -6 address flush dev {nic} || true",
        f"    pre-up ip -6 route flush dev {nic} || true",
        f"    post-down ip link set dev {nic} nomaster || true",
        f"    post-down ip link delete dev {bridge} || true",
    ]


def _is_of(name: str, nic: str) -> bool:
    return name == nic or name.startswith(f"{nic}:")


def _name(text: str, wanted: Handover) -> str:
    """``eno1`` and ``eno1:1`` become the bridge's, and so do settings of the kernel's."""
    text = renamed(text, wanted.nic, wanted.bridge)
    return re.sub(rf"(?<=\.conf\.){re.escape(wanted.nic)}(?=\.)", wanted.bridge, text)


def _stays(line: str, wanted: Handover) -> bool:
    """Whether it is about the NIC itself. Raises `OnestackError` where that cannot be told."""
    word, rest = [*line.split(None, 1), ""][:2]
    if word not in _HOOKS:
        return bool(_NICS.match(word))
    kinds = {_kind(part.split(), wanted) for part in re.split(r"[;&|]+|\bthen\b|\bdo\b", rest)}
    if "device" in kinds and kinds & {"addresses", "unknown"}:
        raise _unknown(wanted, f"one line about the NIC and about what moves from it: {line}")
    if "unknown" in kinds and word == "pre-up" and not rest.rstrip().endswith("|| true"):
        # Where it fails the bridge would not come up at all.
        raise _unknown(wanted, f"a program that is not known here: {line}")
    return "device" in kinds


def _kind(words: list[str], wanted: Handover) -> str:
    """``device``, ``addresses``, ``unknown``, or nothing where it is not about this NIC.

    What is about devices is so whether it names this one: it may be what this one is made of.
    """
    words = [w for w in words if w not in ("if", "!", "{", "(", "sudo", "exec")]
    while words and re.match(r"\w+=", words[0]):
        del words[0]
    if not words:
        return ""
    text = " ".join(words)
    program = words[0].rpartition("/")[2].removesuffix("-legacy").removesuffix("-nft")
    if program == "ip":
        what = next((w for w in words[1:] if not w.startswith("-")), "-")
        if "link".startswith(what):
            return "device"
    if program == "ifconfig" and not re.search(r"\d\.\d|:", text.replace(wanted.nic, "")):
        return "device"
    if program in _DEVICE or "/sys/class/net/" in text:
        return "device"
    if _name(text, wanted) == text and not re.search(r"\$\{?IFACE\b", text):
        return ""
    return "addresses" if program in _ADDRESSES else "unknown"


def _need_read(
    before: Mapping[Path, str], after: Mapping[Path, str], wanted: Handover, root: Path
) -> None:
    """ifupdown itself says what a boot would do. Raises `OnestackError` for anything unexpected."""
    nic, bridge = wanted.nic, wanted.bridge
    if not shutil.which(PROGRAM, path=environment()["PATH"]):
        raise OnestackError(
            f"{root / MAIN} configures {nic}, but ifupdown is not there",
            f"no {PROGRAM} is found, by which what a boot would do is looked at",
            f"install ifupdown, or take the stanzas of {nic} out if something else configures it",
        )
    had = _query(before, root, nic)
    port, has, started = (
        *(_query(after, root, name) for name in (nic, bridge)),
        _query(after, root, "--list"),
    )
    known = {*port, *has}
    wrong = [line for line in had if line not in known and _name(line, wanted) not in known]
    wrong += [line for line in port if re.match(r"(address|gateway): ", line)]
    if bridge not in started or (nic in started and started.index(nic) > started.index(bridge)):
        wrong.append(f"{bridge} is not started, or not after {nic}")
    wrong += [a for a in started if a.startswith(f"{bridge}:") and a not in _after(bridge, started)]
    if wrong:
        raise OnestackError(
            f"{root / MAIN} cannot be written for {bridge}",
            f"ifupdown would not read it as it is meant: {'; '.join(wrong)}",
            f"write the stanzas of {nic} in a plainer way, or move {nic} by hand",
        )


def _after(name: str, started: list[str]) -> list[str]:
    return started[started.index(name) :] if name in started else []


def _query(texts: Mapping[Path, str], root: Path, what: str) -> list[str]:
    with tempfile.NamedTemporaryFile("w", prefix="onestack-interfaces-") as file:
        file.write(_whole(root / MAIN, texts, root, set()))
        file.flush()
        # A name that is started and not known is no new error.
        words = [PROGRAM, "--interfaces", file.name, what]
        said = run(words, check=what != "--list", timeout=20).out
    return [line.rstrip() for line in said.splitlines()]


def _whole(path: Path, texts: Mapping[Path, str], root: Path, seen: set[Path]) -> str:
    """With what it sources in the places of these lines."""
    seen.add(path)
    made = list[str]()
    for block in blocks(texts[path]):
        sourced = [each for each in _sourced(block, path, root) if each in texts]
        if block.words[:1] and block.words[0] in ("source", "source-directory"):
            made += [_whole(each, texts, root, seen) for each in sourced if each not in seen]
        elif block.head:
            made.append(block.head)
        made += [raw for raw, _ in block.lines]
    return "\n".join(made) + "\n"
