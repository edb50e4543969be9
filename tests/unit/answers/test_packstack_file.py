"""packstack's answer file: reading, writing, and back."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from onestack.answers import packstack_file
from onestack.answers.registry import registry
from onestack.answers.validate import read
from onestack.model.errors import BadAnswers

TEXT = """\
# made by hand
[general]

; why not
config_debug_mode = y
CONFIG_KEYSTONE_ADMIN_PW=cen#tos;=%x
"""


def whole(given: Mapping[str, str]) -> str:
    keys = registry().keys

    def block(name: str) -> str:
        return packstack_file.block(keys[name], given.get(name, keys[name].default))

    return packstack_file.full_text(registry(), block)


def test_reading() -> None:
    file = packstack_file.parse(TEXT, "f")
    assert [(e.name, e.text, e.line) for e in file.entries] == [
        ("CONFIG_DEBUG_MODE", "y", 5),
        ("CONFIG_KEYSTONE_ADMIN_PW", "cen#tos;=%x", 6),
    ]
    assert not file.faults


def test_lines_that_cannot_be_read_are_all_named() -> None:
    file = packstack_file.parse("[general]\nCONFIG_A\n[other]\nCONFIG_B=1\n", "f")
    assert len(file.faults) == 2
    assert file.faults[0].startswith("f:2:") and "CONFIG_A" in file.faults[0]
    assert file.faults[1].startswith("f:3:") and "[other]" in file.faults[1]
    assert not file.entries


def test_a_whole_file_reads_back_as_it_was_written() -> None:
    known = registry()
    given = {"CONFIG_DEBUG_MODE": "y", "CONFIG_KEYSTONE_ADMIN_PW": "centos"}
    text = whole(given)
    answers, notices = read(known, [packstack_file.parse(text, "f").entries])
    assert notices == []
    assert {n: answers[n] for n in known.keys} == {n: known.answers(given)[n] for n in known.keys}
    again = whole(answers.given)
    assert again == text


def test_each_key_stands_under_its_comment() -> None:
    lines = whole({}).splitlines()
    assert max(len(line) for line in lines if line.startswith("#")) <= 80
    at = lines.index("CONFIG_DEBUG_MODE=n")
    assert lines[at - 1].startswith("# ")


def test_no_secret_is_written_that_the_operator_did_not_give() -> None:
    for line in whole({}).splitlines():
        name, _, value = line.partition("=")
        if name.endswith(("_PW", "_PASSWORD")):
            assert value in ("", "PW_PLACEHOLDER", "ubuntu"), line


def test_an_update_keeps_comments_and_order() -> None:
    file = packstack_file.parse(TEXT, "f")
    text = file.updated(
        {"CONFIG_DEBUG_MODE": "n", "CONFIG_KEYSTONE_REGION": "here"}, lambda n: f"# new\n{n}=here"
    )
    assert text.splitlines()[:5] == [*TEXT.splitlines()[:4], "CONFIG_DEBUG_MODE=n"]
    assert text.endswith("# new\nCONFIG_KEYSTONE_REGION=here\n")


def test_saved_for_its_owner_only_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o644)
    packstack_file.save(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_is_cured_in_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(self: Path, **how: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    for path, cure in (
        (tmp_path / "none", f"make one: onestack answers --write {tmp_path}/none"),
        (tmp_path, "make one: onestack answers --write FILE"),
        (Path("/etc/passwd/x"), "make one: onestack answers --write FILE"),
    ):
        with pytest.raises(BadAnswers) as wrong:
            packstack_file.read(path)
        assert wrong.value.cure == cure
    assert not packstack_file.is_there(tmp_path / "none")
    assert packstack_file.is_there(tmp_path)
    # Nor can it be looked at: its folder is another's.
    monkeypatch.setattr(Path, "read_text", forbidden)
    monkeypatch.setattr(Path, "stat", forbidden)
    assert packstack_file.is_there(tmp_path / "none")
    with pytest.raises(BadAnswers) as wrong:
        packstack_file.read(tmp_path / "none")
    assert wrong.value.why == "Permission denied" and wrong.value.cure.startswith("run it as root")


def test_a_missing_file_is_a_bad_answer(tmp_path: Path) -> None:
    with pytest.raises(BadAnswers, match="cannot be read"):
        packstack_file.read(tmp_path / "none")
    with pytest.raises(BadAnswers, match="cannot be written"):
        packstack_file.save(tmp_path / "none" / "f", "")
