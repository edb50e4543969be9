"""One session and one token for all that onestack itself asks of the cloud."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session

if TYPE_CHECKING:
    from onestack.model.context import Context

_sessions: dict[str, Session] = {}
_lock = threading.Lock()


def admin_session(ctx: Context) -> Session:
    """The administrator's session, on the internal address, shared by all steps of a run."""
    with _lock:
        key = str(ctx.cloud.root)
        if key not in _sessions:
            _sessions[key] = new_session(ctx, f"http://{ctx.internal}:5000/v3", timeout=60)
        return _sessions[key]


def new_session(
    ctx: Context, auth_url: str, *, timeout: float, verify: bool | str = True
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
    session = Session(auth, verify=verify, timeout=timeout)
    # The operator's proxy is for what is elsewhere.
    session.session.trust_env = False
    return session
