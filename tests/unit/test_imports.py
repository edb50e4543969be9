"""The walls between the rooms: who may import whom. Read from the source, nothing is run.

A service's side (runners, jobs, drivers: modules that import upstream's code)
lives in the services' environment; the rest is the program, which has only
its own few libraries.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.release import program
from onestack.release.release import Release
from tests.support.needs import needs_root

SOURCE = Path(__file__).resolve().parents[2] / "src"

BELOW = {
    "cli": {"deploy", "diagnose"},
    "diagnose": {"deploy", "components"},
    "deploy": {"engine", "components", "database"},
    "components": {"network", "storage", "cloudapi", "images", "database", "runtime", "cluster"},
    "database": {"host", "engine"},
    "cluster": {"model"},
    "network": {"cloudapi", "release", "host", "answers"},
    "storage": {"release", "host", "answers"},
    "cloudapi": {"release", "host", "answers"},
    "images": {"release", "host", "answers"},
    "release": {"host", "answers"},
    "engine": {"host"},
    "runtime": {"kernel"},
    "host": {"model", "kernel"},
    "answers": {"model", "kernel"},
    "supervise": {"model", "kernel"},
    "model": {"kernel"},
    "kernel": set(),
}
"""Each room, and those right below it. What is below those may be imported too."""

EVERYBODY = (
    *("onestack.model.errors", "onestack.model.cloud", "onestack.model.process"),
    *("onestack.model.codec", "onestack.model.root_command"),
)
SUPERVISORS_CLIENTS = {"cli", "deploy", "diagnose"}
"""Rooms of the program that talk to the supervisor or read its logs and processes."""

LIBRARIES = {"cryptography", "keystoneauth1", "pymysql", "rich", "uv"}
"""All that the program may use beside the standard library."""
NOT_THERE = {"rich", "uv"}
"""Those of them that the services' environment is not promised to have."""

EXCEPTIONS = {
    # The list of all keys is that of all components; imported when it is asked for.
    ("onestack.answers.registry", "onestack.components"),
}


@dataclass(frozen=True)
class Import:
    module: str
    target: str
    typing_only: bool

    @property
    def allowed_by_name(self) -> bool:
        return (self.module, self.target) in EXCEPTIONS


