"""Neutron's room: both layouts, who runs what, and what is not allowed together."""

from __future__ import annotations

import ast
import configparser
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onestack import components
from onestack.answers.registry import registry
from onestack.components.neutron import Neutron, keys, untagged
from onestack.components.neutron.features import fwaas
from onestack.database import server
from onestack.database.places import table_file
from onestack.database.upstream_tables import neutron as tables
from onestack.deploy import switched_off
from onestack.host import shaping
from onestack.host.facts import HostFacts
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.errors import BadAnswers
from onestack.model.findings import Finding, Severity
from onestack.model.host import Role
from onestack.model.process import AgentProbe
from onestack.network.bridges import Bridges
from onestack.supervise.supervised import fingerprint
from tests.support.environments import make
from tests.support.needs import needs_root
from tests.unit.components.rooms import context_on, machine

ROOM = Neutron()
AGENTS = {
    "ovn": {"neutron-ovn-agent"},
    "openvswitch": {f"neutron-{n}-agent" for n in ("openvswitch", "dhcp", "l3", "metadata")},
}


def made(root: Path, agent: str, host: HostFacts | None = None, /, **given: str) -> Context:
    given["CONFIG_NEUTRON_L2_AGENT"] = agent
    return context_on(host or machine(kernel=False), root, ROOM, **given)


def ini(ctx: Context, name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True, default_section="")
    parser.read_string(next(f.content for f in Declared(ROOM, ctx).files if f.path.name == name))
    return parser


@pytest.mark.parametrize("agent", AGENTS)
def test_processes(tmp_path: Path, agent: str) -> None:
    found = {p.name: p for p in Declared(ROOM, made(tmp_path, agent)).processes}
    common = {"neutron-api", "neutron-workers"}
    assert set(found) == AGENTS[agent] | common
    # What has to be root's is done by privsep daemons and the supervisor.
    assert {p.user for p in found.values()} == {"onestack-neutron"}
    assert found["neutron-api"].env["ASGI_WORKERS"] == "1"
    for name in AGENTS[agent]:
        assert isinstance(found[name].probe, AgentProbe)
        assert found[name].env["OVS_RUNDIR"] == str(tmp_path / "run" / "openvswitch")


def test_agents_of_a_userspace_switch_watch_it(tmp_path: Path) -> None:
    for kernel in (True, False):
        ctx = made(tmp_path, "openvswitch", machine(kernel=kernel))
        watching = {p.name for p in Declared(ROOM, ctx).processes if "switch" in p.arguments}
        assert watching == (set() if kernel else {"neutron-dhcp-agent", "neutron-l3-agent"})


def test_secrets_are_for_root_and_neutron(tmp_path: Path) -> None:
    for agent in AGENTS:
        for file in Declared(ROOM, made(tmp_path, agent)).files:
            assert (file.group, file.mode) == ("onestack-neutron", 0o640), file.path


def test_no_secret_is_an_argument(tmp_path: Path) -> None:
    for agent in AGENTS:
        ctx = made(tmp_path, agent)
        files = list(Declared(ROOM, ctx).files)
        secret = ctx.secrets["neutron_metadata"]
        assert any(secret in file.content for file in files)
        for process in Declared(ROOM, ctx).processes:
            assert secret not in repr(process)


@pytest.mark.parametrize("agent", AGENTS)
def test_local_networks_are_always_to_be_had(tmp_path: Path, agent: str) -> None:
    ctx = made(tmp_path, agent, CONFIG_NEUTRON_ML2_TYPE_DRIVERS="flat")
    assert ini(ctx, "ml2.ini")["ml2"]["type_drivers"] == "local,flat"


