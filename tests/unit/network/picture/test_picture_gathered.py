"""Who is asked what, how often, and what is said where somebody does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.exceptions import Forbidden

from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.octavia import Octavia
from onestack.components.openvswitch import Openvswitch
from onestack.components.ovn import Ovn
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import NotRunning, OnestackError
from onestack.network.picture import gathered
from onestack.network.picture.gathered import FIELDS, gather
from tests.unit.components.rooms import context
from tests.unit.network.picture import guides

Answer = Callable[[dict[str, Any]], Any]
PLURAL = {f"{kind}s": kind for kind in FIELDS}


class Said:
    def __init__(self, found: Any) -> None:
        self._found = found

    def json(self) -> Any:
        return self._found


class Services:
    """As much of their answers as is asked for: fields that are not, are not told."""

    def __init__(self, layout: str) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.items = guides.answers(layout)
        self.servers = [guides.server(guides.ONE, "one"), guides.server(guides.TWO, "two")]
        self.broken: dict[str, Exception] = {}

    def get(self, url: str, params: dict[str, Any]) -> Said:
        kind = url.rpartition("/")[2]
        self.asked.append((kind, params))
        if kind in self.broken:
            raise self.broken[kind]
        if kind == "detail":
            assert url.endswith("/servers/detail")
            return Said({"servers": self.servers})
        if kind == "loadbalancers":
            return Said({kind: [{"id": "lb-1", "name": "web", "vip_port_id": guides.PORT_WEB}]})
        items = self.items[PLURAL[kind]]
        return Said({kind: [{f: item[f] for f in params["fields"]} for item in items]})

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.asked]

    def kinds_and_tools(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Both, in the order in which they are asked."""
        every: list[str] = []
        get, told = self.get, gathered._told

        def noted(url: str, params: dict[str, Any]) -> Said:
            every.append(url.rpartition("/")[2])
            return get(url, params)

        def noted_tool(ctx: Context, tool: str, questions: Any) -> Any:
            every.append(tool)
            return told(ctx, tool, questions)

        monkeypatch.setattr(self, "get", noted)
        monkeypatch.setattr(gathered, "_told", noted_tool)
        return every


@pytest.fixture
def services() -> Services:
    return Services("openvswitch")


def made(root: Path, services: Services, layout: str = "openvswitch", **given: str) -> Context:
    """A cloud whose tools say what was recorded, and note what they were asked."""
    given = {"CONFIG_NEUTRON_L2_AGENT": layout, "CONFIG_LBAAS_INSTALL": "y", **given}
    rooms = (Openvswitch(), Ovn(), Neutron(), Nova(), Octavia())
    ctx = context(root, *rooms, **given)
    ctx.cloud.bin.mkdir(parents=True)
    for tool in ("ovs-vsctl", "ovn-nbctl", "ovn-sbctl"):
        said = guides.RECORDED / f"{layout}.{tool}"
        path = ctx.cloud.bin / tool
        path.write_text(f'#!/bin/sh\necho "$0 $@" >>{root}/asked\ncat {said}\n')
        path.chmod(0o755)
    ctx.run.once("administrator's session", lambda: services)
    return ctx


def tools(root: Path) -> list[str]:
    return [Path(line.split()[0]).name for line in (root / "asked").read_text().splitlines()]


def test_one_question_for_each_kind(tmp_path: Path, services: Services) -> None:
    found = gather(made(tmp_path, services))
    assert services.kinds == [
        *("detail", "networks", "subnets", "ports", "routers", "floatingips"),
        "loadbalancers",
    ]
    assert tools(tmp_path) == ["ovs-vsctl"]
    assert found.servers == {guides.ONE: "one", guides.TWO: "two"} and found.silent == ()
    assert found.active == {guides.ONE, guides.TWO}
    assert found.switch and "br-tun" in found.switch.bridges and found.ovn is None


def test_ovn_is_asked_twice_more(tmp_path: Path) -> None:
    services = Services("ovn")
    found = gather(made(tmp_path, services, "ovn"))
    assert tools(tmp_path) == ["ovs-vsctl", "ovn-nbctl", "ovn-sbctl"]
    assert found.ovn and found.ovn.hosts == {guides.HOST} and found.silent == ()
    assert guides.picture("ovn", found).networks


