"""All components, in the order in which people think of them."""

from __future__ import annotations

from onestack.components.aodh import Aodh
from onestack.components.barbican import Barbican
from onestack.components.ceilometer import Ceilometer
from onestack.components.chrony import Chrony
from onestack.components.cinder import Cinder
from onestack.components.clients import Clients
from onestack.components.door import Door
from onestack.components.glance import Glance
from onestack.components.gnocchi import Gnocchi
from onestack.components.guests import Guests
from onestack.components.haproxy import Haproxy
from onestack.components.heat import Heat
from onestack.components.horizon import Horizon
from onestack.components.keystone import Keystone
from onestack.components.libvirt import Libvirt
from onestack.components.mariadb import Mariadb
from onestack.components.memcached import Memcached
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.octavia import Octavia
from onestack.components.openvswitch import Openvswitch
from onestack.components.ovn import Ovn
from onestack.components.placement import Placement
from onestack.components.provision import Provision
from onestack.components.rabbitmq import Rabbitmq
from onestack.components.sahara import Sahara
from onestack.components.swift import Swift
from onestack.components.tempest import Tempest
from onestack.components.trove import Trove
from onestack.model.component import Component

ALL: tuple[Component, ...] = (
    Mariadb(),
    Rabbitmq(),
    Memcached(),
    Chrony(),
    Openvswitch(),
    Ovn(),
    Libvirt(),
    Guests(),
    Keystone(),
    Barbican(),
    Swift(),
    Glance(),
    Placement(),
    Nova(),
    Neutron(),
    Cinder(),
    Heat(),
    Octavia(),
    Trove(),
    Sahara(),
    Horizon(),
    Gnocchi(),
    Ceilometer(),
    Aodh(),
    Haproxy(),
    Door(),
    Clients(),
    Provision(),
    Tempest(),
)
