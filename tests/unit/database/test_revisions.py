"""Heads from the text of version files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onestack.database.revisions import heads, revision_of


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(text)


def test_a_line_of_revisions_has_one_head(tmp_path: Path) -> None:
    write(tmp_path, "a", "revision = 'a'\ndown_revision = None\n")
    write(tmp_path, "b", 'revision: str = "b"\ndown_revision: str | None = "a"\n')
    assert heads([tmp_path]) == {"b"}


def test_branches_in_folders_have_a_head_each(tmp_path: Path) -> None:
    write(tmp_path, "a", "revision = 'a'\ndown_revision = None\n")
    write(tmp_path / "x" / "expand", "b", "revision = 'b'\ndown_revision = 'a'\n")
    write(tmp_path / "x" / "contract", "c", "revision = 'c'\ndown_revision = 'a'\n")
    assert heads([tmp_path]) == {"b", "c"}


def test_what_is_depended_on_is_no_head(tmp_path: Path) -> None:
    """As alembic keeps it: the dependent's row stands for both (glance's contract and expand)."""
    write(tmp_path, "a", "revision = 'a'\ndown_revision = None\n")
    write(tmp_path, "e", "revision = 'e'\ndown_revision = 'a'\nbranch_labels = EXPAND\n")
    write(tmp_path, "c", "revision = 'c'\ndown_revision = 'a'\ndepends_on = ('e',)\n")
    assert heads([tmp_path]) == {"c"}


def test_a_merge_over_several_lines(tmp_path: Path) -> None:
    write(tmp_path, "a", "revision = 'a'\n")
    write(tmp_path, "b", "revision = 'b'\n")
    write(tmp_path, "m", "revision = 'm'\ndown_revision = (\n    'a',\n    'b',\n)\n")
    assert heads([tmp_path]) == {"m"}


def test_names_and_docstrings_are_not_taken_for_revisions() -> None:
    text = (
        '"""Revision ID: x\n    revision = \'no\'\n"""\nrevision = "a"\nbranch_labels = (EXPAND,)\n'
    )
    assert revision_of(text) == {"revision": "a", "branch_labels": None}


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, "__init__", "")
    assert heads([tmp_path, tmp_path / "missing"]) == set()


def test_steps_may_read_at_once(tmp_path: Path) -> None:
    """Python 3.11.2, Debian 12's, cannot parse in several threads at once."""
    folders = []
    for one in range(8):
        folder = tmp_path / str(one)
        folder.mkdir()
        for number in range(40):
            before = repr(f"r{number - 1}") if number else "None"
            text = f"revision = 'r{number}'\ndown_revision = (\n    {before},\n)\n"
            (folder / f"{number}.py").write_text(text)
        folders.append([folder])
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(heads, folders * 4)) == [{"r39"}] * 32
