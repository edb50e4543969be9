"""What systemd-networkd itself makes of what it does not know of, and of a power cut."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from onestack.network.nic import kernel, operations, plan
from onestack.network.nic.facts import gather
from onestack.network.nic.operations import Terms, attach, detach, recover
from onestack.network.nic.transaction import Transaction
from tests.support.managed import configured, needs_networkd, networkd
from tests.support.needs import needs_root
from tests.support.networks import soon
from tests.unit.network.nic.test_networkd import BRIDGE, STATIC, reboot, server
from tests.unit.network.nic.wire import NIC, addresses, ip, show

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


def test_a_boot_by_files_that_nobody_has_kept_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power went between the files for good and the journal's last line."""

    def cut(moving: Transaction, _: object) -> None:
        found = moving.journal.read()
        assert found
        moving.journal.write(replace(found, boot="another"))
        raise SystemExit

    monkeypatch.setattr(operations, "guarded", lambda *_: nullcontext())
    monkeypatch.setattr(Transaction, "keep", cut)
    with server(tmp_path, STATIC) as machine:
        with networkd(machine.log):
            configured(NIC, machine.log)
            before = kernel.look(NIC)
            with pytest.raises(SystemExit):
                attach(machine.cloud, NIC, Terms())
        reboot()
        with networkd(machine.log):
            configured(BRIDGE, machine.log)
            assert soon(lambda: "192.0.2.5/24" in addresses(BRIDGE)), machine.lines
            assert recover(machine.cloud) == [NIC]
            assert plan.told(plan.missing(before, kernel.look(NIC))) == [], machine.lines
            assert gather().link(BRIDGE) is None
            assert [path.name for path in machine.etc.iterdir()] == ["20-wired.network"]
            configured(NIC, machine.log)
            assert plan.difference(before, kernel.look(NIC)) == [], machine.lines
