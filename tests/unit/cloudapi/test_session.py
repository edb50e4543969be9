"""The administrator's session."""

from __future__ import annotations

from pathlib import Path

import pytest
from keystoneauth1.exceptions import (
    ConnectFailure,
    HttpError,
    InternalServerError,
    NotFound,
    Unauthorized,
)
from keystoneauth1.session import Session

from onestack.cloudapi.session import CloudSession, NotLetIn, admin_session
from onestack.model.errors import NotRunning, NotYet, OnestackError
from tests.unit.components.rooms import context


def test_no_proxy_stands_between_us_and_the_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    session = admin_session(context(tmp_path)).session
    settings = session.merge_environment_settings("http://127.77.0.1:5000", {}, False, True, None)
    assert not settings["proxies"]


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (ConnectFailure("refused"), NotRunning),
        (Unauthorized("who?"), NotLetIn),
        (InternalServerError("broken"), OnestackError),
        (NotFound("nothing"), NotFound),
    ],
)
def test_what_no_request_can_help_is_said_in_words_of_ours(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, becomes: type[Exception]
) -> None:
    def request(self: Session, url: str, method: str, **further: object) -> None:
        raise raised

    monkeypatch.setattr(Session, "request", request)
    with pytest.raises(becomes) as caught:
        CloudSession().get("http://127.77.0.1:5000/v3/users")
    if isinstance(caught.value, OnestackError):
        assert str(raised) in caught.value.why and caught.value.cure
    # A dry run that would start it, or set the password, knows no more yet.
    assert issubclass(becomes, NotYet) == isinstance(raised, ConnectFailure | Unauthorized)
    assert isinstance(raised, HttpError | ConnectFailure)


def test_a_run_has_one_session_and_another_run_another(tmp_path: Path) -> None:
    one, other = context(tmp_path), context(tmp_path)
    assert admin_session(one) is admin_session(one) is admin_session(one.looking())
    assert admin_session(one) is not admin_session(other)
