"""Secrets: whose word counts, where they are kept, and that they stay."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.model.errors import OnestackError


def secrets(folder: Path, keep: bool = True, **given: str) -> Secrets:
    return Secrets(folder / "etc" / "secrets.json", registry().answers(given), keep)


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
    assert secrets(tmp_path, CONFIG_DEFAULT_PASSWORD="d")["fernet"] != "d"


def test_a_key_and_its_secret_are_one(tmp_path: Path) -> None:
    made = secrets(tmp_path)
    assert made["CONFIG_KEYSTONE_ADMIN_PW"] == made["admin_keystone"]
    assert made["CONFIG_AMQP_AUTH_PASSWORD"] == made["rabbitmq"]
    assert secrets(tmp_path, CONFIG_KEYSTONE_ADMIN_PW="centos")["admin_keystone"] == "centos"


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
