"""Every component can say what it would have, also while it is off."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.components.base import Component
from onestack.plan import switched_off
from tests.unit.components.rooms import context


@pytest.mark.parametrize("component", ALL, ids=lambda c: c.name)
def test_asked_while_it_is_off(component: Component, tmp_path: Path) -> None:
    ctx = context(tmp_path)
    # by then the release is there
    ctx.release.site_packages.mkdir(parents=True)
    off = dataclasses.replace(ctx, components=(), switched_off=(component,))
    assert switched_off.left(off) == []
    list(component.databases(off))
    list(component.identity(off))
    list(component.users(off))
    list(component.purge(off))
    assert not list(tmp_path.rglob("secrets.json"))
