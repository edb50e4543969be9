"""Commands that the pages print are there, with their options, and mean one thing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.cli import main
from onestack.release.release import Release
from tests.support.needs import needs_root
from tests.support.pages import commands

HERE = Path(__file__).resolve().parents[2]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
WORD = re.compile(r"[a-z][a-z0-9-]*")


def simple(line: str) -> Iterator[list[str]]:
    """The words of each command in a line of the shell, those in ``$( )`` too."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from simple(inner)
    flat = re.sub(r"\$\([^()]*\)", "X", line)
    for part in re.split(r"&&|\|\||[|;]", flat):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue  # quotes over several commands
        while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("sudo", "time", "!")):
            words.pop(0)
        if words:
            yield words


def typed(page: Path, program: str) -> list[list[str]]:
    return [
        words[1:]
        for line in commands(page)
        for words in simple(line)
        if words[0].rpartition("/")[2] == program
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_verbs_of_ours_take_what_is_typed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in typed(page, "onestack"):
        if words and (words[0].startswith("-") or words[0].isupper()):
            continue
        try:
            main.parse(words)
        except SystemExit as end:
            assert not end.code, f"{' '.join(words)}: {capsys.readouterr().err}"


@needs_root
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_clients_have_the_commands(installed: Release, page: Path) -> None:
    known = set()
    place = installed.environment("clients").site_packages
    for file in place.glob("*.dist-info/entry_points.txt"):
        known |= set(re.findall(r"^(\w+) *= *[\w.]+:", file.read_text(), re.MULTILINE))
    unknown = []
    for words in typed(page, "openstack"):
        names = []
        for word in words:
            if not WORD.fullmatch(word):
                break
            names.append(word.replace("-", "_"))
        longest = range(len(names), 0, -1)
        if names and names != ["help"] and not any("_".join(names[:n]) in known for n in longest):
            unknown.append(" ".join(words))
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_a_default_group_is_none_where_there_is_another_project(page: Path) -> None:
    """The administrator sees one of each project, and the client asks which is meant."""
    for words in typed(page, "openstack"):
        if words[:2] == ["security", "group"] and "default" in words:
            assert "--project" in words, " ".join(words)


def test_what_counts_as_typed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "## One\n\n```console\n# ./onestack up   # a remark\n$ openstack server \\\n  list\n"
        "some output\n# Not a command\n```\n\n## Two\n\n```\n[root@a ~]# nova list | cat\n```\n"
    )
    assert list(commands(page, "Two")) == ["nova list | cat"]
    assert list(commands(page))[:2] == ["./onestack up", "openstack server list"]
    nested = list(simple("A=1 openstack server add x $(openstack ip create n) && true"))
    assert nested[0] == ["openstack", "ip", "create", "n"]
    assert nested[1:] == [["openstack", "server", "add", "x", "X"], ["true"]]
