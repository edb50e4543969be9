"""Identity's room: keys, a directory's users, what is done once a week."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from onestack.answers.registry import registry
from onestack.components.keystone import Keystone, bootstrap, ensure_keys, ldap
from onestack.database.upstream_tables import keystone as tables
from tests.unit.components.rooms import content, context

ROOM = Keystone()
LDAP = {
    "CONFIG_KEYSTONE_IDENTITY_BACKEND": "ldap",
    "CONFIG_KEYSTONE_LDAP_URL": "ldap://ldap.example.com",
    "CONFIG_KEYSTONE_LDAP_SUFFIX": "dc=example,dc=com",
}


def test_a_directory_has_a_domain_of_its_own(tmp_path: Path) -> None:
    given = {
        **LDAP,
        "CONFIG_ONESTACK_LDAP_DOMAIN": "staff",
        "CONFIG_KEYSTONE_LDAP_USER_DN": "cn=look,dc=example,dc=com",
        "CONFIG_KEYSTONE_LDAP_USER_PASSWORD": "pa$$",
        "CONFIG_KEYSTONE_LDAP_USER_ENABLED_EMULATION_DN": "cn=on,dc=example,dc=com",
        "CONFIG_KEYSTONE_LDAP_GROUP_ATTRIBUTE_IGNORE": "a,b",
    }
    ctx = context(tmp_path, ROOM, **given)
    main = content(ctx, ROOM, "keystone.conf")
    assert "domain_specific_drivers_enabled = true" in main
    assert f"domain_config_dir = {tmp_path}/etc/keystone/domains" in main
    own = content(ctx, ROOM, "keystone.staff.conf")
    assert own.startswith("[identity]\ndriver = ldap\n")
    for line in (
        "url = ldap://ldap.example.com",
        "password = pa$$$$",
        "user_enabled_emulation = true",
        "group_attribute_ignore = a,b",
        "page_size = 0",
        "user_enabled_mask = 0",
    ):
        assert f"\n{line}\n" in own
    # Upstream's defaults stay where nothing was given.
    assert "user_name_attribute" not in own
    assert set(ROOM.packages(ctx)) == {"python3-ldap", "python3-ldappool"}
    tasks = {task.name: task for task in ROOM.tasks(ctx)}
    assert tasks["domain"].before_start
    (api, *_) = ROOM.processes(ctx)
    assert str(tmp_path / "etc/keystone/domains/keystone.staff.conf") in api.files


def test_without_a_directory_there_is_nothing_of_it(tmp_path: Path) -> None:
    ctx = context(tmp_path, ROOM)
    assert "domain" not in content(ctx, ROOM, "keystone.conf")
    assert list(ROOM.packages(ctx)) == []
    assert "domain" not in {task.name for task in ROOM.tasks(ctx)}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CONFIG_KEYSTONE_LDAP_URL": ""}, "needs CONFIG_KEYSTONE_LDAP_URL"),
        ({"CONFIG_KEYSTONE_LDAP_SUFFIX": ""}, "needs CONFIG_KEYSTONE_LDAP_SUFFIX"),
        (
            {
                "CONFIG_KEYSTONE_LDAP_URL": "ldaps://x",
                "CONFIG_KEYSTONE_LDAP_USE_TLS": "y",
            },
            "is ldaps",
        ),
        ({"CONFIG_KEYSTONE_LDAP_USER_DN": "cn=x"}, "only together"),
        ({"CONFIG_KEYSTONE_LDAP_TLS_CACERTFILE": "/nonexistent"}, "is not there"),
    ],
)
def test_what_cannot_be_together(given: dict[str, str], says: str) -> None:
    (said,) = ROOM.validate(registry().answers({**LDAP, **given}))
    assert says in said
    # Not asked for, it may say what it likes.
    alone = {**given, "CONFIG_KEYSTONE_IDENTITY_BACKEND": "sql"}
    assert list(ROOM.validate(registry().answers(alone))) == []


def test_a_directory_that_does_not_answer_is_explained(tmp_path: Path) -> None:
    ctx = context(tmp_path, ROOM, **LDAP)
    assert "ldap.example.com does not answer" in (
        ctx.model.likely("keystone", "ldap.SERVER_DOWN: {'desc': \"Can't contact LDAP server\"}")
        or ""
    )
    assert ldap.PREFIX in (ctx.model.likely("keystone", "ldap.INVALID_CREDENTIALS") or "")


def test_keys_that_were_rotated_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path, ROOM)
    for repository in ("fernet", "credential"):
        (tmp_path / "data" / "keystone" / repository).mkdir(parents=True)

    def missing() -> list[str]:
        return [change.what for change in ensure_keys(ctx)]

    assert missing() == [
        *("make fernet key 0", "make fernet key 1"),
        *("make credential key 0", "make credential key 1"),
    ]
    place = tmp_path / "data" / "keystone"
    for name in ("fernet/0", "fernet/7", "fernet/8", "credential/0", "credential/1"):
        (place / name).touch()
    assert missing() == []
    (place / "fernet" / "0").unlink()
    assert missing() == ["make fernet key 0"]


def test_rotation_can_be_switched_off(tmp_path: Path) -> None:
    name = "keystone-key-rotation"
    assert name in {p.name for p in ROOM.processes(context(tmp_path, ROOM))}
    off = context(tmp_path, ROOM, CONFIG_KEYSTONE_FERNET_TOKEN_ROTATE_ENABLE="n")
    assert name not in {p.name for p in ROOM.processes(off)}


@pytest.mark.parametrize(("known", "changes"), [("", 1), ("a@b.c", 0), ("x", 1)])
def test_the_administrators_address_is_what_the_database_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, changes: int
) -> None:
    """keystone's own answer may come from its cache."""
    user = tables.UserRow("1a", known)
    monkeypatch.setattr(tables, "local_user", lambda server, name: user)
    session, told = MagicMock(), []
    session.patch.side_effect = lambda url, json: told.append((url.rpartition("/")[2], json))
    monkeypatch.setattr(bootstrap, "admin_session", lambda ctx: session)
    ctx = context(tmp_path, ROOM, CONFIG_KEYSTONE_ADMIN_EMAIL="a@b.c")
    for change in bootstrap.ensure_email(ctx):
        change.do()
    assert told == [("1a", {"user": {"email": "a@b.c"}})] * changes
