"""``ROOT/bin/ovs-vsctl`` and the like: the switch's tools, for this cloud's switch.

As installed they look for their sockets in /run, where another switch may be.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.network.distribution import distribution

DAEMONS = {"ovs-appctl": "ovs-vswitchd", "ovn-appctl": "ovn-northd"}
"""Tools that talk to a daemon, and the one that they talk to when none is named."""
TARGET = """\
target=USUAL
case ${{1-}} in
    -t | --target) target=${{2-}}; shift 2 ;;
    -t*) target=${{1#-t}}; shift ;;
    --target=*) target=${{1#--target=}}; shift ;;
esac
for socket in {run}/openvswitch/$target.ctl {run}/ovn/$target.ctl; do
    if [ -S "$socket" ]; then target=$socket; fi
done
set -- --target="$target" "$@"
"""
"""A daemon of the cloud's by its name: as installed the tools look for a file with its pid."""


def tools(ctx: Context, names: Iterable[str]) -> Iterator[ConfigFile]:
    """One small program a tool."""
    made, run = distribution(ctx), ctx.cloud.run
    places = f"OVS_RUNDIR={shlex.quote(str(run / 'openvswitch'))}"
    places += f" OVN_RUNDIR={shlex.quote(str(run / 'ovn'))}"
    for tool in names:
        asked = TARGET.format(run=shlex.quote(str(run))) if tool in DAEMONS else ""
        yield ConfigFile(
            ctx.cloud.bin / tool,
            f"#!/bin/sh\n# {tool}, for the cloud {ctx.cloud.name!r}. Made by onestack.\n"
            f"{asked.replace('USUAL', DAEMONS.get(tool, ''))}"
            f'{places} exec {shlex.quote(made.program(tool))} "$@"\n',
            mode=0o755,
        )
