"""What the operator has typed beside what configures the network stays through a move."""

from __future__ import annotations

from pathlib import Path

from onestack.network.nic import kernel, plan
from onestack.network.nic.operations import Terms, attach, detach
from tests.support.managed import configured, needs_networkd, networkd
from tests.support.needs import needs_root
from tests.unit.network.nic.test_networkd import BRIDGE, STATIC, server
from tests.unit.network.nic.wire import NIC, ip, show

pytestmark = [needs_root, needs_networkd]


def test_networkd_sweeps_routes_and_rules_by_hand_away_and_they_are_put_there_again(
    tmp_path: Path,
) -> None:
    with server(tmp_path, STATIC) as machine, networkd(machine.log):
        configured(NIC, machine.log)
        for line in (
            "route add 10.0.0.0/8 via 192.0.2.254 dev eno1",
            "route add 10.9.0.0/16 via 192.0.2.254 dev eno1 table 100",
            "rule add from 192.0.2.5 iif eno1 lookup 100 pref 1001",
        ):
            ip(line)
        before = kernel.look(NIC)
        attach(machine.cloud, NIC, Terms())
        assert plan.told(plan.missing(before, kernel.look(BRIDGE))) == [], machine.lines
        detach(machine.cloud, NIC, Terms())
        assert plan.told(plan.missing(before, kernel.look(NIC))) == [], machine.lines
        assert [rule for rule in show("rule") if BRIDGE in rule.values()] == []
