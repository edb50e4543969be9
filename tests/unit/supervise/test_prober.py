"""Probes, one by one; tokens; the judgement on agents."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from onestack.model.process import (
    AgentProbe,
    ApiProbe,
    ConnectProbe,
    ExecProbe,
    FileProbe,
    HttpProbe,
    NotifyProbe,
    Probe,
)
from onestack.supervise import prober
from onestack.supervise.probes import connect, orders
from onestack.supervise.probes.agent import judge
from onestack.supervise.probes.attempt import Attempts
from onestack.supervise.probes.base import ProbeResult, Wrong
from onestack.supervise.probes.tokens import Tokens


class Api(http.server.BaseHTTPRequestHandler):
    """Keystone and an API in one."""

    tokens: list[str]
    asked: list[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = body["auth"]["identity"]["password"]["user"]
        good = user["password"] == "secret" and self.path == "/v3/auth/tokens"
        self.send_response(201 if good else 401)
        if good:
            self.tokens.append(f"token-{len(self.tokens) + 1}")
            self.send_header("X-Subject-Token", self.tokens[-1])
        self.end_headers()
        answer = {"token": {"expires_at": "2099-01-01T00:00:00.000000Z", "project": {"id": "p1"}}}
        self.wfile.write(json.dumps(answer).encode() if good else b'{"error": "no"}')

    def do_GET(self) -> None:
        self.asked.append(self.path)
        known = self.headers.get("X-Auth-Token") in self.tokens[-1:]
        code = {"/open": 300, "/broken": 500}.get(self.path, 200 if known else 401)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(b'{"agents": []}' if code == 200 else b"what a pity")

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[type[Api]]:
    class Handler(Api):
        tokens: list[str] = []  # noqa: RUF012
        asked: list[str] = []  # noqa: RUF012
        url = ""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Handler
        server.shutdown()
        thread.join()


def once(probe: Probe, tokens: Tokens | None = None) -> ProbeResult:
    return Attempts(tokens or Tokens()).try_once(probe, 2.0)


def tokens_of(api: Any, file: Path, password: str = "secret") -> Tokens:
    file.write_text(json.dumps({"username": "u", "password": password, "project_name": "p"}))
    tokens = Tokens()
    tokens.configure({"auth_url": api.url, "file": str(file), "host": "h"})
    return tokens


def test_connect_file_exec(tmp_path: Path) -> None:
    assert once(ConnectProbe(f"unix:{tmp_path}/none")) == ProbeResult(
        False, f"unix:{tmp_path}/none: no such file or directory", unreachable=True
    )
    assert once(ConnectProbe("tcp:127.0.0.1:1")).text == "tcp:127.0.0.1:1: connection refused"
    assert once(FileProbe(str(tmp_path))) == ProbeResult(True)
    assert once(FileProbe("/none")).text == "/none is not there yet"
    assert once(ExecProbe(("true",))) == ProbeResult(True)
    assert once(ExecProbe(("sh", "-c", "echo first; echo no quorum; exit 3"))).text == (
        "sh ended with 3: no quorum"
    )
    assert once(ExecProbe(("/none",))).text == "/none: No such file or directory"
    assert once(NotifyProbe()).text == "it has not said yet that it is ready"


@pytest.mark.parametrize(
    ("speaks", "answers", "says"),
    [
        ("", b"VERSION 1.6\r\n", ""),
        ("", b"x" * 10, "accepts, and answers 'xxxxxxxxxx'"),
        ("", b"", "accepts, and ends the connection"),
        # the kernel accepts for it, and it does not come to it
        ("never", b"", "accepts, and says nothing for"),
    ],
)
def test_a_connection_is_asked_something(
    tmp_path: Path, speaks: str, answers: bytes, says: str
) -> None:
    heard = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "door"))
        server.listen()

        def serve() -> None:
            connection = server.accept()[0]
            heard.append(connection.recv(100))
            connection.sendall(answers)
            connection.close()

        if not speaks:
            threading.Thread(target=serve, daemon=True).start()
        probe = ConnectProbe(f"unix:{tmp_path}/door", say="version\r\n", hear="VERSION ")
        found = Attempts().try_once(probe, 2.0)
    assert found.ok == (not says) and not found.unreachable
    assert says in found.text
    assert heard == ([] if speaks else [b"version\r\n"])


@pytest.mark.parametrize("say", ["", "version\r\n"])
def test_what_was_said_before_the_connection_ended_is_heard(
    tmp_path: Path, say: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes no more connections says so and goes, before it is asked anything."""
    gone = threading.Event()
    opened = connect.open_connection

    def open_late(target: str, timeout: float) -> socket.socket:
        connection = opened(target, timeout)
        assert gone.wait(5)
        return connection

    monkeypatch.setattr(connect, "open_connection", open_late)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "door"))
        server.listen()

        def serve() -> None:
            connection = server.accept()[0]
            connection.sendall(b"Too many connections")
            connection.close()
            gone.set()

        threading.Thread(target=serve, daemon=True).start()
        found = once(ConnectProbe(f"unix:{tmp_path}/door", say=say, hear="VERSION "))
    assert not found.ok and "answers 'Too many connections'" in found.text


