"""Choose oslo.service's native threads, once, before anything imports its eventlet half.

Every zygote imports this first. It runs in the services' environment;
where there is no oslo.service, or one of before that choice, there is nothing to choose.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("oslo_service") and find_spec("oslo_service.backend"):
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
