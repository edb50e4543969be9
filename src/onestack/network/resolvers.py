"""The host's name servers, as far as a guest could use them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""systemd-resolved writes itself (127.0.0.53) into the first and its servers into the second."""


def resolvers(files: Iterable[Path] = FILES) -> tuple[str, ...]:
    """Addresses from the first file that names any outside this host; empty without one."""
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if found := tuple(usable(text)):
            return found
    return ()


def usable(text: str) -> Iterable[str]:
    """Name servers in ``text`` (resolv.conf(5)) that a guest can reach: no loopback, no link."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] != ["nameserver"] or len(words) < 2:
            continue
        try:
            address = ipaddress.ip_address(words[1])
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            yield str(address)