def test_the_external_bridge(tmp_path: Path) -> None:
    l3 = {p.name: p for p in Declared(ROOM, made(tmp_path, "openvswitch")).processes}[
        "neutron-l3-agent"
    ]
    assert l3.env["ONESTACK_EXTERNAL_BRIDGE"] == "br-ex"
    assert l3.env["ONESTACK_EXTERNAL_NETWORK"] == "extnet"
    driver = ini(made(tmp_path, "openvswitch"), "l3_agent.ini")["DEFAULT"]["interface_driver"]
    assert driver == "onestack_external"
    for agent in AGENTS:
        api = {p.name: p for p in Declared(ROOM, made(tmp_path, agent)).processes}["neutron-api"]
        assert api.env["ONESTACK_EXTERNAL_NETWORK"] == "extnet"
    for none in ("provider", ""):
        ctx = made(tmp_path, "openvswitch", CONFIG_NEUTRON_L3_EXT_BRIDGE=none)
        assert ctx.once(Bridges).external == ""
        assert ini(ctx, "l3_agent.ini")["DEFAULT"]["interface_driver"] == "openvswitch"
        ctx = made(tmp_path, "ovn", CONFIG_NEUTRON_L3_EXT_BRIDGE=none)
        api = {p.name: p for p in Declared(ROOM, ctx).processes}["neutron-api"]
        assert "ONESTACK_EXTERNAL_NETWORK" not in api.env


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    ("mappings", "wanted"),
    [
        ("", {"extnet": "br-ex"}),
        ("two:br-two", {"two": "br-two", "extnet": "br-ex"}),
        ("outside:br-ex,two:br-two", {"outside": "br-ex", "two": "br-two"}),
        # the operator's own mapping stays
        ("extnet:br-two", {"extnet": "br-two", "extnet-br-ex": "br-ex"}),
    ],
)
def test_the_external_bridge_is_mapped_whatever_answers_map(
    tmp_path: Path, agent: str, mappings: str, wanted: dict[str, str]
) -> None:
    short = {"ovn": "OVN", "openvswitch": "OVS"}[agent]
    given = {f"CONFIG_NEUTRON_{short}_BRIDGE_MAPPINGS": mappings} if mappings else {}
    if "outside" in mappings:
        given[f"CONFIG_NEUTRON_{short}_EXTERNAL_PHYSNET"] = "outside"
    ctx = made(tmp_path, agent, **given)
    bridges = ctx.once(Bridges)
    assert list(ROOM.validate(ctx.answers)) == []
    assert bridges.all_mappings == wanted
    assert bridges.all_mappings[bridges.external_network] == "br-ex"
    told = [said for said in ROOM.remarks(ctx.answers) if "local lead to br-ex" in said]
    assert len(told) == (mappings == "extnet:br-two")
    assert all("flat and VLAN ones of extnet to br-two" in said for said in told)
    if agent == "openvswitch":
        known = ini(ctx, "openvswitch_agent.ini")["ovs"]["bridge_mappings"].split(",")
        assert dict(pair.split(":") for pair in known) == wanted
    # what such networks can be made of
    ranges = {**given, "CONFIG_NEUTRON_ML2_VLAN_RANGES": f"{bridges.external_network}:1:9"}
    answers = made(tmp_path, agent, **ranges).answers
    assert not [said for said in ROOM.remarks(answers) if "no guest" in said]


def test_a_physical_network_without_a_name(tmp_path: Path) -> None:
    given = {"BRIDGE_MAPPINGS": "two:br-two", "EXTERNAL_PHYSNET": ""}
    ctx = made(tmp_path, "openvswitch", **{f"CONFIG_NEUTRON_OVS_{k}": v for k, v in given.items()})
    assert ctx.once(Bridges).all_mappings == {"two": "br-two", "br-ex": "br-ex"}


@pytest.mark.parametrize("agent", AGENTS)
def test_guests_know_each_other_by_name(tmp_path: Path, agent: str) -> None:
    ctx = made(tmp_path, agent)
    assert "subnet_dns_publish_fixed_ip" in ini(ctx, "ml2.ini")["ml2"]["extension_drivers"]
    domain = ini(ctx, "neutron.conf")["DEFAULT"]["dns_domain"]
    # with its default upstream keeps no names
    assert domain not in ("", "openstacklocal")
    if agent == "ovn":
        assert ini(ctx, "ml2.ini")["ovn"]["dns_records_ovn_owned"] == "true"
    else:
        files = {f.path.name: f.content for f in Declared(ROOM, ctx).files}
        # a question for a neighbour's address of the other kind does not go outside
        assert f"local=/{domain}/\n" in files["dnsmasq.conf"]


