"""Trove on native threads (services' environment)."""

from __future__ import annotations

import os


def begin() -> None:
    """Before anything of trove's is imported.

    Upstream patches Python's sockets for eventlet, wherever two of its modules are imported
    and whatever it is told. Nothing of it runs on eventlet here: while those two are
    imported, patching does nothing.
    """
    os.environ["NO_EVENTLET_MONKEYPATCH"] = "1"
    import eventlet.patcher
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    patch = eventlet.patcher.monkey_patch
    eventlet.patcher.monkey_patch = lambda *_, **__: None
    try:
        from trove.common import base_wsgi, wsgi  # noqa: F401
    finally:
        eventlet.patcher.monkey_patch = patch
