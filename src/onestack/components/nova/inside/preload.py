"""What nova's processes import: once, in a zygote of their own."""

from __future__ import annotations

import os

from onestack.kernel.import_blocker import refuse

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"

# os-brick has a connector for it, which no volume of ours has.
refuse("oslo_vmware")

# ruff: noqa: E402, F401 (the variable comes first; importing is all that is wanted)
from nova import objects

objects.register_all()

import nova.api.openstack.compute.routes
import nova.api.openstack.wsgi_app
import nova.compute.manager
import nova.conductor.manager
import nova.db.api.api
import nova.db.main.api
import nova.scheduler.manager
import nova.service
import nova.virt.libvirt.driver
from sqlalchemy import orm

# All models are there: what each process would work out for itself, in pages of its own.
orm.configure_mappers()
