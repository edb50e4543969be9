"""``ROOT/bin/ovs-vsctl`` and the like: the switch's tools, for this cloud's switch.

As installed they look for their sockets in /run, where another switch may be.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.network.distribution import distribution


def tools(ctx: Context, names: Iterable[str]) -> Iterator[ConfigFile]:
    """One small program a tool."""
    made, run = distribution(ctx), ctx.cloud.run
    places = f"OVS_RUNDIR={shlex.quote(str(run / 'openvswitch'))}"
    places += f" OVN_RUNDIR={shlex.quote(str(run / 'ovn'))}"
    for tool in names:
        yield ConfigFile(
            ctx.cloud.bin / tool,
            f"#!/bin/sh\n# {tool}, for the cloud {ctx.cloud.name!r}. Made by onestack.\n"
            f'{places} exec {shlex.quote(made.program(tool))} "$@"\n',
            mode=0o755,
        )
