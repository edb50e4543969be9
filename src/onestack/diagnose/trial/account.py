"""The trial's own project and user; what is made is in them, and goes with them."""

from __future__ import annotations

import secrets

from onestack.cloudapi import emptying
from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.session import admin_session, member_session
from onestack.diagnose.trial.made import NAME, Item, Made
from onestack.host.files import remove_tree
from onestack.model.errors import OnestackError

DESCRIPTION = "Made by onestack verify, and removed by it"
"""By it and the name they are known: others may use such a name."""
ROLE = "member"
TIMEOUT = 60.0
"""Seconds for one answer."""


def token(made: Made) -> str:
    ctx, session = made.ctx, admin_session(made.ctx)
    url = ctx.url("identity")
    for kind in ("projects", "users"):
        if _found(made, kind, ours=False):
            raise OnestackError(
                f"there is one of the {kind} called {NAME} that is none of verify's",
                "its description is another, so that it may be somebody's",
                f"rename it: openstack {kind.removesuffix('s')} set --name OTHER {NAME}",
            )
    body: Item = {"name": NAME, "domain_id": "default", "description": DESCRIPTION}
    project = session.post(f"{url}/projects", json={"project": body}).json()["project"]["id"]
    # Nobody is told of it, and it ends with the trial.
    password = secrets.token_urlsafe(24)
    user = session.post(f"{url}/users", json={"user": body | {"password": password}}).json()
    roles = session.get(f"{url}/roles", params={"name": ROLE}).json()["roles"]
    who = user["user"]["id"]
    session.put(f"{url}/projects/{project}/users/{who}/roles/{roles[0]['id']}")
    public, authority = ctx.public_url("identity"), str(ctx.authority)
    own = member_session(public, who, password, project, timeout=TIMEOUT, verify=authority)
    own.get_token()
    made.session, made.project = own, project
    return "of a project and a user made for it"


def left(made: Made) -> bool:
    """Whether there is anything of an earlier trial's."""
    there = any(_found(made, kind) for kind in ("projects", "users")) or _flavor(made)
    return there or made.folder.exists()


def remove(made: Made) -> str:
    """All of it, whichever trial made it. Raises `OnestackError` for what stays."""
    wrong: list[str] = []
    for project in _found(made, "projects"):
        wrong += emptying.remove_project(made.ctx, project["id"])
    # What is left in the project is removed by the next one; the user is of no use to it.
    for user in _found(made, "users"):
        emptying.remove_user(made.ctx, user["id"])
    if _flavor(made):
        compute_of(made.ctx).delete_flavor(NAME)
    remove_tree(made.folder)
    if wrong:
        raise OnestackError(
            "something stays",
            "\n".join(wrong),
            "the next `onestack verify --end-to-end` tries again; see `onestack doctor`",
        )
    return ""


def _found(made: Made, kind: str, ours: bool = True) -> list[Item]:
    """Those of the name that are a trial's, or that are not."""
    url = f"{made.ctx.url('identity')}/{kind}"
    query = {"name": NAME, "domain_id": "default"}
    found: list[Item] = admin_session(made.ctx).get(url, params=query).json()[kind]
    return [each for each in found if (each.get("description") == DESCRIPTION) is ours]


def _flavor(made: Made) -> bool:
    offers = made.ctx.offers("compute")
    return offers and compute_of(made.ctx).flavors().get(NAME) == NAME
