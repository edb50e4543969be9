"""The zygote's imports with OVN."""

from __future__ import annotations

# ruff: noqa: F401 (importing is all that is wanted)
import neutron.plugins.ml2.drivers.ovn.mech_driver.mech_driver
import neutron.plugins.ml2.drivers.type_geneve
import neutron.services.ovn_l3.plugin
from sqlalchemy import orm

from onestack.components.neutron.inside import preload, preload_server

# All models are there: what each process would work out for itself, in pages of its own.
orm.configure_mappers()
preload.check()