def test_http(api: Any) -> None:
    assert once(HttpProbe(f"{api.url}/open")) == ProbeResult(True)
    assert once(HttpProbe(f"{api.url}/closed")) == ProbeResult(True)  # 401 is an answer
    assert once(HttpProbe(f"{api.url}/broken")) == ProbeResult(
        False, f"GET {api.url}/broken answers 500: what a pity"
    )


def test_api_with_a_token_that_is_renewed(api: Any, tmp_path: Path) -> None:
    tokens = tokens_of(api, tmp_path / "identity")
    assert once(ApiProbe(f"{api.url}/v2/{{project_id}}/x"), tokens) == ProbeResult(True)
    assert once(ApiProbe(f"{api.url}/x"), tokens) == ProbeResult(True)
    assert api.tokens == ["token-1"]
    assert api.asked == ["/v2/p1/x", "/x"]
    api.tokens.append("token of another")  # ours is refused from now on
    assert once(ApiProbe(f"{api.url}/x"), tokens) == ProbeResult(True)
    assert api.tokens[-1] == "token-3"
    assert (
        once(ApiProbe(f"{api.url}/open"), tokens).text
        == f"GET {api.url}/open answers 300: what a pity"
    )


def test_without_identity_reachability_must_do(api: Any, tmp_path: Path) -> None:
    tokens = Tokens()
    assert once(ApiProbe(f"{api.url}/x"), tokens) == ProbeResult(
        True, "asked without a token: no identity is configured"
    )
    tokens.configure({"auth_url": api.url, "file": f"{tmp_path}/none"})
    for probe in (ApiProbe(f"{api.url}/x"), AgentProbe(f"{api.url}/x", ("b",))):
        assert once(probe, tokens) == ProbeResult(
            True, f"asked without a token: {tmp_path}/none is not there yet"
        )
    assert not once(ApiProbe(f"{api.url}/broken"), tokens).ok
    # but an identity that is refused is a failure
    wrong = once(ApiProbe(f"{api.url}/x"), tokens_of(api, tmp_path / "identity", "wrong"))
    assert wrong == ProbeResult(False, 'no token: keystone answers 401: {"error": "no"}')


def test_agents_share_a_listing(api: Any, tmp_path: Path) -> None:
    tokens = tokens_of(api, tmp_path / "identity")
    attempts = Attempts(tokens)
    probe = AgentProbe(f"{api.url}/agents", ("neutron-l3-agent",))
    results = [attempts.try_once(probe, 2.0, age=0.3) for _ in range(5)]
    assert {r.text for r in results} == {"neutron-l3-agent on h is not listed yet"}
    assert len(api.asked) < 5


NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({"binary": "b", "host": "h", "alive": True}, ""),
        ({"binary": "b", "host": "h@lvm", "state": "up", "status": "enabled"}, ""),
        ({"binary": "b", "host": "h", "status": "up", "updated_at": "2026-11-22T12:00:05"}, ""),
        ({"binary": "b", "host": "h", "alive": False}, "b on h is listed as not alive"),
        ({"binary": "b", "host": "h", "state": "down"}, "b on h is listed as not alive"),
        ({"binary": "b", "host": "other", "alive": True}, "b on h is not listed yet"),
        (
            {
                "binary": "b",
                "host": "h",
                "alive": True,
                "heartbeat_timestamp": "2026-11-22 11:59:58",
            },
            "b was last heard of at 2026-11-22 11:59:58, before it was started",
        ),
        ({"binary": "b", "host": "h", "state": "up", "updated_at": None}, ""),
    ],
)
def test_judgement_on_agents(entry: dict[str, Any], wrong: str) -> None:
    if not wrong:
        judge([{"binary": "x"}, entry], "b", "h", NOW)
        return
    with pytest.raises(Wrong) as caught:
        judge([entry], "b", "h", NOW)
    assert str(caught.value) == wrong


def probed(monkeypatch: pytest.MonkeyPatch, probe: Probe, *entries: dict[str, Any]) -> ProbeResult:
    """With these in the listing, for a process that was started just now."""
    tokens = Tokens()
    tokens.configure({"host": "h"})
    monkeypatch.setattr(tokens, "missing", lambda: None)
    monkeypatch.setattr(tokens, "get", lambda *words: json.dumps({"services": entries}))
    return Attempts(tokens).try_once(probe, 1.0, born=NOW)


def test_what_is_not_fresh_may_do_if_so_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"binary": "b", "host": "h", "alive": True, "heartbeat_timestamp": "2026-11-22 11:00:00"}
    assert not probed(monkeypatch, AgentProbe("", ("b",)), old).ok
    assert probed(monkeypatch, AgentProbe("", ("b",), fresh=False), old).ok


def test_all_services_of_a_process_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ({"binary": name, "host": "h", "state": "up"} for name in ("b", "c"))
    probe = AgentProbe("", ("b", "c"))
    assert probed(monkeypatch, probe, one, other).ok
    assert probed(monkeypatch, probe, one) == ProbeResult(False, "c on h is not listed yet")
    down = {**other, "state": "down"}
    assert probed(monkeypatch, probe, one, down).text == "c on h is listed as not alive"


def test_a_request_waits_for_the_service_to_accept(tmp_path: Path) -> None:
    """The supervisor holds the listening socket: the edge is waited for, not polled."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def late() -> None:
            # The kernel has taken the connection by then, and nobody reads it.
            time.sleep(0.3)
            client, _ = server.accept()
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            client.close()

        thread = threading.Thread(target=late)
        thread.start()
        assert once(HttpProbe(f"unix:{path}:/")) == ProbeResult(True)
        thread.join()


@pytest.mark.parametrize(
    "order",
    [
        orders.Identify({"host": "h"}),
        orders.Drop("a"),
        orders.Watch("a", 3, AgentProbe("http://x", ("b",), fresh=False, seconds=3.0), 1.5, True),
        orders.Watch("a", 3, ExecProbe(("true",)), 1.5, False),
    ],
)
def test_orders_arrive_as_they_were(order: orders.Order) -> None:
    assert orders.decode_order(orders.encode_order(order)) == order
    found = orders.Found("a", 3, False, "why", True)
    assert orders.decode_found(orders.encode_found(found)) == found


def test_a_traceback_is_written_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had been written at each try, four times a second."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        trying = prober.Prober(theirs)
        watched = prober.Watched(orders.Watch("a", 1, ExecProbe(("true",)), 0.0, True), True)
        trying.watched["a"] = watched
        for error, times in (("one", 1), ("one", 0), ("another", 1), ("one", 1)):

            def wrong(*_: object, text: str = error) -> ProbeResult:
                raise KeyError(text)

            monkeypatch.setattr(Attempts, "try_once", wrong)
            trying._try(watched)
            trying._collect()
            assert capsys.readouterr().err.count("the probe of a failed:\nTraceback") == times
        assert ours.recv(65536).count(b"KeyError") == 3


def test_delays() -> None:
    assert prober.QUICK_LAST <= 0.25 < prober.WRONG < prober.SLOW <= 30
