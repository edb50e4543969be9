"""What is ours inside Octavia, tried with upstream's own code: run by test_octavia_upstream.

``python octavia_trials.py TRIAL [CONFIGURATION]``; ends with 0 when all is as expected.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import tempfile
import threading
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from octavia.common import config, constants
from octavia.db import api, base_models, models
from oslo_config import cfg

from onestack.components.octavia.inside import refusals, statuses

SEEDS = {
    models.ProvisioningStatus: constants.SUPPORTED_PROVISIONING_STATUSES,
    models.OperatingStatus: constants.SUPPORTED_OPERATING_STATUSES,
    models.LBTopology: constants.SUPPORTED_LB_TOPOLOGIES,
    models.AmphoraRoles: constants.SUPPORTED_AMPHORA_ROLES,
    models.Protocol: constants.SUPPORTED_PROTOCOLS,
    models.Algorithm: constants.SUPPORTED_LB_ALGORITHMS,
    models.L7PolicyAction: constants.SUPPORTED_L7POLICY_ACTIONS,
}


PLUGGED = {"vrrp_port_id": "port", "vrrp_ip": "198.51.100.9"}
"""What an amphora has once its port was attached, after it is allocated."""


def _database(folder: str, file: str = "/dev/null", url: str = "") -> None:
    """With the release's own tables, and the words that they refer to."""
    config.init([f"--config-file={file}"])
    cfg.CONF.set_override("connection", url or f"sqlite:///{folder}/octavia", "database")
    if not url:
        cfg.CONF.set_override("pool_timeout", None, "database")
    base_models.BASE.metadata.create_all(api.get_engine())
    with api.session().begin() as session:
        for model, names in SEEDS.items():
            session.add_all([model(name=name) for name in names])


def _balancer(status: str, *amphorae: str, provider: str = "amphora", **more: Any) -> str:
    identity = str(uuid.uuid4())
    common = {"operating_status": "ONLINE", "enabled": True, "project_id": "p"}
    with api.session().begin() as session:
        session.add(
            models.LoadBalancer(
                id=identity,
                provisioning_status=status,
                provider=provider,
                topology=more.get("topology", "SINGLE"),
                **common,
            )
        )
        session.flush()
        for number, state in enumerate(amphorae):
            made = models.Amphora(
                id=str(uuid.uuid4()),
                load_balancer_id=identity,
                status=state,
                compute_id=None if state in ("BOOTING", "ERROR") else f"server-{number}",
                **(PLUGGED if more.get("plugged", state == "ALLOCATED") else {}),
                cert_busy=True,
            )
            session.add(made)
            session.add(models.AmphoraHealth(amphora_id=made.id, busy=True))
    return identity


def _pool(balancer: str, status: str) -> str:
    identity = str(uuid.uuid4())
    with api.session().begin() as session:
        session.add(
            models.Pool(
                id=identity,
                load_balancer_id=balancer,
                provisioning_status=status,
                operating_status="ONLINE",
                enabled=True,
                protocol="HTTP",
                lb_algorithm="ROUND_ROBIN",
                project_id="p",
            )
        )
    return identity


def _status(model: Any, identity: str) -> str:
    with api.session().begin() as session:
        found: str = session.get(model, identity).provisioning_status
        return found


