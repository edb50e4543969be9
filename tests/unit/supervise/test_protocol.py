"""Requests and answers over the wire; what another version and a defect look like."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import get_args

import pytest

from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.supervise import protocol
from onestack.supervise.client import Client, OtherVersion
from onestack.supervise.states import State
from tests.unit.supervise.bench import Bench, needs_root, toy

PROCESS = protocol.ProcessStatus(
    "a", "toys", State.BACKOFF, None, 0.5, "failed", 2, True, 1.5, ("b", "c")
)
PRELOAD = protocol.PreloadStatus("3 modules imported", True, 0.1, ("no such module",))

REQUESTS: tuple[protocol.Request, ...] = (
    protocol.Status(),
    protocol.Status(("a",)),
    protocol.Load(),
    protocol.Start(("a", "b")),
    protocol.Stop(),
    protocol.Pause(("a",)),
    protocol.Restart(("a",)),
    protocol.Wait(None, 3),
    protocol.RunJob("x", "m:f", "nobody", {"deep": {"list": [1, None]}}, {"A": "b"}, ("g",), "e"),
    protocol.Shutdown(),
)
ANSWERS: tuple[protocol.Answer, ...] = (
    protocol.SupervisorStatus(
        *(1, 2.0, "/python", "/program", None, PRELOAD, {"far": PRELOAD}, (PROCESS,)),
        jobs=(protocol.JobStatus("x", 4, 0.5),),
        privsep=(protocol.PrivsepStatus(5, "c", "u", "p", 0.5),),
    ),
    protocol.Loaded(("a",), (), ("b",)),
    protocol.JobEnded(1, "exited with 1", ("a line",)),
    protocol.Done(),
    protocol.Failure("what", "why", "cure", "toys", ("a line",)),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.kind)
def test_requests_arrive_as_they_were(request_: protocol.Request) -> None:
    line = protocol.encode_request(request_)
    assert line.count(b"\n") == 1
    assert protocol.decode_request(line) == request_


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda a: a.kind)
def test_answers_arrive_as_they_were(answer: protocol.Answer) -> None:
    assert protocol.decode_answer(protocol.encode_answer(answer)) == answer


def test_each_has_a_case_here() -> None:
    assert {type(one) for one in REQUESTS} == set(get_args(protocol.Request))
    assert {type(one) for one in ANSWERS} == set(get_args(protocol.Answer))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"{", "it is not JSON: Expecting property name"),
        (b"[]", "no verb None"),
        (b'{"version": 1}', "no verb None"),
        (b'{"verb": "explode", "version": 1}', "no verb 'explode'"),
        (b'{"verb": ["stop"], "version": 1}', "no verb"),
        (b'{"verb": "stop", "version": 1, "what": 1}', "Stop has no field what"),
        (b'{"verb": "stop", "version": 1, "names": "a"}', "Stop.names: 'a' is not list or tuple"),
        (b'{"verb": "stop", "version": 1, "names": [1]}', r"Stop.names\[0\]: 1 is not str"),
        (b'{"verb": "pause", "version": 1}', "missing .* 'names'"),
        (b'{"verb": "wait", "version": 1, "seconds": true}', "Wait.seconds: True is not int"),
    ],
)
def test_what_is_not_understood(raw: bytes, why: str) -> None:
    with pytest.raises(protocol.BadRequest, match="does not understand the request") as caught:
        protocol.decode_request(raw)
    assert re.search(why, caught.value.failure.why)


@pytest.mark.parametrize("version", [{}, {"version": 2}])
def test_a_request_of_another_version(version: dict[str, int]) -> None:
    with pytest.raises(protocol.BadRequest) as caught:
        protocol.decode_request(json.dumps({"verb": "start", **version}).encode())
    assert "another version of onestack" in caught.value.failure.what
    assert "onestack up" in caught.value.failure.cure


def test_every_version_can_end_a_supervisor() -> None:
    assert json.loads(protocol.encode_request(protocol.Shutdown())) == {"verb": "shutdown"}
    for version in ({}, {"version": 7}):
        line = json.dumps({"verb": "shutdown", **version}).encode()
        assert protocol.decode_request(line) == protocol.Shutdown()


@contextmanager
def another(place: Path, answer: object) -> Iterator[Client]:
    """The client of a supervisor of another version, which answers anything with that.

    As JSON, or as the bytes it is.
    """
    cloud = Cloud("other", place)
    (cloud.run / "supervisor").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(cloud.run / "supervisor" / "control.sock"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                raw = (
                    json.dumps(answer).encode() + b"\n" if not isinstance(answer, bytes) else answer
                )
                connection.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Client(cloud)
        thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        {
            "error": {
                "what": "the supervisor does not understand the request",
                "why": "",
                "cure": "",
            }
        },
        {"version": 2, "kind": "status", "more": 1},
        {"version": 1, "kind": "status", "more": 1},
        {"version": 1, "kind": "statuses"},
        {"version": 1},
        {"version": 1, "kind": ["status"]},
        ["status"],
    ],
    ids=[
        "before versions",
        "a later one",
        "other fields",
        "another kind",
        "no kind",
        "no word",
        "no object",
    ],
)
def test_the_answer_of_another_version(tmp_path: Path, answer: object) -> None:
    """Also where a number was forgotten: it had been a traceback."""
    with another(tmp_path, answer) as client, pytest.raises(OtherVersion, match="another version"):
        client.details()


def test_an_answer_that_broke_off(tmp_path: Path) -> None:
    whole = protocol.encode_answer(ANSWERS[0])
    with (
        another(tmp_path, whole[:-5]) as client,
        pytest.raises(OnestackError, match="the supervisor ended during `status`"),
    ):
        client.details()


def test_the_number_is_of_what_is_spoken() -> None:
    """Whoever changes a field here gives `VERSION` another number, and then its digest."""
    said: list[object] = [[state.value for state in State]]
    for name, one in sorted(vars(protocol).items()):
        if dataclasses.is_dataclass(one) and isinstance(one, type):
            said.append([name, getattr(one, "kind", None)])
            said += [
                (f.name, f.type, *([repr(f.default)] if f.default is not MISSING else []))
                for f in dataclasses.fields(one)
            ]
    digest = hashlib.sha256(json.dumps(said).encode())
    assert (protocol.VERSION, digest.hexdigest()[:16]) == (1, "e6474bbdb4d98237")


def test_one_of_before_versions_is_ended(tmp_path: Path) -> None:
    with another(tmp_path, {"done": {}}) as client:
        client.shutdown()


def ask(client: Client, line: bytes) -> protocol.Answer:
    with client._connect() as connection:
        connection.sendall(line + b"\n")
        return protocol.decode_answer(connection.makefile("rb").readline())


@needs_root
def test_a_supervisor_says_what_is_wrong_and_goes_on(bench: Bench) -> None:
    client = bench.launch(toy("a"))
    for line, what in (
        (b"nonsense", "does not understand"),
        (b'{"verb": "start"}', "another version"),
        (b'{"verb": "start", "version": 1, "names": ["b"]}', "there is no process 'b'"),
    ):
        answer = ask(client, line)
        assert isinstance(answer, protocol.Failure)
        assert what in answer.what
    with pytest.raises(OnestackError, match="there is no process 'b'") as caught:
        client.start(["b"])
    assert caught.value.why == "there are: a"
    client.start()
    client.wait(seconds=5)


@needs_root
def test_a_defect_in_a_verb_is_called_one(bench: Bench) -> None:
    """A KeyError of ours had been answered as a process that there is not, and logged nowhere."""
    client = bench.launch(toy("a"), preload=("toys", "breaks_a_verb"))
    client.start()
    client.wait(seconds=5)
    with pytest.raises(OnestackError) as caught:
        client.load()
    assert caught.value.what == "an error of onestack's own in the supervisor's 'load'"
    assert caught.value.why == "KeyError: 'b'"
    assert str(bench.cloud.log / "supervisor.log") in caught.value.cure
    log = bench.log("supervisor")
    assert "a defect in the verb load:\nTraceback" in log
    assert "breaks_a_verb.py" in log
    assert [s.name for s in client.status()] == ["a"]
