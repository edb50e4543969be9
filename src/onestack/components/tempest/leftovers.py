"""What runs of Tempest's have left: those that were stopped, and tests that failed.

Two things tell it from what people have: its names, for Tempest and its plugins begin all of
theirs alike and end them in random digits; and that it was not there before. What was there with
such a name is noted before a run, and the note stays until nothing is left of the run.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keystoneauth1.exceptions import ClientException, NotFound

from onestack.cloudapi import emptying
from onestack.cloudapi.emptying.belonging import Belongs, Named, Noted
from onestack.cloudapi.session import admin_session
from onestack.components.tempest import paths
from onestack.host.files import write_file
from onestack.host.locks import Tell
from onestack.host.telling import tell
from onestack.model.context import Context
from onestack.model.errors import OnestackError

Item = dict[str, Any]
NAME = re.compile(
    r"tempest-.+-\d{1,10}"
    # What is made for a class of tests is called by what it is, and a user by what it may, too.
    r"(-(project|domain|system)(-.+)?|-(network|subnet|router))?"
)
IDENTITY = ("domains", "users", "groups", "roles")
SHARED: tuple[tuple[str, str, str, Item], ...] = (
    ("compute", "/flavors", "flavors", {"is_public": "None"}),
    ("block-storage", "/types", "volume_types", {"is_public": "None"}),
    ("block-storage", "/group_types", "group_types", {"is_public": "None"}),
    ("block-storage", "/qos-specs", "qos_specs", {}),
)
"""What belongs to no project: service, path, key of the list, query."""
_HEADERS = {"OpenStack-API-Version": "volume 3.11"}
"""Since then there are types of groups."""


@dataclass(frozen=True)
class Thing:
    """One with such a name."""

    what: str
    identity: str
    remove: Callable[[], object]


def note(ctx: Context) -> None:
    """Have what a run leaves from now on told from what is there; an earlier run's note stays."""
    if (place := paths.before(ctx)).exists():
        return
    noted = Noted(Named(NAME))
    wrong = emptying.empty(ctx, noted)
    if wrong:
        raise OnestackError("what is in the cloud cannot be listed", "\n".join(wrong), _CURE)
    ids = noted.ids | {item["id"] for item in _projects(ctx)} | {t.identity for t in _things(ctx)}
    write_file(place, json.dumps(sorted(ids)) + "\n", mode=0o600)


_CURE = "see `onestack doctor`, then run the same command again"


def remove(ctx: Context, heard: Tell = tell) -> list[str]:
    """Remove what a run has left, if there is a note of one; a sentence for each that stays."""
    before = known(paths.before(ctx))
    if before is None:
        return []
    try:
        wrong = _remove(ctx, before, heard)
    except (ClientException, OnestackError) as error:
        wrong = [str(error)]
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


def known(place: Path) -> frozenset[str] | None:
    """The ids that were noted; ``None`` where there is no note."""
    try:
        return frozenset(map(str, json.loads(place.read_text())))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise OnestackError(f"{place} cannot be read", str(error), f"remove {place}") from error


def _remove(ctx: Context, before: frozenset[str], heard: Tell) -> list[str]:
    wrong: list[str] = []
    # What two projects share goes at the second try, once the other has let go of it.
    for _ in range(2):
        wrong = []
        for project in _projects(ctx):
            if project["id"] not in before:
                heard(f"removing the project {project['name']}")
                left = emptying.remove_project(ctx, project["id"], heard)
                wrong += [f"the project {project['name']}: {sentence}" for sentence in left]
        if not wrong:
            break
    named: Belongs = Named(NAME, before)
    wrong += emptying.empty(ctx, named, heard)
    for thing in _things(ctx):
        if thing.identity in before:
            continue
        heard(f"removing {thing.what}")
        try:
            thing.remove()
        except NotFound:
            pass
        except (ClientException, OnestackError) as error:
            wrong.append(f"{thing.what}: {error}")
    return wrong


def _projects(ctx: Context) -> list[Item]:
    return _identity(ctx, "projects")


def _identity(ctx: Context, kind: str) -> list[Item]:
    answer = admin_session(ctx).get(f"{ctx.url('identity')}/{kind}")
    return [item for item in answer.json()[kind] if NAME.fullmatch(item["name"])]


def _things(ctx: Context) -> Iterator[Thing]:
    """Users and the like, and what is of no project."""
    session, identity = admin_session(ctx), ctx.url("identity")
    for kind in IDENTITY:
        for item in _identity(ctx, kind):
            place = f"{identity}/{kind}/{item['id']}"

            def delete(kind: str = kind, item: Item = item, place: str = place) -> None:
                if kind == "users":
                    emptying.remove_user(ctx, item["id"])
                    return
                if kind == "domains":
                    # Keystone deletes only those in which nobody can log in any more.
                    session.patch(place, json={"domain": {"enabled": False}})
                session.delete(place)

            yield Thing(f"the {kind.removesuffix('s')} {item['name']}", item["id"], delete)
    for service, path, listed, query in SHARED:
        if not ctx.offers(service):
            continue
        url = f"{ctx.url(service)}{path}"
        there: list[Item] = []
        with contextlib.suppress(NotFound):
            there = session.get(url, params=query, headers=_HEADERS).json()[listed]
        for item in there:
            if NAME.fullmatch(item["name"]):
                place = f"{url}/{item['id']}"
                yield Thing(
                    f"the {listed.removesuffix('s').replace('_', ' ')} {item['name']}",
                    str(item["id"]),
                    lambda place=place: session.delete(place, headers=_HEADERS),  # type: ignore[misc]
                )
