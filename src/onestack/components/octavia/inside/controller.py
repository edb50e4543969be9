"""Worker, health manager and certificates of amphorae, as threads (services' environment).

What is called is what upstream's ``octavia/cmd`` modules call.
"""

from __future__ import annotations

import functools
import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable
from concurrent import futures
from typing import Any

from octavia.amphorae.drivers.health import heartbeat_udp
from octavia.cmd import house_keeping
from octavia.controller.healthmanager import health_manager
from octavia.controller.queue.v2 import consumer
from oslo_config import cfg
from oslo_db import exception as db_errors
from sqlalchemy.exc import SAWarning

from onestack.components.octavia.inside.interrupted import Left
from onestack.components.octavia.inside.repair import repair
from onestack.runtime import service

LOG = logging.getLogger("onestack.octavia")
CONF = cfg.CONF


def worker() -> Any:
    """Takes what the API has for amphorae from the bus."""
    return service.Worker(consumer.ConsumerService(0, CONF))


def threads(left: Left, grace: float) -> dict[str, Callable[[], Any]]:
    """What runs beside it, by name.

    ``grace`` is how many seconds amphorae get at the start, which may still boot then.
    """
    return {
        "heartbeats": _listen,
        "health": functools.partial(_watch, grace),
        "certificates": house_keeping.cert_rotation,
        "repair": functools.partial(repair, left),
    }


def _listen() -> None:
    heartbeats = _Heartbeats()
    while True:
        heartbeats.check()


class _Heartbeats(heartbeat_udp.UDPStatusGetter):  # type: ignore[misc]
    """Upstream's, which has a process for each core instead of a few threads, twice.

    Its address may be there only later, when the switch has the port of this host.
    """

    def __init__(self) -> None:
        own = CONF.health_manager
        self.key = own.heartbeat_key
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        self.sock.settimeout(1)
        self.sock.bind((own.bind_ip, own.bind_port))
        self.health_executor = futures.ThreadPoolExecutor(own.health_update_threads)
        self.stats_executor = futures.ThreadPoolExecutor(own.stats_update_threads)
        self.health_updater = heartbeat_udp.UpdateHealthDb()


_FREEBIND = 15
"""IP_FREEBIND, which Python's `socket` does not have."""


def _watch(grace: float) -> None:
    """Replace amphorae that are no longer heard of, as soon as they could have been.

    After a start, and after the machine has slept, all that is known is old.
    """
    # Upstream's statement says so at each look.
    warnings.filterwarnings("ignore", "Coercing Subquery object", SAWarning)
    patience = CONF.health_manager.heartbeat_timeout
    manager = health_manager.HealthManager(threading.Event())
    time.sleep(grace)
    looked = time.time()
    while True:
        time.sleep(CONF.health_manager.health_check_interval)
        slept = time.time() - looked - CONF.health_manager.health_check_interval
        if slept > patience / 2:
            LOG.warning("The machine stood still for %d s; amphorae get time to be heard", slept)
            time.sleep(patience)
        try:
            manager.health_check()
        except db_errors.DBError:
            LOG.exception("The database did not say which amphorae are well")
        looked = time.time()
