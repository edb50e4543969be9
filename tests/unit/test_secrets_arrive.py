"""Where each secret of the answers goes, all of it: a changed one arrives there and nowhere else.

What a file says is told to a process by starting it anew; what a server keeps
is told to it by a step of `up`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.components import ALL
from onestack.model.context import Context
from onestack.model.host import Role
from onestack.model.key import Class, Kind
from onestack.model.secret import WITHHELD
from onestack.release.release import Release
from tests.support.joined import elsewhere, member
from tests.support.needs import needs_root
from tests.unit.test_options import EVERYTHING, context, root

__all__ = ["root"]
pytestmark = needs_root


@dataclass(frozen=True)
class Goes:
    """``files`` below ROOT/etc; ``told``: steps that make a server's own copy the same.

    ``processes`` are started otherwise: the roster has what is made of it.
    """

    files: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    refused: str = ""
    """The component that lets nobody change it once it is in use."""


NOVA = ("nova/nova-compute.conf", "nova/nova.conf")
ADMIN = ("admin-openrc", "clouds.yaml", "keystone/admin.json")
SEES_NOVA = ("neutron/neutron.conf", *NOVA)
GOES = {
    "admin_keystone": Goes(ADMIN, ("keystone:password", "tempest:configuration")),
    "aodh_db": Goes(("aodh/aodh.conf",), ("database:aodh",)),
    "aodh_keystone": Goes(("aodh/aodh.conf",), ("identity:aodh",)),
    "barbican_db": Goes(("barbican/barbican.conf",), ("database:barbican",)),
    "barbican_kek": Goes(("barbican/barbican.conf",), refused="barbican"),
    "barbican_keystone": Goes(("barbican/barbican.conf",), ("identity:barbican",)),
    "ceilometer_keystone": Goes(("ceilometer/ceilometer.conf",), ("identity:ceilometer",)),
    # an identity that is made of it, no secret
    "chassis": Goes(processes=("ovn-controller",)),
    "cinder_db": Goes(("cinder/cinder.conf",), ("database:cinder",)),
    "cinder_keystone": Goes(("cinder/cinder.conf",), ("identity:cinder",)),
    "cinder_netapp": Goes(("cinder/cinder.conf",)),
    "cinder_solidfire": Goes(("cinder/cinder.conf",)),
    "cinder_volume_key": Goes(("cinder/cinder.conf",)),
    "CONFIG_CEILOMETER_SECRET": Goes(("ceilometer/ceilometer.conf",)),
    "CONFIG_HEAT_DOMAIN_PASSWORD": Goes(("heat/heat.conf",), ("heat:domain",)),
    "demo_keystone": Goes(("demo-openrc",), ("provision:accounts",)),
    "glance_db": Goes(("glance/glance-api.conf",), ("database:glance",)),
    "glance_keystone": Goes(("glance/glance-api.conf", "glance/swift.conf"), ("identity:glance",)),
    "gnocchi_db": Goes(("gnocchi/gnocchi.conf",), ("database:gnocchi",)),
    "gnocchi_keystone": Goes(("gnocchi/gnocchi.conf",), ("identity:gnocchi",)),
    "heat_db": Goes(("heat/heat.conf",), ("database:heat",)),
    "heat_encryption": Goes(("heat/heat.conf",), refused="heat"),
    "heat_keystone": Goes(("heat/heat.conf",), ("identity:heat",)),
    "hosts": Goes(("door/door.json",)),
    "horizon_secret_key": Goes(("horizon/local/local_settings.py",)),
    "keystone_db": Goes(("keystone/keystone.conf",), ("database:keystone",)),
    "keystone_ldap": Goes(("keystone/domains/keystone.ldap.conf",)),
    "mariadb": Goes((), ("mariadb:administrator",)),
    "neutron_db": Goes(("neutron/neutron.conf",), ("database:neutron", "database:neutron_fwaas")),
    "neutron_keystone": Goes(SEES_NOVA, ("identity:neutron",)),
    # Computes have it too: the door hands it to them.
    "neutron_metadata": Goes(("door/door.json", "neutron/ovn_agent.ini", *NOVA)),
    "nova_db": Goes(
        ("nova/cell0.conf", "nova/nova.conf"),
        ("database:nova", "database:nova_api", "database:nova_cell0"),
    ),
    "nova_keystone": Goes(SEES_NOVA, ("identity:nova",)),
    "octavia_db": Goes(("octavia/octavia.conf",), ("database:octavia",)),
    "octavia_heartbeat": Goes(("octavia/octavia.conf",)),
    "octavia_keystone": Goes(("octavia/octavia.conf",), ("identity:octavia",)),
    "octavia_passphrase": Goes(("octavia/octavia.conf",)),
    "onestack_keystone": Goes(("probe.json",), ("identity:keystone",)),
    "placement_db": Goes(("placement/placement.conf",), ("database:placement",)),
    "placement_keystone": Goes(("placement/placement.conf", *SEES_NOVA), ("identity:placement",)),
    "rabbitmq": Goes(
        (
            *("aodh/aodh.conf", "ceilometer/ceilometer.conf", "cinder/cinder.conf"),
            *("glance/glance-api.conf", "heat/heat.conf", "octavia/octavia.conf"),
            *("sahara/sahara.conf", "trove/trove.conf", *SEES_NOVA),
            # imported at the broker's start
            "rabbitmq/definitions.json",
        )
    ),
    "sahara_db": Goes(("sahara/sahara.conf",), ("database:sahara",)),
    "sahara_keystone": Goes(("sahara/sahara.conf",), ("identity:sahara",)),
    "swift_hash_suffix": Goes(("swift/swift.conf",), refused="swift"),
    "swift_keystone": Goes(("swift/proxy-server.conf",), ("identity:swift",)),
    "trove_bus": Goes(("trove/trove.conf", "rabbitmq/definitions.json")),
    "trove_db": Goes(("trove/trove.conf",), ("database:trove",)),
    "trove_guests_bus": Goes(("trove/guestagent.conf", "rabbitmq/definitions.json")),
    "trove_instances_key": Goes(("trove/trove.conf",)),
    "trove_keystone": Goes(("trove/trove.conf",), ("identity:trove",)),
    "trove_modules_key": Goes(("trove/trove.conf",)),
    "trove_tasks_key": Goes(("trove/trove.conf",)),
    "tempest_keystone": Goes(("tester-openrc",), ("provision:accounts",)),
}
DECLARED = registry().secrets
WITH_DEFAULT = {name for name, secret in DECLARED.items() if secret.key and secret.password}
"""Those that CONFIG_DEFAULT_PASSWORD stands for when they are left alone."""
NO_PROCESS = {*ADMIN, "probe.json", "demo-openrc", "tester-openrc", "nova/cell0.conf"}
"""Read anew whenever they are used: by people, by steps, by upstream's jobs."""
NOBODYS = {
    key.name
    for key in registry().keys.values()
    if key.kind is Kind.SECRET and key.outcome is not Class.IMPLEMENTED
}
MORE = {
    "CONFIG_HORIZON_INSTALL": "y",
    "CONFIG_CEILOMETER_INSTALL": "y",
    "CONFIG_AODH_INSTALL": "y",
    "CONFIG_PROVISION_TEMPEST": "y",
    "CONFIG_PROVISION_TEMPEST_USER": "tester",
    "CONFIG_ONESTACK_OCTAVIA_PROVIDERS": "ovn,amphora",
    "CONFIG_ONESTACK_JOIN": "y",
}


