"""Only what can be named is caught, except in the few places named here."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

from tests.unit.test_imports import MODULES

ALLOWED = {
    "onestack.cli.main.guarded": "shows it, and keeps its traceback",
    "onestack.engine.interruptible.follow": "raised again in the thread that waits",
    "onestack.engine.runner._ensure": "a step's fault is a `Defect`, with its traceback",
    "onestack.diagnose.preflight.run": "raised again in the thread that waits",
    "onestack.supervise.child._leave": "what cannot be written at a process's end is lost",
    "onestack.supervise.child.become": "told to the supervisor, or printed with its traceback",
    "onestack.supervise.child.call": "printed with its traceback; it is the process's end",
    "onestack.supervise.child._call": "printed with its traceback; it is the process's end",
    "onestack.supervise.loop._safely": "logged with its traceback; the supervisor goes on",
    "onestack.supervise.preload._import": "logged with its traceback, and said in the status",
    "onestack.supervise.prober._try": "written down with its traceback; the probe has failed",
    "onestack.supervise.verbs.answer": "logged with its traceback, and answered as a defect",
    "onestack.supervise.zygote._middle": "printed with its traceback, and answered as the reason",
}
"""Module and function to what becomes of what is caught."""


ALL = {"Exception", "BaseException"}


def blind(tree: ast.AST, where: str = "") -> Iterator[str]:
    """Functions in which anything is caught and not raised again, or suppressed."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else where
        if isinstance(node, ast.ExceptHandler):
            kinds = ast.unparse(node.type) if node.type else "BaseException"
            last = node.body[-1]
            again = isinstance(last, ast.Raise) and last.exc is None
            if ALL & set(kinds.strip("()").split(", ")) and not again:
                yield inner
        if isinstance(node, ast.Call) and ALL & suppressed(node):
            yield inner
        yield from blind(node, inner)


def suppressed(call: ast.Call) -> set[str]:
    """The exceptions that ``contextlib.suppress`` is called with."""
    name = ast.unparse(call.func).rpartition(".")[2]
    return {ast.unparse(kind) for kind in call.args} if name == "suppress" else set()


def test_what_is_caught_can_be_named() -> None:
    """Inside a service it is upstream's code that raises, which is not ours to name."""
    found = {
        f"{module}.{name}"
        for module in MODULES
        if ".inside." not in module
        for name in blind(ast.parse(MODULES[module].read_text()))
    }
    assert found == set(ALLOWED)


def test_a_blind_handler_is_seen() -> None:
    for kind in ("", " Exception", " (ValueError, Exception)", " BaseException as e"):
        text = f"def f():\n try:\n  g()\n except{kind}:\n  pass\n"
        assert list(blind(ast.parse(text))) == ["f"]
    for call in ("contextlib.suppress(Exception)", "suppress(ValueError, BaseException)"):
        assert list(blind(ast.parse(f"def f():\n with {call}:\n  g()\n"))) == ["f"]
    assert not list(blind(ast.parse("def f():\n with suppress(ValueError):\n  g()\n")))
    for kind, then in ((" ValueError", "pass"), (" BaseException", "raise")):
        text = f"def f():\n try:\n  g()\n except{kind}:\n  {then}\n"
        assert list(blind(ast.parse(text))) == []


def exceptions() -> Iterator[tuple[str, str]]:
    """Each exception of ours: its name and its module."""
    classes = [
        (node.name, {ast.unparse(base).rpartition(".")[2] for base in node.bases}, module)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    known = {name for name in vars(builtins) if name.endswith(("Error", "Exception"))}
    while more := {name for name, bases, _ in classes if bases & known} - known:
        known |= more
    yield from ((name, module) for name, bases, module in classes if bases & known)


def test_an_exception_has_its_name_alone() -> None:
    """`Refused` had been three; the client's `OtherVersion`, and the protocol's, two."""
    found: dict[str, list[str]] = {}
    for name, module in exceptions():
        found.setdefault(name, []).append(module)
    assert found["Refused"] == ["onestack.model.root_command"]
    assert not {name: modules for name, modules in found.items() if len(modules) > 1}
