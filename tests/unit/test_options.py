"""No component renders an option that the release does not know, or wants to be rid of.

The services' environment is installed if it is not there.
"""

from __future__ import annotations

import dataclasses
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
from onestack.components import ALL
from onestack.components.keystone import ldap
from onestack.model.cloud import Cloud
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.model.host import Host
from onestack.model.ini import MultiOpt
from onestack.model.key import Kind
from onestack.model.process import SERVICES
from onestack.release.environment import Environment
from onestack.release.release import Release
from tests.support.ini import Parser
from tests.support.machines import machine, with_datapath
from tests.support.needs import needs_root

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    # Not pytest's own: a cloud's root must be short.
    with tempfile.TemporaryDirectory(prefix="options-") as folder:
        yield Path(folder) / "cloud"


EVERYTHING = {
    "CONFIG_CINDER_BACKEND": "lvm,nfs,netapp,solidfire",
    "CONFIG_CINDER_NFS_MOUNTS": "server:/export",
    "CONFIG_CINDER_NETAPP_HOSTNAME": "netapp",
    "CONFIG_CINDER_NETAPP_LOGIN": "admin",
    "CONFIG_CINDER_NETAPP_PASSWORD": 'it\'s "$x"',
    "CONFIG_CINDER_NETAPP_VSERVER": "svm",
    "CONFIG_CINDER_NETAPP_NFS_SHARES": "netapp:/export",
    "CONFIG_CINDER_SOLIDFIRE_HOSTNAME": "solidfire",
    "CONFIG_CINDER_SOLIDFIRE_LOGIN": "admin",
    "CONFIG_CINDER_SOLIDFIRE_PASSWORD": "secret",
    "CONFIG_KEYSTONE_IDENTITY_BACKEND": "ldap",
    "CONFIG_KEYSTONE_REGION": "RegionTwo",
    "CONFIG_KEYSTONE_LDAP_PAGE_SIZE": "100",
    "CONFIG_KEYSTONE_LDAP_TLS_CACERTDIR": "/etc/ssl/certs",
    "CONFIG_KEYSTONE_LDAP_TLS_CACERTFILE": "/etc/ssl/certs/ca-certificates.crt",
    "CONFIG_KEYSTONE_LDAP_URL": "ldap://ldap.example.com",
    "CONFIG_NEUTRON_METERING_AGENT_INSTALL": "y",
    "CONFIG_NEUTRON_ML2_VLAN_RANGES": "extnet:1:99",
    "CONFIG_NOVA_PCI_ALIAS": '[{"name":"a","product_id":"1"},{"name":"b","product_id":"2"}]',
    "CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST": '[{"product_id":"1"},{"product_id":"2"}]',
    "CONFIG_NTP_SERVERS": "192.0.2.1,192.0.2.2",
    "CONFIG_ONESTACK_MOVE": "y",
    **{
        key.name: "x" + key.name.rsplit("_", 1)[-1].lower()
        for key in ldap.KEYS
        if not key.default and key.kind in (Kind.TEXT, Kind.SECRET) and "TLS" not in key.name
    },
}
"""Answers with which all is rendered that only some clouds have."""
EVERYTHING["CONFIG_KEYSTONE_LDAP_URL"] = "ldap://ldap.example.com"


def context(
    root: Path, found: Release, agent: str, kvm: bool, debug: bool, everything: bool = False
) -> Context:
    answers = registry().answers(
        {
            "CONFIG_NEUTRON_L2_AGENT": agent,
            "CONFIG_DEBUG_MODE": "y" if debug else "n",
            "CONFIG_PROVISION_DEMO": "y",
            "CONFIG_NEUTRON_FWAAS": "y",
            "CONFIG_HEAT_INSTALL": "y",
            "CONFIG_SWIFT_INSTALL": "y",
            "CONFIG_LBAAS_INSTALL": "y",
            "CONFIG_TROVE_INSTALL": "y",
            "CONFIG_ONESTACK_BARBICAN_INSTALL": "y",
            "CONFIG_ONESTACK_JOIN": "y",
            "CONFIG_SAHARA_INSTALL": "y",
            "CONFIG_HEAT_CLOUDWATCH_INSTALL": "y",
            **(EVERYTHING if everything else {}),
        }
    )
    # A machine with KVM has the datapath too.
    host = with_datapath(machine(kvm=kvm, kvm_reason="said by a test"), kernel=kvm)
    cloud = Cloud.named(root=root)
    return Context(
        cloud=cloud,
        answers=answers,
        secrets=Secrets(root / "etc" / "secrets.json", answers, registry().secrets, keep=False),
        host=Host.alone(cloud, host),
        release=found,
        components=tuple(c for c in ALL if c.enabled(answers)),
        switched_off=tuple(c for c in ALL if not c.enabled(answers)),
    )


