"""What may start, what must wait and for what: rules over plain data.

A process starts when all it needs is ready, and is ended when all that needs it is
down. Nothing here forks, looks at a clock or at the machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from onestack.supervise.states import State


@dataclass(frozen=True)
class Member:
    """One process, as far as its order among the others goes."""

    name: str
    state: State
    needs: tuple[str, ...] = ()
    wanted: bool = True
    forked: bool = False
    """It is forked by the supervisor or a zygote, and no program of its own."""
    zygote: str = ""


@dataclass(frozen=True)
class Parents:
    """Those that processes are forked from."""

    preloading: str = ""
    """What the supervisor still imports, as a sentence; empty when it has done so."""
    zygotes: Collection[str] = ()
    """Those that are ready."""


@dataclass(frozen=True)
class Decision:
    """What to do now; of the others, what each waits for."""

    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    """Those that are to stop, and that nobody up needs any more."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Name to what it needs before it starts."""
    stopping: dict[str, str] = field(default_factory=dict)
    """Name to what must be down before it is ended."""


def decide(members: Mapping[str, Member], parents: Parents) -> Decision:
    start, waiting = [], {}
    # Programs first: what forked processes need is mostly programs.
    for member in sorted(members.values(), key=lambda m: m.forked):
        if member.state is State.WAITING:
            if lacks := missing(member, members, parents):
                waiting[member.name] = ", ".join(lacks)
            else:
                start.append(member.name)
    end, stopping = [], {}
    for member in members.values():
        if member.state is State.STOPPING:
            if over := above(member.name, members):
                stopping[member.name] = f"{', '.join(over)} must be down first"
            else:
                end.append(member.name)
    return Decision(tuple(start), tuple(end), waiting, stopping)


def missing(member: Member, members: Mapping[str, Member], parents: Parents) -> list[str]:
    """What it still waits for: processes, else the one that it is forked from."""
    found = []
    for name in member.needs:
        other = members.get(name)
        if other is None:
            found.append(f"{name} (unknown)")
        elif other.state is not State.READY:
            found.append(f"{name} ({other.state.value})")
    if found:
        return found
    if member.forked and parents.preloading:
        return [parents.preloading]
    if member.zygote and member.zygote not in parents.zygotes:
        return [f"the zygote {member.zygote}"]
    return []


def above(name: str, members: Mapping[str, Member]) -> list[str]:
    """Those being stopped that need it, directly or through others that are not."""
    return list(dict.fromkeys(_above(name, members, frozenset())))


def _above(name: str, members: Mapping[str, Member], seen: frozenset[str]) -> list[str]:
    found = []
    for other in members.values():
        if name not in other.needs or other.name in seen:
            continue
        if other.state is State.STOPPING:
            found.append(other.name)
        else:
            found += _above(other.name, members, seen | {name})
    return found


def culprit(names: Iterable[str], members: Mapping[str, Member]) -> str | None:
    """One that gave up, among those and what they need: they will never be ready."""
    todo, seen = list(names), set[str]()
    while todo:
        name = todo.pop()
        member = members.get(name)
        if member is None or name in seen or member.state is State.READY:
            continue
        seen.add(name)
        if member.state is State.FATAL or (member.state is State.STOPPED and not member.wanted):
            return name
        # What is not wanted yet may be wanted soon: only what gave up counts.
        todo += [
            need
            for need in member.needs
            if need in members and members[need].state is not State.STOPPED
        ]
    return None
