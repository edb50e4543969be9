"""From a command line to what components look at."""

from __future__ import annotations

from collections.abc import Callable

from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.answers.values import Answers
from onestack.diagnose import preflight
from onestack.host import facts
from onestack.model.cloud import Cloud
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.findings import Finding, raise_refusals
from onestack.model.host import Host
from onestack.release.release import release


def all_components() -> tuple[Component, ...]:
    """Every component of this program, in order."""
    import onestack.components as components

    return tuple(getattr(components, "ALL", ()))


def secrets(cloud: Cloud, answers: Answers, keep: bool = True) -> Secrets:
    return Secrets(cloud.etc / "secrets.json", answers, registry().secrets, keep)


def context(cloud: Cloud, answers: Answers, keep: bool = True) -> Context:
    """What components are given. Reads the machine; writes nothing.

    With ``keep`` false (checks, a dry run) secrets made on the way are not kept.
    """
    known = all_components()
    return Context(
        cloud=cloud,
        answers=answers,
        secrets=secrets(cloud, answers, keep),
        host=Host.alone(cloud, facts.gather(cloud, str(answers["CONFIG_CONTROLLER_HOST"]))),
        release=release(),
        components=tuple(c for c in known if c.enabled(answers)),
        switched_off=tuple(c for c in known if not c.enabled(answers)),
    )


def check(ctx: Context) -> list[Finding]:
    """What is worth knowing of this machine. Raises `PreflightRefused` if it is not fit."""
    found = preflight.examine(ctx.cloud, ctx.facts, preflight.needs_of(ctx))
    found += preflight.obstacles(ctx)
    raise_refusals(found)
    return found


def explainer(ctx: Context) -> Callable[[str, str], str | None]:
    """Asks for the likely cause and cure behind a log text of a component, by its name."""
    return ctx.model.likely