@pytest.fixture(scope="module")
def whole(root: Path, installed: Release) -> Context:
    return context(root, installed, "ovn", False, False, True)


def asked(whole: Context, kept: Mapping[str, str] | None = None, /, **given: str) -> Context:
    """The same cloud, with other answers and the random secrets of all, but for ``kept``."""
    answers = registry().answers({**whole.answers.given, **EVERYTHING, **MORE, **given})
    secrets = Secrets(whole.cloud.etc / "secrets.json", answers, DECLARED)
    for name in DECLARED:
        secrets[name]  # all are kept before another reads them
    if kept:
        here = json.loads((whole.cloud.etc / "secrets.json").read_text())
        other = whole.cloud.etc / "other.json"
        other.write_text(json.dumps({**here, **kept}))
        secrets = Secrets(other, answers, DECLARED)
        for name in kept:
            secrets[name]
    components = tuple(c for c in ALL if c.enabled(answers))
    return dataclasses.replace(whole, answers=answers, secrets=secrets, components=components)


def changed(now: Context, then: Context) -> set[str]:
    """Files, below ROOT/etc."""

    def files(ctx: Context) -> dict[str, str]:
        return {
            str(file.path.relative_to(ctx.cloud.etc)): file.content
            for declared in ctx.model
            for file in declared.files
            if file.path.is_relative_to(ctx.cloud.etc)
        }

    before, after = files(now), files(then)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def told(now: Context, then: Context) -> Iterator[str]:
    """Steps of the engine that another secret gives something to do."""
    for declared in now.model:
        for database in declared.databases:
            name = f"{database.user}_db"
            if now.secrets[name] != then.secrets[name]:
                yield f"database:{database.name}"
        for identity in declared.identity:
            name = f"{identity.user}_keystone"
            if now.secrets[name] != then.secrets[name]:
                yield f"identity:{declared.name}"


