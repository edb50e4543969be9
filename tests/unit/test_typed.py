"""Commands that the tests of the guide and of data processing type are such that clients take.

Those tests take hours with their clouds; a wrong option is found here. The same for what the
pages have between backquotes, and for the commands of data processing, whose client is in an
environment of its own.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.release.release import Release
from tests.support.needs import needs_root, needs_sahara, sahara_python
from tests.support.pages import commands

HERE = Path(__file__).resolve().parents[2]
TRIALS = Path(__file__).with_name("pages_trials.py")
TYPED = (
    *sorted((HERE / "tests" / "guide").glob("*.py")),
    HERE / "tests" / "support" / "clusters.py",
    *sorted((HERE / "tests" / "services").glob("test_sahara*.py")),
)
PAGES = (
    *(HERE / "docs" / name for name in ("guide.md", "guide.ja.md")),
    HERE / "docs" / "services" / "sahara.md",
)
CLIENTS = ("openstack", "nova", "neutron", "cinder", "glance")
FIRST = tuple(f"{client} " for client in CLIENTS)
SOMETHING = "1"
"""What is put in where a test puts in a name or a number."""
WRAPPERS: dict[str, tuple[int, str, str]] = {
    "type": (0, "", ""),
    "inside": (0, "", ""),
    "json": (0, "openstack ", " -f json"),
    "value": (0, "openstack ", f" -f value -c {SOMETHING}"),
    "becomes": (1, "openstack ", f" -f value -c {SOMETHING}"),
    "refused": (0, "openstack ", ""),
    "ask": (0, "openstack dataprocessing ", " -f json"),
    "as_user": (2, "openstack dataprocessing ", ""),
}
"""Of our tests' helpers: which argument is the command, and what they add to it."""
VERSION = "--os-volume-api-version"
"""A client's own option, before the command."""


class Lines(ast.NodeVisitor):
    """What a test types, as far as it stands there."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[str] = []
        self.known = {
            target.id: text
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
            if (text := self.text(node.value)) is not None
        }
        self.visit(tree)

    def visit_Call(self, node: ast.Call) -> None:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        index, before, after = WRAPPERS.get(name, (len(node.args), "", ""))
        if index < len(node.args) and (text := self.text(node.args[index])):
            self.found.append(f"{before}{text}{after}")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value.startswith(FIRST):
            self.found.append(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        text = self.text(node) or ""
        if text.startswith(FIRST):
            self.found.append(text)

    def visit_Return(self, node: ast.Return) -> None:
        """A command that a helper makes."""
        text = self.text(node.value) if node.value else None
        if text and text.startswith("cluster "):
            self.found.append(f"openstack dataprocessing {text}")
        self.generic_visit(node)

    def text(self, node: ast.expr) -> str | None:
        """None where it is made elsewhere."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name):
            return getattr(self, "known", {}).get(node.id)
        if isinstance(node, ast.JoinedStr):
            return "".join(
                (self.text(part.value) or SOMETHING)
                if isinstance(part, ast.FormattedValue)
                else str(part.value)
                for part in node.values
                if isinstance(part, ast.FormattedValue | ast.Constant)
            )
        return None


def simple(line: str) -> Iterator[list[str]]:
    """The words of each client's command in a line of the shell."""
    if not re.search(rf"\b(?:{'|'.join(CLIENTS)}) ", line):
        return
    line = re.sub(r"<\S[^<>|]*>", SOMETHING, line)
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from simple(inner)
    line = re.sub(r"\$\([^()]*\)", SOMETHING, line)
    words: list[str] = []
    parts = shlex.shlex(line.replace("\n", ";"), posix=True, punctuation_chars=";|&")
    parts.whitespace_split = True
    for word in [*parts, ";"]:
        if not word.strip(";|&"):
            begun = [word for word in words if word != "dataprocessing"]
            # Not what a helper of our tests puts a command into.
            if words and words[0] in CLIENTS and begun[1:2] != [SOMETHING]:
                yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*", word):
            words.append(word)


