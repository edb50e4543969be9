"""Imported into the warm parent before any oslo library: services use native threads.

oslo.service chooses its implementation at its first import, and chooses
eventlet, which is kept out of the warm parent, unless told otherwise before.
"""

from __future__ import annotations

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)
