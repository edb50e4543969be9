"""What cinder's processes import: once, in a warm parent of their own."""

from __future__ import annotations

import os

os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"

# ruff: noqa: E402, F401 (the variable comes first, objects before what uses them)
from cinder import objects

objects.register_all()

import cinder.api.v3.router
import cinder.db.api
import cinder.scheduler.manager
import cinder.service
import cinder.volume.manager
