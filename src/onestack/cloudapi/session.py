"""One session and one token for all that onestack itself asks of the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from keystoneauth1.exceptions import ConnectionError, HttpServerError, Unauthorized
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session

from onestack.model.errors import NotRunning, NotYet, OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

SEE = "see onestack status, and onestack logs of the service"


class NotLetIn(NotYet):
    """Keystone does not know the administrator by this password (yet)."""


class CloudSession(Session):
    """A session that says in our words what no request of ours can help.

    Raises `NotRunning` when nobody answers, `NotLetIn`, and `OnestackError` where a
    service fails; what a request itself may be answered is keystoneauth's to raise.
    """

    def request(self, url: str, method: str, *further: Any, **named: Any) -> Any:
        try:
            return super().request(url, method, *further, **named)
        except ConnectionError as error:
            place = urlsplit(url).netloc
            raise NotRunning(f"nobody answers at {place}", str(error), SEE) from error
        except Unauthorized as error:
            raise NotLetIn(
                "keystone does not let the administrator in", str(error), "run onestack up"
            ) from error
        except HttpServerError as error:
            raise OnestackError(f"{method} {url} failed", str(error), SEE) from error


def admin_session(ctx: Context) -> Session:
    """The administrator's session, on the internal address, shared by all steps of a run."""
    url = ctx.url("identity")
    return ctx.run.once(
        "administrator's session",
        lambda: new_session(ctx, url, timeout=60, kind=CloudSession),
    )


def member_session(
    auth_url: str,
    user: str,
    password: str,
    project: str,
    *,
    timeout: float,
    verify: bool | str = True,
    kind: type[Session] = Session,
) -> Session:
    """The user's with this id, in the project with that, and with the roles there alone."""
    auth = Password(auth_url=auth_url, user_id=user, password=password, project_id=project)
    return _of(kind, auth, verify, timeout)


def new_session(
    ctx: Context,
    auth_url: str,
    *,
    timeout: float,
    verify: bool | str = True,
    kind: type[Session] = Session,
) -> Session:
    """The administrator's, with a token of its own; ``timeout`` is seconds for one answer."""
    auth = Password(
        auth_url=auth_url,
        username=str(ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"]),
        password=ctx.secrets["admin_keystone"],
        project_name="admin",
        user_domain_name="Default",
        project_domain_name="Default",
    )
    return _of(kind, auth, verify, timeout)


def _of(kind: type[Session], auth: Password, verify: bool | str, timeout: float) -> Session:
    session = kind(auth, verify=verify, timeout=timeout)
    # The operator's proxy is for what is elsewhere.
    session.session.trust_env = False
    return session
