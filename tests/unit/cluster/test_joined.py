"""What a host is made of that has joined: of its controller's secrets, no more than it needs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from onestack.answers.handed import HandedSecrets
from onestack.answers.registry import registry
from onestack.answers.secrets import UndeclaredSecret
from onestack.components import ALL, openstack
from onestack.components.door import shared
from onestack.components.hosts import HERE
from onestack.components.ovn import chassis
from onestack.components.rabbitmq import accounts, hosts
from onestack.deploy.prepare import wanted_environments, wanted_packages, wanted_users
from onestack.deploy.roster import processes_of, roster_of
from onestack.deploy.up import cloud_steps
from onestack.engine.graph import Graph
from onestack.host.ledger import Ledger
from onestack.model.context import Context
from onestack.model.host import Member, Role
from onestack.model.process import AgentProbe, ApiProbe
from onestack.model.root_command import Refused, chosen
from onestack.model.secret import WITHHELD
from tests.support.joined import elsewhere, member
from tests.unit.cluster.test_clouds import COMPUTE, Nobody
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

IDENTITY = "6a0f7d0e-9d0b-4d1c-8b61-0123456789ab"
OTHER = "0b7c3a52-57a5-4b0c-a4f8-ba9876543210"


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """With everything on, and two hosts."""
    given = {
        "CONFIG_NEUTRON_L2_AGENT": "ovn",
        "CONFIG_NTP_SERVERS": "192.0.2.1",
        "CONFIG_ONESTACK_JOIN": "y",
        "CONFIG_ONESTACK_EXTERNAL_ADDRESS": "10.50.14.1/24",
        "CONFIG_KEYSTONE_ADMIN_PW": "administrator-of-it-all",
        "CONFIG_ONESTACK_BARBICAN_INSTALL": "y",
    }
    ctx = context(tmp_path_factory.mktemp("all"), *ALL, **given)
    write_upstream(ctx)
    two = (member(ctx, "web1", IDENTITY), member(ctx, "web2", OTHER))
    return dataclasses.replace(ctx, members=two)


@pytest.fixture(scope="module")
def compute(controller: Context) -> Context:
    return elsewhere(controller, controller.members[0])


def files(ctx: Context) -> dict[str, str]:
    """Those that the host has."""
    return {
        str(file.path): file.content
        for declared in ctx.model
        for file in declared.files
        if ctx.here(file.roles or declared.component.roles)
    }


def test_it_knows_no_secret_that_it_does_not_need(controller: Context, compute: Context) -> None:
    texts = files(compute)
    assert any(path.endswith("nova-compute.conf") for path in texts)
    handed = shared.shared(controller, Role.COMPUTE).secrets
    assert set(handed) == {"neutron_metadata"}
    hidden = {n: controller.secrets[n] for n in registry().secrets if n not in handed}
    leaks = [
        f"{path} has {name}"
        for path, text in texts.items()
        for name, value in hidden.items()
        if len(value) > 8 and value in text
    ]
    assert leaks == []
    assert [path for path, text in texts.items() if WITHHELD in text] == []


def test_it_is_told_no_answer_of_a_secret_nor_of_another_machine(controller: Context) -> None:
    told = shared.shared(controller, Role.COMPUTE).answers
    assert told["CONFIG_NEUTRON_L2_AGENT"] == "ovn"
    assert "CONFIG_KEYSTONE_ADMIN_PW" not in told
    assert not HERE & set(told)
    assert set(registry().keys) >= HERE, "the names are those of keys"


def test_nor_one_that_another_host_has(controller: Context, compute: Context) -> None:
    mine, theirs = (
        {account.password for account in m.accounts.values()} for m in controller.members
    )
    text = "".join(files(compute).values())
    assert all(password in text for password in mine)
    assert not any(password in text for password in theirs)


def test_its_services_are_itself(compute: Context) -> None:
    for user in ("nova", "neutron", "placement"):
        assert openstack.credentials(compute, user)["username"] == "onestack-host-web1"
    assert "//onestack-host-web1:" in openstack.transport_url(compute)
    assert "database" not in compute.model["neutron"].files[0].content
    conf = next(t for p, t in files(compute).items() if p.endswith("nova-compute.conf"))
    for option in ("use_queue_manager = true", "hostname = web1", "processname = compute"):
        assert f"\n{option}\n" in conf
    for section in ("database", "api_database", "keystone_authtoken", "cache"):
        assert f"[{section}]" not in conf
    assert "my_ip = 192.0.2.7" in conf


def test_it_runs_what_a_compute_does(compute: Context) -> None:
    specs = [spec for own in processes_of(compute).values() for spec in own]
    assert {spec.name for spec in specs} == {*COMPUTE["ovn"], "chronyd", "passage", "follower"}
    names = {spec.name for spec in specs}
    for spec in specs:
        assert set(spec.needs) <= names
        # it may not look at the controller's lists
        assert not isinstance(spec.probe, AgentProbe | ApiProbe), spec.name
    needs = {spec.name: set(spec.needs) for spec in specs}
    assert "passage" in needs["nova-compute"] & needs["ovn-controller"]
    assert {"guests", "ovs-vswitchd"} <= needs["nova-compute"]


def test_its_roster_and_its_steps(compute: Context) -> None:
    roster = roster_of(compute)
    (follower,) = (spec for spec in roster.processes if spec.name == "follower")
    allowed = roster.root_commands[follower.user]
    command = follower.arguments["command"][1:]
    assert chosen(command, allowed) and command[1:3] == ["up", "--if-told"]
    for other in (command[:2], [*command, "--purge"], [command[0], "destroy", *command[2:]]):
        with pytest.raises(Refused):
            chosen(other, allowed)
    launcher, _, _, _, *where = command
    asked = [*follower.arguments["verb"][1:], "60", launcher, "status", *where, "nova"]
    assert where == follower.arguments["cloud"] and chosen(asked, allowed) != allowed[0]
    steps = cloud_steps(compute, Nobody(), dry_run=True)
    Graph(steps)
    names = {step.name for step in steps}
    assert names >= {"door:certificates", "process:passage", "process:nova-compute"}
    assert not {name for name in names if name.startswith(("database:", "identity:", "catalog:"))}
    assert not names & {"ovn:certificate", "keystone:hosts", "door:admitted"}


def test_it_installs_what_a_compute_needs(controller: Context, compute: Context) -> None:
    packages = set(wanted_packages(compute))
    assert packages >= {"qemu-system-x86", "haproxy", "libvirt-daemon"}
    assert not packages & {"mariadb-server", "rabbitmq-server", "memcached"}
    assert set(wanted_packages(controller)) > packages & {"rabbitmq-server"}
    users = set(wanted_users(compute))
    assert users >= {"onestack-nova", "onestack-door"}
    assert not users & {"onestack-keystone", "onestack-doorway", "onestack-mariadb"}
    assert wanted_environments(compute)[0] == "services"
    assert "clients" not in wanted_environments(compute)


def test_its_chassis_is_known_by_its_certificate(compute: Context) -> None:
    ids = dict(each.removeprefix("external-ids:").split("=", 1) for each in chassis(compute))
    assert ids["system-id"] == f'"{IDENTITY}"'
    assert ids["ovn-remote"] == f'"ssl:{compute.internal}:6642"'
    assert ids["ovn-encap-ip"] == '"192.0.2.7"'
    assert ids["ovn-cms-options"] == '""', "the way to the outside is the gateways'"


def test_the_controllers_own_chassis_is_reached(controller: Context) -> None:
    # a room's module that is imported late must not take the place of a name in its front
    assert [task.name for task in controller.model["ovn"].tasks] == ["certificate", "departed"]
    ids = dict(each.removeprefix("external-ids:").split("=", 1) for each in chassis(controller))
    assert ids["ovn-encap-ip"] == f'"{controller.public}"'
    assert ids["ovn-cms-options"] == '"enable-chassis-as-gw"'
    sb = next(s for s in controller.model["ovn"].processes if s.name == "ovn-sb-ovsdb")
    assert "--remote=db:OVN_Southbound,SB_Global,connections" in sb.argv
    northd = next(s for s in controller.model["ovn"].processes if s.name == "ovn-northd")
    (told,) = (words for words in northd.prepare if "set-connection" in words)
    assert told[-2:] == ("role=ovn-controller", f"pssl:6642:{controller.internal}")


def test_both_sides_of_the_door_mean_the_same_places(controller: Context, compute: Context) -> None:
    def places(ctx: Context, name: str) -> set[str]:
        text = next(f.content for f in ctx.model["door"].files if f.path.name == name)
        return set(re.findall(rf"{re.escape(ctx.internal)}:\d+", text))

    assert places(controller, "haproxy.cfg") == places(compute, "passage.cfg")
    assert len(places(compute, "passage.cfg")) == 9


def test_a_cloud_without_a_door_is_as_it_was(tmp_path: Path) -> None:
    ctx = context(tmp_path, *ALL, CONFIG_NEUTRON_L2_AGENT="ovn")
    ctx = dataclasses.replace(ctx, components=tuple(c for c in ALL if c.name != "door"))
    write_upstream(ctx)
    ids = dict(each.removeprefix("external-ids:").split("=", 1) for each in chassis(ctx))
    assert ids["ovn-encap-ip"] == f'"{ctx.internal}"'
    sb = next(s for s in ctx.model["ovn"].processes if s.name == "ovn-sb-ovsdb")
    assert not any("db:OVN" in word or "private-key" in word for word in sb.argv)


# -- what the controller gives it ----------------------------------------------------


def rights(of: Member) -> tuple[str, str, str]:
    declared = hosts.account(of, accounts.MAIN)
    return declared.configure, declared.write, declared.read


def test_it_has_a_user_of_its_own_at_the_bus(controller: Context) -> None:
    made = json.loads(accounts.definitions(accounts.accounts(controller)))
    users = [user["name"] for user in made["users"]]
    assert [name for name in users if name.startswith("onestack-host-")] == [
        "onestack-host-web1",
        "onestack-host-web2",
    ]
    without = dataclasses.replace(controller, members=())
    assert "onestack-host" not in accounts.definitions(accounts.accounts(without))


ID = "0123456789abcdef" * 2
ITS = (
    *("compute.web1", "compute-alt.web1"),
    *("compute_fanout_web1:compute:3", "compute-alt_fanout_web1:compute:4"),
    "reply_web1:compute:12",
)
OTHERS = (
    *(
        "compute.web2",
        "compute-alt.web2",
        "compute.web11",
        "conductor",
        "scheduler",
        "cinder-volume",
    ),
    *(f"reply_{ID}", f"compute_fanout_{ID}", "reply_web2:compute:1", "reply_web11:compute:1"),
    *("compute_fanout_web2:compute:1", "reply_web1:conductor:1"),
    *("q-plugin", "engine", "reply_x", "notifications.info", "amq.direct", "neutron"),
)


@pytest.mark.parametrize("queue", ITS)
def test_its_queues_are_its_own(controller: Context, queue: str) -> None:
    for right in rights(controller.members[0]):
        assert re.search(right, queue)


@pytest.mark.parametrize(
    "name",
    [
        *("nova", "compute_fanout", "compute-alt_fanout", "scheduler_fanout", "amq.default"),
    ],
)
def test_what_it_shares_is_not_its_own_to_make(controller: Context, name: str) -> None:
    """Who may make it at the broker may delete it."""
    configure, write, read = rights(controller.members[0])
    assert not re.search(configure, name)
    assert re.search(read if name.startswith("compute") else write, name), "and may be used"


@pytest.mark.parametrize("queue", [*OTHERS, "compute", "compute-alt"])
def test_others_queues_are_not(controller: Context, queue: str) -> None:
    for right in rights(controller.members[0]):
        assert not re.search(right, queue)


def test_what_it_may_say_to_whom(controller: Context) -> None:
    (topic,) = hosts.account(controller.members[0], accounts.MAIN).topics
    assert topic.exchange == "nova"
    for key in ("conductor", "conductor.controller", "scheduler", "compute.web2", "compute-alt.x"):
        assert re.search(topic.write, key)
    for key in ("compute", "compute-alt", "compute.", "conductors", "cinder-volume", "x.compute.y"):
        assert not re.search(topic.write, key)
    assert re.search(topic.read, "compute.web1")
    for key in ("compute", "compute-alt", "compute.web2", "conductor", "compute.web1.x"):
        assert not re.search(topic.read, key)


def test_what_its_queues_are_counted_in_goes_with_it(
    controller: Context, compute: Context, tmp_path: Path
) -> None:
    """Outside the cloud's root, where upstream puts it."""
    there = dataclasses.replace(compute, cloud=dataclasses.replace(compute.cloud, root=tmp_path))
    (task,) = (t for t in there.model["nova"].tasks if t.name == "counted")
    for change in task.ensure():
        change.do()
    assert not list(task.ensure())
    (entry,) = Ledger.of(there.cloud).entries()
    assert (entry.kind, entry.data) == ("file", {"path": "/dev/shm/web1_compute_qmanager"})
    assert "counted" not in {t.name for t in controller.model["nova"].tasks}


def test_a_name_with_dots_is_no_pattern(controller: Context) -> None:
    dotted = member(controller, "a.b", IDENTITY)
    assert re.search(rights(dotted)[2], "compute.a.b")
    assert not re.search(rights(dotted)[2], "compute.axb")


# -- secrets -----------------------------------------------------------------------


def test_what_was_not_handed_over_opens_nothing() -> None:
    found = HandedSecrets({"neutron_metadata": "m"}, registry().secrets)
    assert found["neutron_metadata"] == "m"
    assert found["nova_db"].startswith(WITHHELD)
    assert found.known() == {"m"}
    with pytest.raises(UndeclaredSecret):
        found["nothing"]