def what_was_interrupted() -> None:
    from onestack.components.octavia.inside import interrupted

    with tempfile.TemporaryDirectory() as folder:
        _database(folder)
        well = _balancer("ACTIVE", "ALLOCATED")
        made = _balancer("PENDING_CREATE", "BOOTING")
        begun = _balancer("PENDING_CREATE")
        # Upstream's flows say that an amphora is allocated before it has its network.
        bare = _balancer("PENDING_CREATE", "ALLOCATED", plugged=False)
        plugged = _balancer("PENDING_CREATE", "ALLOCATED")
        two = _balancer("PENDING_CREATE", "ALLOCATED", "ALLOCATED", topology="ACTIVE_STANDBY")
        anew = _balancer("PENDING_UPDATE", "ALLOCATED", plugged=False)
        told = _balancer("PENDING_UPDATE", "ALLOCATED")
        replaced = _balancer("PENDING_UPDATE", "PENDING_DELETE", "BOOTING")
        pair = _balancer("PENDING_UPDATE", "ALLOCATED", "ALLOCATED", topology="ACTIVE_STANDBY")
        half = _balancer("PENDING_UPDATE", "ALLOCATED", topology="ACTIVE_STANDBY")
        going = _balancer("PENDING_DELETE", "ALLOCATED")
        # Upstream noted that one itself.
        failed = _balancer("ERROR", "ERROR")
        flows = _balancer("PENDING_UPDATE", provider="ovn")
        pools = {was: _pool(told, was) for was in ("PENDING_CREATE", "PENDING_UPDATE", "ACTIVE")}
        left = interrupted.settle()
        assert set(left.behind) == {told}, left
        making = {made, begun, bare, plugged, two}
        # Whether the two of a pair know of each other, nobody can tell.
        assert set(left.broken) == making | {anew, replaced, half, pair}, left
        assert len(left.half_made) == 2, left
        # Nobody may change these until they are seen to.
        for balancer in (*left.behind, *left.broken):
            was = "PENDING_CREATE" if balancer in making else "PENDING_UPDATE"
            assert _status(models.LoadBalancer, balancer) == was
        assert _status(models.LoadBalancer, well) == "ACTIVE"
        assert _status(models.LoadBalancer, failed) == "ERROR"
        assert _status(models.LoadBalancer, going) == "ERROR"
        assert _status(models.LoadBalancer, flows) == "ACTIVE"
        assert _status(models.Pool, pools["PENDING_CREATE"]) == "ERROR"
        assert _status(models.Pool, pools["PENDING_UPDATE"]) == "ACTIVE"
        assert _status(models.Pool, pools["ACTIVE"]) == "ACTIVE"
        with api.session().begin() as session:
            assert not session.query(models.AmphoraHealth).filter(models.AmphoraHealth.busy).count()
            assert not session.query(models.Amphora).filter(models.Amphora.cert_busy).count()
        # What is left is still left when the process is killed again.
        again = interrupted.settle()
        assert (set(again.behind), set(again.broken)) == (set(left.behind), set(left.broken))


def what_is_mended() -> None:
    """Amphorae that are whole are told; broken balancers are made anew, with servers found.

    So is one whose agent does not know its own address.
    """
    from keystoneauth1.exceptions import ConnectFailure
    from octavia.amphorae.driver_exceptions import exceptions
    from octavia.amphorae.drivers.haproxy import exceptions as agent_errors
    from octavia.common import clients, utils
    from octavia.controller.worker.v2 import controller_worker

    from onestack.components.octavia.inside import interrupted, repair

    with tempfile.TemporaryDirectory() as folder:
        _database(folder)
        cfg.CONF.set_override("heartbeat_timeout", 1, "health_manager")
        cfg.CONF.set_override("connection_retry_interval", 1, "haproxy_amphora")
        told = _balancer("PENDING_UPDATE", "ALLOCATED")
        deaf = _balancer("PENDING_UPDATE", "ALLOCATED")
        bare = _balancer("PENDING_UPDATE", "ALLOCATED", "DELETED")
        boots = _balancer("PENDING_UPDATE", "ALLOCATED")
        asked: list[str] = []
        updated: list[str] = []
        broken = _balancer("PENDING_CREATE", "BOOTING")
        other = _balancer("PENDING_CREATE", "BOOTING")
        left = interrupted.settle()
        renewed: list[tuple[str, str | None]] = []

        class Driver:
            def get_interface_from_ip(self, amphora: Any, address: str) -> str:
                assert (amphora.status, address) == ("ALLOCATED", PLUGGED["vrrp_ip"])
                asked.append(amphora.load_balancer_id)
                if amphora.load_balancer_id == deaf:
                    raise exceptions.TimeOutException
                booting = amphora.load_balancer_id == boots and asked.count(boots) < 2
                if amphora.load_balancer_id == bare or booting:
                    raise agent_errors.NotFound
                return "eth1"

            def update(self, balancer: Any) -> None:
                updated.append(balancer.id)

        class Worker:
            def failover_loadbalancer(self, balancer: str) -> None:
                with api.session().begin() as session:
                    amphora = session.get(models.LoadBalancer, balancer).amphorae[0]
                    renewed.append((balancer, amphora.compute_id))

        class Servers:
            def list(self, search_opts: dict[str, str]) -> Any:
                with api.session().begin() as session:
                    (amphora,) = session.get(models.LoadBalancer, other).amphorae
                    if search_opts["name"] == f"^amphora-{amphora.id}$":
                        raise ConnectFailure
                return [types.SimpleNamespace(id="found")]

        utils.get_amphora_driver = Driver
        controller_worker.ControllerWorker = Worker
        nova = types.SimpleNamespace(servers=Servers())
        clients.NovaAuth.get_nova_client = lambda *_, **__: nova
        repair.repair(left)
        assert _status(models.LoadBalancer, told) == "ACTIVE"
        assert _status(models.LoadBalancer, deaf) == "ERROR"
        assert _status(models.LoadBalancer, boots) == "ACTIVE"
        # That of the one made anew is for upstream's failover to say.
        assert _status(models.LoadBalancer, bare) == "PENDING_UPDATE"
        assert sorted(updated) == sorted([told, boots]), updated
        known = [(broken, "found"), (other, None), (bare, "server-0")]
        assert sorted(renewed) == sorted(known), renewed


