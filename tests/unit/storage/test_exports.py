"""What hosts may open, as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.storage.exports import Exports


def test_a_name_is_kept_until_it_is_taken_back(tmp_path: Path) -> None:
    exports = Exports(tmp_path)
    one = exports.granted("a", "web1", "volume", tmp_path / "file")
    assert exports.granted("a", "web1", "volume", tmp_path / "file") == one
    assert exports.granted("b", "web2", "volume", tmp_path / "file").name != one.name
    assert dict(exports.of_volume("volume")).keys() == {"a", "b"}
    assert exports.of_host("a") == [one]
    exports.forget("a", "volume")
    exports.forget("a", "volume")
    assert exports.of_host("a") == []
    again = exports.granted("a", "web1", "volume", tmp_path / "file")
    assert again.name != one.name and len(again.name) == 30 and len(again.node) == 31


def test_what_is_nobodys_is_forgotten(tmp_path: Path) -> None:
    exports = Exports(tmp_path)
    for identity, volume in (("a", "one"), ("a", "two"), ("gone", "one")):
        exports.granted(identity, f"host-{identity}", volume, tmp_path / "file")
    gone = exports.forget_others({"a"}, lambda export: export.volume != "two")
    assert {(e.host, e.volume) for e in gone} == {("host-a", "two"), ("host-gone", "one")}
    assert [export.volume for export in exports.of_host("a")] == ["one"]
    assert not (tmp_path / "gone").exists()


def test_half_a_file_is_none(tmp_path: Path) -> None:
    """As a kill leaves it."""
    exports = Exports(tmp_path)
    exports.granted("a", "web1", "one", tmp_path / "file")
    (tmp_path / "a" / ".two.json.onestack-new").write_text("{")
    assert len(exports.of_host("a")) == len(exports.of_volume("one")) == 1


def test_an_identity_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no identity"):
        Exports(tmp_path).granted("../a", "web1", "one", tmp_path / "file")
