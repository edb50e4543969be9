"""No component renders an option that the release does not know, or wants to be rid of.

The services' environment is installed if it is not there.
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.cloud import Cloud
from onestack.components import ALL
from onestack.components.base import Component, ConfigFile, Context
from onestack.host.facts import HostFacts
from onestack.host.kvm import Answer
from onestack.release.release import Release, release

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"
GIB = 1 << 30

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the environment's place is root's")


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    # Not pytest's own: a cloud's root must be short.
    with tempfile.TemporaryDirectory(prefix="options-") as folder:
        yield Path(folder) / "cloud"


@pytest.fixture(scope="module")
def installed() -> Release:
    found = release()
    for change in found.ensure_services():
        change.do()
    return found


def context(root: Path, found: Release, agent: str, kvm: bool, debug: bool) -> Context:
    answers = registry().answers(
        {
            "CONFIG_NEUTRON_L2_AGENT": agent,
            "CONFIG_DEBUG_MODE": "y" if debug else "n",
            "CONFIG_PROVISION_DEMO": "y",
            "CONFIG_NEUTRON_FWAAS": "y",
            "CONFIG_HEAT_INSTALL": "y",
            "CONFIG_SWIFT_INSTALL": "y",
            "CONFIG_LBAAS_INSTALL": "y",
            "CONFIG_HEAT_CLOUDWATCH_INSTALL": "y",
        }
    )
    host = HostFacts(
        os_id="debian",
        os_version="12",
        os_name="Debian GNU/Linux 12 (bookworm)",
        cores=2,
        memory=24 * GIB,
        memory_available=20 * GIB,
        hostname="machine",
        hostname_address="192.0.2.10",
        route_address="192.0.2.10",
        public_address="192.0.2.10",
        systemd=False,
        kvm_probe=lambda: Answer(kvm, "said by a test"),
    )
    # Facts that are looked up when asked: KVM machines have the datapath too.
    host.__dict__.update(ovs_kernel=kvm, device_mapper=kvm)
    return Context(
        cloud=Cloud.named(root=root),
        answers=answers,
        secrets=Secrets(root / "etc" / "secrets.json", answers, keep=False),
        host=host,
        release=found,
        components=tuple(c for c in ALL if c.enabled(answers)),
    )


def checked(ctx: Context, component: Component) -> list[dict[str, Any]]:
    """What `registry` is told about each file of the services of ``component``."""
    return [
        {
            "path": str(file.path.relative_to(ctx.cloud.root)),
            "namespaces": file.namespaces,
            "privsep": [name for names in component.privsep(ctx).values() for name in names],
            "sections": sections(file),
        }
        for file in component.files(ctx)
        if file.namespaces
    ]


def sections(file: ConfigFile) -> dict[str, dict[str, str]]:
    """As a service reads it: from its text."""
    parser = configparser.RawConfigParser(strict=True, default_section="", delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file.content)
    return {name: dict(parser[name]) for name in parser.sections()}


def complaints(found: Release, files: list[dict[str, Any]]) -> list[str]:
    """A process for each component: upstream's services share one set of options."""
    done = subprocess.run(
        [found.services_python, HERE / "registry.py"],
        input=json.dumps(files),
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(dict.fromkeys(json.loads(done.stdout)))


CONTEXTS = [
    (agent, kvm, debug)
    for agent in ("ovn", "openvswitch")
    for kvm in (False, True)
    for debug in (False, True)
]


@needs_root
@pytest.mark.parametrize("component", ALL, ids=lambda component: component.name)
def test_options_are_the_releases_own(root: Path, installed: Release, component: Component) -> None:
    contexts = [context(root, installed, *facts) for facts in CONTEXTS]
    # Most files are the same in several contexts.
    files = {
        json.dumps(file, sort_keys=True): file
        for ctx in contexts
        if component in ctx.components
        for file in checked(ctx, component)
    }
    if files:
        found = complaints(installed, list(files.values()))
        assert not found, "\n".join(found)


@needs_root
def test_every_service_file_is_checked(root: Path, installed: Release) -> None:
    """An INI file of a component that runs upstream's code names its namespaces."""
    ctx = context(root, installed, "openvswitch", kvm=False, debug=False)
    unnamed = [
        str(file.path)
        for component in ctx.components
        for file in component.files(ctx)
        if file.ini is not None and not file.namespaces
    ]
    assert not unnamed


@needs_root
def test_the_check_itself_finds_what_is_wrong(installed: Release) -> None:
    file = {
        "path": "x.conf",
        "namespaces": ["nova.conf", "oslo.db", "oslo.log"],
        "privsep": [],
        "sections": {
            "DEFAULT": {"debug": "perhaps", "no_such_option": "1"},
            "no_such_section": {"a": "1"},
            "database": {"sql_connection": "x", "connection": "mysql://x"},
        },
    }
    found = complaints(installed, [file])
    assert len(found) == 4, found
    assert "is no value for it" in found[0]
    assert "no such option" in found[1]
    assert "no section" in found[2]
    assert found[3].endswith("[database] sql_connection is called [database] connection now") or (
        "no such option" in found[3]
    )
