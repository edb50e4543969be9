"""Which processes ``COMPONENT[/PROCESS]`` means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers, OnestackError
from onestack.model.process import Process, Roster

HELP = "a component (nova), one of its processes (nova/api), or a process's own name (nova-api)"


def roster(cloud: Cloud) -> Roster:
    """What the cloud is made of. Raises `OnestackError` where there is none yet."""
    path = cloud.etc / "roster.json"
    try:
        return Roster.from_file(path)
    except ValueError:
        return by_names(cloud, path)
    except FileNotFoundError as problem:
        raise OnestackError(
            f"the cloud {cloud.name!r} has no processes yet",
            f"there is no {path}",
            "make it with `onestack up`, or name another with --name or --root",
        ) from problem


def by_names(cloud: Cloud, path: Path) -> Roster:
    """A roster that another onestack wrote: what its processes are called, and no more.

    Raises `OnestackError` where not even that can be read.
    """
    try:
        processes = [
            Process(
                raw["name"], raw["component"], raw["user"], services=tuple(raw.get("holds", ()))
            )
            for raw in json.loads(path.read_text())["processes"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OnestackError(
            f"the processes of the cloud {cloud.name!r} are not known",
            f"{path} cannot be read: {type(error).__name__}: {error}",
            "run onestack up, which writes it anew",
        ) from None
    return Roster(cloud.name, str(cloud.root), cloud.netns, (), tuple(processes))


def select(processes: Sequence[Process], text: str) -> list[Process]:
    """The processes that ``text`` names. Raises `BadAnswers` when there are none."""
    component, slash, name = text.partition("/")
    if slash:
        names = {name, f"{component}-{name}"}
        found = [p for p in processes if p.component == component and names & called(p)]
    else:
        found = [p for p in processes if p.component == text] or [
            p for p in processes if text in called(p)
        ]
    if found:
        return found
    known = sorted({p.component for p in processes}.union(*map(called, processes)))
    near = difflib.get_close_matches(name or text, known, 3)
    components = ", ".join(sorted({p.component for p in processes}))
    raise BadAnswers(
        f"the cloud has no component or process {text!r}",
        f"its components: {components}",
        f"did you mean {' or '.join(near)}?" if near else "see onestack status",
    )


def called(process: Process) -> set[str]:
    """Its name, and those of the services in it."""
    return {process.name, *process.services}
