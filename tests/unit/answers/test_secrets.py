"""Secrets: whose word counts, where they are kept, and that they stay."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from onestack.answers.registry import build, registry
from onestack.answers.secrets import Secrets, UndeclaredSecret
from onestack.components.openstack import database_password, service_password
from onestack.model.errors import OnestackError
from onestack.model.secret import Secret


def secrets(folder: Path, keep: bool = True, **given: str) -> Secrets:
    declared = {**registry().secrets, **{name: Secret(name) for name in "ax"}}
    return Secrets(folder / "etc" / "secrets.json", registry().answers(given), declared, keep)


def test_random_ones_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = secrets(tmp_path)["nova_db"]
    assert len(first) == 32
    assert secrets(tmp_path)["nova_db"] == first
    assert secrets(tmp_path)["glance_db"] != first
    path = tmp_path / "etc" / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"nova_db", "glance_db"}


def test_own_value_then_default_password_then_random(tmp_path: Path) -> None:
    assert (
        secrets(tmp_path, CONFIG_NOVA_DB_PW="own", CONFIG_DEFAULT_PASSWORD="d")["nova_db"] == "own"
    )
    assert secrets(tmp_path, CONFIG_DEFAULT_PASSWORD="d")["nova_db"] == "d"
    assert secrets(tmp_path)["nova_db"] not in ("own", "d")


def test_the_default_password_is_only_for_what_packstack_had(tmp_path: Path) -> None:
    made = secrets(tmp_path, CONFIG_DEFAULT_PASSWORD="d")
    assert made["placement_db"] != "d"
    # keys are no passwords, and what nobody gave is nothing
    assert made["heat_encryption"] != "d" and made["swift_hash_suffix"] != "d"
    assert made["keystone_ldap"] == made["cinder_netapp"] == ""


def test_a_key_sets_its_secret(tmp_path: Path) -> None:
    assert secrets(tmp_path, CONFIG_KEYSTONE_ADMIN_PW="centos")["admin_keystone"] == "centos"
    assert secrets(tmp_path, CONFIG_AMQP_AUTH_PASSWORD="centos")["rabbitmq"] == "centos"
    assert secrets(tmp_path, CONFIG_SWIFT_HASH="centos")["swift_hash_suffix"] == "centos"


@pytest.mark.parametrize("name", ["nova_keyston", "CONFIG_KEYSTONE_ADMIN_PW", ""])
def test_what_nobody_declares_is_not_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(UndeclaredSecret, match="declare it"):
        secrets(tmp_path)[name]
    assert not (tmp_path / "etc").exists()


def test_a_new_component_declares_its_own(tmp_path: Path) -> None:
    """Nothing else has to know of it: the operator's word counts."""
    database, account = database_password("trove"), service_password("trove")
    with_trove = build([("Trove", [database.key, account.key])], [database.secret, account.secret])
    given = {"CONFIG_TROVE_DB_PW": "of the operator"}
    made = Secrets(tmp_path / "s", with_trove.answers(given), with_trove.secrets)
    assert made["trove_db"] == "of the operator"
    assert len(made["trove_keystone"]) == 32
    assert with_trove.accounts == {"trove"}


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    made = secrets(tmp_path, keep=False)
    assert made["a"] == made["a"]
    assert not (tmp_path / "etc").exists()


def test_threads_get_the_same(tmp_path: Path) -> None:
    made = secrets(tmp_path)
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(made["x"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8 and len(set(got)) == 1
    assert secrets(tmp_path)["x"] == got[0]


def test_known_holds_all_values(tmp_path: Path) -> None:
    made = secrets(tmp_path, CONFIG_KEYSTONE_ADMIN_PW="centos")
    random = made["nova_db"]
    assert {"centos", random} <= made.known()
    assert "" not in made.known()


def test_a_damaged_file_is_an_error_and_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "secrets.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(OnestackError, match="damaged"):
        secrets(tmp_path)["a"]
    assert path.read_text() == "{"
