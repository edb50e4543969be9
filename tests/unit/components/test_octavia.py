"""Octavia's room: what it asks for, and where it will not go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.components.neutron import Neutron
from onestack.components.octavia import Octavia
from onestack.components.octavia.providers import LISTENERS
from onestack.network.backend import l2_agent
from tests.unit.components.rooms import answered, content, context, context_on, machine


@pytest.fixture
def octavia() -> Octavia:
    return Octavia()


def problems(**given: str) -> list[str]:
    answers, wrong = answered(**given)
    return wrong or (list(Octavia().validate(answers)) if answers is not None else [])


def test_everything_is_below_the_clouds_root(tmp_path: Path, octavia: Octavia) -> None:
    ctx = context(tmp_path, octavia, name="a", CONFIG_LBAAS_INSTALL="y")
    text = content(ctx, octavia, "octavia.conf")
    for path in re.findall(r"(?<![\w:/.])/[\w./-]+", text):
        if path.startswith(("/v3", "/octavia")):
            continue
        assert path.startswith(str(tmp_path)), path
    assert ctx.internal in text
    assert "127.77.0.1" not in text
    (process,) = octavia.processes(ctx)
    for address in process.sockets.values():
        assert address.startswith((f"unix:{tmp_path}/", f"tcp:{ctx.internal}:")), address


def test_the_drivers_sockets_are_where_it_looks(tmp_path: Path, octavia: Octavia) -> None:
    """OVN's driver knows them as /run/octavia/NAME.sock only."""
    ctx = context(tmp_path, octavia, CONFIG_LBAAS_INSTALL="y")
    (process,) = octavia.processes(ctx)
    private = Path(process.mounts["/run"])
    made = {directory.path for directory in octavia.directories(ctx)}
    assert {private, private / "octavia"} <= made
    for name in LISTENERS:
        assert process.sockets[name] == f"unix:{private}/octavia/{name}.sock"


def test_one_unprivileged_process_that_reaches_ovns_databases(
    tmp_path: Path, octavia: Octavia
) -> None:
    ctx = context(tmp_path, octavia, CONFIG_LBAAS_INSTALL="y")
    (process,) = octavia.processes(ctx)
    assert process.user == "onestack-octavia"
    assert process.groups == ("onestack-ovn",)
    assert not process.capabilities
    assert {"northbound", "southbound", "network", "identity"} <= set(process.needs)
    # No driver here sends anything over the bus.
    assert "messaging" not in process.needs
    assert ctx.secrets["rabbitmq"] not in content(ctx, octavia, "octavia.conf")


def test_ovn_is_the_only_provider(tmp_path: Path, octavia: Octavia) -> None:
    text = content(context(tmp_path, octavia, CONFIG_LBAAS_INSTALL="y"), octavia, "octavia.conf")
    assert re.search(r"^enabled_provider_drivers = ovn:[^,]+$", text, re.MULTILINE)
    assert "default_provider_driver = ovn\n" in text


def test_it_is_asked_for(octavia: Octavia) -> None:
    assert not octavia.enabled(registry().answers())
    assert octavia.enabled(registry().answers({"CONFIG_LBAAS_INSTALL": "y"}))


@pytest.mark.parametrize("name", ["CONFIG_NEUTRON_LBAAS", "CONFIG_OCTAVIA_INSTALL"])
def test_other_spellings(name: str) -> None:
    answers, wrong = answered(**{name: "y"})
    assert answers is not None and not wrong
    assert answers["CONFIG_LBAAS_INSTALL"] is True


def test_not_with_the_other_layout() -> None:
    (problem,) = problems(CONFIG_LBAAS_INSTALL="y", CONFIG_NEUTRON_L2_AGENT="openvswitch")
    assert "set it to ovn" in problem
    assert not problems(CONFIG_LBAAS_INSTALL="y", CONFIG_NEUTRON_L2_AGENT="ovn")
    assert not problems(CONFIG_LBAAS_INSTALL="y")


def test_not_without_networks() -> None:
    (problem,) = problems(CONFIG_LBAAS_INSTALL="y", CONFIG_NEUTRON_INSTALL="n")
    assert "CONFIG_NEUTRON_INSTALL" in problem


def test_asked_for_it_decides_the_layout() -> None:
    """Also where openvswitch would be taken otherwise."""
    host = machine(kernel=False, openvswitch="3.1.0-2+deb12u1")
    assert l2_agent(registry().answers(), host)[0] == "openvswitch"
    agent, reason = l2_agent(registry().answers({"CONFIG_LBAAS_INSTALL": "y"}), host)
    assert agent == "ovn"
    assert "load balancers" in reason


@pytest.mark.parametrize(("kernel", "stateless"), [(True, "false"), (False, "true")])
def test_floating_ips_reach_each_other(tmp_path: Path, kernel: bool, stateless: str) -> None:
    """A userspace datapath has too few passes for their translations with connection tracking."""
    neutron = Neutron()
    ctx = context_on(machine(kernel=kernel), tmp_path, neutron, CONFIG_NEUTRON_L2_AGENT="ovn")
    assert f"stateless_nat_enabled = {stateless}\n" in content(ctx, neutron, "ml2.ini")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "OVS database connection to OVN_Northbound failed with error: 'Could not retrieve "
            "schema'. Verify that the OVS and OVN services are available",
            "onestack status ovn",
        ),
        ("Error creating Neutron client.", "onestack status neutron"),
        (
            "PENDING_CREATE of 37c1b318-fb52-4cec-ad44-c447dd96a491 (members) was interrupted",
            "delete it",
        ),
        ("Access denied for user 'octavia'@'localhost'", "run up again"),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, octavia: Octavia, line: str, says: str | None) -> None:
    text = context(tmp_path, octavia, CONFIG_LBAAS_INSTALL="y").model.likely("octavia", line)
    assert (says in text) if says and text else text is None and says is None