def pair(whole: Context, name: str) -> tuple[Context, Context]:
    """The cloud with two values of the secret ``name``, or of the answer."""
    other = {"CONFIG_PROVISION_DEMO": "n"} if name == "tempest_keystone" else {}
    key = DECLARED[name].key if name in DECLARED else name
    if not key:
        one, two = (asked(whole, {name: letter * 32}) for letter in "ab")
        return one, two
    one, two = (asked(whole, **other, **{key: letter * 32}) for letter in "ab")
    return one, two


def test_all_of_them_are_here() -> None:
    assert DECLARED.keys() == GOES.keys()


@pytest.mark.parametrize("name", sorted(GOES))
def test_where_it_goes(whole: Context, name: str) -> None:
    goes, (now, then) = GOES[name], pair(whole, name)
    assert now.secrets[name] != then.secrets[name]
    assert goes.files or goes.told or goes.processes, "it reaches nothing"
    assert changed(now, then) == set(goes.files)
    before, after = ({p for c in ctx.model for p in map(repr, c.processes)} for ctx in (now, then))
    assert {text.split("'")[1] for text in before - after} == set(goes.processes)
    engine = set(told(now, then))
    assert engine == {s for s in goes.told if s.startswith(("database:", "identity:"))}
    tasks = {f"{d.name}:{task.name}" for d in now.model for task in d.tasks}
    assert set(goes.told) - engine <= tasks


@pytest.mark.parametrize("name", sorted(GOES))
def test_whoever_reads_the_file_is_started_anew(whole: Context, name: str) -> None:
    now, _ = pair(whole, name)
    watched = {
        file for declared in now.model for process in declared.processes for file in process.files
    }
    unseen = {file for file in GOES[name].files if str(now.cloud.etc / file) not in watched}
    assert unseen <= NO_PROCESS


@pytest.mark.parametrize("name", sorted(NOBODYS))
def test_the_others_go_nowhere(whole: Context, name: str) -> None:
    assert not changed(*pair(whole, name))


def test_the_default_password(whole: Context) -> None:
    now, then = pair(whole, "CONFIG_DEFAULT_PASSWORD")
    # The one of the two accounts that is there, and keys are no passwords.
    goes = [GOES[name] for name in WITH_DEFAULT - {"tempest_keystone"}]
    assert changed(now, then) == {file for each in goes for file in each.files}
    assert set(told(now, then)) <= {step for each in goes for step in each.told}


def _value(name: str) -> str:
    """One that is found nowhere by chance: 32 characters."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
@pytest.mark.parametrize("role", list(Role))
def test_no_host_learns_more_than_its_role_may(whole: Context, role: Role, agent: str) -> None:
    """The files of a host that has only this role: from the model, with everything on."""
    off = {"CONFIG_LBAAS_INSTALL": "n"} if agent == "openvswitch" else {}
    values = {s.key: _value(name) for name, s in DECLARED.items() if s.key}
    ctx = asked(whole, **{"CONFIG_NEUTRON_L2_AGENT": agent, **off, **values})
    known = {name: ctx.secrets[name] for name in DECLARED}
    if role is not Role.CONTROLLER:
        ctx = elsewhere(ctx, member(ctx, "other", "identity", role))
    files = {
        str(file.path): file.content
        for declared in ctx.model
        for file in declared.files
        if role in (file.roles or declared.component.roles)
    }
    assert files, "no file at all"
    hidden = [name for name, secret in DECLARED.items() if role not in secret.roles]
    leaks = [
        f"{path} has {name}"
        for path, text in files.items()
        for name in hidden
        if known[name] in text
    ]
    leaks += [f"{path} wants one" for path, text in files.items() if WITHHELD in text]
    assert not leaks, "\n".join(leaks)


@pytest.mark.parametrize("name", sorted(name for name, goes in GOES.items() if goes.refused))
def test_what_cannot_change_is_refused_before_anything_is_done(whole: Context, name: str) -> None:
    now, then = pair(whole, name)
    (component,) = (c for c in now.components if c.name == GOES[name].refused)
    for file in now.model[component.name].files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    if name == "swift_hash_suffix":
        from onestack.components.swift import wanted_rings

        rings = now.cloud.etc / "swift" / "rings.json"
        rings.write_text(json.dumps(wanted_rings(now)))
    if name == "heat_encryption":
        table = now.cloud.data / "mariadb" / "data" / "heat" / "stack.ibd"
        table.parent.mkdir(parents=True)
        table.touch()
    assert not list(component.preflight_checks(now))
    (refusal,) = component.preflight_checks(then)
    assert DECLARED[name].key in refusal.what and "old value" in refusal.cure
