"""Each kind of thing that is noted in the ledger has its undo, and none has two."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import pytest

from onestack.components import ALL
from onestack.deploy.undo import undos
from onestack.model.component import Component
from tests.unit.test_imports import MODULES

LEDGERS = ("ledger", "Ledger.of(cloud)", "Ledger.of(ctx.cloud)")
"""What is written for a ledger in the code."""
HANDED_ON = {"kind", "entry.kind"}
"""Kinds that come from a caller, or from another ledger."""


def recorded() -> Iterator[tuple[str, str]]:
    """Module and first argument (source) of each call of a ledger's ``record``."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "record" and ast.unparse(node.func.value) in LEDGERS:
                yield module, ast.unparse(node.args[0])


def test_what_is_noted_can_be_undone_and_nothing_else() -> None:
    kinds = set()
    for module, argument in recorded():
        if argument not in HANDED_ON:
            own = vars(importlib.import_module(module))
            kinds.add(own.get(argument, argument.strip("'")))
    # those that Open vSwitch's room hands on
    kinds |= {"nftables table", "kernel datapath"}
    assert kinds == set(undos())


def test_two_undos_of_a_kind_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    class Second(Component):
        undo = {"file": lambda data: None}  # noqa: RUF012

    monkeypatch.setattr("onestack.deploy.undo.ALL", (*ALL, Second()))
    with pytest.raises(ValueError, match="two undos of file"):
        undos()
