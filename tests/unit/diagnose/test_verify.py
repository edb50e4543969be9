"""The quick check: what is asked, where, and what counts as an answer."""

from __future__ import annotations

import argparse
import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.exceptions import ConnectFailure
from keystoneauth1.session import Session

from onestack.cli import verify as verb
from onestack.components.horizon import Horizon
from onestack.components.keystone import Keystone
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.swift import Swift
from onestack.diagnose import preflight, verify
from onestack.model.context import Context
from onestack.model.errors import BadAnswers
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.states import State
from tests.unit.components.certificates import authority
from tests.unit.components.rooms import context, context_on, machine

HERE = machine().hostname


class Answer:
    def __init__(self, status: int, body: Any) -> None:
        self.status_code, self.text = status, json.dumps(body)

    def json(self) -> Any:
        return json.loads(self.text)


class Page(http.server.BaseHTTPRequestHandler):
    """Sends on who comes to ``/good``, as the dashboard does."""

    def do_GET(self) -> None:
        self.send_response({"/good": 302, "/login": 200}.get(self.path, 404))
        self.send_header("Location", f"https://{self.headers['Host']}/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *of_no_interest: object) -> None:
        pass


class Cloud:
    """A session whose answers the test says: the part of a URL -> status and body."""

    def __init__(self, **special: tuple[int, Any]) -> None:
        self.special = special
        self.asked: dict[str, bool] = {}

    def get_token(self) -> str:
        if "token" in self.special:
            raise ConnectFailure("nobody is there")
        return "t"

    def get_project_id(self) -> str:
        return "p1"

    def get(self, url: str, authenticated: bool = True, **more: Any) -> Answer:
        self.asked[url] = authenticated
        for part, (status, body) in self.special.items():
            public = url.startswith("https:") or isinstance(body, dict)
            if public and part.replace("_", "-") in url:
                return Answer(status, body)
        if "os-services" in url:
            names = ("nova-scheduler", "nova-conductor", "nova-compute")
            agents = [{"binary": name, "host": HERE, "state": "up"} for name in names]
            return Answer(200, {"services": agents})
        if url.endswith("/agents"):
            agent = {"binary": "neutron-ovn-agent", "host": HERE, "alive": True}
            return Answer(200, {"agents": [agent]})
        network = {"name": "public", "status": "ACTIVE", "subnets": ["s"]}
        return Answer(200, {"networks": [network]})


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    rooms = (Keystone(), Nova(), Neutron(), Swift(), Horizon())
    given = {"CONFIG_NEUTRON_L2_AGENT": "ovn", "CONFIG_PROVISION_DEMO": "y"}
    return context_on(machine(), tmp_path, *rooms, CONFIG_HORIZON_INSTALL="y", **given)


def asked(
    ctx: Context, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, state: State = State.READY
) -> dict[str, verify.Check]:
    monkeypatch.setattr(verify, "_session", lambda ctx: cloud)
    monkeypatch.setattr(preflight, "asked", lambda ctx, what, ask: [])
    process = ProcessStatus("nova-api", "nova", state, 1, 0.0, "is what it is", 0, False)
    return {check.what: check for check in verify.checks(ctx, [process])}


def test_all_is_asked_at_public_addresses(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud()
    found = asked(ctx, cloud, monkeypatch)
    assert [check for check in found.values() if not check.ok] == []
    assert set(found) == {
        "processes",
        "a token",
        *(f"endpoint {kind}" for kind in ("compute", "identity", "network", "object-store")),
        *(f"agent nova-{name}" for name in ("conductor", "scheduler", "compute")),
        "agent neutron-ovn-agent",
        "public network public",
        "Dashboard",
    }
    assert any(url.startswith(f"https://{ctx.public}:8774/v2.1/") for url in cloud.asked)
    assert f"https://{ctx.public}:8080/v1/AUTH_p1?limit=1" in cloud.asked
    # the token is for nobody but the services
    assert cloud.asked[f"https://{ctx.public}/dashboard/"] is False


def test_a_page_with_a_certificate_of_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an authority, and for a name, that only browsers know of."""
    made = authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.certificate, made.key)
    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"https://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(verify, "_session", lambda ctx: Session(verify=str(made.other_ca)))
    monkeypatch.setattr(verify, "pages", lambda ctx: {n: f"{place}/{n}" for n in ("good", "bad")})
    try:
        found = {check.what: check for check in verify.checks(context(tmp_path), [])}
    finally:
        server.shutdown()
        server.server_close()
    assert found["good"].ok, found["good"].said
    assert not found["bad"].ok and "answers 404" in found["bad"].said


@pytest.mark.parametrize(
    ("special", "what", "said"),
    [
        ({"8774": (503, "no room")}, "endpoint compute", "answers 503"),
        ({"8774": (401, "")}, "endpoint compute", "answers 401"),
        ({"dashboard": (500, "")}, "Dashboard", "answers 500"),
        ({"os_services": (200, {"services": []})}, "agent nova-compute", "not listed"),
    ],
)
def test_what_fails_is_said(
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
    special: dict[str, tuple[int, Any]],
    what: str,
    said: str,
) -> None:
    found = asked(ctx, Cloud(**special), monkeypatch)
    failed = {name: check.said for name, check in found.items() if not check.ok}
    assert said in failed.pop(what)
    # an empty listing is missed by each agent
    assert all(name.startswith("agent nova-") for name in failed)


@pytest.mark.parametrize(
    ("networks", "what"),
    [
        ([], "public network"),
        ([{"name": "public", "status": "ACTIVE", "subnets": []}], "public network public"),
        ([{"name": "public", "status": "DOWN", "subnets": ["s"]}], "public network public"),
    ],
)
def test_a_public_network_that_is_none(
    ctx: Context, monkeypatch: pytest.MonkeyPatch, networks: list[Any], what: str
) -> None:
    found = asked(ctx, Cloud(v2=(200, {"networks": networks, "agents": []})), monkeypatch)
    assert not found[what].ok


def test_without_a_token_little_is_asked(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(ctx, Cloud(token=(0, None)), monkeypatch, state=State.FATAL)
    assert found["a token"].said == "nobody is there"
    assert found["processes"].said == "0 of 1 ready"
    assert found["process nova-api"].said == "is what it is"
    assert set(found) == {"a token", "processes", "process nova-api", "Dashboard"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--skip", "x"], "of no use without --tempest"),
        (["--tempest", "("], "no regular expression"),
        (["--tempest", "smoke", "--skip", "["], "no regular expression"),
        (["--tempest", "smoke", "--skip", "(?i)x"], "no regular expression"),
    ],
)
def test_bad_usage(words: list[str], says: str) -> None:
    parser = argparse.ArgumentParser()
    verb.options(parser)
    with pytest.raises(BadAnswers, match=says):
        verb.selected(parser.parse_args(words))


def test_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from onestack.components.tempest.inside.results import FAILED, PASSED, SKIPPED, Results, Verdict

    tests = (Verdict("a.B.c[id-1]", PASSED), Verdict("a.B.d[id-2]", FAILED, 0.0, "because\nso"))
    verb.show_results(Results(tmp_path, "", 61.0, {}, tests, {"a.B.e": "never"}))
    said = capsys.readouterr().out
    assert "failed    1\n" in said and "left out  1\n" in said
    assert "a.B.d   because\n" in said
    assert f"61 s; all of it: {tmp_path}\n" in said
    skipped = (Verdict("octavia.B.c[id-1]", SKIPPED, 0.0, "no such service"),)
    verb.show_results(Results(tmp_path, "", 61.0, {}, skipped, {}))
    assert "\nEach of them was skipped, so that nothing is shown.\n" in capsys.readouterr().out
    verb.show_results(Results(tmp_path, "", 61.0, {}, tests[:1] + skipped, {}))
    assert "Each" not in capsys.readouterr().out
    verb.show_checks([verify.Check("a token", False, "no")])
    assert "1 of 1 checks failed" in capsys.readouterr().out