def _modules() -> dict[str, Path]:
    found = {}
    for path in (SOURCE / "onestack").rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _statements(node: ast.AST, typing_only: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield child, typing_only or guarded
        yield from _statements(child, typing_only or guarded)


@functools.cache
def imports(module: str) -> tuple[Import, ...]:
    found = []
    for node, typing_only in _statements(ast.parse(MODULES[module].read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from package import module` or `from module import name`
            names = [name if name in MODULES else str(node.module) for name in whole]
        found += [Import(module, name, typing_only) for name in names]
    return tuple(dict.fromkeys(found))


def room(module: str) -> str:
    """``supervise`` for ``onestack.model.process``; ``""`` for what stands in no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in BELOW else ""


def ours(name: str) -> bool:
    return name.partition(".")[0] == "onestack"


def upstream(name: str) -> bool:
    top = name.partition(".")[0]
    return not ours(name) and top not in sys.stdlib_module_names and top not in LIBRARIES


@functools.cache
def service_side() -> frozenset[str]:
    """Modules that import upstream's code, and those that import them."""
    found = {m for m in MODULES if any(upstream(i.target) for i in imports(m))}
    while True:
        more = {m for m in MODULES if any(i.target in found for i in imports(m))} - found
        if not more:
            return frozenset(found)
        found |= more


@functools.cache
def below(name: str) -> frozenset[str]:
    return frozenset(BELOW[name] | {far for near in BELOW[name] for far in below(near)})


def test_every_room_is_on_the_plan() -> None:
    rooms = {m.split(".")[1] for m, path in MODULES.items() if len(m.split(".")) > 2}
    assert rooms <= set(BELOW)


def test_imports_go_downwards() -> None:
    wrong = []
    for module in MODULES:
        for found in imports(module):
            mine, other = room(module), room(found.target)
            if not ours(found.target) or not mine or not other or mine == other:
                continue
            # The supervisor's wall has a test of its own; a type is no dependency.
            if other == "supervise" or found.typing_only or found.allowed_by_name:
                continue
            if other not in below(mine):
                wrong.append(f"{module} imports {found.target}: {other} is not below {mine}")
    assert not wrong, "\n".join(wrong)


def test_no_room_in_the_foundation() -> None:
    for module in EVERYBODY:
        targets = {i.target for i in imports(module) if ours(i.target)}
        assert targets <= set(EVERYBODY), module


def test_the_supervisors_wall() -> None:
    wrong = []
    for module in MODULES:
        for found in imports(module):
            if room(found.target) != "supervise" or room(module) == "supervise":
                continue
            if found.target in EVERYBODY or found.typing_only or found.allowed_by_name:
                continue
            if room(module) not in SUPERVISORS_CLIENTS and module not in helpers_of_services():
                wrong.append(f"{module} imports {found.target}")
    assert not wrong, "\n".join(wrong)


def test_the_supervisor_knows_nobody() -> None:
    for module in MODULES:
        if room(module) == "supervise":
            targets = {i.target for i in imports(module) if ours(i.target)}
            strangers = {t for t in targets if room(t) not in ("supervise", "model", "kernel")}
            assert not strangers, f"{module} imports {strangers}"


@functools.cache
def helpers_of_services() -> frozenset[str]:
    """Modules of a component that only run as its processes: `run` and what it alone uses."""
    found = {m for m in MODULES if m.startswith("onestack.components.") and m.endswith(".run")}
    found |= {m for m in service_side() if m.startswith("onestack.components.")}
    while True:
        more = set()
        for module in MODULES:
            users = {m for m in MODULES if module in {i.target for i in imports(m)}}
            if module.startswith("onestack.components.") and users and users <= found:
                more.add(module)
        if more <= found:
            return frozenset(found)
        found |= more


def test_components_keep_their_services_to_themselves() -> None:
    """A component may ask another what it says of itself, but not use its runners and jobs."""
    wrong = [
        f"{module} imports {found.target}"
        for module in MODULES
        for found in imports(module)
        # What stands beside the components' rooms is for all of them.
        if found.target in helpers_of_services()
        and len(found.target.split(".")) > 3
        and module.split(".")[:3] != found.target.split(".")[:3]
    ]
    assert not wrong, "\n".join(wrong)


def test_upstream_stays_on_its_side() -> None:
    wrong = []
    for module in service_side():
        if room(module) not in ("components", "supervise", "runtime"):
            wrong.append(f"{module} is neither the components' nor the supervisor's")
        if MODULES[module].name == "__init__.py":
            wrong.append(f"{module} is a room's front: the program imports it")
    for module in set(MODULES) - service_side():
        for found in imports(module):
            top = found.target.partition(".")[0]
            if not ours(found.target) and top not in sys.stdlib_module_names | LIBRARIES:
                wrong.append(f"{module} imports {found.target}")
    assert not wrong, "\n".join(wrong)


def test_the_services_side_needs_nothing_of_the_programs() -> None:
    """All that a service's process loads of ours is there in the services' environment."""
    wrong = []
    for start in service_side() | helpers_of_services():
        reached, waiting = set(), {start}
        while waiting:
            module = waiting.pop()
            reached.add(module)
            for found in imports(module):
                if found.typing_only:
                    continue
                if found.target.partition(".")[0] in NOT_THERE:
                    wrong.append(f"{start} reaches {module}, which imports {found.target}")
                if found.target in MODULES and found.target not in reached:
                    waiting.add(found.target)
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_used() -> None:
    used = {(i.module, i.target) for m in MODULES for i in imports(m)}
    assert used >= EXCEPTIONS


def test_no_module_is_a_maze() -> None:
    """Nothing imports in a circle, types aside, except through what `EXCEPTIONS` names."""
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in done:
            return
        for found in imports(module):
            if found.target in MODULES and found.target != module:
                if found.typing_only or found.allowed_by_name:
                    continue
                walk(found.target, (*path, module))
        done.add(module)

    for module in MODULES:
        walk(module, ())


@needs_root
def test_the_parent_warms_without_eventlet(installed: Release, tmp_path: Path) -> None:
    """A parent that has imported eventlet cannot serve children that use threads."""
    from onestack.components import ALL
    from tests.unit.components.rooms import context

    # No list depends on the answers so far; one that will must say so here.
    ctx = context(tmp_path, *ALL)
    parts = [part for component in ALL for part in (component, *component.features)]
    preload = sorted({name for part in parts for name in part.preload(ctx)})
    program = (
        "import json, sys\n"
        "from onestack.supervise.preload import Preloader\n"
        "preloader = Preloader(json.loads(sys.argv[1]))\n"
        "while preloader.step(): pass\n"
        "eventlet = [m for m in sys.modules if m.partition('.')[0] == 'eventlet']\n"
        "print(json.dumps([preloader.problems, eventlet]))\n"
    )
    done = subprocess.run(
        [installed.services.python, "-W", "ignore", "-c", program, json.dumps(preload)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]


def _copied() -> set[str]:
    """Modules of ours that are in the copy which services run."""
    files = set(program.contents())
    return {m for m, path in MODULES.items() if path.relative_to(SOURCE / "onestack") in files}


def test_the_copy_that_services_run_is_whole() -> None:
    """All that its modules import of ours is in it, wherever in them that stands."""
    copied = _copied()
    wrong = [
        f"{module} imports {found.target}, which is not in the copy"
        for module in copied
        for found in imports(module)
        if ours(found.target) and not found.typing_only and found.target not in copied
    ]
    assert not wrong, "\n".join(wrong)


def _started() -> Iterator[str]:
    """Modules that services run: named in strings of the program, or run by their path."""
    yield from (m for m in MODULES if ".inside." in m)
    yield from (m for m in MODULES if room(m) == "runtime")
    yield "onestack.supervise.__main__"
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())) if room(module) != "cli" else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value.partition(":")[0]
                if name in MODULES and name.count(".") > 1:
                    yield name


def test_the_copy_that_services_run_has_what_is_started_and_no_more() -> None:
    """The program's other modules may change, and no process is started anew for it."""
    needed: set[str] = set()
    todo = list(_started())
    while todo:
        module = todo.pop()
        if module not in needed:
            needed.add(module)
            todo += [i.target for i in imports(module) if i.target in MODULES and not i.typing_only]
    # Fronts of rooms are there for what is behind them.
    modules = {m for m, path in MODULES.items() if path.name != "__init__.py"}
    assert _copied() & modules == needed & modules
    names = {str(path.relative_to(SOURCE / "onestack")) for path in MODULES.values()}
    assert names >= program.LEFT_OUT
    for place in (*program.FOLDERS, *program.FILES):
        if not place.endswith((".txt", "__init__.py")):
            module = f"onestack.{place.removesuffix('.py').replace('/', '.')}"
            assert any(m == module or m.startswith(f"{module}.") for m in needed), place


STATEMENT = re.compile(
    r"\s*(SELECT .* FROM|INSERT (IGNORE )?INTO|UPDATE \w+ SET|DELETE FROM|(CREATE|ALTER|DROP) "
    r"(TABLE|USER|DATABASE)|SET STATEMENT|GRANT .* ON|SHOW (TABLES|GRANTS|CREATE))\b",
    re.DOTALL,
)


def statements(text: str) -> list[str]:
    """Strings of a module that are statements for a database server."""
    nodes = list(ast.walk(ast.parse(text)))
    strings = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "name" for p in node.values)
            strings.append("".join(map(str, parts)))
    return [string for string in strings if STATEMENT.match(string)]


def test_statements_for_the_database_stand_in_one_room() -> None:
    for text in ('f("SHOW TABLES")', 'x = f"SELECT {a} FROM {b}"', 'f("DELETE FROM x WHERE y")'):
        assert statements(text)
    others = {m: path for m, path in MODULES.items() if room(m) != "database"}
    assert not [m for m, path in others.items() if statements(path.read_text())]
    clients = {m for m in MODULES if "pymysql" in {i.target for i in imports(m)}}
    assert clients - service_side() == {"onestack.database.server"}
