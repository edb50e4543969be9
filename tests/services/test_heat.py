"""Heat: a stack of everything that people put into one, signalled by its own guest.

The guest reaches the TLS front through its router and trusts the cloud's
certificate authority by the vendor data: its curl is told nothing special.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.known_errors import unexpected
from tests.support.clouds import CloudUnderTest, rows, wait_until

TEMPLATE = Path(__file__).with_name("heat") / "stack.yaml"
EXTERNAL = "heat-ext"
KINDS = (
    *("server", "volume", "floating ip", "router", "port", "subnet", "network", "security group"),
    *("user", "project"),
)


class Stack:
    """The stack ``one`` of the template, as the clients show it."""

    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud = cloud

    def deploy(self, verb: str, *words: str, expect: int = 0) -> str:
        line = f"openstack stack {verb} -t {TEMPLATE} --parameter external={EXTERNAL} --wait"
        return self.cloud.type(" ".join((line, *words, "one")), expect=expect, timeout=560)

    @property
    def status(self) -> str:
        return self.cloud.type("openstack stack show one -f value -c stack_status").strip()

    def outputs(self) -> dict[str, str]:
        text = self.cloud.type("openstack stack output show one --all -f json")
        return {name: value["output_value"] for name, value in json.loads(text).items()}

    def note(self) -> str:
        """What the server is told by nova."""
        server = self.outputs()["server"]
        text = self.cloud.type(f"openstack server show {server} -f json -c properties")
        return str(json.loads(text)["properties"]["note"])

    def doors(self) -> set[str]:
        group = self.cloud.type(
            "openstack stack resource show one group -f value -c physical_resource_id"
        ).strip()
        listed = json.loads(
            self.cloud.type(f"openstack security group rule list {group} --ingress -f json")
        )
        return {rule["Port Range"] for rule in listed}


def things(cloud: CloudUnderTest) -> dict[str, set[str]]:
    """The ids of all there is of each kind, in heat's own domain too."""

    def ids(kind: str) -> set[str]:
        where = " --domain heat" if kind in ("user", "project") else ""
        listed = json.loads(cloud.type(f"openstack {kind} list{where} -f json"))
        # A project's default security group is made when neutron first meets the project.
        return {row["ID"] for row in listed if row.get("Name") != "default"}

    return {kind: ids(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def stack(cloud: CloudUnderTest) -> Iterator[Stack]:
    cloud.type(
        f"openstack network create {EXTERNAL} --external --provider-network-type local && "
        f"openstack subnet create {EXTERNAL} --network {EXTERNAL} --subnet-range 10.50.14.0/24 "
        "--no-dhcp --gateway 10.50.14.1 --allocation-pool start=10.50.14.81,end=10.50.14.89"
    )
    yield Stack(cloud)
    cloud.type("openstack stack delete -y --wait one", expect=None, timeout=300)
    cloud.type(f"openstack network delete {EXTERNAL}", expect=None)


@pytest.fixture(scope="module")
def before(stack: Stack) -> dict[str, set[str]]:
    return things(stack.cloud)


def test_a_stack_is_complete_when_its_guest_says_so(
    stack: Stack, before: dict[str, set[str]]
) -> None:
    stack.deploy("create")
    assert stack.status == "CREATE_COMPLETE"
    outputs = stack.outputs()
    assert json.loads(outputs["aws"]) == {"guest": "by CFN"}
    assert json.loads(outputs["hot"]) == {"guest": "by HOT"}
    assert outputs["part"] == "first"
    assert stack.doors() == {"22:22"}
    stack.cloud.type(f"timeout 5 bash -c '</dev/tcp/{outputs['address']}/22'")
    volumes = json.loads(stack.cloud.type("openstack volume list --long -f json"))
    attached = [a["server_id"] for volume in volumes for a in volume["Attached to"]]
    assert outputs["server"] in attached


def test_the_legacy_client_sees_it(stack: Stack) -> None:
    listed = rows(stack.cloud.type("heat stack-list 2>/dev/null"))
    assert [(row["stack_name"], row["stack_status"]) for row in listed] == [
        ("one", "CREATE_COMPLETE")
    ]
    resources = rows(stack.cloud.type("heat resource-list -n 2 one 2>/dev/null"))
    assert {"server", "attachment", "part", "aws_ready"} <= {r["resource_name"] for r in resources}
    assert len([r for r in resources if r["resource_type"] == "OS::Neutron::SecurityGroup"]) == 2


def test_an_update_changes_what_changed(stack: Stack) -> None:
    server = stack.outputs()["server"]
    stack.deploy("update", "--parameter note=second", "--parameter 'doors=22,80'")
    assert stack.status == "UPDATE_COMPLETE"
    outputs = stack.outputs()
    assert (outputs["server"], outputs["part"]) == (server, "second")
    assert stack.note() == "second"
    assert stack.doors() == {"22:22", "80:80"}


def test_a_stack_in_a_stack_by_heats_own_front(stack: Stack) -> None:
    """As public templates have it; heat is a client of its own there, over TLS."""
    template = TEMPLATE.with_name("remote.yaml")
    made = "openstack stack create --wait -f value -c stack_status -t"
    try:
        assert "CREATE_COMPLETE" in stack.cloud.type(f"{made} {template} outer", timeout=200)
        value = "openstack stack output show outer inner -f value -c output_value"
        assert "kept inside" in stack.cloud.type(value)
    finally:
        stack.cloud.type("openstack stack delete -y --wait outer", expect=None, timeout=200)


def test_an_update_that_fails_is_rolled_back(stack: Stack) -> None:
    server = stack.outputs()["server"]
    text = stack.deploy(
        "update",
        *("--parameter note=third", "--parameter doors=443", "--parameter broken=true"),
        "--rollback enabled",
        expect=1,
    )
    assert "192.0.2.77" in text
    # The client has only waited for the failure.
    wait_until("the roll-back", lambda: stack.status == "ROLLBACK_COMPLETE", 300, 2)
    outputs = stack.outputs()
    assert (outputs["server"], outputs["part"]) == (server, "second")
    assert stack.note() == "second"
    assert stack.doors() == {"22:22", "80:80"}


def test_nothing_is_left_of_a_deleted_stack(stack: Stack, before: dict[str, set[str]]) -> None:
    stack.cloud.type("openstack stack delete -y --wait one", timeout=300)
    assert "one" not in stack.cloud.type("openstack stack list -f value -c 'Stack Name'")
    left = {kind: ids - before[kind] for kind, ids in things(stack.cloud).items()}
    assert not {kind: ids for kind, ids in left.items() if ids}


def test_nothing_went_wrong(stack: Stack) -> None:
    lines = [line for line in unexpected(stack.cloud.error_lines()) if line.startswith("heat.log")]
    assert not lines
