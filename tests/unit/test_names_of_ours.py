"""What components name of our own code by a string is there: nothing imports it before it runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from onestack.deploy.roster import roster_of
from onestack.model.context import Context
from onestack.release.release import Release
from tests.support.needs import needs_root
from tests.unit.test_imports import MODULES
from tests.unit.test_options import context, root

__all__ = ["root"]

NAME = re.compile(r"\bonestack\.components(?:\.\w+)+(?::\w+)?")


def named(ctx: Context) -> set[str]:
    """Dotted names of ours in the roster, in files, and in jobs of databases."""
    texts = [roster_of(ctx).to_json()]
    for declared in ctx.model:
        texts += [database.sync for database in declared.databases]
        texts += [file.content for file in declared.files]
    return {found for text in texts for found in NAME.findall(text)}


def missing(name: str) -> bool:
    """Whether ``module``, ``module:function`` or ``module.Name[:anything]`` is not there."""
    module, _, member = name.partition(":")
    if module not in MODULES:
        module, _, member = module.rpartition(".")
    if module not in MODULES:
        return True
    return bool(member) and member not in {
        node.name
        for node in ast.parse(MODULES[module].read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@needs_root
@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
def test_modules_of_ours_are_where_components_say(
    agent: str, installed: Release, root: Path
) -> None:
    names = named(context(root, installed, agent, True, True, everything=True))
    assert "onestack.components.cinder.inside.jobs:sync" in names
    assert [name for name in sorted(names) if missing(name)] == []


def test_a_name_that_is_nowhere_is_seen() -> None:
    assert missing("onestack.components.cinder.jobs:sync")
    assert missing("onestack.components.cinder.inside.jobs:synch")
    assert not missing("onestack.components.cinder.inside.jobs:sync")
    assert not missing("onestack.components.cinder.inside.filepool.FilePoolDriver")
