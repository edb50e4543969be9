"""Where each secret of the answers goes, all of it: a changed one arrives there and nowhere else.

What a file says is told to a process by starting it anew; what a server keeps
is told to it by a step of `up`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from onestack.answers.common import PASSWORDS
from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.components import ALL
from onestack.model.context import Context
from onestack.model.key import Class, Kind
from onestack.release.release import Release
from tests.support.needs import needs_root
from tests.unit.test_options import EVERYTHING, context, root

__all__ = ["root"]
pytestmark = needs_root


@dataclass(frozen=True)
class Goes:
    """``files`` below ROOT/etc; ``told``: steps that make a server's own copy the same."""

    files: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    refused: str = ""
    """The component that lets nobody change it once it is in use."""


NOVA = ("nova/nova-compute.conf", "nova/nova.conf")
ADMIN = ("admin-openrc", "clouds.yaml", "keystone/admin.json")
GOES = {
    "CONFIG_AMQP_AUTH_PASSWORD": Goes(
        (
            *("aodh/aodh.conf", "ceilometer/ceilometer.conf", "cinder/cinder.conf"),
            *("glance/glance-api.conf", "heat/heat.conf", "neutron/neutron.conf", *NOVA),
            # imported at the broker's start
            "rabbitmq/definitions.json",
        )
    ),
    "CONFIG_AODH_DB_PW": Goes(("aodh/aodh.conf",), ("database:aodh",)),
    "CONFIG_AODH_KS_PW": Goes(("aodh/aodh.conf",), ("identity:aodh",)),
    "CONFIG_CEILOMETER_KS_PW": Goes(("ceilometer/ceilometer.conf",), ("identity:ceilometer",)),
    "CONFIG_CEILOMETER_SECRET": Goes(("ceilometer/ceilometer.conf",)),
    "CONFIG_CINDER_DB_PW": Goes(("cinder/cinder.conf",), ("database:cinder",)),
    "CONFIG_CINDER_KS_PW": Goes(("cinder/cinder.conf",), ("identity:cinder",)),
    "CONFIG_CINDER_NETAPP_PASSWORD": Goes(("cinder/cinder.conf",)),
    "CONFIG_CINDER_SOLIDFIRE_PASSWORD": Goes(("cinder/cinder.conf",)),
    "CONFIG_GLANCE_DB_PW": Goes(("glance/glance-api.conf",), ("database:glance",)),
    "CONFIG_GLANCE_KS_PW": Goes(
        ("glance/glance-api.conf", "glance/swift.conf"), ("identity:glance",)
    ),
    "CONFIG_GNOCCHI_DB_PW": Goes(("gnocchi/gnocchi.conf",), ("database:gnocchi",)),
    "CONFIG_GNOCCHI_KS_PW": Goes(("gnocchi/gnocchi.conf",), ("identity:gnocchi",)),
    "CONFIG_HEAT_AUTH_ENC_KEY": Goes(("heat/heat.conf",), refused="heat"),
    "CONFIG_HEAT_DB_PW": Goes(("heat/heat.conf",), ("database:heat",)),
    "CONFIG_HEAT_DOMAIN_PASSWORD": Goes(("heat/heat.conf",), ("heat:domain",)),
    "CONFIG_HEAT_KS_PW": Goes(("heat/heat.conf",), ("identity:heat",)),
    "CONFIG_HORIZON_SECRET_KEY": Goes(("horizon/local/local_settings.py",)),
    "CONFIG_KEYSTONE_ADMIN_PW": Goes(ADMIN, ("keystone:password", "tempest:configuration")),
    "CONFIG_KEYSTONE_DB_PW": Goes(("keystone/keystone.conf",), ("database:keystone",)),
    "CONFIG_KEYSTONE_DEMO_PW": Goes(("demo-openrc",), ("provision:accounts",)),
    "CONFIG_KEYSTONE_LDAP_USER_PASSWORD": Goes(("keystone/domains/keystone.ldap.conf",)),
    "CONFIG_MARIADB_PW": Goes((), ("mariadb:administrator",)),
    "CONFIG_NEUTRON_DB_PW": Goes(
        ("neutron/neutron.conf",), ("database:neutron", "database:neutron_fwaas")
    ),
    "CONFIG_NEUTRON_KS_PW": Goes(("neutron/neutron.conf", *NOVA), ("identity:neutron",)),
    "CONFIG_NEUTRON_METADATA_PW": Goes(("neutron/ovn_agent.ini", *NOVA)),
    "CONFIG_NOVA_DB_PW": Goes(
        ("nova/cell0.conf", "nova/nova.conf"),
        ("database:nova", "database:nova_api", "database:nova_cell0"),
    ),
    "CONFIG_NOVA_KS_PW": Goes(("neutron/neutron.conf", *NOVA), ("identity:nova",)),
    "CONFIG_PROVISION_TEMPEST_USER_PW": Goes(("tester-openrc",), ("provision:accounts",)),
    "CONFIG_SWIFT_HASH": Goes(("swift/swift.conf",), refused="swift"),
    "CONFIG_SWIFT_KS_PW": Goes(("swift/proxy-server.conf",), ("identity:swift",)),
}
WITH_DEFAULT = {name for name in GOES if name in PASSWORDS} | {
    "CONFIG_CEILOMETER_SECRET",
    "CONFIG_HEAT_DOMAIN_PASSWORD",
}
"""Those that CONFIG_DEFAULT_PASSWORD stands for when they are left alone."""
NO_PROCESS = {*ADMIN, "demo-openrc", "tester-openrc", "nova/cell0.conf"}
"""Read anew whenever they are used: by people, by steps, by upstream's jobs."""
SECRETS = {key.name: key for key in registry().keys.values() if key.kind is Kind.SECRET}
MORE = {
    "CONFIG_HORIZON_INSTALL": "y",
    "CONFIG_CEILOMETER_INSTALL": "y",
    "CONFIG_AODH_INSTALL": "y",
    "CONFIG_PROVISION_TEMPEST": "y",
    "CONFIG_PROVISION_TEMPEST_USER": "tester",
}


