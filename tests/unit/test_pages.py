"""Commands that the pages print are there, with their options, and mean one thing."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onestack.cli import main
from onestack.release.release import Release
from tests.support.needs import needs_root
from tests.support.pages import commands

HERE = Path(__file__).resolve().parents[2]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
CLIENTS = ("openstack", "nova", "neutron", "cinder", "glance")
TRIALS = Path(__file__).with_name("pages_trials.py")
FOR_SOMETHING = re.compile(r"<\S[^<>|]*>")
"""What the reader is to put another word for."""


def simple(line: str) -> Iterator[list[str]]:
    """The words of each command in a line of the shell, those in ``$( )`` too."""
    line = FOR_SOMETHING.sub("X", line)
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


@pytest.fixture(scope="module")
def refused(installed: Release) -> Callable[[list[list[str]]], list[str]]:
    """Which of those commands a client would not take, and why, by its own parser."""
    clients = installed.environment("clients")
    for change in clients.ensure():
        change.do()

    def asked(typed: list[list[str]]) -> list[str]:
        ran = subprocess.run(
            [clients.python, "-W", "ignore", TRIALS],
            input=json.dumps(typed),
            check=True,
            capture_output=True,
            text=True,
        )
        return list(json.loads(ran.stdout))

    return asked


@needs_root
def test_clients_take_what_is_typed(refused: Callable[[list[list[str]]], list[str]]) -> None:
    words = [
        [client, *words] for page in PAGES for client in CLIENTS for words in typed(page, client)
    ]
    assert {client for client, *_ in words} == set(CLIENTS)
    # Of data processing's client, which is another one, `test_typed` asks.
    others = (["help"], ["dataprocessing"])
    assert refused([each for each in words if each[1:2] not in others]) == []


@needs_root
def test_what_no_client_takes_is_found(refused: Callable[[list[list[str]]], list[str]]) -> None:
    wrong = [
        ["openstack", "network", "lst"],
        ["openstack", "server", "create", "--flavor", "f", "--image", "i", "--no-such", "x"],
        ["openstack", "server", "add", "floating", "ip", "one"],
        ["neutron", "net-make", "x"],
        ["neutron", "net-create", "x", "--shard"],
        ["nova", "bott", "x"],
        ["nova", "boot", "--flavour", "f", "x"],
        ["cinder", "create", "--no-such", "1"],
        ["glance", "image-create", "--no-such", "x"],
    ]
    assert [said.partition(":")[0] for said in refused(wrong)] == [" ".join(w) for w in wrong]


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
    assert list(simple("nova volume-attach one <id of it>")) == [
        ["nova", "volume-attach", "one", "X"]
    ]
    nested = list(simple("A=1 openstack server add x $(openstack ip create n) && true"))
    assert nested[0] == ["openstack", "ip", "create", "n"]
    assert nested[1:] == [["openstack", "server", "add", "x", "X"], ["true"]]