def of_test(file: Path) -> list[list[str]]:
    found = [words for line in Lines(ast.parse(file.read_text())).found for words in simple(line)]
    return [[words[0], *words[3:]] if words[1:2] == [VERSION] else words for words in found]


def of_page(page: Path) -> list[list[str]]:
    """Also what a sentence or a table says; not what it only begins to say."""
    text = page.read_text(encoding="utf-8")
    said = re.findall(
        rf"`((?:{'|'.join(CLIENTS)}) [^`]+)`", re.sub("```.*?```", "", text, flags=re.S)
    )
    lines = [*commands(page), *(line for line in said if "…" not in line)]
    return [words for line in lines for words in simple(line) if words[1] != "help"]


def is_data_processing(words: list[str]) -> bool:
    return words[:2] == ["openstack", "dataprocessing"]


def refused(python: Path, typed: list[list[str]]) -> list[str]:
    """Which of them the clients of that environment would not take, and why."""
    # The client of data processing is older, and knows nothing of modules that have moved; it
    # speaks the first version of that API.
    program = (
        "import runpy, sys; from openstackclient import shell; "
        "vars(shell).setdefault('IGNORED_MODULES', ('saharaclient.osc.v2',)); "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", program, TRIALS],
        input=json.dumps(typed),
        check=True,
        capture_output=True,
        text=True,
    )
    return list(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def typed() -> list[list[str]]:
    tests = [words for file in TYPED for words in of_test(file)]
    pages = [words for page in PAGES for words in of_page(page)]
    assert len(tests) > 80 and len(pages) > 60
    return tests + pages


@pytest.fixture(scope="module")
def clients(installed: Release) -> Path:
    environment = installed.environment("clients")
    for change in environment.ensure():
        change.do()
    return environment.python


@needs_root
def test_clients_of_today_take_it(clients: Path, typed: list[list[str]]) -> None:
    assert refused(clients, [words for words in typed if not is_data_processing(words)]) == []


@needs_sahara
def test_the_client_of_data_processing_takes_it(typed: list[list[str]]) -> None:
    own = [words for words in typed if is_data_processing(words)]
    assert len(own) > 30
    assert refused(sahara_python(), own) == []


@needs_sahara
def test_what_it_does_not_take_is_found() -> None:
    wrong = (
        "openstack dataprocessing cluster scale words worker:2",
        "openstack dataprocessing cluster create --name words --image-name x",
        "openstack dataprocessing clusters list",
    )
    said = refused(sahara_python(), [line.split() for line in wrong])
    assert [line.partition(":")[0] for line in said] == [line.partition(":")[0] for line in wrong]


def test_what_counts_as_typed(tmp_path: Path) -> None:
    file = tmp_path / "test_some.py"
    file.write_text(
        "LINE = 'set -e; openstack one; openstack two'\n"
        "cloud.type(LINE)\n"
        "cloud.type(f'nova boot {name} \"a; b\" && ip netns')\n"
        f"cloud.type('A=1 cinder {VERSION} 3.50 x')\n"
        "sitting.value(f'volume show {name}', 'status')\n"
        "sitting.ask('plugin list')\n"
        "sitting.json(command)\n"
        "as_user(clusters, 'reader', 'plugin list')\n"
        "for line in ('glance a', f'glance b {name}'): cloud.type(line)\n"
        "cloud.type(f'openstack {command} -f json')\n"
    )
    found = of_test(file)
    listed = ["openstack", "dataprocessing", "plugin", "list"]
    for words in (
        ["openstack", "one"],
        ["openstack", "two"],
        ["nova", "boot", "1", "a; b"],
        ["cinder", "x"],
        ["openstack", "volume", "show", "1", "-f", "value", "-c", "1"],
        [*listed, "-f", "json"],
        listed,
        ["glance", "a"],
        ["glance", "b", "1"],
    ):
        assert words in found
    assert not [words for words in found if words[1] == SOMETHING]
