"""The ledger: written before, shared by threads and objects, undone in reverse."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from onestack.deploy.undo import undo_all, undos
from onestack.host.ledger import Ledger
from onestack.model.change import Undo
from onestack.model.errors import OnestackError

undone: list[str] = []


@pytest.fixture(autouse=True)
def nothing_undone() -> None:
    undone.clear()


def undo_toy(data: dict[str, Any]) -> None:
    if data["name"] == "stuck":
        raise OnestackError("it is stuck", cure="pull")
    undone.append(data["name"])


KNOWN: dict[str, Undo] = {"toy": undo_toy, **undos()}


def test_entries_outlive_the_object_and_are_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "ledger.json"
    Ledger(path).record("toy", name="one")
    Ledger(path).record("toy", name="one")
    assert [e.data for e in Ledger(path).entries()] == [{"name": "one"}]
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(Ledger(path).entries()[0]) == "toy one"


def test_threads_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"

    def work(number: int) -> None:
        for i in range(5):
            Ledger(path).record("toy", name=f"{number}-{i}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Ledger(path).entries()) == 30


def test_undo_goes_backwards_and_strikes_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    for name in ("a", "b", "c"):
        ledger.record("toy", name=name)
    assert undo_all(ledger, KNOWN).count == 3
    assert undone == ["c", "b", "a"]
    assert ledger.entries() == []
    assert undo_all(ledger, KNOWN).count == 0


def test_what_cannot_be_undone_stays_and_the_rest_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    for name in ("a", "stuck", "c"):
        ledger.record("toy", name=name)
    with pytest.raises(OnestackError) as caught:
        undo_all(ledger, KNOWN)
    assert undone == ["c", "a"]
    assert "toy stuck: it is stuck" in caught.value.why
    assert [e.data["name"] for e in ledger.entries()] == ["stuck"]


def test_packages_are_listed_and_stay(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.record("packages", names=["b", "a"])
    ledger.record("packages", names=["a", "c"])
    assert undo_all(ledger, KNOWN).packages == ("a", "b", "c")


def test_a_damaged_ledger_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text("[{")
    with pytest.raises(OnestackError, match="cannot be read"):
        Ledger(path).entries()


def test_an_entry_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps([{"kind": "future", "data": {}}]))
    with pytest.raises(OnestackError, match="could not be undone") as caught:
        undo_all(Ledger(path), KNOWN)
    assert "unknown kind 'future'" in caught.value.why
