"""With upstream's libraries: cheroot under `wsgi`, and real privsep daemons.

Needs the services' environment of the release; ``ONESTACK_TEST_SERVICES``
names another one.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onestack.kernel import proc
from onestack.model.process import HttpProbe, Process, ZygoteSpec
from onestack.release.release import release
from onestack.supervise.states import State
from tests.unit.supervise.bench import HERE, SOURCE, Bench, needs_root, until

SERVICES = Path(os.environ.get("ONESTACK_TEST_SERVICES", release().services.place))
PIECE = b"x" * 65536

pytestmark = [
    needs_root,
    pytest.mark.skipif(not (SERVICES / "bin" / "python").exists(), reason=f"no {SERVICES}"),
]


@pytest.fixture
def upstream(bench: Bench) -> Bench:
    """Its supervisor runs in the services' environment, on a copy that everybody can read."""
    program = bench.root / "program"
    shutil.copytree(SOURCE / "onestack", program / "onestack", symlinks=True)
    shutil.copy(HERE / "upstream_toys.py", program)
    bench.python, bench.path = SERVICES / "bin" / "python", str(program)
    return bench


class Web:
    def __init__(self, bench: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.bench = bench
        self.client = bench.launch(
            Process(
                name="web",
                component="toys",
                user="nobody",
                run="upstream_toys:web",
                sockets={
                    "tcp": f"tcp:127.0.0.1:{self.port}",
                    "unix": f"unix:{bench.root}/web.sock",
                },
                probe=HttpProbe(f"http://127.0.0.1:{self.port}/"),
            ),
            preload=("cheroot.wsgi", "upstream_toys"),
        )
        self.client.start()
        self.client.wait(seconds=20)

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(
        self, path: str, connection: http.client.HTTPConnection | None = None, **more: Any
    ) -> tuple[int, Any]:
        connection = connection or self.connection()
        connection.request("PUT" if more else "GET", path, **more)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def peak(self) -> int:
        """Kilobytes of memory it ever had."""
        pid = self.bench.status("web").pid
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])


@pytest.fixture
def web(upstream: Bench) -> Web:
    return Web(upstream)


def pieces(number: int) -> Iterator[bytes]:
    for _ in range(number):
        yield PIECE


def test_bodies_stream_whether_read_or_not(web: Web) -> None:
    number = 1600
    size = number * len(PIECE)  # 100 MiB
    before = web.peak()
    for headers in ({}, {"Content-Length": str(size)}):
        kept = web.connection()
        code, answer = web.ask("/read", kept, body=pieces(number), headers=headers)
        assert (code, answer["size"]) == (200, size)
        code, answer = web.ask("/refuse", kept, body=pieces(number), headers=headers)
        assert (code, answer["size"]) == (401, 0)
        # what was left of it is not taken for the next request
        assert web.ask("/after", kept)[1]["path"] == "/after"
    assert web.peak() - before < 20_000


def test_idle_connections_hold_no_thread(web: Web) -> None:
    idle = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(20)]
    began = time.monotonic()
    assert web.ask("/")[0] == 200
    assert time.monotonic() - began < 2
    for connection in idle:
        connection.close()
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(str(web.bench.root / "web.sock"))
        local.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        assert local.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_restart_under_load_loses_no_request(web: Web) -> None:
    answers: list[int] = []
    lost: list[Exception] = []
    enough = threading.Event()

    def load() -> None:
        while not enough.is_set():
            try:
                answers.append(web.ask("/")[1]["pid"])
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(answers) > 20)
    web.client.restart(["web"])
    web.client.wait(["web"], seconds=20)
    count = len(answers)
    until(lambda: len(answers) > count + 20)
    enough.set()
    for thread in threads:
        thread.join(20)
    assert lost == []
    assert len(set(answers)) == 2
    # what is beside it ended and began with it
    beside = [line for line in web.bench.log("web").splitlines() if line.startswith("beside")]
    assert beside == ["beside: started", "beside: stopped", "beside: started"]


def test_who_was_let_in_before_the_end_is_answered(web: Web) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=5) as late:
        assert web.ask("/")[0] == 200  # so it is let in by now
        ending = threading.Thread(target=web.client.stop, args=(["web"],))
        ending.start()
        web.bench.until_state("web", State.STOPPING)
        time.sleep(0.15)
        late.sendall(b"GET /late HTTP/1.0\r\n\r\n")
        assert late.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
        ending.join(10)


