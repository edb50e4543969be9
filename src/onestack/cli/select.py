"""Which processes ``COMPONENT[/PROCESS]`` means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers, OnestackError
from onestack.model.process import Process, Roster

HELP = "a component (nova), one of its processes (nova/api), or a process's own name (nova-api)"


def roster(cloud: Cloud) -> Roster:
    """What the cloud is made of. Raises `OnestackError` where there is none yet."""
    path = cloud.etc / "roster.json"
    try:
        return Roster.from_file(path)
    except FileNotFoundError as problem:
        raise OnestackError(
            f"the cloud {cloud.name!r} has no processes yet",
            f"there is no {path}",
            "make it with `onestack up`, or name another with --name or --root",
        ) from problem


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