@pytest.fixture(scope="module")
def whole(root: Path, installed: Release) -> Context:
    return context(root, installed, "ovn", False, False, True)


def asked(whole: Context, **given: str) -> Context:
    """The same cloud, with other answers and the random secrets of all."""
    answers = registry().answers({**whole.answers.given, **EVERYTHING, **MORE, **given})
    secrets = Secrets(whole.cloud.etc / "secrets.json", answers)
    components = tuple(c for c in ALL if c.enabled(answers))
    return dataclasses.replace(whole, answers=answers, secrets=secrets, components=components)


def changed(now: Context, then: Context) -> set[str]:
    """Files, below ROOT/etc."""

    def files(ctx: Context) -> dict[str, str]:
        return {
            str(file.path.relative_to(ctx.cloud.etc)): file.content
            for component in ctx.components
            for file in component.files(ctx)
            if file.path.is_relative_to(ctx.cloud.etc)
        }

    before, after = files(now), files(then)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def told(now: Context, then: Context) -> Iterator[str]:
    """Steps of the engine that another secret gives something to do."""
    for component in now.components:
        for database in component.databases(now):
            name = f"{database.user}_db"
            if now.secrets[name] != then.secrets[name]:
                yield f"database:{database.name}"
        for identity in component.identity(now):
            name = f"{identity.user}_keystone"
            if now.secrets[name] != then.secrets[name]:
                yield f"identity:{component.name}"


def pair(whole: Context, name: str) -> tuple[Context, Context]:
    other = {"CONFIG_PROVISION_DEMO": "n"} if name == "CONFIG_PROVISION_TEMPEST_USER_PW" else {}
    one, two = (asked(whole, **other, **{name: letter * 32}) for letter in "ab")
    return one, two


def test_all_of_them_are_here() -> None:
    used = {name for name, key in SECRETS.items() if key.outcome is Class.IMPLEMENTED}
    assert used - {"CONFIG_DEFAULT_PASSWORD"} == GOES.keys()


@pytest.mark.parametrize("name", sorted(GOES))
def test_where_it_goes(whole: Context, name: str) -> None:
    goes, (now, then) = GOES[name], pair(whole, name)
    assert changed(now, then) == set(goes.files)
    engine = set(told(now, then))
    assert engine == {s for s in goes.told if s.startswith(("database:", "identity:"))}
    tasks = {f"{c.name}:{task.name}" for c in now.components for task in c.tasks(now)}
    assert set(goes.told) - engine <= tasks


@pytest.mark.parametrize("name", sorted(GOES))
def test_whoever_reads_the_file_is_started_anew(whole: Context, name: str) -> None:
    now, _ = pair(whole, name)
    watched = {
        file for c in now.components for process in c.processes(now) for file in process.files
    }
    unseen = {file for file in GOES[name].files if str(now.cloud.etc / file) not in watched}
    assert unseen <= NO_PROCESS


@pytest.mark.parametrize("name", sorted(SECRETS.keys() - GOES.keys() - {"CONFIG_DEFAULT_PASSWORD"}))
def test_the_others_go_nowhere(whole: Context, name: str) -> None:
    assert SECRETS[name].outcome is not Class.IMPLEMENTED
    assert not changed(*pair(whole, name))


def test_the_default_password(whole: Context) -> None:
    now, then = pair(whole, "CONFIG_DEFAULT_PASSWORD")
    # The one of the two accounts that is there, and keys are no passwords.
    goes = [GOES[name] for name in WITH_DEFAULT - {"CONFIG_PROVISION_TEMPEST_USER_PW"}]
    assert changed(now, then) == {file for each in goes for file in each.files}
    assert set(told(now, then)) <= {step for each in goes for step in each.told}


@pytest.mark.parametrize("name", sorted(name for name, goes in GOES.items() if goes.refused))
def test_what_cannot_change_is_refused_before_anything_is_done(whole: Context, name: str) -> None:
    now, then = pair(whole, name)
    (component,) = (c for c in now.components if c.name == GOES[name].refused)
    for file in component.files(now):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    if name == "CONFIG_SWIFT_HASH":
        from onestack.components.swift import wanted_rings

        rings = now.cloud.etc / "swift" / "rings.json"
        rings.write_text(json.dumps(wanted_rings(now)))
    if name == "CONFIG_HEAT_AUTH_ENC_KEY":
        table = now.cloud.data / "mariadb" / "data" / "heat" / "stack.ibd"
        table.parent.mkdir(parents=True)
        table.touch()
    assert not list(component.preflight_checks(now))
    (refusal,) = component.preflight_checks(then)
    assert name in refusal.what and "old value" in refusal.cure
