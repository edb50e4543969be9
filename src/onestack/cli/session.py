"""From a command line to what components look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onestack.answers.handed import HandedSecrets
from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.answers.values import Answers
from onestack.cluster.members import members
from onestack.cluster.protocol import Standing
from onestack.components.hosts import JOIN, ROOM
from onestack.deploy.jobs import SupervisedJobs
from onestack.deploy.joining import Places
from onestack.diagnose import preflight
from onestack.host import facts
from onestack.host.facts import HostFacts
from onestack.model.cloud import Cloud
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.findings import Finding, raise_refusals
from onestack.model.host import EVERY_ROLE, Host, Joined, Role
from onestack.release.release import release
from onestack.supervise.client import Client


def all_components() -> tuple[Component, ...]:
    """Every component of this program, in order."""
    import onestack.components as components

    return tuple(getattr(components, "ALL", ()))


def secrets(cloud: Cloud, answers: Answers, keep: bool = True) -> Secrets:
    return Secrets(cloud.etc / "secrets.json", answers, registry().secrets, keep)


def gathered(cloud: Cloud, answers: Answers) -> HostFacts:
    """The facts of this machine, as they are now."""
    versions = dict.fromkeys(name for c in all_components() for name in c.versions)
    return facts.gather(cloud, str(answers["CONFIG_CONTROLLER_HOST"]), versions)


def context(
    cloud: Cloud, answers: Answers, keep: bool = True, known: HostFacts | None = None
) -> Context:
    """What components are given. Reads the machine, unless it is ``known``; writes nothing.

    With ``keep`` false (checks, a dry run) secrets made on the way are not kept.
    """
    every = all_components()
    facts_here = known or gathered(cloud, answers)
    if standing := joined(cloud):
        more = elsewhere(cloud, standing, facts_here)
    else:
        own = secrets(cloud, answers, keep)
        more = {
            "secrets": own,
            "host": Host.alone(cloud, facts_here, own_name(cloud)),
            "members": members(cloud.data / ROOM, own["hosts"]) if answers[JOIN] else (),
        }
    return Context(
        cloud=cloud,
        answers=answers,
        **more,
        release=release(),
        components=tuple(c for c in every if c.enabled(answers)),
        switched_off=tuple(c for c in every if not c.enabled(answers)),
        jobs=SupervisedJobs(Client(cloud)),
    )


def joined(cloud: Cloud) -> Standing | None:
    """What this machine was told of its cloud, if that has its controller elsewhere."""
    kept = Places.of(cloud).kept()
    return kept.standing if kept else None


def elsewhere(cloud: Cloud, standing: Standing, known: HostFacts) -> dict[str, Any]:
    """The fields of a context on a host that has joined."""
    told, roles = standing.projection, frozenset(Role(role) for role in standing.roles)
    rest = EVERY_ROLE - roles
    return {
        "secrets": HandedSecrets(told.secrets, registry().secrets),
        "host": Host.of_others(cloud, known, standing.name, standing.address, roles),
        "others": (Host.of_others(cloud, known, told.controller, told.address, rest),),
        "joined": Joined(
            told.address, standing.identity, told.accounts, standing.number, told.purposes
        ),
    }


def own_name(cloud: Cloud) -> str:
    """This host's, as it stands in the cloud; empty where the cloud is not there yet."""
    record = cloud.record
    return record.hosts[0].name if record and record.hosts else ""


def check(ctx: Context, remote: preflight.Remote | None = None) -> list[Finding]:
    """What is worth knowing of this machine. Raises `PreflightRefused` if it is not fit.

    ``remote`` is as for `onestack.diagnose.preflight.look`.
    """
    found = preflight.examine(ctx.cloud, ctx.facts, preflight.needs_of(ctx), remote=remote)
    found += preflight.component_checks(ctx)
    raise_refusals(found)
    return found


def explainer(ctx: Context) -> Callable[[str, str], str | None]:
    """Asks for the likely cause and cure behind a log text of a component, by its name."""
    return ctx.model.likely
