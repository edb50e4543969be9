"""The walls between the components' rooms: another room is found by what it is for.

By its process's name, its port or its module it is found only where that is allowed by name,
with the reason. Each check is tried on a room that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability, StoreMount, Task
from onestack.model.declared import Declared, Model
from onestack.model.process import Process
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

SOURCE = Path(__file__).resolve().parents[2] / "src" / "onestack"
EVERYBODYS = ("packages", "users", "release", "supervisor", "ready")
"""Steps that are no room's."""


@pytest.fixture(scope="module", params=["ovn", "openvswitch"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """All rooms, with all that their answers can turn on."""
    given = {
        "CONFIG_NEUTRON_L2_AGENT": str(request.param),
        "CONFIG_NEUTRON_FWAAS": "y",
        "CONFIG_PROVISION_DEMO": "y",
        "CONFIG_PROVISION_TEMPEST": "y",
        "CONFIG_RUN_TEMPEST": "y",
        "CONFIG_NTP_SERVERS": "192.0.2.1",
    }
    ctx = context(tmp_path_factory.mktemp("everything"), *ALL, **given)
    write_upstream(ctx)
    return ctx


# -- needs ---------------------------------------------------------------------


def strangers(model: Model) -> list[str]:
    """Needs that name what is another room's, instead of a capability."""
    capabilities = {offer.name for declared in model for offer in declared.provides}
    found = []
    for declared in model:
        own = {spec.name for spec in declared.processes}
        found += [
            f"{spec.name} needs {need}"
            for spec in declared.processes
            for need in spec.needs
            if need not in own | capabilities
        ]
        found += [
            f"{declared.name}:{task.name} needs {need}"
            for task in declared.tasks
            for need in task.needs
            if not _allowed(declared, need, own, capabilities)
        ]
        tasks = {f"{declared.name}:{task.name}" for task in declared.tasks}
        found += [
            f"{declared.name}'s store {store.name} needs {name}"
            for store in declared.stores
            for name in (
                *({store.owner} - own),
                *({*store.seen_by} - capabilities),
                *({*store.after} - tasks),
            )
        ]
    return found


def _allowed(declared: Declared, need: str, own: set[str], capabilities: set[str]) -> bool:
    if need in EVERYBODYS:
        return True
    kind, _, name = need.partition(":")
    if kind in ("capability", "provider"):
        return name in capabilities
    if kind == "process":
        return name in own
    if kind == "database":
        return name in {database.name for database in declared.databases}
    return (name if kind in ("files", "identity") else kind) == declared.name


def test_rooms_need_capabilities(everything: Context) -> None:
    assert strangers(everything.model) == []


def test_the_processes_of_a_capability_are_its_rooms(everything: Context) -> None:
    for declared in everything.model:
        own = {spec.name for spec in declared.processes}
        tasks = {f"{declared.name}:{task.name}" for task in declared.tasks}
        for offer in declared.provides:
            absent = set(offer.processes) - own
            assert not absent or not own, f"{declared.name} has no process {absent}"
            assert set(offer.tasks) <= tasks, f"{declared.name} has no task of {offer.name}"


class Nosy(Component):
    name = "nosy"
    provides = (Capability("nosiness", ("nosy",)),)

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process("nosy", "nosy", "nosy", argv=("x",), needs=("mariadb", "messaging"))
        yield Process("nosy-too", "nosy", "nosy", argv=("x",), needs=("nosy", "cache"))

    def stores(self, ctx: Context) -> Iterable[StoreMount]:
        yield StoreMount("pile", "a.b:c", "nosy", ("hypervisor",), ("nosy:look",))
        yield StoreMount("heap", "a.b:c", "cinder-volume", ("libvirtd",), ("cinder:pool",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        wrong = ("process:nova-api", "identity:nova", "haproxy:certificate", "files:nova")
        yield Task("look", lambda: iter(()), (*wrong, "database:nova", "capability:nothing"))
        right = ("ready", "files:nosy", "process:nosy", "nosy:look", "capability:compute")
        yield Task("see", lambda: iter(()), right)


def test_who_names_anothers_is_found(tmp_path: Path) -> None:
    ctx = context(tmp_path, *ALL, Nosy())
    write_upstream(ctx)
    assert [line for line in strangers(ctx.model) if line.startswith("nosy")] == [
        "nosy needs mariadb",
        "nosy:look needs process:nova-api",
        "nosy:look needs identity:nova",
        "nosy:look needs haproxy:certificate",
        "nosy:look needs files:nova",
        "nosy:look needs database:nova",
        "nosy:look needs capability:nothing",
        "nosy's store heap needs cinder-volume",
        "nosy's store heap needs libvirtd",
        "nosy's store heap needs cinder:pool",
    ]


# -- ports ---------------------------------------------------------------------


def ports(model: Model) -> dict[int, str]:
    """Port to the room that listens there; those that people type are not asked for."""
    found: dict[int, str] = {}
    for declared in model:
        numbers = [offer.port for offer in declared.provides]
        numbers += [front.port for front in declared.frontends]
        numbers += [
            int(target.rpartition(":")[2])
            for spec in declared.processes
            for target in spec.sockets.values()
            if target.startswith("tcp:")
        ]
        for number in numbers:
            if number > 1024:
                # A service may be offered at another address too, by whose guests need it there.
                found.setdefault(number, declared.name)
    return found


def literals(text: str) -> Iterator[tuple[int, int]]:
    """Line and number of each number in the code, and in what stands in its strings."""
    tree = ast.parse(text)
    prose = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    prose |= {
        after.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef)
        for after in node.body
        if isinstance(after, ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or node in prose:
            continue
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            yield node.lineno, node.value
        elif isinstance(node.value, str):
            for number in re.findall(r"(?<![\w.])\d{4,5}(?![\w.])", node.value):
                yield node.lineno, int(number)


def foreign_ports(place: str, text: str, known: dict[int, str]) -> list[str]:
    """Ports of other rooms in the module at ``place``, below ``src/onestack``."""
    parts = place.split("/")
    mine = parts[1] if parts[0] == "components" and len(parts) > 2 else ""
    return [
        f"{place}:{line} has the port {number} of {known[number]}"
        for line, number in sorted(literals(text))
        if number in known and known[number] != mine
    ]


def test_no_port_of_another_room(everything: Context) -> None:
    known = ports(everything.model)
    assert {5000, 8774, 9696, 11211, 5672} <= set(known)
    found = [
        line
        for path in SOURCE.rglob("*.py")
        for line in foreign_ports(str(path.relative_to(SOURCE)), path.read_text(), known)
    ]
    assert found == []


def test_a_port_of_anothers_is_found() -> None:
    text = (
        '"""On 5000."""\nPORT = 9999\n"""Not 5000."""\nurl = f"http://{x}:5000/v3"\nport = 5000\n'
    )
    known = {5000: "keystone", 9999: "toy"}
    place = "components/toy/__init__.py"
    assert foreign_ports(place, text, known) == [
        f"{place}:4 has the port 5000 of keystone",
        f"{place}:5 has the port 5000 of keystone",
    ]
    assert foreign_ports("components/openstack.py", text, {9999: "toy"})
    assert not foreign_ports("components/keystone/__init__.py", text, {5000: "keystone"})


# -- modules -------------------------------------------------------------------

BY_NAME = {
    # (room, module below onestack.components): why
    ("horizon", "haproxy.inspect"): "a certificate of one's own is examined as the front's is",
    ("horizon", "haproxy.paths"): "what was kept for its own certificate goes with it",
    ("provision", "clients"): "a user's credentials are written as the administrator's are",
    (
        "tempest",
        "provision.keys",
    ): "Tempest's account is of the first contents, and so are its keys",
    ("tempest", "provision.networks"): "the networks that its tests use are the first contents'",
}


def foreign_imports(room: str, text: str, rooms: set[str]) -> list[str]:
    """Modules of other ``rooms`` that a module of ``room`` imports."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "onestack.components":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from room import module` names the module, as far as it is one.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [w if _is_module(w) else str(node.module) for w in whole]
        for name in dict.fromkeys(names):
            if name.startswith("onestack.components."):
                module = name.removeprefix("onestack.components.")
                other = module.partition(".")[0]
                if other in rooms and other != room:
                    found.append(module)
    return found


def _is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_rooms_import_no_other_room() -> None:
    rooms = {component.name for component in ALL}
    used = {
        (path.relative_to(SOURCE / "components").parts[0], module)
        for path in (SOURCE / "components").glob("*/**/*.py")
        for module in foreign_imports(
            path.relative_to(SOURCE / "components").parts[0], path.read_text(), rooms
        )
    }
    assert sorted(used - set(BY_NAME)) == []
    assert sorted(set(BY_NAME) - used) == [], "what is allowed by name is used"


def test_an_import_of_another_room_is_found() -> None:
    text = (
        "from onestack.components import nova, openstack\n"
        "from onestack.components.haproxy import inspect\n"
        "from onestack.components.toy.config import x\n"
        "def f():\n    from onestack.components.cinder import Cinder\n"
    )
    rooms = {"nova", "haproxy", "toy", "cinder"}
    assert foreign_imports("toy", text, rooms) == ["nova", "haproxy.inspect", "cinder"]
