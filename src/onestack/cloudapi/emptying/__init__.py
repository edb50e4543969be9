"""All that is in a project, removed: of projects that were made to try something.

What is removed is told apart twice: the service is asked for what fits, and what it names is
looked at once more. Where a service lists only what is of the token's project, the token is the
project's, and of a member: it can remove nothing of anybody else's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from keystoneauth1.exceptions import ClientException, NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.emptying import drained, network
from onestack.cloudapi.emptying.belonging import Belongs, Noted, OfProject, PutInto
from onestack.cloudapi.emptying.kinds import KINDS, Removal
from onestack.cloudapi.session import CloudSession, admin_session, member_session
from onestack.host.locks import Tell, silent
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

_KEYPAIRS = {"OpenStack-API-Version": "compute 2.10"}
"""Since then an administrator may name whose they are."""
Work = tuple[str, Callable[[], object]]


def empty(ctx: Context, belongs: Belongs, tell: Tell = silent) -> list[str]:
    """Remove all of it; returns a sentence for each kind that could not be, or not be listed."""
    wrong: list[str] = []
    for what, work in _works(ctx, belongs, tell):
        try:
            work()
        except (ClientException, OnestackError) as error:
            wrong.append(f"{what}: {error}")
    return wrong


def _works(ctx: Context, belongs: Belongs, tell: Tell) -> Iterator[Work]:
    project = belongs.project
    own = _own_session(ctx, project) if project else None
    for kind in KINDS:
        session = admin_session(ctx) if kind.owner else own
        if session and ctx.offers(kind.service):
            yield f"{kind.what}s", Removal(ctx, session, kind, belongs, tell)
    if own and ctx.offers("alarming"):
        yield "alarms", lambda: drained.alarms(ctx, own, project)
    if own and ctx.offers("compute"):
        yield "groups of servers", lambda: drained.server_groups(ctx, own)
    if ctx.offers("network"):
        for path in network.KINDS:
            yield path, lambda path=path: network.remove(ctx, path, belongs, tell)  # type: ignore[misc]
    if own and ctx.offers("key-manager"):
        for listed in ("orders", "containers", "secrets"):
            yield listed, lambda listed=listed: drained.secrets(ctx, own, listed)  # type: ignore[misc]
    if own and ctx.offers("object-store"):
        yield "objects", lambda: drained.objects(ctx, own, project)


def _own_session(ctx: Context, project: str) -> Session:
    """The administrator's, as a member of the project and no more."""
    admin = admin_session(ctx)
    url = ctx.url("identity")
    roles = admin.get(f"{url}/roles", params={"name": "member"}).json()["roles"]
    user = str(admin.get_user_id())
    admin.put(f"{url}/projects/{project}/users/{user}/roles/{roles[0]['id']}")
    password = ctx.secrets["admin_keystone"]
    return member_session(url, user, password, project, timeout=60, kind=CloudSession)


def remove_user(ctx: Context, user: str) -> None:
    """The user with this id, and the keys that nova keeps for it; one may be gone."""
    session = admin_session(ctx)
    if ctx.offers("compute"):
        url, of = f"{ctx.url('compute')}/os-keypairs", {"user_id": user}
        for each in session.get(url, params=of, headers=_KEYPAIRS).json()["keypairs"]:
            place = f"{url}/{quote(each['keypair']['name'])}"
            with contextlib.suppress(NotFound):
                session.delete(place, params=of, headers=_KEYPAIRS)
    _gone(session, f"{ctx.url('identity')}/users/{user}")


def remove_project(ctx: Context, project: str, tell: Tell = silent) -> list[str]:
    """The project with this id and all in it; it stays while something of it does."""
    session, place = admin_session(ctx), f"{ctx.url('identity')}/projects/{project}"
    # Nobody gets a token of one that is not.
    session.patch(place, json={"project": {"enabled": True}}, raise_exc=False)
    try:
        wrong = empty(ctx, OfProject(project), tell)
        if not wrong:
            _gone(session, place)
    except (ClientException, OnestackError) as error:
        wrong = [str(error)]
    return wrong


def remove_unused_project(
    ctx: Context, project: str, but: Collection[str] = (), tell: Tell = silent
) -> list[str]:
    """The project with this id, if there is nothing in it, and nobody but those users may use it.

    Who may use it could have put there what is listed to members alone.
    """
    session, url = admin_session(ctx), ctx.url("identity")
    asked = {"scope.project.id": project, "effective": "true"}
    given = session.get(f"{url}/role_assignments", params=asked).json()["role_assignments"]
    if users := {each["user"]["id"] for each in given} - set(but):
        return [f"{len(users)} may use it, and it does not say that it is to be removed"]
    inside = Noted(PutInto(project))
    if wrong := empty(ctx, inside, tell):
        return wrong
    if inside.ids:
        return [f"{len(inside.ids)} things are in it, and it does not say that it is to be removed"]
    _gone(session, f"{url}/projects/{project}")
    return []


def _gone(session: Session, url: str) -> None:
    with contextlib.suppress(NotFound):
        session.delete(url)
