"""A machine that has another address than the cloud's front was made for."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from onestack.components.haproxy import Haproxy, ensure_address
from onestack.model.findings import Severity
from onestack.model.host import Host
from tests.support import networks
from tests.support.needs import needs_root
from tests.unit.components.rooms import MACHINE, context_on

HAPROXY = Haproxy()


@pytest.mark.parametrize(
    ("before", "given", "why"),
    [
        ("192.0.2.9", "", "the machine does not have 192.0.2.9 any more"),
        ("127.0.0.1", "", "the machine had no other address when the cloud was made"),
        ("192.0.2.9", "192.0.2.5", "CONFIG_CONTROLLER_HOST says so"),
    ],
)
def test_a_changed_address_is_said_and_up_mends_it(
    tmp_path: Path, before: str, given: str, why: str
) -> None:
    there = dataclasses.replace(MACHINE, former_address=before)
    ctx = context_on(there, tmp_path, HAPROXY, CONFIG_CONTROLLER_HOST=given)
    (told,), (found,) = HAPROXY.preflight_checks(ctx), HAPROXY.health_checks(ctx)
    what = f"the cloud is at {before}, and is to be at 192.0.2.5"
    assert (told.severity, told.what, told.why) == (Severity.WARN, what, why)
    assert (found.severity, found.what, found.why) == (Severity.REFUSE, what, why)
    assert found.cure == "onestack up" and told.cure.startswith("onestack up goes there; ")
    for change in ensure_address(ctx):
        change.do()
    assert ctx.cloud.address_file.read_text() == "192.0.2.5\n"
    assert list(ensure_address(ctx)) == []
    # an address that the machine has not is another matter
    gone = dataclasses.replace(there, public_here=False)
    ctx = dataclasses.replace(ctx, host=Host.alone(ctx.cloud, gone))
    assert list(HAPROXY.health_checks(ctx)) == []
    (refused,) = HAPROXY.preflight_checks(ctx)
    assert refused.severity is Severity.REFUSE


def test_an_answer_taken_out_again_in_a_network_of_the_clouds_own(tmp_path: Path) -> None:
    there = dataclasses.replace(MACHINE, former_address="203.0.113.9", public_here=False)
    ctx = context_on(there, tmp_path, HAPROXY)
    ctx = dataclasses.replace(ctx, cloud=dataclasses.replace(ctx.cloud, netns="onestack-x"))
    (told,), (found,) = HAPROXY.preflight_checks(ctx), HAPROXY.health_checks(ctx)
    assert told.severity is Severity.WARN and found.cure == "onestack up"
    assert found.why.startswith("that is the address of a network namespace's cloud")


def test_a_machine_whose_network_is_away_for_a_moment(tmp_path: Path) -> None:
    """The cloud is not moved to loopback and back, and the operator has the last word."""
    there = dataclasses.replace(MACHINE, public_here=False, route_address="")
    (found,) = HAPROXY.preflight_checks(context_on(there, tmp_path, HAPROXY))
    assert found.severity is Severity.REFUSE
    assert found.what == "the machine does not have 192.0.2.5 now, nor a way to anywhere"
    assert found.cure.endswith("onestack up --set CONFIG_CONTROLLER_HOST=127.0.0.1")


@needs_root
@pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs the package haproxy")
def test_what_haproxy_says_of_an_address_that_is_gone_is_understood(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        "listen a\n bind 192.0.2.9:5000\n"
    )
    words = ["/usr/sbin/haproxy", "-db", "-f", str(config)]
    with networks.alone():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    likely = context_on(MACHINE, tmp_path, HAPROXY).model.likely("haproxy", done.stderr)
    assert likely and "does not have the address in that line any more" in likely
