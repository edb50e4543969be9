"""What neutron has run as root in its network namespaces: dnsmasq, haproxy, radvd, keepalived.

Upstream does its privileged work in privsep daemons, except for this one kind, for which it
still puts a ``root_helper`` before the command. (neutron's user is no more powerful by it:
upstream's privsep context lets it run commands as root in any case.)
"""

from __future__ import annotations

from pathlib import Path

from onestack.model.root_command import ANY, RootCommand

_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NAMESPACE = rf"(qdhcp|qrouter|snat|fip|ovnmeta)-{_UUID}"
"""Regular expression of their names."""


def command(notes: Path) -> RootCommand:
    """In the folder ``notes`` a file is made for each namespace, for `undo`."""
    return RootCommand(
        ("ip", "netns", "exec", NAMESPACE, "dnsmasq|haproxy|radvd|keepalived"),
        rest=ANY,
        environment=(rf"PROCESS_TAG=[a-z-]+-{_UUID}[\w.-]*",),
        notes=str(notes),
        noted=3,
    )
