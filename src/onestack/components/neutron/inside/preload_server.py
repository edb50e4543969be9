"""What neutron's API and workers import in either layout: once, in the zygote."""

from __future__ import annotations

# ruff: noqa: F401 (importing is all that is wanted)
import neutron.pecan_wsgi.startup
import neutron.plugins.ml2.drivers.type_flat
import neutron.plugins.ml2.drivers.type_local
import neutron.plugins.ml2.drivers.type_vlan
import neutron.plugins.ml2.extensions.port_security
import neutron.server.api
import neutron.services.auto_allocate.plugin
import neutron.services.flavors.flavors_plugin
import neutron.services.network_ip_availability.plugin
import neutron.services.qos.qos_plugin
import neutron.services.revisions.revision_plugin
import neutron.services.segments.plugin
import neutron.services.tag.tag_plugin
import neutron.services.timestamp.timestamp_plugin
import neutron.services.trunk.plugin
import novaclient.v2.client
import paste.urlmap
import pymysql
