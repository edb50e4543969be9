"""The mechanism driver of `external` with Open vSwitch's agents (services' environment).

Their agent takes what comes from a bridge without a tag to one network: of two that are flat,
or local and led out, each would take it from the other. So one network at a time has the
untagged frames of the external bridge. Upstream sees to it among flat ones; here local
ones are seen to, which need it only for ports in the integration bridge: routers' legs are
plugged into the external bridge itself. The first of them that has such a port gets it.

A port that is there already is not wired otherwise: the agent keeps what it was told of it.

Many networks and ports are made at once. Whoever decides waits until those who did so before
have committed, and asks for what there is beside the own transaction, which does not see what
was committed since it began.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from neutron.db import models_v2
from neutron.db.models import segment as segment_models
from neutron.objects import network as network_objects
from neutron.services.l3_router.l3_router_plugin import L3RouterPlugin
from neutron_lib import constants, exceptions
from neutron_lib import context as contexts
from neutron_lib.api.definitions import (
    dvr,
    l3_ext_ha_mode,
    network_ha,
    router_admin_state_down_before_update,
)
from neutron_lib.db import api as db_api
from oslo_log import log as logging

from onestack.components.neutron.inside.external import (
    ExternalNetworkDriver,
    external,
    lead,
    local_segments,
)

LOG = logging.getLogger(__name__)
NOT_HERE = (
    dvr.ALIAS,
    l3_ext_ha_mode.ALIAS,
    network_ha.ALIAS,
    router_admin_state_down_before_update.ALIAS,  # which is of the first
)
"""Extensions for routers on several hosts at once."""
ELSEWHERE = (constants.DEVICE_OWNER_ROUTER_GW, constants.DEVICE_OWNER_FLOATINGIP)
"""Owners of ports that are not in the integration bridge."""
LOCK = sqlalchemy.table("alembic_version", sqlalchemy.column("version_num"))
"""Its rows are always there, and nobody else locks them."""


class UntaggedFramesInUse(exceptions.Conflict):  # type: ignore[misc]
    message = (
        "The bridge of the physical network %(physical)s carries the frames of one network "
        "without a tag, and those are %(network)s's, which has ports. Delete its ports (DHCP's "
        "go with: openstack subnet set --no-dhcp SUBNET), or make this network of type vlan."
    )


class PortsAreWired(exceptions.Conflict):  # type: ignore[misc]
    message = (
        "Ports of the network %(network)s are wired to the physical network %(physical)s. It "
        "can be made internal once they are deleted (DHCP's go with: openstack subnet set "
        "--no-dhcp SUBNET)."
    )


class OpenvswitchExternalNetworkDriver(ExternalNetworkDriver):
    """It is also where the API is kept from promising what one host's agents do not do.

    A router made with ``--ha`` or ``--distributed`` would be ACTIVE for ever and forward
    nothing: the agents have no keepalived, and are not told of others.
    """

    def initialize(self) -> None:
        super().initialize()
        offered = L3RouterPlugin._supported_extension_aliases
        for alias in NOT_HERE:
            if alias in offered:
                offered.remove(alias)

    def create_network_precommit(self, context: Any) -> None:
        super().create_network_precommit(context)
        self._make_room_for_flat(context)

    def update_network_precommit(self, context: Any) -> None:
        network, ours = context.current["id"], context._plugin_context
        internal = external(context.original) and not external(context.current)
        if internal and any(s.physical_network for s in local_segments(context, network)):
            with _alone(ours) as views:
                if _ports(views, network):
                    raise PortsAreWired(network=network, physical=self._physical_network)
        super().update_network_precommit(context)
        self._make_room_for_flat(context)

    def create_port_precommit(self, context: Any) -> None:
        """The network's first port in the integration bridge is what it has to be led out for."""
        network, port, ours = context.network.current, context.current, context._plugin_context
        if not (self._physical_network and external(network)):
            return
        if port["device_owner"] in ELSEWHERE or _ports([ours], network["id"], but=port["id"]):
            return
        if not (segments := local_segments(context, network["id"])):
            return
        with _alone(ours) as views:
            others = self._others(views, network["id"])
            if any(_is_flat(s) or _ports(views, s.network_id) for s in others):
                return
        _do_without(ours, others)
        for segment in segments:
            lead(segment, self._physical_network)

    def _way_out(self, context: Any) -> str | None:
        network = context.current["id"]
        with _alone(context._plugin_context) as views:
            if self._others(views, network) or _ports(views, network):
                LOG.info("Guests of the external network %s are not led out", network)
                return None
        return self._physical_network

    def _make_room_for_flat(self, context: Any) -> None:
        """A network that is flat where a local one has the untagged frames, and no port."""
        network, ours = context.current["id"], context._plugin_context
        if not any(s.network_id == network and _is_flat(s) for s in self._untagged(ours)):
            return
        with _alone(ours) as views:
            others = self._others(views, network)
            for segment in others:
                if _ports(views, segment.network_id):
                    raise UntaggedFramesInUse(
                        physical=self._physical_network, network=segment.network_id
                    )
        _do_without(ours, others)

    def _untagged(self, view: Any) -> list[Any]:
        """Segments whose frames pass the external bridge without a tag."""
        return [
            segment
            for segment in network_objects.NetworkSegment.get_objects(
                view, physical_network=self._physical_network
            )
            if segment.network_type == constants.TYPE_LOCAL or _is_flat(segment)
        ]

    def _others(self, views: list[Any], network: str) -> list[Any]:
        found = {segment.id: segment for view in views for segment in self._untagged(view)}
        return [segment for segment in found.values() if segment.network_id != network]


@contextmanager
def _alone(ours: Any) -> Iterator[list[Any]]:
    """What this transaction sees, and what is committed.

    Nobody else comes here before the transaction has ended.
    """
    ours.session.execute(sqlalchemy.select(LOCK).with_for_update())
    committed = contexts.get_admin_context()
    with db_api.CONTEXT_READER.using(committed):
        yield [ours, committed]


def _is_flat(segment: Any) -> bool:
    return bool(segment.network_type == constants.TYPE_FLAT)


def _do_without(ours: Any, segments: list[Any]) -> None:
    """By a statement: this transaction may not see those that were made since it began."""
    model = segment_models.NetworkSegment
    rows = ours.session.query(model).filter(model.id.in_([segment.id for segment in segments]))
    rows.update({model.physical_network: None}, synchronize_session=False)
    for segment in segments:
        LOG.info("Guests of the network %s are led out no more", segment.network_id)


def _ports(views: list[Any], network: str, but: str = "") -> int:
    """How many of the network's ports are, or are to be, in the integration bridge."""
    port = models_v2.Port
    counts = [
        view.session.query(port.id)
        .filter(port.network_id == network, port.device_owner.notin_(ELSEWHERE), port.id != but)
        .count()
        for view in views
    ]
    return int(max(counts))