def heartbeats() -> None:
    """They are taken, with the key, also at an address that the machine does not have yet."""
    from octavia.amphorae.backends.health_daemon import status_message

    from onestack.components.octavia.inside import controller

    with tempfile.TemporaryDirectory() as folder:
        _database(folder)
        balancer = _balancer("ACTIVE", "ALLOCATED")
        for option, value in (
            ("bind_ip", "198.51.100.77"),
            ("bind_port", 0),
            ("heartbeat_key", "k"),
            ("health_update_threads", 2),
            ("stats_update_threads", 1),
        ):
            cfg.CONF.set_override(option, value, "health_manager")
        controller._Heartbeats().sock.close()
        cfg.CONF.set_override("bind_ip", "127.0.0.1", "health_manager")
        taken = controller._Heartbeats()
        with api.session().begin() as session:
            amphora = session.query(models.Amphora).one().id
            session.query(models.AmphoraHealth).delete()
        said = {"id": amphora, "seq": 1, "listeners": {}, "pools": {}, "ver": 3}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guest:
            guest.sendto(status_message.wrap_envelope(said, "another"), taken.sock.getsockname())
            taken.check()
            guest.sendto(status_message.wrap_envelope(said, "k"), taken.sock.getsockname())
            taken.check()
        taken.health_executor.shutdown()
        with api.session().begin() as session:
            assert [row.amphora_id for row in session.query(models.AmphoraHealth)] == [amphora]
            assert session.get(models.LoadBalancer, balancer).operating_status == "ONLINE"


def who_stood_still_waits() -> None:
    """After the machine slept all heartbeats are old: nobody is replaced for that."""
    from octavia.controller.healthmanager import health_manager

    from onestack.components.octavia.inside import controller

    cfg.CONF.set_override("heartbeat_timeout", 60, "health_manager")
    events: list[str] = []
    clock = [1000.0]

    class Manager:
        def __init__(self, ended: threading.Event) -> None:
            pass

        def health_check(self) -> None:
            events.append("look")
            if events.count("look") == 4:
                raise KeyboardInterrupt

    def sleep(seconds: float) -> None:
        events.append(f"{seconds:g}")
        # The lid is closed while it waits for its third look.
        clock[0] += 3600 if events.count("look") == 2 and seconds == 3 else seconds

    health_manager.HealthManager = Manager
    controller.time = types.SimpleNamespace(sleep=sleep, time=lambda: clock[0])  # type: ignore
    with contextlib.suppress(KeyboardInterrupt):
        controller._watch(600)
    assert events == ["600", "3", "look", "3", "look", "3", "60", "look", "3", "look"], events


def _served(catalogue: Any) -> Callable[..., Any]:
    """Upstream's API as the configuration has it, with keystone's ``catalogue``; asks it."""
    import webob
    from keystoneauth1 import session
    from octavia.api import app
    from octavia.common import keystone, rpc

    class Keystone:
        def get_session(self) -> Any:
            return session.Session(auth=catalogue)

        def get_service_user_id(self) -> str:
            return "u"

    keystone.KeystoneSession = Keystone
    app.octavia_service.prepare_service = lambda argv: None
    cfg.CONF.set_override("auth_strategy", "noauth", "api_settings")
    cfg.CONF.set_override("enabled_provider_drivers", {"noop_driver": "none"}, "api_settings")
    rpc.init()
    served = app.setup_app(argv=[])

    def ask(method: str, path: str, **body: Any) -> Any:
        request = webob.Request.blank(f"/v2/lbaas/{path}", method=method)
        request.headers.update({"X-Project-Id": "p", "X-Roles": "admin,member"})
        request.content_type = "application/json"
        request.json = body
        return request.get_response(served)

    return ask


