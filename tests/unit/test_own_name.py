"""A host's own name is written down once: whatever its machine is called later changes nothing."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.cli import session
from onestack.components import ALL
from onestack.deploy.prepare import record_of
from onestack.deploy.roster import roster_of
from onestack.model.cloud import Cloud, record_path
from onestack.model.context import Context
from onestack.model.host import Host
from tests.support.machines import machine
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

SOURCE = Path(__file__).resolve().parents[2] / "src" / "onestack"
ASKS_THE_KERNEL = {
    "host/facts.py",  # the name that a new cloud begins with
    "cli/join.py",  # the name that a host has in the cloud that it joins
    "answers/facter.py",  # packstack's %{hostname} in an answer
    "deploy/patches/p0001_what_the_cloud_is.py",
    "components/cinder/inside/volume_group.py",  # os-brick says it where cinder itself copies
    "supervise/prober.py",  # where the roster does not say it
}
EVERYTHING = {
    "CONFIG_NEUTRON_FWAAS": "y",
    "CONFIG_HEAT_INSTALL": "y",
    "CONFIG_SWIFT_INSTALL": "y",
    "CONFIG_LBAAS_INSTALL": "y",
    "CONFIG_HEAT_CLOUDWATCH_INSTALL": "y",
    "CONFIG_HORIZON_INSTALL": "y",
}


def test_nobody_else_asks_the_kernel() -> None:
    pattern = re.compile(r"gethostname|getfqdn|os\.uname|platform\.node|facts\.hostname\b")
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if pattern.search(path.read_text())
    }
    # beside them: a new cloud's host, and the check that the machine's name resolves
    assert found <= ASKS_THE_KERNEL | {"model/host.py", "diagnose/preflight.py"}


def called(root: Path, now: str, agent: str, **given: str) -> Context:
    """The cloud of a host that was called ``first`` when it was made."""
    answers = registry().answers({**given, "CONFIG_NEUTRON_L2_AGENT": agent})
    on = tuple(component for component in ALL if component.enabled(answers))
    ctx = context(root, *on, CONFIG_NEUTRON_L2_AGENT=agent, **given)
    facts = machine(hostname=now, hostname_address="192.0.2.5" if now == "first" else "")
    return dataclasses.replace(ctx, host=Host.alone(ctx.cloud, facts, "first"))


@pytest.mark.parametrize("agent", ["openvswitch", "ovn"])
@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["default", "everything"])
def test_a_changed_hostname_changes_nothing(
    tmp_path: Path, agent: str, given: dict[str, str]
) -> None:
    first, now = (called(tmp_path, name, agent, **given) for name in ("first", "renamed"))
    write_upstream(first)
    files = {}
    for ctx in (first, now):
        ctx.model.evaluate()
        files[ctx.facts.hostname] = {f.path: f.content for on in ctx.model for f in on.files}
    assert files["first"] == files["renamed"]
    assert roster_of(first) == roster_of(now)
    assert record_of(first) == record_of(now)
    # and services are told it
    for project in ("nova", "cinder", "neutron"):
        text = files["renamed"][now.cloud.etc / project / f"{project}.conf"]
        assert re.search(r"^host = first$", text, re.MULTILINE), project


def test_the_name_comes_from_what_is_kept(tmp_path: Path) -> None:
    cloud = Cloud("toy", tmp_path)
    answers = registry().answers({})
    facts = machine(hostname="renamed")
    # a cloud that is not there yet
    assert session.context(cloud, answers, keep=False, known=facts).host.name == "renamed"
    record_path(tmp_path).parent.mkdir()
    record = {"format": 1, "name": "toy", "netns": None, "release": "2026.2"}
    hosts = [{"name": "first", "roles": ["controller"]}]
    record_path(tmp_path).write_text(json.dumps({**record, "hosts": hosts}))
    assert session.context(cloud, answers, keep=False, known=facts).host.name == "first"
