"""Cinder's services, each in a child of the zygote (services' environment).

The functions do what upstream's ``cinder/cmd`` modules do, without the
launcher's master process beside each worker. Two of cinder's own services
cannot be in one process: the record to which each reports is kept in the class.
"""

from __future__ import annotations

import sys
from socket import socket
from typing import Any

from onestack.model.process import Process
from onestack.runtime import service, wsgi

STOP_TIMEOUT = 25.0
"""Seconds for volumes and backups that are being made when their service is to end."""


def api(spec: Process, sockets: dict[str, socket]) -> None:
    """The API and the scheduler."""
    _native_threads("cinder-api", spec)
    from cinder import policy
    from cinder import service as cinder_service
    from cinder.wsgi import wsgi as cinder_wsgi
    from oslo_config import cfg
    from oslo_service import wsgi as paste

    # The option is deprecated in a file; without it the paste file is looked for beside
    # cinder.conf, and it lies in the services' environment.
    paste.register_opts(cfg.CONF)
    cfg.CONF.set_override("api_paste_config", spec.arguments["paste"])
    from onestack.components.cinder.inside import messages

    messages.know()
    messages.read_figures()
    application = cinder_wsgi.initialize_application()
    policy.init()
    scheduler = cinder_service.Service.create(binary="cinder-scheduler")
    messages.tell_of_places(scheduler.manager)
    wsgi.serve(application, sockets["api"], beside=(scheduler,))


def volume(spec: Process, sockets: dict[str, socket]) -> None:
    _configure("cinder-volume", spec)
    import os_brick
    from cinder import service as cinder_service
    from oslo_config import cfg

    from onestack.components.cinder.inside import messages, unfinished

    messages.tell_once()
    messages.tell_of_images()
    messages.tell_of_retypes()
    unfinished.finish_at_start()
    unfinished.heed_what_is_settled()
    os_brick.setup(cfg.CONF)
    backend = spec.arguments["backend"]
    service.serve(
        _Announced(
            cinder_service.Service.create(
                host=f"{cfg.CONF.host}@{backend}",
                service_name=backend,
                binary="cinder-volume",
                coordination=True,
            )
        ),
        timeout=STOP_TIMEOUT,
    )


def backup(spec: Process, sockets: dict[str, socket]) -> None:
    _configure("cinder-backup", spec)
    import os_brick
    from cinder import service as cinder_service
    from cinder import utils
    from cinder.cmd import backup as options  # registers two options
    from oslo_config import cfg

    os_brick.setup(cfg.CONF)
    limit = utils.semaphore_factory(options.CONF.backup_max_operations, 1)
    service.serve(
        _Announced(
            cinder_service.Service.create(
                service_name="backup",
                binary="cinder-backup",
                coordination=True,
                process_number=1,
                semaphore=limit,
            )
        ),
        timeout=STOP_TIMEOUT,
    )


class _Announced:
    """Upstream's service, which the scheduler knows when it is ready, and which finishes its work.

    By itself it says what it has at some time in its first minute; until then the
    scheduler, which asks but once and maybe too early, finds no place for a volume.
    """

    def __init__(self, service: Any) -> None:
        self._service = service

    def start(self) -> None:
        from cinder import context

        self._service.start()
        self._service.manager.publish_service_capabilities(context.get_admin_context())

    def stop(self) -> None:
        self._service.stop()
        self._service.wait()


def _native_threads(binary: str, spec: Process) -> None:
    """Must come before anything else of cinder; the environment asks it for threads."""
    sys.argv[:] = [binary, "--config-file", spec.arguments["config"]]
    from cinder import monkey_patch

    monkey_patch.patch()


def _configure(binary: str, spec: Process) -> None:
    _native_threads(binary, spec)
    from cinder import i18n, objects, version
    from cinder.common import config  # noqa: F401 - registers the options
    from oslo_config import cfg
    from oslo_log import log

    i18n.enable_lazy()
    objects.register_all()
    cfg.CONF(sys.argv[1:], project="cinder", version=version.version_string())
    log.setup(cfg.CONF, "cinder")
