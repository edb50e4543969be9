"""Features of a component: what is made of it and those of them that are on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from onestack.model.component import Component, Feature
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, ini_file
from onestack.model.ini import Ini, MultiOpt, ini_text, merged
from tests.unit.deploy.toys import context


def file(ctx: Context) -> Path:
    return ctx.cloud.etc / "shop.conf"


class Sweets(Feature):
    name = "sweets"

    def on(self, ctx: Context) -> bool:
        return True

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        return {file(ctx): {"DEFAULT": {"sells": ("sweets",)}, "sweets": {"sour": True}}}


class Closed(Sweets):
    name = "closed"

    def on(self, ctx: Context) -> bool:
        return False


class Shop(Component):
    name = "shop"
    features = (Sweets(), Closed())

    def files(self, ctx: Context) -> tuple[ConfigFile, ...]:
        sections: Ini = {"DEFAULT": {"sells": ["bread"], "open": True}}
        return (ini_file(file(ctx), "root", sections, "shop"),)


def test_features_have_a_share_of_their_components_files(tmp_path: Path) -> None:
    shop = Shop()
    ctx = dataclasses.replace(context(tmp_path), components=(shop,))
    (made,) = ctx.model["shop"].files
    assert made.content == ini_text(
        {"DEFAULT": {"sells": "bread,sweets", "open": True}, "sweets": {"sour": True}}
    )
    assert made.namespaces == ("shop",) and made.ini is not None
    # The component's own is as it was.
    assert "sweets" not in shop.files(ctx)[0].content


def test_a_share_of_a_file_that_nobody_has_is_a_mistake(tmp_path: Path) -> None:
    class Astray(Shop):
        def files(self, ctx: Context) -> tuple[ConfigFile, ...]:
            return ()

    ctx = dataclasses.replace(context(tmp_path), components=(Astray(),))
    with pytest.raises(ValueError, match=r"shop\.conf"):
        _ = ctx.model["shop"].files


def test_options_are_merged() -> None:
    base: Ini = {"a": {"list": ("1",), "many": MultiOpt(("x",)), "one": 1}}
    found = merged(base, {"a": {"list": ["2"], "many": ("y",)}}, {"b": {"new": "z"}, "a": {"l": 3}})
    assert found == {
        "a": {"list": ("1", "2"), "many": ("x", "y"), "one": 1, "l": 3},
        "b": {"new": "z"},
    }
    assert isinstance(found["a"]["many"], MultiOpt)
    assert base == {"a": {"list": ("1",), "many": ("x",), "one": 1}}
    with pytest.raises(ValueError, match="one"):
        merged(base, {"a": {"one": 2}})


def test_what_is_worked_out_once(tmp_path: Path) -> None:
    asked: list[Context] = []

    def count(ctx: Context) -> int:
        asked.append(ctx)
        return len(asked)

    ctx = context(tmp_path)
    assert (ctx.once(count), ctx.once(count)) == (1, 1)
    assert context(tmp_path).once(count) == 2
    assert ctx.looking() is ctx.looking()
