"""What is left of hosts that are none any more goes: at nova, placement, neutron and OVN."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from keystoneauth1.exceptions import Conflict, NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.compute import Compute
from onestack.cloudapi.neutron import NeutronApi
from onestack.cloudapi.placement import Placement
from onestack.components import ALL
from onestack.components.neutron import departed as neutrons
from onestack.components.nova import departed as novas
from onestack.components.ovn import departed as ovns
from onestack.database.upstream_tables import nova as tables
from onestack.host.telling import listen
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import NotRunning, OnestackError
from onestack.network.distribution import Distribution
from tests.support.joined import member
from tests.support.needs import needs_services, services_python
from tests.support.switch import needs_switch
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

OLD, NEW, STAYS = (f"0b7c3a52-57a5-4b0c-a4f8-ba987654321{n}" for n in range(3))


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    """A controller (``here``), web1, which has just joined, and web2, which was let in before."""
    given = {"CONFIG_NEUTRON_L2_AGENT": "ovn", "CONFIG_ONESTACK_JOIN": "y"}
    made = context(tmp_path, *ALL, **given)
    write_upstream(made)
    new = dataclasses.replace(member(made, "web1", NEW), admitted=False)
    host = dataclasses.replace(made.host, name="here")
    return dataclasses.replace(made, host=host, members=(new, member(made, "web2", STAYS)))


def made(changes: Iterator[Change]) -> list[str]:
    said = []
    for change in changes:
        said.append(change.what)
        change.do()
    return said


class Services:
    """Nova's and placement's APIs, as far as they are asked; both in the end delete."""

    def __init__(self) -> None:
        self.computes = {"here": 2, "web2": 1}
        self.mapped: list[tuple[str, ...]] = []
        self.refuses = False
        self.providers: dict[str, dict[str, Any]] = {}
        """By its id: name and parent."""
        self.allocations: dict[str, dict[str, Any]] = {}
        """Consumer to what is held, by provider."""

    def provide(self, identity: str, name: str, parent: str | None = None) -> None:
        self.providers[identity] = {
            "uuid": identity,
            "name": name,
            "parent_provider_uuid": parent,
        }

    def get(self, url: str, params: dict[str, str], headers: dict[str, str]) -> Any:
        service, _, path = url.partition("/")
        assert service in headers["OpenStack-API-Version"]
        kind, *rest = path.split("/")
        answer: dict[str, Any]
        if kind == "os-services":
            known = [{"id": params["host"]}] if params["host"] in self.computes else []
            answer = {"services": known}
        elif kind == "allocations":
            answer = {"allocations": self.allocations[rest[0]], "project_id": "p"}
            answer |= {"user_id": "u", "consumer_generation": 7}
        elif rest:
            holders = [c for c, held in self.allocations.items() if rest[0] in held]
            answer = {"allocations": {one: {} for one in holders}}
        else:
            tree = params.get("in_tree")
            found = [
                one
                for one in self.providers.values()
                if one["name"] == params.get("name")
                or (tree and tree in (one["uuid"], one["parent_provider_uuid"]))
            ]
            answer = {"resource_providers": found}
        return types.SimpleNamespace(json=lambda: answer)

    def put(self, url: str, json: dict[str, Any], headers: dict[str, str]) -> None:
        assert (json["project_id"], json["user_id"], json["consumer_generation"]) == ("p", "u", 7)
        self.allocations[url.rpartition("/")[2]] = json["allocations"]

    def delete(self, url: str, headers: dict[str, str]) -> None:
        _, kind, identity = url.split("/")
        if kind == "os-services":
            if self.refuses:
                raise Conflict("it has in-progress migrations")
            del self.computes[identity]
            return
        if kind == "allocations":
            del self.allocations[identity]
            return
        if identity not in self.providers:
            raise NotFound
        taken = [c for c, held in self.allocations.items() if identity in held]
        children = [p for p in self.providers.values() if p["parent_provider_uuid"] == identity]
        assert not taken and not children, "placement would refuse it"
        del self.providers[identity]


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    found = Services()
    session = cast(Session, found)
    monkeypatch.setattr(novas, "server_of", lambda ctx: None)
    monkeypatch.setattr(tables, "computes", lambda server: dict(found.computes))
    monkeypatch.setattr(tables, "map_host", lambda server, *given: found.mapped.append(given))
    monkeypatch.setattr(novas, "compute_of", lambda ctx: Compute(session, "compute"))
    monkeypatch.setattr(novas, "placement_of", lambda ctx: Placement(session, "placement"))
    return found


def test_who_stays_keeps_all(ctx: Context, services: Services) -> None:
    services.provide("a", "web2")
    assert made(novas.ensure_departed(ctx)) == []
    assert set(services.computes) == {"here", "web2"} and services.providers
    assert list(novas.findings(ctx)) == []


def test_a_compute_service_of_nobody_goes(ctx: Context, services: Services) -> None:
    services.computes["gone"] = 0
    assert len(made(novas.ensure_departed(ctx))) == 1
    assert set(services.computes) == {"here", "web2"}
    assert services.mapped == []
    assert made(novas.ensure_departed(ctx)) == []


def test_a_newcomer_finds_nothing_of_its_namesake(ctx: Context, services: Services) -> None:
    """And is mapped, which nova undoes with the service that had its name."""
    services.computes["web1"] = 0
    services.provide("root", "web1")
    services.provide("leaf", "web1_gpu", "root")
    services.allocations = {
        "moved": {"root": {"resources": {"VCPU": 1}}, "else": {"resources": {"VCPU": 1}}},
        "leaked": {"leaf": {"resources": {"VGPU": 1}}},
    }
    assert len(made(novas.ensure_departed(ctx))) == 1
    assert services.providers == {}
    assert services.allocations == {"moved": {"else": {"resources": {"VCPU": 1}}}}
    assert services.mapped == [("web1", "cell1")]


def test_what_a_killed_run_left_at_placement_goes_too(ctx: Context, services: Services) -> None:
    services.provide("root", "web1")
    assert len(made(novas.ensure_departed(ctx))) == 1
    assert services.providers == {}


def test_servers_are_the_operators(ctx: Context, services: Services) -> None:
    """Said at each `up`, and by doctor; who has another name comes in all the same."""
    services.computes["gone"] = 2
    heard: list[str] = []
    before = listen(heard.append)
    try:
        assert made(novas.ensure_departed(ctx)) == []
    finally:
        listen(before)
    (said,) = heard
    assert "nova has 2 servers there" in said and "openstack server list --host gone" in said
    (finding,) = novas.findings(ctx)
    assert finding.cure.endswith("onestack up")
    assert services.computes["gone"] == 2


def test_a_newcomer_whose_name_has_servers_is_refused(ctx: Context, services: Services) -> None:
    services.computes |= {"web1": 1, "gone": 0}
    with pytest.raises(OnestackError, match="nova has 1 server there") as refused:
        made(novas.ensure_departed(ctx))
    assert "make them anew on other hosts" in refused.value.cure
    assert "gone" not in services.computes, "which keeps nobody else's from going"


def test_what_nova_refuses_is_said(ctx: Context, services: Services) -> None:
    services.computes["gone"], services.refuses = 0, True
    heard: list[str] = []
    before = listen(heard.append)
    try:
        made(novas.ensure_departed(ctx))
    finally:
        listen(before)
    assert "in-progress migrations" in heard[0]
    services.computes = {"web1": 0}
    with pytest.raises(OnestackError, match="keeps the compute service of web1") as refused:
        made(novas.ensure_departed(ctx))
    assert "in-progress" in refused.value.why


def test_agents_of_nobody_go(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = [
        {"id": host, "host": host, "agent_type": "OVN Controller agent"}
        for host in ("here", "web1", "web2", "gone")
    ]

    def request(url: str, method: str, **more: Any) -> Any:
        assert method == "DELETE"
        agents[:] = [a for a in agents if a["id"] != url.rpartition("/")[2]]
        return types.SimpleNamespace(status_code=204)

    def get(url: str, params: Any) -> Any:
        return types.SimpleNamespace(json=lambda: {"agents": list(agents)})

    session = cast(Session, types.SimpleNamespace(get=get, request=request))
    monkeypatch.setattr(neutrons, "neutron_of", lambda ctx: NeutronApi(session, "neutron"))
    assert len(made(neutrons.ensure_departed(ctx))) == 2
    assert [a["host"] for a in agents] == ["here", "web2"]
    assert made(neutrons.ensure_departed(ctx)) == []


@pytest.mark.parametrize("room", ["nova", "neutron", "ovn"])
def test_it_is_done_once_who_was_removed_is_cut_off(ctx: Context, room: str) -> None:
    (task,) = (t for t in ctx.model[room].tasks if t.name == "departed")
    assert "capability:door" in task.needs and not task.before_start
    closed = dataclasses.replace(ctx, components=tuple(c for c in ALL if c.name != "door"))
    assert "departed" not in {t.name for t in closed.model[room].tasks}


# -- OVN, with a real database ---------------------------------------------------------

SCHEMA = "neutron/tests/unit/plugins/ml2/drivers/ovn/mech_driver/ovsdb/schemas/ovn-sb.ovsschema"
"""OVN's, in the release: its packages are fetched only where a cloud has them."""
OWN = "controller"


