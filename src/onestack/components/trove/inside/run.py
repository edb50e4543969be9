"""Trove in one process (services' environment): API, conductor and taskmanager.

What is called is what upstream's ``cmd/app_wsgi.py``, ``cmd/conductor.py`` and
``cmd/taskmanager.py`` call, on native threads, without a launcher's master process beside
each, and with readers of messages that believe nobody without a key.
"""

from __future__ import annotations

import functools
import logging
import random
import sys
import threading
from socket import socket
from typing import Any

from onestack.components.trove.inside import threads
from onestack.model.process import Process
from onestack.runtime import wsgi


def all_of_it(spec: Process, sockets: dict[str, socket]) -> None:
    configure(spec.arguments["config"])
    from oslo_config import cfg
    from trove.common import notification, pastedeploy
    from trove.common.cfg import set_api_config_defaults
    from trove.conductor import api as conductor_api
    from trove.instance import models
    from trove.taskmanager import api as task_api

    from onestack.components.trove.inside import interrupted, strict, tasks
    from onestack.components.trove.inside.admission import Admission

    conf = cfg.CONF
    _mend()
    notification.DBaaSAPINotification.register_notify_callback(models.persist_instance_fault)
    set_api_config_defaults()
    strict.speak_as_taskmanager()
    application = pastedeploy.paste_deploy_app(conf.api_paste_config, "trove", {})
    working = tasks.Tasks()
    conductor = _Listener(
        conf.conductor_queue,
        strict.Conductor(),
        conductor_api.API.API_LATEST_VERSION,
        strict.FromGuests(_plain()),
    )
    taskmanager = _Listener(
        conf.taskmanager_queue,
        working,
        task_api.API.API_LATEST_VERSION,
        strict.OfOneKey(_plain(), conf.taskmanager_rpc_encr_key),
    )
    interrupted.settle(working)
    wsgi.serve(Admission(application), sockets["api"], beside=(taskmanager, conductor))


def configure(files: list[str]) -> None:
    """Upstream, told of these files."""
    named = [word for path in files for word in ("--config-file", path)]
    sys.argv[:] = ["trove", *named]
    threads.begin()
    from trove.cmd.common import initialize

    initialize()
    from onestack.components.trove.inside import masking

    masking.mask()


def _mend() -> None:
    """What of upstream's is not fit for threads, for keeping secrets, or believes anybody."""
    from trove import rpc
    from trove.common import crypto_utils
    from trove.instance import models
    from trove.taskmanager import manager

    from onestack.components.trove.inside import strict, tasks

    class Keys(models.instance_encryption_key_cache):  # type: ignore[misc]
        """Of the guests that were spoken with last. Upstream's is for one thread."""

        lock = threading.Lock()

        def get(self, instance_id: str) -> Any:
            with self.lock:
                return super().get(instance_id)

    # The queue of a new guest is made by a server that begins and ends at once.
    rpc.get_server = _server_for_a_moment
    # Of a guest's answer upstream takes what it cannot decrypt as it stands.
    rpc.get_client = functools.partial(rpc.get_client, secure_serializer=strict.OfOneKey)
    models._instance_encryption_key = Keys(models._get_instance_encryption_key)
    manager.FreshInstanceTasks = tasks.Fresh
    # It makes guests' keys and people's passwords, which a generator with a seed gives away.
    crypto_utils.random = random.SystemRandom()
    # It writes new keys to the log.
    logging.getLogger(models.__name__).setLevel(logging.INFO)


def _server_for_a_moment(target: Any, endpoints: list[Any], key: str, **_: Any) -> Any:
    from onestack.components.trove.inside import strict

    return _server(target, endpoints, strict.OfOneKey(_plain(), key))


def _plain() -> Any:
    from trove.common.rpc.serializer import TroveRequestContextSerializer

    return TroveRequestContextSerializer(None)


def _server(target: Any, endpoints: list[Any], serializer: Any) -> Any:
    """Of calls. Upstream's own is for eventlet alone."""
    import oslo_messaging
    from oslo_messaging.rpc import dispatcher
    from trove import rpc

    return oslo_messaging.get_rpc_server(
        rpc.TRANSPORT,
        target,
        endpoints,
        executor="threading",
        serializer=serializer,
        access_policy=dispatcher.DefaultRPCAccessPolicy,
    )


class _Listener:
    """A server of calls. Its tasks run for minutes: they are not waited for at the end."""

    def __init__(self, topic: str, manager: Any, version: str, serializer: Any) -> None:
        import oslo_messaging
        from oslo_config import cfg

        target = oslo_messaging.Target(topic=topic, server=cfg.CONF.host, version=version)
        if not hasattr(manager, "target"):
            manager.target = target
        self._server = _server(target, [manager], serializer)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        self._server.wait()
