"""``ROOT/bin/ovs-vsctl`` and the like: the switch's tools, for this cloud's switch.

As installed they look for their sockets in /run, where another switch may be.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from onestack.components.openvswitch.distribution import distribution
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.network.backend import l2_agent

SWITCH = ("ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovsdb-client")
NORTH_AND_SOUTH = ("ovn-nbctl", "ovn-sbctl", "ovn-appctl", "ovn-trace")


def tools(ctx: Context) -> Iterator[ConfigFile]:
    """One small program a tool."""
    made, run = distribution(ctx), ctx.cloud.run
    places = f"OVS_RUNDIR={shlex.quote(str(run / 'openvswitch'))}"
    places += f" OVN_RUNDIR={shlex.quote(str(run / 'ovn'))}"
    ovn = l2_agent(ctx.answers, ctx.facts)[0] == "ovn"
    for tool in SWITCH + (NORTH_AND_SOUTH if ovn else ()):
        yield ConfigFile(
            ctx.cloud.bin / tool,
            f"#!/bin/sh\n# {tool}, for the cloud {ctx.cloud.name!r}. Made by onestack.\n"
            f'{places} exec {shlex.quote(made.program(tool))} "$@"\n',
            mode=0o755,
        )