@pytest.fixture
def southbound(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    (schema,) = services_python().parents[1].glob(f"lib/python3*/site-packages/{SCHEMA}")
    place = ctx.cloud.run / "ovn" / "ovnsb_db.sock"
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(ovns, "distribution", lambda ctx: Distribution(None))
    monkeypatch.setattr(ovns, "as_user", lambda user, *words: words)
    database = tmp_path / "sb.db"
    subprocess.run(["ovsdb-tool", "create", database, schema], check=True)
    words = ["ovsdb-server", str(database), f"--remote=punix:{place}", f"--unixctl={tmp_path}/ctl"]
    with subprocess.Popen([*words, "--no-chdir"], stderr=subprocess.DEVNULL) as server:

        def transact(*operations: dict[str, Any]) -> Any:
            text = json.dumps(["OVN_Southbound", *operations])
            line = ["ovsdb-client", "--timeout=20", "transact", f"unix:{place}", text]
            done = subprocess.run(line, check=True, capture_output=True, text=True)
            return json.loads(done.stdout)

        while not place.exists():
            assert server.poll() is None
        yield transact
        server.kill()


def chassis(name: str, address: str) -> tuple[dict[str, Any], ...]:
    """As ovn-controller writes it."""
    encap = {"type": "geneve", "ip": address, "chassis_name": name}
    return (
        {"op": "insert", "table": "Encap", "row": encap, "uuid-name": "end"},
        {
            "op": "insert",
            "table": "Chassis",
            "row": {"name": name, "hostname": "web1", "encaps": ["named-uuid", "end"]},
            "uuid-name": "itself",
        },
        {
            "op": "insert",
            "table": "Chassis_Private",
            "row": {"name": name, "chassis": ["named-uuid", "itself"]},
        },
    )


@needs_services
@needs_switch
def test_a_chassis_that_went_does_not_keep_the_next_one_out(
    ctx: Context, southbound: Callable[..., Any]
) -> None:
    for name, address in ((OWN, "192.0.2.1"), (OLD, "192.0.2.7"), (STAYS, "192.0.2.8")):
        assert not [a for a in southbound(*chassis(name, address)) if "error" in a]
    refused = southbound(*chassis(NEW, "192.0.2.7"))
    assert "constraint violation" in json.dumps(refused), "what this is about"
    (said,) = made(ovns.ensure_departed(ctx, OWN))
    assert OLD in said and STAYS not in said and OWN not in said
    assert made(ovns.ensure_departed(ctx, OWN)) == []
    assert not [a for a in southbound(*chassis(NEW, "192.0.2.7")) if "error" in a]
    for table, column in ovns.TABLES.items():
        asked = {"op": "select", "table": table, "where": [], "columns": [column]}
        (found,) = southbound(asked)
        assert {row[column] for row in found["rows"]} == {OWN, STAYS, NEW}
    assert made(ovns.ensure_departed(ctx, OWN)) == [], "a newcomer's are its own"


def test_a_database_that_is_away_is_not_known_yet(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ovns, "distribution", lambda ctx: Distribution(None))
    monkeypatch.setattr(ovns, "as_user", lambda user, *words: words)
    if not Path("/usr/bin/ovsdb-client").exists():
        pytest.skip("no Open vSwitch is installed")
    with pytest.raises(NotRunning, match="does not answer"):
        list(ovns.ensure_departed(ctx, OWN))
