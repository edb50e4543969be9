"""OVN's room: there when it is chosen, one chassis for good, told what it must know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from onestack.components.ovn import Ovn, chassis
from onestack.model.declared import Declared
from onestack.model.process import ExecProbe
from tests.unit.components.rooms import context, context_on, machine

ROOM = Ovn()
CHOSEN = {"CONFIG_NEUTRON_L2_AGENT": "ovn"}


def told(root: Path, **given: str) -> dict[str, str]:
    pairs = (word.split("=", 1) for word in chassis(context(root, **CHOSEN, **given)))
    return {key.removeprefix("external-ids:"): value.strip('"') for key, value in pairs}


def test_it_is_not_there_unless_chosen(tmp_path: Path) -> None:
    ctx = context(tmp_path, ROOM, CONFIG_NEUTRON_L2_AGENT="openvswitch")
    own = ctx.model["ovn"]
    assert not (*own.processes, *own.packages, *own.users, *own.directories, *own.files)
    assert not ctx.offers("northbound") and not ctx.offers("chassis")
    chosen = context(tmp_path, ROOM, **CHOSEN)
    assert chosen.offers("northbound") and chosen.offers("southbound")


def test_which_hosts_have_it(tmp_path: Path) -> None:
    found = {p.name: p.roles for p in Declared(ROOM, context(tmp_path, **CHOSEN)).processes}
    assert found.pop("ovn-controller") == ("compute", "gateway")
    assert set(found.values()) == {("controller",)}


def test_nothing_runs_as_root(tmp_path: Path) -> None:
    found = {p.name: p for p in Declared(ROOM, context(tmp_path, **CHOSEN)).processes}
    assert list(found) == ["ovn-nb-ovsdb", "ovn-sb-ovsdb", "ovn-northd", "ovn-controller"]
    assert {p.user for p in found.values()} == {"onestack-ovn"}
    # for the switch's flow tables
    assert found["ovn-controller"].groups == ("onestack-openvswitch",)
    assert "external-bridge" in found["ovn-controller"].needs


def test_debian_12s_controller_is_not_told_of_its_control_socket(tmp_path: Path) -> None:
    """It ends at an option --unixctl; the others, and later ones, know it."""
    controller = {p.name: p for p in Declared(ROOM, context(tmp_path, **CHOSEN)).processes}[
        "ovn-controller"
    ]
    assert not [word for word in controller.argv if "unixctl" in word]
    assert isinstance(controller.probe, ExecProbe)
    run = tmp_path / "run" / "ovn"
    control = f'"{run}/ovn-controller.$(cat {run}/ovn-controller.pid).ctl"'
    assert control in controller.probe.argv[-1]


def test_root_does_not_ask_by_files_of_the_daemons(tmp_path: Path) -> None:
    """Their directory is their user's: what a pid file holds would be words of root's shell."""
    processes = list(Declared(ROOM, context(tmp_path, **CHOSEN)).processes)
    asking = [p.probe.argv for p in processes if isinstance(p.probe, ExecProbe)]
    assert len(asking) == 2
    for argv in asking:
        assert argv[:3] == ("setpriv", "--reuid", "onestack-ovn")


def test_a_chassis_has_the_name_that_its_host_was_given(tmp_path: Path) -> None:
    ctx = context(tmp_path, **CHOSEN)
    named = dataclasses.replace(ctx, host=dataclasses.replace(ctx.host, name="written-down"))
    assert 'external-ids:hostname="written-down"' in chassis(named)


def test_a_chassis_is_the_same_at_each_start(tmp_path: Path) -> None:
    first = told(tmp_path / "a")
    assert told(tmp_path / "a") == first
    assert told(tmp_path / "b")["system-id"] != first["system-id"]


def test_what_the_chassis_is_told(tmp_path: Path) -> None:
    ids = told(tmp_path)
    assert ids["ovn-bridge-mappings"] == "extnet:br-ex"
    assert ids["ovn-encap-ip"] == "127.77.0.1"
    assert ids["ovn-cms-options"] == "enable-chassis-as-gw"
    assert ids["hostname"] == "somewhere"


def test_the_datapath_is_the_machines(tmp_path: Path) -> None:
    for kernel, name in ((True, "system"), (False, "netdev")):
        ctx = context_on(machine(kernel=kernel), tmp_path, **CHOSEN)
        assert f'external-ids:ovn-bridge-datapath-type="{name}"' in chassis(ctx)