def checked(ctx: Context, component: Component) -> list[dict[str, Any]]:
    """What `registry` is told about each file of the services of ``component``."""
    declared = ctx.model[component.name]
    return [
        {
            "path": str(file.path.relative_to(ctx.cloud.root)),
            "namespaces": file.namespaces,
            "privsep": [name for names in declared.privsep.values() for name in names],
            "sections": sections(file),
        }
        for file in declared.files
        if file.namespaces
    ]


def sections(file: ConfigFile) -> dict[str, dict[str, str]]:
    """As a service reads it: from its text. Of options that may stand there twice, the last."""
    twice = any(
        isinstance(v, MultiOpt) for part in (file.ini or {}).values() for v in part.values()
    )
    parser = Parser(strict=not twice, default_section="", delimiters=("=",))
    parser.read_string(file.content)
    return {name: dict(parser[name]) for name in parser.sections()}


def complaints(environment: Environment, files: list[dict[str, Any]]) -> list[str]:
    """A process for each component: upstream's services share one set of options."""
    done = subprocess.run(
        [environment.python, HERE / "registry.py"],
        input=json.dumps(files),
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(dict.fromkeys(json.loads(done.stdout)))


def environment_of(ctx: Context, component: Component) -> Environment:
    """Where the code of ``component`` is, installed if it is not."""
    names = {database.environment for database in component.databases(ctx)} or {SERVICES}
    environment = ctx.release.environment(names.pop())
    for change in environment.ensure():
        change.do()
    return environment


STILL_NEEDED = (
    "Note that credentials are still required in trove.conf. Will be deprecated in 2026.2"
)
"""So ends upstream's reason for a deprecation that it takes back."""

CONTEXTS = [
    (agent, kvm, debug, everything)
    for agent in ("ovn", "openvswitch")
    for kvm in (False, True)
    for debug in (False, True)
    for everything in (False, True)
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
        found = complaints(environment_of(contexts[0], component), list(files.values()))
        wrong = [each for each in found if not each.endswith(STILL_NEEDED)]
        assert not wrong, "\n".join(wrong)


@needs_root
def test_every_service_file_is_checked(root: Path, installed: Release) -> None:
    """An INI file of a component that runs upstream's code names its namespaces."""
    ctx = context(root, installed, "openvswitch", kvm=False, debug=False)
    unnamed = [
        str(file.path)
        for declared in ctx.model
        for file in declared.files
        if file.ini is not None and not file.namespaces
    ]
    assert not unnamed


@needs_root
def test_a_password_may_have_any_characters(root: Path, installed: Release) -> None:
    """What oslo.config and the libraries' URLs make of it is what was given."""
    hard = """'p$a%s#s;w: "/@ö\\'"""
    given = dict.fromkeys(("CONFIG_NOVA_DB_PW", "CONFIG_NOVA_KS_PW"), hard)
    answers = registry().answers(given | {"CONFIG_AMQP_AUTH_PASSWORD": hard})
    base = context(root, installed, "ovn", kvm=False, debug=False)
    secrets = Secrets(root / "etc" / "secrets.json", answers, registry().secrets, keep=False)
    ctx = dataclasses.replace(base, answers=answers, secrets=secrets)
    nova = next(c for c in ctx.components if c.name == "nova")
    file = root.parent / "nova.conf"
    file.write_text(next(f.content for f in nova.files(ctx) if f.path.name == "nova.conf"))
    program = """
import json, sys
from oslo_config import cfg
from oslo_messaging import TransportURL
from sqlalchemy.engine import make_url
conf = cfg.ConfigOpts()
conf.register_opts([cfg.StrOpt("connection")], "database")
conf.register_opts([cfg.StrOpt("password")], "placement")
conf.register_opts([cfg.StrOpt("password")], "service_user")
conf(["--config-file", sys.argv[1]])
hosts = TransportURL.parse(conf).hosts
print(json.dumps([make_url(conf.database.connection).password, hosts[0].password,
                  conf.service_user.password]))
"""
    done = subprocess.run(
        [installed.services.python, "-W", "ignore", "-c", program, str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [hard] * 3


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
    found = complaints(installed.services, [file])
    assert len(found) == 4, found
    assert "is no value for it" in found[0]
    assert "no such option" in found[1]
    assert "no section" in found[2]
    assert found[3].endswith("[database] sql_connection is called [database] connection now") or (
        "no such option" in found[3]
    )
