"""Choose oslo.service's native threads, once, before anything imports its eventlet half.

Every warm parent imports this first. It runs in the services' environment;
where there is no oslo.service there is nothing to choose.
"""

from __future__ import annotations

import contextlib

with contextlib.suppress(ModuleNotFoundError):
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
