"""All keys: packstack's are known, each has one fate, and none is declared twice."""

from __future__ import annotations

import collections

import pytest

from onestack.answers import table
from onestack.answers.registry import build, registry
from onestack.answers.values import parse
from onestack.model.key import Class, Key, Kind
from onestack.model.secret import Secret

PACKSTACK_KEYS = 414
"""Every name that packstack read, from Havana to its last release."""


def test_every_packstack_key_is_known_and_has_exactly_one_fate() -> None:
    rows = table.rows()
    assert len(rows) == PACKSTACK_KEYS
    known = registry()
    for name in rows:
        assert name in known.keys, name
        assert known.keys[name].outcome in Class
    listed = collections.Counter(k.name for group in known.groups for k in group.keys)
    assert not [name for name, times in listed.items() if times > 1]
    older = {name for name, row in rows.items() if row.old}
    assert set(listed) | older >= set(rows)


def test_nothing_is_said_to_be_implemented_that_nobody_declares() -> None:
    known = registry()
    for name, row in table.rows().items():
        if row.key.outcome is Class.IMPLEMENTED:
            assert known.keys[name] is not row.key, f"{name} is declared nowhere"


def test_every_key_says_what_it_means_and_has_a_default_that_it_accepts() -> None:
    for key in registry().keys.values():
        assert key.help, key.name
        assert key.outcome is Class.IMPLEMENTED or key.note, f"{key.name} gives no reason"
        parse(key, key.default)


def test_older_names_lead_to_keys_that_are_known() -> None:
    known = registry()
    assert known.targets["CONFIG_MYSQL_PW"] == "CONFIG_MARIADB_PW"
    assert known.targets["CONFIG_COMPUTE_HOSTS"] == "CONFIG_CONTROLLER_HOST"
    for old, new in known.targets.items():
        assert new in known.keys and new not in known.targets, (old, new)


def test_each_key_of_a_secret_is_that_of_one_declared_secret() -> None:
    known = registry()
    named = [secret.key for secret in known.secrets.values() if secret.key]
    assert len(named) == len(set(named))
    secret = {key.name for key in known.keys.values() if key.kind is Kind.SECRET}
    wanted = {name for name in secret if known.keys[name].outcome is Class.IMPLEMENTED}
    assert set(named) == wanted - {"CONFIG_DEFAULT_PASSWORD"}


@pytest.mark.parametrize(
    ("secrets", "says"),
    [
        ([Secret("x"), Secret("x", account="x")], "declared twice"),
        ([Secret("x", "CONFIG_NO_SUCH_PW")], "is no key of a secret"),
        ([Secret("x", "CONFIG_DEBUG_MODE")], "is no key of a secret"),
    ],
)
def test_a_secret_that_cannot_be(secrets: list[Secret], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build([], secrets)


def test_a_declaration_counts_more_than_the_table() -> None:
    mine = Key("CONFIG_HEAT_INSTALL", "n", "Turn Heat on.", Kind.FLAG)
    known = build([("Heat", [mine])])
    assert known.keys["CONFIG_HEAT_INSTALL"].outcome is Class.IMPLEMENTED
    assert [g.title for g in known.groups if mine in g.keys] == ["Heat"]


def test_an_alias_of_a_declaration_is_accepted() -> None:
    mine = Key("CONFIG_ONESTACK_X", "", "X.", aliases=("CONFIG_ONESTACK_Y",))
    assert build([("X", [mine])]).targets["CONFIG_ONESTACK_Y"] == "CONFIG_ONESTACK_X"


def test_two_declarations_that_differ_are_an_error_of_ours() -> None:
    one, two = Key("CONFIG_A", "1", "A."), Key("CONFIG_A", "2", "A.")
    with pytest.raises(ValueError, match="CONFIG_A"):
        build([("One", [one]), ("Two", [two])])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("CONFIG_HEAT_INSTAL", "CONFIG_HEAT_INSTALL"),
        ("CONFIG_NEUTRON_L2AGENT", "CONFIG_NEUTRON_L2_AGENT"),
        ("CONFIG_CINDER_VOLUME_SIZE", "CONFIG_CINDER_VOLUMES_SIZE"),
        ("KEYSTONE_ADMIN_PW", "CONFIG_KEYSTONE_ADMIN_PW"),
        ("CONFIG_KEYSTON_ADMIN_PASSWORD", "CONFIG_KEYSTONE_ADMIN_PW"),
        ("CONFIG_QUANTUM_INSTALL", "CONFIG_NEUTRON_INSTALL"),
    ],
)
def test_did_you_mean(typed: str, meant: str) -> None:
    assert registry().nearest(typed) == meant
