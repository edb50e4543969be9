"""``--host NAME|all``: a verb on other hosts of the cloud, typed on its controller.

The machine's own part is run here; others are asked by the door (`onestack.cli.asked`), at once,
and each answer is shown under its host's name. Nothing that a host says is believed to be more
than text: it is shown without what a terminal would obey, and set in, so that no line of one
host's looks like another's name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onestack.cli import output
from onestack.cli.options import cloud_of, need_cloud
from onestack.cluster.names import normal
from onestack.cluster.verbs import misfit
from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers, OnestackError

if TYPE_CHECKING:
    from onestack.cli.asked import Questions
    from onestack.cluster.following import Condition
    from onestack.cluster.membership import Member

ALL = "all"
SECONDS = {"doctor": 180.0}
"""What a verb may take on a host, from the question to the answer."""
OTHERWISE = 60.0
DEEPEST = 32
"""Lists and objects within each other that a host may print: a verb's own are a few."""
CODES = (0, 1, 2, 3)
"""What a verb ends with; anything else that a host says is a failure."""

Here = Callable[[argparse.Namespace], int]
Words = Callable[[argparse.Namespace], Iterable[str]]


@dataclass(frozen=True)
class Told:
    """What one host says: how the verb ended there, and what it printed."""

    code: int
    out: str = ""
    err: str = ""
    problem: OnestackError | None = None
    """Why there is nothing of it."""


def run(verb: str, args: argparse.Namespace, here: Here, words: Words, more: float = 0.0) -> int:
    """``here`` without ``--host``, which else is asked for with ``words``.

    ``more`` are seconds that it may take beside those that the verb has anyway.
    """
    if args.host is None:
        return here(args)
    # Imported late, as the rest: without hosts `blame` has the standard library alone.
    from onestack.cli.main import need_root

    need_root(verb)
    cloud, wanted = cloud_of(args), normal(args.host)
    need_cloud(cloud)
    own, meant, of = _hosts(cloud, wanted)
    if wanted == own:
        return here(args)
    if not meant:
        return _all((own, _captured(here, args)), (), _as_json(args))
    asked = _checked(verb, args, words)
    from onestack.cli.asked import questions

    seconds = SECONDS.get(verb, OTHERWISE) + more
    with questions(cloud, meant, of, verb, asked, seconds) as all_of_them:
        if wanted != ALL:
            return _one(_told(all_of_them, wanted), wanted, _as_json(args))
        mine = _captured(here, args)
        found = ((name, _told(all_of_them, name)) for name in all_of_them.asked)
        return _all((own, mine), found, _as_json(args))


def _as_json(args: argparse.Namespace) -> bool:
    return bool(getattr(args, "json", False))


def _checked(verb: str, args: argparse.Namespace, words: Words) -> list[str]:
    found = [*words(args), *(["--json"] if _as_json(args) else [])]
    if word := misfit(verb, found):
        raise BadAnswers(
            f"a host cannot be asked for {word!r}",
            "names of components and processes, and plain numbers (seconds and hours below 10000), "
            "are all that is sent to one",
            f"see onestack {verb} --help",
        )
    return found


def _hosts(cloud: Cloud, wanted: str) -> tuple[str, list[tuple[Member, Condition]], int]:
    """This machine's name in the cloud, those of its other hosts that are meant, and of how many.

    Raises `BadAnswers` for a name that none has, and `OnestackError` where this is no controller.
    """
    from onestack.cli.session import own_name
    from onestack.components.door.follower import conditions
    from onestack.deploy.joining import Places

    if kept := Places.of(cloud).kept():
        own = kept.standing.name
        if wanted == own:
            return own, [], 0
        raise OnestackError(
            "this machine is a host of the cloud, and not its controller",
            f"it is {own}, and knows no other; the controller is "
            f"{kept.standing.projection.address}",
            "type it on the controller; or, about this host, without --host",
        )
    own, known = own_name(cloud), conditions(cloud)
    if wanted in (ALL, own):
        return own, known if wanted == ALL else [], len(known)
    found = [(member, at) for member, at in known if member.name == wanted]
    if not found:
        names = ", ".join((own, *(member.name for member, _ in known)))
        raise BadAnswers(
            f"the cloud has no host {wanted[:80]!r}", f"there are: {names}", "onestack host list"
        )
    return own, found, len(known)


def _captured(here: Here, args: argparse.Namespace) -> Told:
    """This machine's own part, printed later, under its name."""
    said = io.StringIO()
    problem = None
    with contextlib.redirect_stdout(said):
        try:
            code = here(args)
        except OnestackError as error:
            code, problem = error.exit_code, error
    return Told(code, said.getvalue(), problem=problem)


def _told(asked: Questions, name: str) -> Told:
    try:
        found = asked.answer(name)
    except OnestackError as error:
        return Told(1, problem=error)
    code = found.code if found.code in CODES else 1
    err = found.err
    if found.cut:
        err += "\nThese are the last lines: there was more than is sent.\n"
    return Told(code, found.out, err)


def _one(told: Told, name: str, as_json: bool) -> int:
    """As if it were typed there."""
    if told.problem:
        raise told.problem
    sys.stderr.write(told.err)
    if not as_json:
        sys.stdout.write(told.out)
        sys.stdout.flush()
    elif (found := _read(told.out)) is not None:
        output.as_json(found)
    elif told.code == 0 or told.out.strip():
        raise _unreadable(name)
    return told.code


def _all(own: tuple[str, Told], others: Iterable[tuple[str, Told]], as_json: bool) -> int:
    """Each under its name; or one object of them."""
    codes: set[int] = set()
    values: dict[str, Any] = {}
    for name, told in itertools.chain([own], others):
        if as_json:
            values[name] = _value(told)
        else:
            output.say(f"{name}:" if codes else f"{name} (this machine):")
            _show(told)
        codes.add(told.code)
    if as_json:
        output.as_json(values)
    return worst(codes)


def worst(codes: set[int]) -> int:
    """Of all hosts: what those say that did not end well, if it is one thing; else that it failed.

    One that was told nothing fitting (2) beside one that is away (1) is a cloud of which something
    failed.
    """
    bad = codes - {0}
    return bad.pop() if len(bad) == 1 else min(len(bad), 1)


def _show(told: Told) -> None:
    for line in told.out.splitlines():
        output.say(f"  {line}".rstrip())
    for line in told.err.splitlines():
        output.note(f"  {line}".rstrip())
    if told.problem:
        output.error(told.problem)


def _value(told: Told) -> Any:
    """What ``--json`` says of a host: its own object, or why there is none (``error``)."""
    if problem := told.problem:
        return {"error": problem.what, "why": problem.why, "cure": problem.cure}
    found = _read(told.out)
    return {"error": told.err.strip() or "it printed no JSON"} if found is None else found


def _read(text: str) -> Any:
    """The JSON that a host has printed; ``None`` for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if _writable(found) else None


def _writable(value: Any, left: int = DEEPEST) -> bool:
    """Whether it can be written as JSON again: not too deep, and with numbers that JSON has."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return left > 0 and all(_writable(one, left - 1) for one in inner)
    return not isinstance(value, float) or math.isfinite(value)


def _unreadable(name: str) -> OnestackError:
    return OnestackError(
        f"what {name} answered is no JSON",
        "it was cut, or the host is not what it was",
        "the same without --json shows it",
    )
