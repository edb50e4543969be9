"""What is on the machine, for a comparison before and after a cloud."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path

LOOKED_AT = ("/etc", "/usr/local", "/usr/sbin", "/var/lib", "/var/cache", "/run", "/opt", "/srv")
CHANGES_BY_ITSELF = (
    "/etc/ld.so.cache",
    "/etc/mtab",
    "/run/netns",  # iproute's own: there while there are namespaces
    "/run/utmp",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/cache/man",
    "/var/cache/onestack",  # shared with other clouds; goes with the last
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/systemd",
)


def _lines(*words: str) -> set[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    # comments have the time of day, counters change by themselves
    lines = (re.sub(r"\[\d+:\d+\]", "", line).strip() for line in done.stdout.splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def _owned_by_packages() -> set[str]:
    return {
        line
        for path in Path("/var/lib/dpkg/info").glob("*.list")
        for line in path.read_text(errors="replace").splitlines()
    }


def files() -> set[str]:
    found: set[str] = set()
    for top in LOOKED_AT:
        for folder, _, names in os.walk(top):
            if folder.startswith(CHANGES_BY_ITSELF):
                continue
            found.add(folder)
            found.update(os.path.join(folder, name) for name in names)
    return {path for path in found if not path.startswith(CHANGES_BY_ITSELF)}


def portrait() -> dict[str, set[str]]:
    """Everything onestack could leave behind, by kind."""
    return {
        "files": files(),
        "packages": _lines("dpkg-query", "-W", "-f", "${Package}\n"),
        "users": _lines("getent", "passwd"),
        "groups": _lines("getent", "group"),
        "namespaces": _lines("ip", "netns"),
        "devices": _lines("bash", "-c", "ip -o link | cut -d: -f2"),
        "addresses": _lines("bash", "-c", "ip -o -4 addr | awk '{print $2, $4}'"),
        "routes": _lines("ip", "route"),
        "loops": _lines("losetup", "-a"),
        "mounts": _lines("bash", "-c", "awk '$2 != \"/run/netns\" {print $2}' /proc/mounts"),
        "rules": _lines("nft", "list", "ruleset") | _lines("iptables-save", "-t", "nat"),
        "sysctl": _lines("sysctl", "net.ipv4.ip_forward", "net.core.rmem_default"),
    }


def differences(
    before: dict[str, set[str]],
    after: dict[str, set[str]],
    kinds: Iterable[str] | None = None,
    known: Collection[str] = (),
) -> dict[str, dict[str, list[str]]]:
    """What came and what went, by kind; files of packages are left out, and ``known`` ones."""
    left_out = _owned_by_packages().union(known)
    found: dict[str, dict[str, list[str]]] = {}
    for kind in kinds or before:
        came = sorted(x for x in after[kind] - before[kind] if x not in left_out)
        went = sorted(before[kind] - after[kind])
        if came or went:
            found[kind] = {"came": came, "went": went}
    return found
