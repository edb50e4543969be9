"""What runs of Tempest's have left: those that were stopped, and tests that failed.

Two things tell it from what people have: its names, for Tempest and its plugins begin all of
theirs alike and end them in random digits; and that it was not there before. What was there with
such a name is noted before a run. When the run has ended, what has come since is noted in its
place, and only that is the run's: what is made later is somebody's.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keystoneauth1.exceptions import ClientException

from onestack.cloudapi import emptying
from onestack.cloudapi.emptying.belonging import Named, Noted
from onestack.cloudapi.session import admin_session
from onestack.components.tempest import paths, shared
from onestack.components.tempest.names import NAME, describes, is_tempests
from onestack.host.files import write_file
from onestack.host.locks import Tell
from onestack.host.telling import tell
from onestack.model.context import Context
from onestack.model.errors import OnestackError

Item = dict[str, Any]
_CURE = "see `onestack doctor`, then run the same command again"


@dataclass(frozen=True)
class Note:
    """``before`` is what was there when a run began; ``left``, once it has ended, what is its."""

    before: frozenset[str] = frozenset()
    left: frozenset[str] | None = None

    def keep(self, place: Path) -> None:
        content = {"before": sorted(self.before)}
        if self.left is not None:
            content = {"left": sorted(self.left)}
        write_file(place, json.dumps(content) + "\n", mode=0o600)


def known(place: Path) -> Note | None:
    """What was noted; ``None`` where there is no note. Raises `OnestackError`."""
    try:
        said = json.loads(place.read_text())
        if "left" in said:
            return Note(left=frozenset(map(str, said["left"])))
        return Note(frozenset(map(str, said["before"])))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise OnestackError(
            f"{place} cannot be read",
            str(error),
            f"remove {place}; what runs of Tempest's have left is then nobody's but yours",
        ) from error


def note(ctx: Context) -> None:
    """Have what a run leaves from now on told from what is there.

    What an earlier one has left stays a run's. Where that could not be told yet, its note stays.
    """
    earlier = known(paths.before(ctx))
    if earlier and earlier.left is None:
        return
    own = (earlier.left if earlier else None) or frozenset()
    Note(_there(ctx) - own).keep(paths.before(ctx))


def _said(sentence: str) -> None:
    """Told to whoever still listens: a terminal that is lost keeps nothing from being removed."""
    with contextlib.suppress(OSError):
        tell(sentence)


def remove(ctx: Context, heard: Tell = _said) -> list[str]:
    """Remove what a run has left, if there is a note of one; a sentence for each that stays."""
    noted = known(paths.before(ctx))
    if noted is None:
        return []
    wrong: list[str] = []
    try:
        if noted.left is None:
            noted = Note(left=_there(ctx) - noted.before)
            noted.keep(paths.before(ctx))
        wrong += _remove(ctx, noted.left or frozenset(), heard)
        if wrong:
            Note(left=(noted.left or frozenset()) & _there(ctx)).keep(paths.before(ctx))
    except (ClientException, OnestackError) as error:
        wrong.append(str(error))
    if not wrong:
        paths.before(ctx).unlink(missing_ok=True)
    for sentence in wrong:
        heard(f"not removed: {sentence}")
    return wrong


def remove_all(ctx: Context) -> None:
    """Raises `OnestackError` where something stays: nobody would know it later."""
    if wrong := remove(ctx):
        raise OnestackError(
            "something of a run of Tempest's stays",
            "\n".join(wrong),
            "remove it by hand, or see `onestack doctor`; then run up --purge again",
        )


def _there(ctx: Context) -> frozenset[str]:
    """Ids of all that has such a name. Raises `OnestackError` where one list is not to be had."""
    noted = Noted(Named(NAME))
    if wrong := emptying.empty(ctx, noted):
        raise OnestackError("what is in the cloud cannot be listed", "\n".join(wrong), _CURE)
    projects = {project["id"] for project in _projects(ctx)}
    return frozenset(noted.ids | projects | {thing.identity for thing in shared.things(ctx)})


def _remove(ctx: Context, left: frozenset[str], heard: Tell) -> list[str]:
    wrong: list[str] = []
    # What two projects share goes at the second try, once the other has let go of it.
    for _ in range(2):
        wrong = []
        for project in _projects(ctx):
            if project["id"] in left:
                wrong += _remove_project(ctx, project, left, heard)
        if not wrong:
            break
    wrong += emptying.empty(ctx, Named(NAME, left), heard)
    for thing in shared.things(ctx):
        if thing.identity in left:
            heard(f"removing {thing.what}")
            wrong += filter(None, [shared.remove(thing)])
    return wrong


def _remove_project(ctx: Context, project: Item, left: frozenset[str], heard: Tell) -> list[str]:
    """With all that is in it if its description is Tempest's, too; else only if it is unused."""
    heard(f"removing the project {project['name']}")
    if describes(project):
        stays = emptying.remove_project(ctx, project["id"], heard)
    else:
        users = {each.partition(" ")[2] for each in left if each.startswith("users ")}
        stays = emptying.remove_unused_project(ctx, project["id"], users)
    return [f"the project {project['name']}: {sentence}" for sentence in stays]


def _projects(ctx: Context) -> list[Item]:
    answer = admin_session(ctx).get(f"{ctx.url('identity')}/projects")
    return [item for item in answer.json()["projects"] if is_tempests(item["name"])]
