"""Nova's services, each in a child of the zygote (services' environment).

The functions do what upstream's ``nova/cmd`` modules do, without the
launcher's master process beside each worker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from socket import socket
from typing import Any

from onestack.components.nova.inside import callers, connection, standing, waiting
from onestack.model.process import Process
from onestack.runtime import messaging, service, wsgi

STOP_TIMEOUT = 25.0
"""Seconds that guests get which are being made or changed when the compute service is to end."""


def api(spec: Process, sockets: dict[str, socket]) -> None:
    """The compute API, the metadata API, conductor and scheduler."""
    sys.argv[:] = ["nova-api"]
    _native_threads()
    _take_what_stands(spec)
    from nova.api.openstack import wsgi_app
    from nova.conductor import rpcapi as conductor
    from nova.scheduler import rpcapi as scheduler

    from onestack.components.nova.inside import forgotten

    compute = wsgi_app.init_application("osapi_compute", "nova-api-os-compute")
    metadata = wsgi_app.init_application("metadata", "nova-metadata-api")
    tasks = _service("nova-conductor", topic=conductor.RPC_TOPIC)
    forgotten.end_at_the_conductor(tasks.manager)
    wsgi.serve_many(
        [(compute, sockets["api"], 8), (metadata, sockets["metadata"], 4)],
        beside=(
            _Heard(tasks),
            _Heard(_service("nova-scheduler", topic=scheduler.RPC_TOPIC)),
        ),
    )


def compute(spec: Process, sockets: dict[str, socket]) -> None:
    _configure("nova-compute", spec)
    _take_what_stands(spec)
    import nova.conf
    import nova.db.main.api
    import os_brick
    import os_vif
    from nova.compute import rpcapi
    from nova.objects import base
    from oslo_service import opts

    from onestack.components.nova.inside import interrupted, moved_volumes, reports, volumes

    if elsewhere := spec.arguments.get("elsewhere"):
        _may_go(**json.loads(elsewhere))
    volumes.use_local_volumes()
    volumes.refuse_to_swap()
    moved_volumes.move_with_volumes()
    opts.register_service_opts(nova.conf.CONF)
    os_brick.setup(nova.conf.CONF)
    os_vif.initialize()
    # compute reaches the database only through the conductor
    nova.db.main.api.DISABLE_DB_ACCESS = True
    base.NovaObject.indirection_api = reports.Conductor()
    if trusted := spec.arguments.get("trusted"):
        messaging.admit_only(callers.admits(json.loads(trusted)))
    made = _service("nova-compute", topic=rpcapi.RPC_TOPIC, topic_alt=rpcapi.RPC_TOPIC_ALT)
    interrupted.end_at_the_compute(made.manager)
    service.serve(_Compute(made, spec.arguments.get("served", "")), timeout=STOP_TIMEOUT)


def _may_go(shown: str, controller: str) -> None:
    """Servers that are off, to another host; ``shown`` empty: they may not."""
    from onestack.components.nova.inside import cold_moves, files_elsewhere

    if shown:
        files_elsewhere.copy_over_tls(shown, controller)
    cold_moves.refuse_or_finish(bool(shown))
    cold_moves.give_back_at_start()


def novncproxy(spec: Process, sockets: dict[str, socket]) -> None:
    _configure("nova-novncproxy", spec)
    import nova.conf
    from nova.conf import novnc, vnc
    from nova.console import websocketproxy
    from nova.console.securityproxy import rfb

    conf = nova.conf.CONF
    vnc.register_opts(conf)
    novnc.register_opts(conf)
    websocketproxy.NovaWebSocketProxy(
        listen_fd=sockets["console"].fileno(),
        web=spec.arguments["web"],
        file_only=True,
        RequestHandlerClass=websocketproxy.NovaProxyRequestHandler,
        security_proxy=rfb.RFBSecurityProxy(),
    ).start_server()


def _take_what_stands(spec: Process) -> None:
    if at_the_bus := spec.arguments.get("standing"):
        standing.take_as_it_is(**json.loads(at_the_bus))


def _native_threads() -> None:
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")


def _configure(binary: str, spec: Process) -> None:
    sys.argv[:] = [binary, "--config-file", spec.arguments["config"]]
    _native_threads()
    import nova.conf
    from nova import config, objects
    from oslo_log import log

    config.parse_args(sys.argv)
    log.setup(nova.conf.CONF, "nova")
    objects.register_all()


def _service(binary: str, **topics: Any) -> Any:
    from nova import objects
    from nova import service as nova_service

    objects.Service.enable_min_version_cache()
    # Periodic tasks that find the service ending do not say when they are due again; without
    # a largest interval, which is that of upstream's tasks, this is logged as an error.
    return nova_service.Service.create(binary=binary, periodic_interval_max=60, **topics)


class _Heard:
    """Upstream's service, which reports as soon as it has started.

    Its own first report comes 5 s later, and until then nobody knows that it is up.
    """

    def __init__(self, service: Any) -> None:
        self._service = service

    def start(self) -> None:
        self._service.start()
        record = self._service.service_ref
        record.report_count += 1
        record.save()

    def stop(self) -> None:
        self._service.stop()


class _Compute(_Heard):
    """It is not put off by a libvirtd that restarts, and ends by itself."""

    def __init__(self, service: Any, served: str) -> None:
        super().__init__(service)
        self._manager = service.manager
        self._host = service.manager.driver._host
        connection.reconnect_at_once(self._host)
        self._waiting = waiting.Waiting(self._host, Path(served)) if served else None

    def start(self) -> None:
        super().start()
        if self._waiting:
            self._waiting.start()

    def stop(self) -> None:
        if self._waiting:
            self._waiting.stop()
        connection.end_events(self._host)
        if self._manager._pending_dest_resizes:
            from onestack.components.nova.inside import cold_moves

            cold_moves.forget_failed(self._manager)
        super().stop()