def no_certificates() -> None:
    """Nobody keeps any, so whoever names one is refused, with the configuration given.

    What is named is there as a file: that of somebody else.
    """
    from keystoneauth1 import plugin

    class Catalogue(plugin.BaseAuthPlugin):
        """Of a cloud in which no service keeps keys."""

        def get_token(self, *_: Any, **__: Any) -> str:
            return "t"

        def get_endpoint_data(self, *_: Any, **__: Any) -> None:
            return None

        def get_endpoint(self, *_: Any, **__: Any) -> None:
            return None

    with tempfile.TemporaryDirectory() as folder:
        _database(folder, sys.argv[2])
        named = f"{folder}/another"
        for ending in ("", ".crt", ".key"):
            Path(named + ending).write_text("secret")
        balancer = _balancer("ACTIVE", "ALLOCATED", provider="noop_driver")
        other = _balancer("ACTIVE", "ALLOCATED", provider="noop_driver")
        ask = _served(Catalogue())
        refusals.explain("say so")
        pool = {"loadbalancer_id": balancer, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        there = ask("POST", "pools", pool={**pool, "loadbalancer_id": other})
        assert there.status_int == 201, there.text
        with api.session().begin() as known:
            known.query(models.LoadBalancer).update({"provisioning_status": "ACTIVE"})
            known.query(models.Pool).update({"provisioning_status": "ACTIVE"})
        path = f"pools/{there.json['pool']['id']}"
        ca = {"ca_tls_container_ref": named}
        for refs in ({"tls_container_ref": named}, ca, {**ca, "crl_container_ref": named}):
            for answer in (
                ask("POST", "pools", pool={**pool, **refs}),
                ask("POST", "pools", pool={**pool, "tls_enabled": True, **refs}),
                ask("PUT", path, pool=refs),
            ):
                assert answer.status_int == 400, answer.text
                assert "Could not retrieve certificate" in answer.json["faultstring"], answer.text
        listener = {"loadbalancer_id": balancer, "protocol_port": 443}
        own = {"default_tls_container_ref": named}
        further: tuple[dict[str, Any], ...] = (
            own,
            {"sni_container_refs": [named]},
            {**own, "client_ca_tls_container_ref": named},
        )
        protocols = ("TERMINATED_HTTPS", "PROMETHEUS", "HTTP", "HTTPS", "TCP")
        for protocol, more in itertools.product(protocols, further):
            asked = {**listener, "protocol": protocol, **more}
            answer = ask("POST", "listeners", listener=asked)
            assert answer.status_int == 400, (asked, answer.text)
            assert protocol in answer.json["faultstring"], answer.text
            # Others take no certificate at all.
            ended = protocol in ("TERMINATED_HTTPS", "PROMETHEUS")
            assert answer.json["faultstring"].endswith("; say so") is ended, answer.text


def an_agent_is_waited_for() -> None:
    """By upstream's client, with the configuration given: seconds by a clock that only it moves."""
    import requests
    from octavia.amphorae.driver_exceptions.exceptions import TimeOutException
    from octavia.amphorae.drivers.haproxy import rest_api_driver as driver

    config.init([f"--config-file={sys.argv[2]}"])
    boots = int(sys.argv[3])
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    driver.time = types.SimpleNamespace(sleep=sleep)
    amphora = types.SimpleNamespace(id="a", lb_network_ip="192.0.2.9", api_version="1.0")

    def waited(lasts: Callable[[float], float]) -> float:
        """How long until it is given up, where a try in vain takes what is told by its time-out."""

        def in_vain(**how: Any) -> None:
            clock[0] += lasts(how["timeout"][0])
            raise requests.ConnectionError

        client = driver.AmphoraAPIClientBase()
        client.session = types.SimpleNamespace(get=in_vain)
        clock[0] = 0.0
        try:
            client.get(amphora)
        except TimeOutException:
            return clock[0]
        raise AssertionError("it was not given up")

    silent, refusing = waited(lambda timeout: timeout), waited(lambda timeout: 0)
    assert silent == boots, silent
    assert boots / 2 <= refusing <= boots, refusing


def a_provider_is_faster_than_the_api() -> None:
    """It answers before the API has written that there is something to be waited for."""
    from keystoneauth1 import plugin
    from octavia.api.drivers.driver_agent.driver_updater import DriverUpdater
    from octavia.api.drivers.noop_driver import driver

    said: list[threading.Thread] = []

    def update(_: Any, old: Any, new: Any) -> None:
        told = {"id": new.pool_id, "provisioning_status": "ACTIVE"}
        status = {"pools": [told], "loadbalancers": [{**told, "id": balancer}]}
        words = threading.Thread(target=lambda: DriverUpdater().update_loadbalancer_status(status))
        words.start()
        # As long as it takes, unless it waits for us.
        words.join(2)
        said.append(words)

    driver.NoopProviderDriver.pool_update = update
    with tempfile.TemporaryDirectory() as folder:
        _database(folder, sys.argv[2], url=sys.argv[3])
        balancer = _balancer("ACTIVE", provider="noop_driver")
        ask = _served(plugin.BaseAuthPlugin())

        def changed() -> str:
            pool = _pool(balancer, "ACTIVE")
            answer = ask("PUT", f"pools/{pool}", pool={"name": "another"})
            assert answer.status_int == 200, answer.text
            said[-1].join(30)
            assert _status(models.LoadBalancer, balancer) == "ACTIVE"
            return _status(models.Pool, pool)

        # Upstream as it is: nothing ends that.
        assert changed() == "PENDING_UPDATE"
        statuses.heed()
        assert changed() == "ACTIVE"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