def test_routers_on_several_hosts_are_not_offered(tmp_path: Path) -> None:
    ctx = made(tmp_path, "openvswitch")
    assert "onestack_external_agents" in ini(ctx, "ml2.ini")["ml2"]["mechanism_drivers"]


def test_the_physical_network_is_that_of_the_external_bridge(tmp_path: Path) -> None:
    given = {
        "CONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS": "other:br-other,outside:br-ex",
        "CONFIG_NEUTRON_OVN_EXTERNAL_PHYSNET": "outside",
    }
    assert made(tmp_path, "ovn", **given).once(Bridges).external_network == "outside"


def test_the_kernel_filters_where_the_datapath_cannot(tmp_path: Path) -> None:
    for kernel, driver in ((True, "openvswitch"), (False, "iptables_hybrid")):
        ctx = made(tmp_path, "openvswitch", machine(kernel=kernel))
        agent = ini(ctx, "openvswitch_agent.ini")
        assert agent["securitygroup"]["firewall_driver"] == driver
        assert agent["ovs"]["datapath_type"] == ("system" if kernel else "netdev")


def test_a_database_is_current_with_a_head_of_each_branch(tmp_path: Path) -> None:
    (database,) = Declared(ROOM, _with_migrations(made(tmp_path, "ovn"), tmp_path)).databases
    names = {Path(folder).name for folder in database.versions}
    assert names == {"expand", "contract", "versions"}


def _with_migrations(ctx: Context, root: Path) -> Context:
    versions = "neutron/db/migration/alembic_migrations/versions"
    places = ("", "2026.2/expand/", "2026.2/contract/")
    make(ctx.release.services, {f"{versions}/{place}one.py": "" for place in places})
    return ctx


@pytest.mark.parametrize("agent", AGENTS)
def test_firewalls(tmp_path: Path, agent: str) -> None:
    off = _with_migrations(made(tmp_path, agent), tmp_path)
    on = made(tmp_path, agent, CONFIG_NEUTRON_FWAAS="y")
    for ctx, there in ((off, False), (on, True)):
        server = ini(ctx, "neutron.conf")
        plugins = server["DEFAULT"]["service_plugins"].split(",")
        assert ("firewall_v2" in plugins) is there
        assert server.has_section("service_providers") is there
        assert any("preload_fwaas" in module for module in Declared(ROOM, ctx).zygote) is there
        names = [database.name for database in Declared(ROOM, ctx).databases]
        assert names == ["neutron", "neutron_fwaas"][: 1 + there]
        if agent == "openvswitch":
            l3 = ini(ctx, "l3_agent.ini")
            assert ("fwaas_v2" in l3["agent"]["extensions"].split(",")) is there
            assert l3.has_section("fwaas") is there
    assert {p.name for p in Declared(ROOM, on).processes} == {
        p.name for p in Declared(ROOM, off).processes
    }
    provider = ini(on, "neutron.conf")["service_providers"]["service_provider"]
    module = "fwaas_ovn" if agent == "ovn" else "fwaas_agents"
    path = f"onestack.components.neutron.inside.{module}.Driver"
    assert provider == f"FIREWALL_V2:{agent}:{path}:default"
    database = list(Declared(ROOM, on).databases)[1]
    assert (database.place, database.table) == ("neutron", "alembic_version_fwaas")


def test_families_work_out_models_when_all_are_there(tmp_path: Path) -> None:
    modules = list(Declared(ROOM, made(tmp_path, "ovn", CONFIG_NEUTRON_FWAAS="y")).zygote)
    assert modules[-1].endswith("preload_ovn")


def test_groups_are_lifted_where_ovn_would_go_on_without_the_service(tmp_path: Path) -> None:
    def tasks(agent: str, **given: str) -> set[str]:
        return {task.name for task in Declared(ROOM, made(tmp_path, agent, **given)).tasks}

    assert tasks("ovn") - tasks("ovn", CONFIG_NEUTRON_FWAAS="y") == {"firewalls"}
    assert "firewalls" not in tasks("openvswitch")