def test_term_ends_it_though_upstream_swallows_the_signal(web: Web) -> None:
    got: list[Any] = []
    slow = threading.Thread(target=lambda: got.append(web.ask("/slow?0.5")))
    slow.start()
    time.sleep(0.1)
    began = time.monotonic()
    web.client.stop(["web"])
    assert 0.2 < time.monotonic() - began < 4
    slow.join(5)
    assert got[0][0] == 200
    assert "upstream's own handler" in web.bench.log("web")
    web.client.start()
    web.client.wait(seconds=20)

    def cut_off() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            web.ask("/slow?30")
        got.append("cut off")

    slow = threading.Thread(target=cut_off)
    slow.start()
    time.sleep(0.1)
    began = time.monotonic()
    web.client.stop(["web"])
    assert time.monotonic() - began < 6
    slow.join(5)
    assert got[-1] == "cut off"


@pytest.mark.parametrize("zygote", ["", "net"])
def test_privileged_calls_of_an_unprivileged_user(upstream: Bench, zygote: str) -> None:
    root = upstream.root
    (root / "etc").mkdir(exist_ok=True)
    config = root / "etc" / "toy.conf"
    config.write_text("[DEFAULT]\n")
    file = root / "facts"
    file.touch()
    file.chmod(0o666)
    helper = Path(upstream.path) / "onestack" / "runtime" / "privsep-helper"
    place = root / "run" / "supervisor" / "privsep.sock"
    name = f"toys-{root.name[-8:].replace('_', 'x')}"
    spec = Process(
        name="priv",
        component="toys",
        user="nobody",
        run="upstream_toys:privileged",
        zygote=zygote,
        arguments={
            "helper": f"{helper} {place} --config-file {config}",
            "namespace": name,
            "file": str(file),
        },
    )
    client = upstream.launch(
        spec,
        preload=("oslo_log.log", "oslo_privsep.daemon", "upstream_toys"),
        zygotes={
            "net": ZygoteSpec(
                ("neutron.privileged.agent.linux.ip_lib", "os_brick.privileged.rootwrap")
            )
        },
        privsep={
            "nobody": ("neutron.privileged.namespace_cmd", "os_brick.privileged.default"),
        },
    )
    client.start()
    facts = json.loads(until(file.read_text, 60))
    assert facts == {"uid": 65534, "there": True, "root": "0"}
    until(lambda: len(client.details().privsep) == 1)  # the other one's client closed it
    (daemon,) = client.details().privsep
    assert (daemon.context, daemon.user, daemon.process) == (
        "os_brick.privileged.default",
        "nobody",
        "priv",
    )
    stat = proc.stat(daemon.pid)
    assert stat and stat.parent == client.details().pid
    client.stop(["priv"])
    until(lambda: not client.details().privsep)
    assert client.details().preload.problems == ()


def test_rules_are_loaded_before_threads_begin() -> None:
    """Also those of enforcers that only a controller holds."""
    program = """
from oslo_config import cfg
from oslo_policy import policy
from onestack.runtime import policies
conf = cfg.ConfigOpts()
conf([])
class Controller:
    def __init__(self, name):
        self.policy = policy.Enforcer(conf)
        self.policy.register_default(policy.RuleDefault(name, "role:admin"))
controllers = [Controller("images:get"), Controller("images:add")]
assert not any(c.policy.rules for c in controllers)
policies.load()
print(*(name for c in controllers for name in c.policy.rules))
"""
    done = subprocess.run(
        [SERVICES / "bin" / "python", "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["images:get", "images:add"]


def test_threads_follow_the_workers_that_were_asked_for() -> None:
    program = "from onestack.runtime import wsgi; print(wsgi.scaled(8), wsgi.scaled(4))"
    for workers, threads in (("", "8 4"), ("1", "4 2"), ("6", "24 12")):
        done = subprocess.run(
            [SERVICES / "bin" / "python", "-c", program],
            env={
                **os.environ,
                "PYTHONPATH": str(SOURCE),
                **({"ONESTACK_SERVICE_WORKERS": workers} if workers else {}),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.strip() == threads
