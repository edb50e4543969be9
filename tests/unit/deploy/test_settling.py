"""A first half that makes another machine of it, for which something else is wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.deploy import prepare, up
from onestack.engine.step import Step
from onestack.host.facts import HostFacts
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.errors import OnestackError, PreflightRefused
from tests.support.machines import machine
from tests.support.needs import needs_root
from tests.unit.components.rooms import context_on
from tests.unit.deploy.toys import FACTS, Supervisor, context

UNKNOWN = dataclasses.replace(FACTS, packages={}, candidates={"switch": ""})


class Wires(Component):
    """Wants what its switch's version asks for."""

    name = "wires"
    versions = ("switch",)

    def packages(self, ctx: Context) -> Iterable[str]:
        version = ctx.facts.package_version("switch")
        return ("switch", f"wires-{version}" if version else "wires-old")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The packages of each first half."""
    asked: list[list[str]] = []

    def first(ctx: Context) -> list[Step]:
        def packages() -> Iterator[Change]:
            wanted = prepare.wanted_packages(ctx)
            yield Change("install packages", lambda: asked.append(wanted))

        return [
            Step("cloud", "Cloud", lambda: iter(())),
            Step("packages", "Packages", packages, ("cloud",)),
        ]

    monkeypatch.setattr(up, "prepare_steps", first)
    monkeypatch.setattr(up, "cloud_steps", lambda ctx, *_: [])
    return asked


def wires(tmp_path: Path) -> Context:
    ctx = context(tmp_path, Wires())
    return up.with_facts(ctx, UNKNOWN)


def versions(*found: str) -> Iterator[HostFacts]:
    for version in found:
        yield dataclasses.replace(UNKNOWN, packages={"switch": version}, candidates={})


@needs_root
def test_what_only_then_is_wanted_is_made_too(tmp_path: Path, asked: list[list[str]]) -> None:
    ctx, gathered = wires(tmp_path), versions("3", "3")
    checked: list[str] = []
    report = up.up(
        ctx,
        Supervisor(ctx),
        gather=lambda: next(gathered),
        check=lambda now: checked.append(now.facts.package_version("switch")),
    )
    assert [set(each) & {"wires-old", "wires-3"} for each in asked] == [{"wires-old"}, {"wires-3"}]
    assert checked == ["3"]
    # both times stand in the report
    assert [step for step, _ in report.changes] == ["packages", "packages, again"]


@needs_root
def test_a_machine_that_is_not_fit_for_it_is_refused(
    tmp_path: Path, asked: list[list[str]]
) -> None:
    ctx, gathered = wires(tmp_path), versions("3")

    def check(now: Context) -> None:
        raise PreflightRefused("not with this switch")

    with pytest.raises(PreflightRefused):
        up.up(ctx, Supervisor(ctx), gather=lambda: next(gathered), check=check)
    assert len(asked) == 1


@needs_root
def test_there_is_no_third_time(tmp_path: Path, asked: list[list[str]]) -> None:
    ctx, gathered = wires(tmp_path), versions("3", "4")
    with pytest.raises(OnestackError, match="does not settle") as caught:
        up.up(ctx, Supervisor(ctx), gather=lambda: next(gathered))
    assert "wires-4" in caught.value.why and len(asked) == 2


def test_a_fresh_machine_without_lists_of_packages(tmp_path: Path) -> None:
    """Where the kernel has no datapath, Open vSwitch's version decides, and apt's lists are not
    there yet: OVN's packages are wanted once it is."""
    modules = tuple(m for m in machine("debian-13").modules if m != "openvswitch")
    fresh = machine("debian-13-fresh", modules=modules, candidates={"openvswitch-switch": ""})
    before = context_on(fresh, tmp_path, *ALL)
    (said,) = (
        finding
        for component in before.components
        if component.name == "neutron"
        for finding in component.preflight_checks(before)
    )
    assert "is not known yet" in said.what and "apt-get update" in said.cure
    after = up.with_facts(before, machine("debian-13", modules=modules))
    further = prepare.wanted_of(after) - prepare.wanted_of(before)
    assert "ovn-central" in further
