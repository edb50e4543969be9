"""From a command line to what components look at."""

from __future__ import annotations

from onestack.answers.secrets import Secrets
from onestack.answers.values import Answers
from onestack.cloud import Cloud
from onestack.components.base import Component, Context
from onestack.errors import OnestackError
from onestack.host import facts
from onestack.release.release import release


def all_components() -> tuple[Component, ...]:
    """Every component of this program, in order."""
    import onestack.components as components

    return tuple(getattr(components, "ALL", ()))


def context(cloud: Cloud, answers: Answers, keep: bool = True) -> Context:
    """What components are given. Reads the machine; writes nothing.

    With ``keep`` false (a dry run) secrets made on the way are not kept.
    """
    return Context(
        cloud=cloud,
        answers=answers,
        secrets=Secrets(cloud.etc / "secrets.json", answers, keep),
        host=facts.gather(cloud, str(answers["CONFIG_CONTROLLER_HOST"])),
        release=release(),
        components=tuple(c for c in all_components() if c.enabled(answers)),
    )


def need_cloud(cloud: Cloud) -> None:
    """Raises `OnestackError` where there is no cloud."""
    if not cloud.etc.is_dir():
        raise OnestackError(
            f"there is no cloud {cloud.name!r}",
            f"{cloud.root} holds none",
            "make it with `onestack up`, or name another with --name or --root",
        )
