"""A context for tests of single rooms, on a made-up machine."""

from __future__ import annotations

from pathlib import Path

from onestack.answers import validate
from onestack.answers.packstack_file import AnswerLine
from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.answers.values import Answers
from onestack.components import ALL
from onestack.host.facts import HostFacts
from onestack.model.cloud import Cloud
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declared import Declared
from onestack.model.host import Host
from onestack.release.release import release
from tests.support import machines

MACHINE = machines.machine()


def machine(*, kernel: bool = True, openvswitch: str = "3.1.0-2+deb12u1") -> HostFacts:
    """A machine with or without the kernel's datapath, and this version of Open vSwitch."""
    return machines.with_datapath(MACHINE, kernel=kernel, openvswitch=openvswitch)


def context(root: Path, *components: Component, name: str = "onestack", **given: str) -> Context:
    """A cloud at ``root`` with these rooms and answers; nothing is made there."""
    return context_on(MACHINE, root, *components, name=name, **given)


def context_on(
    host: HostFacts, root: Path, *components: Component, name: str = "onestack", **given: str
) -> Context:
    """As `context`, on a machine with these facts."""
    cloud = Cloud(name, root)
    answers = registry().answers(given)
    secrets = Secrets(cloud.etc / "secrets.json", answers, registry().secrets)
    released = release(cache=root / "cache")
    # What is not of these is there to be asked where it would be.
    off = tuple(c for c in ALL if c.name not in {made.name for made in components})
    return Context(cloud, answers, secrets, Host.alone(cloud, host), released, components, off)


def content(ctx: Context, component: Component, name: str) -> str:
    """The text of the room's file ``name``."""
    files = Declared(component, ctx).files
    return next(file.content for file in files if file.path.name == name)


def answered(**given: str) -> tuple[Answers | None, list[str]]:
    """What comes of ``given``: answers, and what is wrong with them."""
    layer = [AnswerLine(name, text, "test") for name, text in given.items()]
    answers, report = validate.check(registry(), [layer])
    return answers, report.problems
