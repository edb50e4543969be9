"""Every component can say what it would have, also while it is off."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.database import server
from onestack.database.server import Server
from onestack.deploy import switched_off
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Directory
from tests.support.needs import needs_root
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream


@pytest.mark.parametrize("component", ALL, ids=lambda c: c.name)
def test_asked_while_it_is_off(component: Component, tmp_path: Path) -> None:
    ctx = context(tmp_path)
    # by then the release is there
    write_upstream(ctx)
    others = tuple(c for c in ALL if c is not component)
    off = dataclasses.replace(ctx, components=others, switched_off=(component,))
    assert [what for what in switched_off.left(off) if what.of.component is component] == []
    alone = dataclasses.replace(ctx, components=(), switched_off=ALL)
    list(component.databases(alone))
    list(component.identity(alone))
    list(component.users(alone))
    list(component.purge(alone))
    assert not list(tmp_path.rglob("secrets.json"))


def test_no_backups_without_the_service_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cinder is off, the object store is on: the database of backups is not there to be asked."""

    def asked(*arguments: object) -> None:
        raise AssertionError("the database server was asked")

    monkeypatch.setattr(server, "server_of", asked)
    others = tuple(c for c in ALL if c.name != "cinder")
    (cinder,) = (c for c in ALL if c.name == "cinder")
    ctx = context(tmp_path, *others)
    off = dataclasses.replace(ctx, components=others, switched_off=(cinder,))
    (declared,) = off.model.off
    assert ctx.offers("object-store")
    assert [part.name for part in declared.parts] == ["cinder"]
    assert [change.what for change in declared.purge()] == []


class NoUsers(Server):
    def users(self) -> set[str]:
        return set()


class Shares(Component):
    name = "shares"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(ctx.cloud.data / "shares")


@needs_root
def test_what_is_on_a_share_stays(tmp_path: Path) -> None:
    """cinder mounts NFS shares below its directory, and never unmounts them."""
    share, ctx = tmp_path / "share", context(tmp_path / "root")
    place = ctx.cloud.data / "shares" / "mounts" / "one"
    place.mkdir(parents=True)
    share.mkdir()
    (share / "kept").write_text("")
    off = dataclasses.replace(ctx, components=(), switched_off=(Shares(),))
    subprocess.run(["mount", "--bind", share, place], check=True)
    try:
        for change in switched_off._purge(off, off.model.off[0], NoUsers(tmp_path)):
            change.do()
    finally:
        subprocess.run(["umount", "--quiet", place])
    assert (share / "kept").exists()
    assert not (ctx.cloud.data / "shares").exists()
