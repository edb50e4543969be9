"""Which agent carries the networks, over which datapath, and why."""

from __future__ import annotations

import pytest

from onestack.answers.registry import registry
from onestack.network.backend import conntrack_aborts, datapath, l2_agent, unfit_in_userspace
from tests.unit.components.rooms import machine


@pytest.mark.parametrize(
    ("version", "aborts", "unfit"),
    [
        ("3.1.0-2+deb12u1", True, True),
        ("3.1.2-1", True, True),
        ("3.1.3-1", False, True),
        ("3.0.4", True, True),
        ("3.0.5", False, True),
        ("3.2.2", True, True),
        ("3.2.3", False, True),
        ("3.3.0-1", False, False),
        ("1:3.5.0-1+b1", False, False),
        ("2.17.9-1", True, True),
        ("4.0.0", False, False),
        ("", True, True),
    ],
)
def test_versions_that_are_not_for_userspace(version: str, aborts: bool, unfit: bool) -> None:
    assert conntrack_aborts(version) is aborts
    assert unfit_in_userspace(version) is unfit


def choice(*, kernel: bool, openvswitch: str, wanted: str = "") -> tuple[str, str]:
    answers = registry().answers({"CONFIG_NEUTRON_L2_AGENT": wanted})
    return l2_agent(answers, machine(kernel=kernel, openvswitch=openvswitch))


def test_ovn_where_the_kernel_has_the_datapath() -> None:
    assert choice(kernel=True, openvswitch="3.1.0") == (
        "ovn",
        "the kernel has Open vSwitch's datapath",
    )


def test_ovn_where_open_vswitch_is_safe_in_userspace() -> None:
    assert choice(kernel=False, openvswitch="3.5.0-1") == (
        "ovn",
        "Open vSwitch 3.5.0-1 tracks connections safely in userspace",
    )


def test_openvswitch_where_ovn_would_abort() -> None:
    agent, reason = choice(kernel=False, openvswitch="3.1.0-2")
    assert agent == "openvswitch"
    assert reason == (
        "the kernel has no openvswitch module, and the userspace connection tracking "
        "that OVN would need aborts in Open vSwitch 3.1.0-2"
    )


def test_what_the_operator_says_counts() -> None:
    for wanted in ("ovn", "openvswitch"):
        assert choice(kernel=False, openvswitch="3.1.0", wanted=wanted)[0] == wanted


@pytest.mark.parametrize(
    ("name", "text", "agent"),
    [
        ("CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS", "openvswitch,l2population", "openvswitch"),
        ("CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS", "ovn", "ovn"),
        ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "flat,vxlan", "openvswitch"),
        ("CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES", "gre", "openvswitch"),
    ],
)
def test_what_else_is_asked_for_decides_before_the_machine(
    name: str, text: str, agent: str
) -> None:
    answers = registry().answers({name: text})
    for kernel, version in ((True, "3.5.0"), (False, "3.1.0")):
        found, reason = l2_agent(answers, machine(kernel=kernel, openvswitch=version))
        assert found == agent and name in reason


def test_the_datapath() -> None:
    assert [datapath(machine(kernel=kernel)) for kernel in (True, False)] == ["system", "netdev"]