def test_lifting_groups(tmp_path: Path) -> None:
    ctx = made(tmp_path, "ovn")
    tool = ctx.cloud.bin / "ovn-nbctl"
    tool.parent.mkdir(parents=True)
    tool.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n[ "$5" != Port_Group ] || cat {tmp_path}/has\n'
    )
    tool.chmod(0o755)
    (tmp_path / "has").write_text("")
    assert list(fwaas.lifted(ctx)) == []
    (tmp_path / "has").write_text("pg_1\npg_2\n")
    (change,) = fwaas.lifted(ctx)
    assert change.what == "lift 2 firewall groups: CONFIG_NEUTRON_FWAAS is n"
    change.do()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-1] == "--timeout=20 -- pg-del pg_1 -- pg-del pg_2"
    assert 'external_ids:"neutron:firewall_group_id"!=[]' in asked[0]


@pytest.mark.parametrize(
    ("agent", "given", "sentence"),
    [
        ("ovn", {"CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "vxlan"}, "ovn cannot carry"),
        ("ovn", {"CONFIG_NEUTRON_OVN_EXTERNAL_PHYSNET": "nowhere"}, "does not map to a bridge"),
        (
            "ovn",
            {
                "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "geneve",
                "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "vlan",
                "CONFIG_NEUTRON_ML2_VLAN_RANGES": "extnet:1:9",
            },
            "leaves out",
        ),
        ("ovn", {"CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "vlan"}, "to take one from"),
        ("openvswitch", {"CONFIG_NEUTRON_OVS_TUNNEL_IF": "10.0.0.0/8"}, "CONFIG_USE_SUBNETS=y"),
        (
            "openvswitch",
            {
                "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,extnet:br-ex2,x:br-ex",
                "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex2:eth2",
            },
            "extnet twice\nmaps two physical networks",
        ),
        (
            "openvswitch",
            {
                "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,physnet1:br-eth1",
                "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:eth1,br-eth1:eth1",
            },
            "puts the NIC eth1 into two bridges",
        ),
    ],
)
def test_contradictions(tmp_path: Path, agent: str, given: dict[str, str], sentence: str) -> None:
    answers = registry().answers({"CONFIG_NEUTRON_L2_AGENT": agent, **given})
    said = "\n".join(ROOM.validate(answers))
    for part in sentence.split("\n"):
        assert part in said
    assert said.count("\n") == sentence.count("\n"), said
    with pytest.raises(BadAnswers, match="do not fit"):
        list(Declared(ROOM, made(tmp_path, agent, **given)).files)


@pytest.mark.parametrize(
    ("agent", "given", "sentence"),
    [
        ("openvswitch", {"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "ovn"}, "ovn counts for nothing"),
        ("ovn", {"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "openvswitch"}, "openvswitch counts for"),
        ("ovn", {"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "ovn,l2population"}, "l2population cou"),
        (
            "openvswitch",
            {"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "openvswitch,hyperv"},
            "hyperv counts for nothing; upstream has none",
        ),
        ("ovn", {"CONFIG_NEUTRON_ML2_VLAN_RANGES": "other:1:9"}, "does not map to a bridge"),
        ("openvswitch", {"CONFIG_NEUTRON_ML2_FLAT_NETWORKS": "other"}, "does not map to a bridge"),
        (
            "openvswitch",
            {"CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "vxlan,vlan"},
            "vlan counts for nothing",
        ),
        (
            "openvswitch",
            {"CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,physnet1:br-eth1"},
            "networks reach the guests of this machine, and nothing outside",
        ),
        (
            "openvswitch",
            {"CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-eth1:eth1"},
            "eth1 is left alone",
        ),
        (
            "openvswitch",
            {
                "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:eth1",
                "CONFIG_NEUTRON_OVS_TUNNEL_IF": "eth1",
            },
            "TUNNEL_IF=eth1 counts for nothing",
        ),
        (
            "ovn",
            {"CONFIG_NEUTRON_OVS_TUNNEL_IF": "eth1", "CONFIG_NEUTRON_OVN_TUNNEL_IF": "eth2"},
            "OVS_TUNNEL_IF=eth1 counts for nothing beside CONFIG_NEUTRON_OVN_TUNNEL_IF=eth2",
        ),
    ],
)
def test_what_counts_for_nothing_is_told_and_refused_by_nobody(
    agent: str, given: dict[str, str], sentence: str
) -> None:
    answers = registry().answers({"CONFIG_NEUTRON_L2_AGENT": agent, **given})
    assert list(ROOM.validate(answers)) == []
    (said,) = ROOM.remarks(answers)
    assert sentence in said
    if "MECHANISM" in next(iter(given)):
        drivers = keys.mechanism_drivers(answers, agent)
        assert agent in drivers and sentence.split()[0] not in drivers


@pytest.mark.parametrize("agent", AGENTS)
def test_old_and_new_answer_files_fit(agent: str) -> None:
    """What packstack itself wrote: in 2016 for Open vSwitch, at its end for OVN."""
    types = "vxlan" if agent == "openvswitch" else "geneve,flat"
    answers = registry().answers(
        {
            "CONFIG_NEUTRON_L2_AGENT": agent,
            "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": types,
            "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": types.split(",")[0],
            "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": agent,
        }
    )
    assert list(ROOM.validate(answers)) == []


def test_keys_say_what_is_wrong() -> None:
    checks = {key.name: key.check for key in keys.KEYS}
    for name, wrong, right in (
        ("CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS", "br-ex", "extnet:br-ex"),
        ("CONFIG_NEUTRON_ML2_VNI_RANGES", "100", "1:100,200:300"),
        ("CONFIG_NEUTRON_ML2_VLAN_RANGES", "extnet:1", "extnet:1:9,other"),
        ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "token-ring", "local,vlan"),
        ("CONFIG_NEUTRON_ML2_VNI_RANGES", "9:1", "1:9"),
        ("CONFIG_NEUTRON_ML2_VLAN_RANGES", "extnet:1:4095", "extnet:1:4094"),
    ):
        check = checks[name]
        assert check is not None
        assert repr(wrong) in (check(wrong) or "")
        assert check(right) is None


def test_a_twin_speaks_for_a_key_that_says_nothing(tmp_path: Path) -> None:
    given = {
        "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET": "wan",
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "wan:br-wan",
        "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-wan:eth7",
    }
    ctx = made(tmp_path, "ovn", **given)
    assert ctx.once(Bridges).mappings == {"wan": "br-wan"}
    said = [finding.what for finding in ROOM.preflight_checks(ctx)]
    assert len(said) == 3
    assert said[0] == (
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS=wan:br-wan is used as "
        "CONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS: ovn carries the networks"
    )
    # What the agent's own key says counts, and an empty one of the other's says nothing.
    mine = {"CONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS": "wan:br-mine"}
    assert made(tmp_path, "ovn", **mine).once(Bridges).mappings == {"wan": "br-mine"}
    empty = {"CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": ""}
    assert made(tmp_path, "ovn", **empty).once(Bridges).mappings == {"extnet": "br-ex"}


def test_the_machines_choice_of_an_agent_is_looked_at_too(tmp_path: Path) -> None:
    given = {"CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "vlan", "CONFIG_NEUTRON_L2_AGENT": ""}
    ctx = context_on(machine(kernel=True), tmp_path, ROOM, **given)
    assert list(ROOM.validate(ctx.answers)) == []
    (finding,) = ROOM.preflight_checks(ctx)
    assert "to take one from" in finding.why and "kernel has" in finding.what
    # Remarks are told then, too.
    given = {"CONFIG_NEUTRON_OVN_BRIDGE_IFACES": "br-c:eth1", "CONFIG_NEUTRON_L2_AGENT": ""}
    ctx = context_on(machine(kernel=True), tmp_path, ROOM, **given)
    assert [f.severity for f in ROOM.preflight_checks(ctx)] == [Severity.WARN]


def test_networks_are_not_left_to_another_agent(tmp_path: Path) -> None:
    """OVN is asked for no more, and the machine alone would choose Open vSwitch."""
    asked = {"CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "ovn"}
    host = machine(kernel=False)

    def refusals(**given: str) -> list[Finding]:
        ctx = context_on(host, tmp_path, ROOM, **given)
        return [found for found in ROOM.preflight_checks(ctx) if found.severity is Severity.REFUSE]

    before = context_on(host, tmp_path, ROOM, **asked)
    assert before.once(Bridges).agent == "ovn" and not refusals(**asked)
    for file in Declared(ROOM, before).files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    # there can be networks
    assert not refusals()
    table = table_file(before.cloud, tables.NETWORKS)
    table.parent.mkdir(parents=True)
    table.touch()
    assert not refusals(**asked)
    (refusal,) = refusals()
    assert "carried by ovn" in refusal.what and "CONFIG_NEUTRON_L2_AGENT=ovn" in refusal.cure
    assert not refusals(CONFIG_NEUTRON_L2_AGENT="ovn")


def test_guests_are_told_of_the_time_servers(tmp_path: Path) -> None:
    servers = {"CONFIG_NTP_SERVERS": "192.0.2.1,ntp.example.com,192.0.2.2"}
    parsed = ini(made(tmp_path, "ovn", **servers), "ml2.ini")
    assert parsed["ovn"]["ovn_dhcp4_global_options"] == "ntp_server:192.0.2.1;192.0.2.2"
    ctx = made(tmp_path, "openvswitch", **servers)
    text = next(f.content for f in Declared(ROOM, ctx).files if f.path.name == "dnsmasq.conf")
    assert "dhcp-option=option:ntp-server,192.0.2.1,192.0.2.2\n" in text


def test_traffic_is_counted_where_there_is_an_agent_for_it(tmp_path: Path) -> None:
    given = {"CONFIG_NEUTRON_METERING_AGENT_INSTALL": "y"}
    ctx = made(tmp_path, "openvswitch", **given)
    found = {p.name: p for p in Declared(ROOM, ctx).processes}
    # else it finds none that has routers here, and counts nothing until it asks again
    assert "neutron-l3-agent" in found["neutron-metering-agent"].needs
    assert "metering" in ini(ctx, "neutron.conf")["DEFAULT"]["service_plugins"]
    ctx = made(tmp_path, "ovn", **given)
    assert "neutron-metering-agent" not in {p.name for p in Declared(ROOM, ctx).processes}
    assert "no effect" in next(iter(ROOM.preflight_checks(ctx))).what


def test_causes_are_told(tmp_path: Path) -> None:
    ctx = made(tmp_path, "openvswitch", CONFIG_NEUTRON_FWAAS="y")
    line = "ERROR neutron.plugins.ml2.managers Failed to bind port 1 on host x"
    assert "network agent" in (ctx.model.likely("neutron", line) or "")
    assert "onestack restart neutron/neutron-l3-agent" in (
        ctx.model.likely("neutron", "The firewall group 8142ff27 cannot be applied") or ""
    )
    assert ctx.model.likely("neutron", "all is well") is None


def test_what_carries_the_networks_is_asked_only_where_features_are_chosen() -> None:
    """Everything else is said by the feature that is on, or found by a capability."""
    rooms = Path(components.__file__).parent
    asking = [
        f"{path.relative_to(rooms)}: {function.name}"
        for path in sorted(rooms.rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Attribute)
        and node.left.attr in ("agent", "mechanism")
        and function.name != "on"
    ]
    assert not asking


@pytest.mark.parametrize("agent", AGENTS)
def test_one_mechanism_is_on(tmp_path: Path, agent: str) -> None:
    ctx = made(tmp_path, agent)
    features = {feature.name for feature in ctx.model["neutron"].features}
    assert features & AGENTS.keys() == {agent}
    # What the other one had goes when it is off.
    former = {path.name for path in switched_off.former_files(ctx.model["neutron"])}
    other = {"ovn": "openvswitch_agent.ini", "openvswitch": "ovn_agent.ini"}
    assert other[agent] in former and "metering_agent.ini" in former
    assert not former & {file.path.name for file in ctx.model["neutron"].files}


@pytest.mark.parametrize("agent", AGENTS)
def test_which_hosts_have_it(tmp_path: Path, agent: str) -> None:
    """APIs and workers are controllers', agents are where guests or their way out are."""
    processes = Declared(ROOM, made(tmp_path, agent)).processes
    central = {p.name for p in processes if p.roles == (Role.CONTROLLER,)}
    assert central == {"neutron-api", "neutron-workers"}
    computes = {p.name for p in processes if Role.COMPUTE in p.roles}
    assert computes == AGENTS[agent] & {"neutron-ovn-agent", "neutron-openvswitch-agent"}
    assert all(Role.GATEWAY in p.roles for p in processes if p.name not in central)


def test_the_kernels_bridge_filters_are_for_its_conntrack(tmp_path: Path) -> None:
    def tasks(agent: str, kernel: bool) -> set[str]:
        ctx = made(tmp_path, agent, machine(kernel=kernel))
        return {task.name for task in Declared(ROOM, ctx).tasks}

    assert "bridge-filters" in tasks("openvswitch", kernel=False)
    assert "bridge-filters" not in tasks("openvswitch", kernel=True)
    assert "bridge-filters" not in tasks("ovn", kernel=False)


def test_answers_that_do_not_fit_stop_nobody_while_it_is_off(tmp_path: Path) -> None:
    """What it has left is looked for by its files, whatever its answers are by then."""
    given = {"CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "gre", "CONFIG_NEUTRON_L2_AGENT": "ovn"}
    ctx = context_on(machine(), tmp_path, CONFIG_NEUTRON_INSTALL="n", **given)
    assert switched_off.left(ctx) == []
    ml2 = ctx.cloud.etc / "neutron" / "ml2.ini"
    ml2.parent.mkdir(parents=True)
    ml2.touch()
    (left,) = switched_off.left(ctx)
    assert (left.name, left.files) == ("neutron", (ml2,))


@pytest.mark.parametrize(
    ("agent", "limits", "missing", "told"),
    [
        ("openvswitch", 2, ["floating IPs"], True),
        ("openvswitch", 0, ["floating IPs"], False),
        ("openvswitch", 2, [], False),
        ("ovn", 2, ["floating IPs"], False),
    ],
)
def test_limits_that_the_kernel_cannot_keep_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    agent: str,
    limits: int,
    missing: list[str],
    told: bool,
) -> None:
    monkeypatch.setattr(server, "server_of", lambda ctx: None)
    monkeypatch.setattr(tables, "bandwidth_limits", lambda server: limits)
    monkeypatch.setattr(tables, "untagged_networks", lambda server: [])
    monkeypatch.setattr(shaping, "unlimited", lambda: iter(missing))
    found = list(ROOM.health_checks(made(tmp_path, agent)))
    assert [f.severity for f in found] == [Severity.REFUSE] * told
    assert all("floating IPs" in f.what for f in found)


def net(
    name: str, physical: str = "", guests: int = 0, ports: int = 0, **more: Any
) -> tables.Untagged:
    found = {"kind": "local", "external": True, **more}
    return tables.Untagged(
        f"s-{name}", name, name, physical=physical, guests=guests, ports=max(ports, guests), **found
    )


INNER = net("inner", external=False, guests=3)
LOST = net("lost", guests=1)


@pytest.mark.parametrize(
    ("networks", "wanted"),
    [
        # an older program's, which has no physical network
        ([INNER, net("old", ports=1), net("idle")], {"old": "extnet"}),
        # of two the one with ports has them, also where the other had them
        ([LOST, net("idle", "extnet")], {"lost": "extnet", "idle": ""}),
        ([LOST, net("led", "extnet", guests=1)], {}),
        # the physical network has another name now
        ([net("led", "before")], {"led": "extnet"}),
        ([LOST, net("led", "before", ports=1)], {"led": "extnet"}),
        # a flat one has them
        ([net("flat", "extnet", kind="flat"), LOST], {}),
        ([net("flat", "extnet", kind="flat"), net("both", "extnet")], {"both": ""}),
        ([net("flat", "two", kind="flat"), LOST], {"lost": "extnet"}),
        # external no more
        ([net("inner", "extnet", external=False, ports=1)], {"inner": ""}),
    ],
)
def test_one_network_is_led_to_the_external_bridge(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    networks: list[tables.Untagged],
    wanted: dict[str, str],
) -> None:
    there = {network.identity: network for network in networks}

    def lead(server: object, network: str, physical: str) -> None:
        there[network] = there[network]._replace(physical=physical)

    monkeypatch.setattr(server, "server_of", lambda ctx: None)
    monkeypatch.setattr(tables, "untagged_networks", lambda server: list(there.values()))
    monkeypatch.setattr(tables, "lead", lead)
    ctx = made(tmp_path, "openvswitch")
    declared = Declared(ROOM, ctx)
    (task,) = (task for task in declared.tasks if task.name == "external")
    (agent,) = (p for p in declared.processes if p.name == "neutron-openvswitch-agent")
    (ctx.cloud.data / "neutron").mkdir(parents=True)
    told = [fingerprint(agent.files)]
    for change in task.ensure():
        change.do()
        told.append(fingerprint(agent.files))
    # It is started anew for each of them, also for one that was led before.
    assert len({tuple(found.values()) for found in told}) == len(told) == 1 + len(wanted)
    before = {network.identity: network for network in networks}
    assert {n: there[n].physical for n in there if there[n] != before[n]} == wanted
    assert list(task.ensure()) == []
    none = made(tmp_path, "openvswitch", CONFIG_NEUTRON_L3_EXT_BRIDGE="provider")
    assert list(untagged.ensure_led(none)) == []


def test_a_network_of_two_segments_is_led_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [LOST._replace(segment=segment) for segment in ("one", "two")]

    def lead(server: object, network: str, physical: str) -> None:
        there[:] = [segment._replace(physical=physical) for segment in there]

    monkeypatch.setattr(server, "server_of", lambda ctx: None)
    monkeypatch.setattr(tables, "untagged_networks", lambda server: list(there))
    monkeypatch.setattr(tables, "lead", lead)
    ctx = made(tmp_path, "openvswitch")
    (ctx.cloud.data / "neutron").mkdir(parents=True)
    for change in untagged.ensure_led(ctx):
        change.do()
    assert {segment.physical for segment in there} == {"extnet"}
    assert list(untagged.ensure_led(ctx)) == []


def test_local_networks_of_ovn_follow_the_name_of_the_physical_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [
        net("led", "before", guests=1),
        net("now", "extnet"),
        # another program's, a flat one's and an inner one's are no business of ours
        net("bare"),
        net("flat", "before", kind="flat"),
        net("inner", "before", external=False),
    ]
    led: list[tuple[str, str]] = []
    monkeypatch.setattr(server, "server_of", lambda ctx: None)
    monkeypatch.setattr(tables, "untagged_networks", lambda server: networks)
    monkeypatch.setattr(tables, "lead", lambda server, *what: led.append(what))
    ctx = made(tmp_path, "ovn")
    tool = ctx.cloud.bin / "ovn-nbctl"
    tool.parent.mkdir(parents=True)
    tool.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    tool.chmod(0o755)
    (task,) = (task for task in Declared(ROOM, ctx).tasks if task.name == "external")
    (change,) = task.ensure()
    change.do()
    wanted = "--if-exists set Logical_Switch_Port provnet-s-led options:network_name=extnet"
    assert (tmp_path / "asked").read_text() == f"--timeout=20 -- {wanted}\n"
    assert led == [("led", "extnet")]
    none = made(tmp_path, "ovn", CONFIG_NEUTRON_L3_EXT_BRIDGE="provider")
    (task,) = (task for task in Declared(ROOM, none).tasks if task.name == "external")
    assert list(task.ensure()) == []


@pytest.mark.parametrize(
    ("networks", "cure"),
    [
        ([INNER, net("idle"), net("led", "extnet", guests=1)], ""),
        ([LOST, net("idle", "extnet")], "onestack up"),
        ([LOST, net("led", "extnet", ports=1)], "delete the ports on led, then onestack up"),
        ([LOST, net("flat", "extnet", kind="flat")], "delete the network flat, then onestack up"),
    ],
)
def test_guests_that_are_not_led_out_are_told(
    tmp_path: Path, networks: list[tables.Untagged], cure: str
) -> None:
    found = list(untagged.unled(made(tmp_path, "openvswitch"), networks))
    assert [cure in finding.cure for finding in found] == [True] * bool(cure)
    assert all("1 guests' ports on the external network lost" in f.what for f in found)


@needs_root
def test_what_the_kernel_can_limit_is_tried() -> None:
    before = _rules()
    assert set(shaping.unlimited()) <= set(shaping.TRIALS)
    assert _rules() == before


def _rules() -> str:
    return subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True).stdout
