"""Balancers of amphorae that an earlier process left in the middle (services' environment).

The database has what was asked for: an amphora that says it has its network is told all of
it again, and for one that was being made or replaced there is upstream's failover, which
makes all of a balancer's anew, once the hypervisor had time to come.
"""

from __future__ import annotations

import logging
import time
from concurrent import futures
from typing import Any

from keystoneauth1.exceptions import ClientException as KeystoneException
from novaclient.exceptions import ClientException
from octavia.amphorae.driver_exceptions import exceptions as driver_errors
from octavia.amphorae.drivers.haproxy import exceptions as agent_errors
from octavia.common import constants, exceptions, utils
from octavia.common.clients import NovaAuth
from octavia.controller.worker.v2 import controller_worker
from octavia.db import api, repositories
from oslo_config import cfg
from webob.exc import HTTPException

from onestack.components.octavia.inside.interrupted import Left

LOG = logging.getLogger("onestack.octavia")
CONF = cfg.CONF
_AT_ONCE = 3


def repair(left: Left) -> None:
    with futures.ThreadPoolExecutor(_AT_ONCE) as executor:
        seen_to = [executor.submit(_tell, balancer) for balancer in left.behind]
        if left.broken or left.half_made:
            time.sleep(CONF.health_manager.heartbeat_timeout)
            _adopt(left.half_made)
            seen_to += [executor.submit(_renew, balancer) for balancer in left.broken]
        for each in seen_to:
            each.result()


def _tell(balancer: str) -> None:
    """All of the balancer's configuration to its amphora, which may still boot."""
    LOG.info("Amphorae of the load balancer %s are told all of it again", balancer)
    known = repositories.LoadBalancerRepository()
    driver = utils.get_amphora_driver()
    with api.session().begin() as session:
        whole = known.get(session, id=balancer)
    there = [amphora for amphora in whole.amphorae if amphora.status != constants.DELETED]
    try:
        if not all(_has_network(driver, amphora) for amphora in there):
            _renew(balancer)
            return
        driver.update(whole)
    except (driver_errors.AmphoraDriverError, exceptions.OctaviaException, HTTPException):
        LOG.exception("Amphorae of the load balancer %s could not be told", balancer)
        becomes = constants.ERROR
    else:
        becomes = constants.ACTIVE
    with api.session().begin() as session:
        known.update(session, balancer, provisioning_status=becomes)


def _has_network(driver: Any, amphora: Any) -> bool:
    """Its own address is what it gets last; one that boots answers before it has it again."""
    ends = time.monotonic() + CONF.health_manager.heartbeat_timeout
    while True:
        try:
            driver.get_interface_from_ip(amphora, amphora.vrrp_ip)
        except agent_errors.NotFound:
            if time.monotonic() >= ends:
                return False
            time.sleep(CONF.haproxy_amphora.connection_retry_interval)
        else:
            return True


def _renew(balancer: str) -> None:
    """It says itself how that ended, by the balancer's status."""
    LOG.info("Amphorae of the load balancer %s are made anew", balancer)
    controller_worker.ControllerWorker().failover_loadbalancer(balancer)


def _adopt(amphorae: tuple[str, ...]) -> None:
    """Servers made for amphorae, of which nobody wrote down the IDs: who deletes these finds them.

    Their names are how they are known.
    """
    own = CONF.nova
    nova = NovaAuth.get_nova_client(
        own.region_name, endpoint_type=own.endpoint_type, service_name=own.service_name
    )
    known = repositories.AmphoraRepository()
    for amphora in amphorae:
        try:
            servers = nova.servers.list(search_opts={"name": f"^amphora-{amphora}$"})
        except (ClientException, KeystoneException):
            LOG.exception("Whether the amphora %s has a server is not known", amphora)
            continue
        for server in servers:
            LOG.info("The server %s is that of the amphora %s", server.id, amphora)
            with api.session().begin() as session:
                known.update(session, amphora, compute_id=server.id)
