"""Agents of hosts that are none any more. OVN's are rows of its database, and neutron knows them
by heart: each of its processes forgets one when it is told to."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from onestack.cloudapi.neutron import neutron_of
from onestack.components.hosts import staying
from onestack.model.change import Change
from onestack.model.context import Context


def ensure_departed(ctx: Context) -> Iterator[Change]:
    neutron, stay = neutron_of(ctx), staying(ctx)
    for agent in neutron.all("agent"):
        if agent["host"] not in stay:
            yield Change(
                f"remove the {agent['agent_type']} of {agent['host']}, which is no host any more",
                functools.partial(neutron.delete, "agent", agent["id"]),
            )
