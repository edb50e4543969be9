"""What cinder's processes import: once, in a zygote of their own."""

from __future__ import annotations

import os

from onestack.kernel.import_blocker import refuse

os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
# Images still pass through eventlet's pool of threads (cinder/image/image_utils.py), which
# answers only the first native thread that asks: the second image would never end. Without
# threads in the pool the work is done where it is asked for.
os.environ["EVENTLET_THREADPOOL_SIZE"] = "0"

# os-brick has a connector for it, which no volume of ours has.
refuse("oslo_vmware")

# ruff: noqa: E402, F401 (the variable comes first, objects before what uses them)
from cinder import objects

objects.register_all()

import cinder.api.v3.router
import cinder.db.api
import cinder.scheduler.manager
import cinder.service
import cinder.volume.manager
from sqlalchemy import orm

# All models are there: what each process would work out for itself, in pages of its own.
orm.configure_mappers()
