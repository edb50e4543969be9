"""What each role's hosts would have of a cloud with everything on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.deploy.roster import placed, processes_of
from onestack.deploy.up import cloud_steps
from onestack.engine.graph import Graph
from onestack.model.context import Context
from onestack.model.host import EVERY_ROLE, Role
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream
from tests.unit.deploy import toys

SWITCH = {"ovsdb-server", "ovs-vswitchd", "external-bridge", "guests-unheard"}
STORAGE = {
    *("cinder-volume", "cinder-backup"),
    *("swift-storage", "swift-rsync", "swift-upkeep"),
}
COMPUTE = {
    "ovn": {*SWITCH, "ovn-controller", "libvirtd", "guests", "nova-compute", "neutron-ovn-agent"},
    "openvswitch": {
        *(*SWITCH, "libvirtd", "guests", "nova-compute", "neutron-openvswitch-agent"),
    },
}


class Nobody(toys.Supervisor):
    """A supervisor that does not run."""

    def __init__(self) -> None:
        pass

    def running(self) -> bool:
        return False


def cloud(root: Path, agent: str) -> Context:
    """With everything on, for one host with all roles."""
    given = {
        "CONFIG_NEUTRON_L2_AGENT": agent,
        "CONFIG_NTP_SERVERS": "192.0.2.1",
        "CONFIG_PROVISION_TEMPEST": "y",
    }
    ctx = context(root, *ALL, **given)
    write_upstream(ctx)
    return ctx


def spread(ctx: Context) -> Context:
    """The same for four hosts, one for each role, as the compute host sees it."""
    host = ctx.host
    hosts = [dataclasses.replace(host, name=role, roles=frozenset({role})) for role in Role]
    own = next(one for one in hosts if one.name == Role.COMPUTE)
    return dataclasses.replace(ctx, host=own, others=tuple(one for one in hosts if one is not own))


@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
class TestRoles:
    def test_one_host_has_it_all(self, tmp_path: Path, agent: str) -> None:
        ctx = cloud(tmp_path, agent)
        assert ctx.host.roles == EVERY_ROLE
        every = [spec.name for declared in ctx.model for spec in declared.processes]
        assert list(placed(ctx)[ctx.host.name]) == every
        assert [s.name for own in processes_of(ctx).values() for s in own] == every

    def test_each_has_its_own(self, tmp_path: Path, agent: str) -> None:
        found = {host: set(names) for host, names in placed(spread(cloud(tmp_path, agent))).items()}
        assert found[Role.COMPUTE] == {*COMPUTE[agent], "chronyd"}
        assert found[Role.STORAGE] - {"chronyd"} == STORAGE
        assert found[Role.GATEWAY] >= SWITCH
        assert not found[Role.CONTROLLER] & (COMPUTE[agent] | STORAGE)
        assert found[Role.CONTROLLER] >= {"mariadb", "keystone-api", "nova-api", "haproxy"}

    def test_a_compute_host_waits_for_its_own_only(self, tmp_path: Path, agent: str) -> None:
        specs = [s for own in processes_of(spread(cloud(tmp_path, agent))).values() for s in own]
        assert {name for spec in specs for name in spec.needs} <= {spec.name for spec in specs}

    def test_what_is_the_clouds_is_done_on_a_controller(self, tmp_path: Path, agent: str) -> None:
        ctx = spread(cloud(tmp_path, agent))
        steps = {step.name for step in cloud_steps(ctx, Nobody(), dry_run=True)}
        assert not {step for step in steps if step.startswith(("database:", "identity:"))}
        assert not steps & {"nova:cells", "keystone:bootstrap", "provision:flavors", "swift:disk"}
        assert steps >= {"process:nova-compute", "libvirt:places", "nova:vendordata"}

    def test_its_steps_are_a_graph(self, tmp_path: Path, agent: str) -> None:
        ctx = spread(cloud(tmp_path, agent))
        for host in ctx.hosts:
            others = tuple(one for one in ctx.hosts if one is not host)
            there = dataclasses.replace(ctx, host=host, others=others)
            Graph(cloud_steps(there, Nobody(), dry_run=True))