@pytest.mark.parametrize(
    "state",
    [
        {"vm_state": "stopped", "power_state": 4},
        # Nova's status is ACTIVE, or its filter by that lets them pass.
        {"task_state": "powering-off"},
        {"task_state": "deleting"},
        {"task_state": "reboot_started_hard"},
        {"task_state": "rebuild_spawning"},
        {"task_state": "resize_migrating"},
        {"task_state": "migrating"},
        {"power_state": 4},
    ],
)
def test_servers_that_may_be_without_their_network(
    tmp_path: Path, services: Services, state: dict[str, Any]
) -> None:
    services.servers[1] = guides.server(guides.TWO, "two", **state)
    for port in services.items["port"]:
        if port["id"] == guides.PORT_TWO:
            port["status"] = "DOWN"
    found = gather(made(tmp_path, services))
    assert found.servers and guides.TWO in found.servers
    assert found.active == {guides.ONE}
    drawn = guides.picture("openvswitch", found)
    assert guides.PORT_TWO not in {each.about for each in drawn.wrong}


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_what_is_made_later_is_asked_for_later(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers, their ports, devices: one that is born meanwhile is not missed."""
    services = Services(layout)
    asked = services.kinds_and_tools(monkeypatch)
    gather(made(tmp_path, services, layout))
    tools = {"openvswitch": ["ovs-vsctl"], "ovn": ["ovs-vsctl", "ovn-nbctl", "ovn-sbctl"]}[layout]
    assert [each for each in asked if each in ("detail", "ports", *tools)] == [
        *("detail", "ports", *tools)
    ]


def test_what_is_off_is_not_asked(tmp_path: Path, services: Services) -> None:
    ctx = made(tmp_path, services, CONFIG_LBAAS_INSTALL="n")
    ctx = Context(**{**vars(ctx), "components": ctx.components[:-2]})
    found = gather(ctx)
    assert not {"detail", "loadbalancers"} & set(services.kinds) and found.silent == ()
    assert (found.servers, found.active) == ({}, frozenset())


def test_where_no_server_has_a_port_nova_may_be_silent(tmp_path: Path, services: Services) -> None:
    services.items["port"] = [p for p in services.items["port"] if not gathered.of_server(p)]
    services.broken["detail"] = NotRunning("nobody answers")
    assert gather(made(tmp_path, services)).silent == ()


@pytest.mark.parametrize(
    "error",
    [NotRunning("nobody answers at 127.77.0.1:8774", "refused"), Forbidden("not you"), KeyError()],
)
def test_without_nova_servers_have_their_ids(
    tmp_path: Path, services: Services, error: Exception
) -> None:
    services.broken["detail"] = error
    for port in services.items["port"]:
        port["status"] = "DOWN"
    found = gather(made(tmp_path, services))
    (silent,) = found.silent
    assert silent.what.startswith("nova does not tell the names of servers and which run: ")
    assert silent.why and "restart nova-api" in silent.cure
    drawn = guides.picture("openvswitch", found)
    assert [each.finding for each in drawn.wrong if not each.about] == [silent]
    assert not drawn.well
    assert guides.ONE in {port.name for each in drawn.networks for port in each.ports}


def test_without_octavia_balancers_are_nameless(tmp_path: Path, services: Services) -> None:
    services.broken["loadbalancers"] = NotRunning("nobody answers")
    (silent,) = gather(made(tmp_path, services)).silent
    assert silent.what == "Octavia does not tell the names of load balancers"


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo '{}'", ""])
def test_a_switch_that_does_not_answer(tmp_path: Path, services: Services, script: str) -> None:
    ctx = made(tmp_path, services)
    (ctx.cloud.bin / "ovs-vsctl").write_text(f"#!/bin/sh\necho no database >&2\n{script}\n")
    found = gather(ctx)
    assert found.switch is None
    (silent,) = found.silent
    assert silent.what == "Open vSwitch does not tell what is plugged in where"
    drawn = guides.picture("openvswitch", found)
    assert [each.finding for each in drawn.wrong if not each.about] == [silent]
    assert "net-int" in {each.name for each in drawn.networks}


def test_without_its_tools_the_switch_is_silent_too(tmp_path: Path, services: Services) -> None:
    ctx = made(tmp_path, services)
    (ctx.cloud.bin / "ovs-vsctl").unlink()
    assert [each.what for each in gather(ctx).silent] == [
        "Open vSwitch does not tell what is plugged in where"
    ]


def test_without_neutron_there_is_nothing_to_draw(tmp_path: Path, services: Services) -> None:
    services.broken["ports"] = Forbidden("policy")
    with pytest.raises(OnestackError, match="neutron does not tell of the networks"):
        gather(made(tmp_path, services))
    services.broken["ports"] = NotRunning("nobody answers at 127.77.0.1:9696")
    (tmp_path / "other").mkdir()
    with pytest.raises(NotRunning, match="nobody answers"):
        gather(made(tmp_path / "other", services))


def test_namespaces_of_a_cloud_of_its_own(tmp_path: Path, services: Services) -> None:
    """As its agents see them: the machine's own are not its."""
    ctx = made(tmp_path, services)
    inner = Context(**{**vars(ctx), "cloud": Cloud("a", tmp_path, "onestack-a")})
    assert gathered._namespaces(inner) == frozenset()
    place = inner.cloud.run / "netns"
    place.mkdir(parents=True)
    (place / "qrouter-x").touch()
    assert gathered._namespaces(inner) == {"qrouter-x"}


def test_nothing_secret_is_on_a_command_line(tmp_path: Path, services: Services) -> None:
    ctx = made(tmp_path, services)
    gather(ctx)
    typed = (tmp_path / "asked").read_text()
    assert ctx.secrets["admin_keystone"] not in typed and "--format=json" in typed
