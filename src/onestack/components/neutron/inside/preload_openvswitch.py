"""The zygote's imports with Open vSwitch's agents."""

from __future__ import annotations

# ruff: noqa: F401 (importing is all that is wanted)
import neutron.plugins.ml2.drivers.openvswitch.agent.ovs_neutron_agent
import neutron.plugins.ml2.drivers.openvswitch.mech_driver.mech_openvswitch
import neutron.plugins.ml2.drivers.type_vxlan
import neutron.services.l3_router.l3_router_plugin
import os_ken.ofproto.ofproto_v1_3_parser
from sqlalchemy import orm

from onestack.components.neutron.inside import preload, preload_server

# All models are there: what each process would work out for itself, in pages of its own.
orm.configure_mappers()
preload.check()
