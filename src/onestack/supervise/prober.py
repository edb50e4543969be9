"""The prober: one child that tries whether processes answer, so that the supervisor never waits.

The supervisor sends it JSON lines over a socket pair, and reads results from
it. Threads are welcome here. Requests go by plain `http.client`: no proxy of
anybody's environment, no keep-alive, nothing beside the standard library.

While a process starts it is tried at once, then every 0.1 s, slowing to
0.25 s. A request to a service whose listening socket the supervisor already
holds simply waits in the kernel's queue until the service answers: the edge
itself is waited for. Later each process is tried every 15 s, and every 2 s
while something is wrong.
"""

from __future__ import annotations

import contextlib
import heapq
import http.client
import itertools
import json
import os
import random
import select
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onestack.model.process import Probe

QUICK_FIRST, QUICK_LAST = 0.1, 0.25
SLOW = 15.0
WRONG = 2.0
START_TIMEOUT = 30.0
"""Seconds a request may take while a process starts: it then waits for the service."""
TIMEOUT = 10.0
LISTING = SLOW / 2
"""Seconds for which agents that are ready share a listing."""


class Unreachable(Exception):
    """Nobody accepts the connection."""


class Wrong(Exception):
    """There is an answer, and it is not the one hoped for."""


@dataclass
class Watch:
    """One process under observation."""

    name: str
    generation: int
    probe: Probe
    born: float
    """Wall-clock time at which the process was started."""
    quick: bool = True
    interval: float = QUICK_FIRST
    running: bool = False
    said: tuple[bool, str] | None = None


@dataclass(frozen=True)
class Result:
    ok: bool
    text: str = ""
    """Why not; or, when ok, what is to be known about it."""
    unreachable: bool = False


def try_once(probe: Probe, born: float, token: Tokens, timeout: float) -> Result:
    """Try ``probe`` once."""
    try:
        match probe.kind:
            case "connect":
                _connect(probe.target, timeout).close()
            case "http":
                status, body = _get(probe.target, timeout)
                if status >= 500:
                    raise Wrong(f"GET {probe.target} answers {status}{_excerpt(body)}")
            case "api":
                return _api(probe, token, timeout)
            case "agent":
                return _agent(probe, born, token, timeout)
            case "exec":
                _execute(probe.argv, timeout)
            case "file":
                if not Path(probe.target).exists():
                    raise Wrong(f"{probe.target} is not there yet")
            case _:
                raise Wrong(f"there is no probe {probe.kind!r}")
    except Unreachable as error:
        return Result(False, str(error), unreachable=True)
    except Wrong as error:
        return Result(False, str(error))
    return Result(True)


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:400].decode(errors="replace").split())
    return f": {text[:120]}" if text and not text.startswith("<") else ""


def _connect(target: str, timeout: float) -> socket.socket:
    kind, _, where = target.partition(":")
    try:
        if kind == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            try:
                sock.connect(where)
            except OSError:
                sock.close()
                raise
            return sock
        host, _, port = where.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    except TimeoutError:
        raise Unreachable(f"{target} does not accept within {timeout:.0f} s") from None
    except OSError as error:
        raise Unreachable(f"{target}: {(error.strerror or str(error)).lower()}") from None


class _Connection(http.client.HTTPConnection):
    """Plain HTTP to ``tcp:`` or ``unix:`` targets."""

    def __init__(self, target: str, host: str, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._target = target
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = _connect(self._target, self._seconds)


class _TlsConnection(_Connection):
    """Whether a TLS front answers; who it is, is the clients' matter. No secret is sent."""

    def connect(self) -> None:
        super().connect()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)


def _request(
    url: str,
    timeout: float,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    connection: _Connection
    if url.startswith("unix:"):
        path, _, rest = url.removeprefix("unix:").partition(":")
        connection = _Connection(f"unix:{path}", "localhost", timeout)
    else:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        kind = _TlsConnection if parts.scheme == "https" else _Connection
        connection = kind(f"tcp:{parts.hostname}:{port}", parts.netloc, timeout)
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, rest or "/", body, headers or {})
        response = connection.getresponse()
        content = response.read(8 * 1024 * 1024)
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content
    except TimeoutError:
        raise Wrong(f"{url} does not answer within {timeout:.0f} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Wrong(f"{url}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def _get(url: str, timeout: float, token: str = "") -> tuple[int, bytes]:
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["X-Auth-Token"] = token
    status, _, body = _request(url, timeout, headers=headers)
    return status, body


class Tokens:
    """The prober's own token, fetched when first needed and when it is refused or too old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._identity: dict[str, str] = {}
        self._token = ""
        self._project = ""
        self._until = 0.0

    def configure(self, identity: dict[str, str]) -> None:
        with self._lock:
            if identity != self._identity:
                self._identity, self._token = identity, ""

    @property
    def host(self) -> str:
        return self._identity.get("host") or socket.gethostname()

    def missing(self) -> str | None:
        """Why there cannot be a token yet, or ``None``."""
        file = self._identity.get("file", "")
        if not file or not self._identity.get("auth_url"):
            return "no identity is configured"
        return None if Path(file).exists() else f"{file} is not there yet"

    def refuse(self, token: str) -> None:
        with self._lock:
            if self._token == token:
                self._token = ""

    def get(self, timeout: float) -> tuple[str, str]:
        """Token and project id; raises `Wrong` or `Unreachable`."""
        with self._lock:
            if not self._token or time.monotonic() > self._until:
                self._fetch(timeout)
            return self._token, self._project

    def _fetch(self, timeout: float) -> None:
        try:
            known = json.loads(Path(self._identity["file"]).read_text())
            domain = {"name": known.get("domain", "Default")}
            user = {"name": known["username"], "password": known["password"], "domain": domain}
            project = {"name": known["project_name"], "domain": domain}
        except (OSError, ValueError, KeyError) as error:
            raise Wrong(f"no token: {self._identity['file']}: {error!r}") from None
        request = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }
        }
        url = self._identity["auth_url"].rstrip("/")
        if not url.endswith("/v3"):
            url += "/v3"
        try:
            status, headers, body = _request(
                f"{url}/auth/tokens",
                timeout,
                "POST",
                {"Content-Type": "application/json", "Connection": "close"},
                json.dumps(request),
            )
        except (Unreachable, Wrong) as error:
            raise Wrong(f"no token: {error}") from None
        if status != 201:
            raise Wrong(f"no token: keystone answers {status}{_excerpt(body)}")
        content = json.loads(body)["token"]
        self._token, self._project = headers["x-subject-token"], content["project"]["id"]
        expires = datetime.fromisoformat(content["expires_at"].replace("Z", "+00:00"))
        self._until = time.monotonic() + expires.timestamp() - time.time() - 60


def _with_token(target: str, token: Tokens, timeout: float) -> tuple[str, int, bytes]:
    for _ in (1, 2):
        value, project = token.get(timeout)
        url = target.replace("{project_id}", project)
        status, body = _get(url, timeout, value)
        if status != 401:
            break
        token.refuse(value)
    return url, status, body


def _without_token(probe: Probe, why: str, timeout: float) -> Result:
    """Before the first contents are made there is nobody to ask as: is it there at all?"""
    status, body = _get(probe.target.replace("{project_id}", "none"), timeout)
    if status >= 500:
        raise Wrong(f"GET {probe.target} answers {status}{_excerpt(body)}")
    return Result(True, f"asked without a token: {why}")


def _api(probe: Probe, token: Tokens, timeout: float) -> Result:
    missing = token.missing()
    if missing:
        return _without_token(probe, missing, timeout)
    url, status, body = _with_token(probe.target, token, timeout)
    if not 200 <= status < 300:
        raise Wrong(f"GET {url} answers {status}{_excerpt(body)}")
    return Result(True)


def _agent(probe: Probe, born: float, token: Tokens, timeout: float) -> Result:
    missing = token.missing()
    if missing:
        return _without_token(probe, missing, timeout)
    entries = _listings.get(
        probe.target, token, timeout, LISTING if timeout < START_TIMEOUT else 0.3
    )
    for binary in probe.binary.split():
        judge_agent(entries, binary, token.host, born if probe.fresh else 0.0)
    return Result(True)


class Listings:
    """Agents share their listings: one request serves all that ask within its age."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[float, list[dict[str, Any]]]] = {}

    def get(self, target: str, token: Tokens, timeout: float, age: float) -> list[dict[str, Any]]:
        with self._lock:
            lock = self._locks.setdefault(target, threading.Lock())
        with lock:
            known = self._known.get(target)
            if known and time.monotonic() - known[0] < age:
                return known[1]
            url, status, body = _with_token(target, token, timeout)
            if not 200 <= status < 300:
                raise Wrong(f"GET {url} answers {status}{_excerpt(body)}")
            listing = json.loads(body)
            entries: list[dict[str, Any]] = listing.get("agents", listing.get("services", []))
            self._known[target] = (time.monotonic(), entries)
            return entries


_listings = Listings()


def judge_agent(entries: list[dict[str, Any]], wanted: str, host: str, born: float) -> None:
    """Raises `Wrong` unless that agent of this host is alive and was heard of since ``born``.

    Neutron says ``alive`` and ``heartbeat_timestamp``; nova, cinder and heat
    ``state`` (or ``status``) and ``updated_at``, cinder with a host ``HOST@BACKEND``.
    """
    binary, _, backend = wanted.partition("@")
    own = [
        e
        for e in entries
        if e.get("binary") == binary
        and (
            str(e.get("host", "")) == f"{host}@{backend}"
            if backend
            else str(e.get("host", "")).split("@")[0] == host
        )
    ]
    if not own:
        raise Wrong(f"{wanted} on {host} is not listed yet")
    for entry in own:
        alive = entry.get("alive", entry.get("state", entry.get("status")))
        if alive not in (True, "up"):
            raise Wrong(f"{wanted} on {entry['host']} is listed as not alive")
        heard = entry.get("heartbeat_timestamp") or entry.get("updated_at")
        # Databases cut off fractions: heard of at 6.9 is kept as 6. (In that one second
        # a report of the predecessor counts; some agents report once in 30.)
        if heard and _seconds(heard) < int(born):
            raise Wrong(f"{wanted} was last heard of at {heard}, before it was started")


def _seconds(stamp: str) -> float:
    """An API's time, UTC unless it says otherwise, to seconds since the epoch."""
    moment = datetime.fromisoformat(stamp.strip().replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _execute(argv: tuple[str, ...], timeout: float) -> None:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"{argv[0]} does not end within {timeout:.0f} s") from None
    except OSError as error:
        raise Wrong(f"{argv[0]}: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        tail = f": {lines[-1][:200]}" if lines else ""
        raise Wrong(f"{Path(argv[0]).name} ended with {done.returncode}{tail}")


@dataclass
class Prober:
    """The child's main loop: when to try what."""

    channel: socket.socket
    watches: dict[str, Watch] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        self._due: list[tuple[float, int, str, int]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ended: list[tuple[Watch, Result]] = []

    def run(self) -> int:
        """Until the supervisor is gone."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self._wake_in, select.POLLIN)
        buffer = b""
        while True:
            wait = None
            if self._due:
                wait = max(0.0, self._due[0][0] - time.monotonic()) * 1000
            ready = dict(poll.poll(wait))
            if self.channel.fileno() in ready:
                data = self.channel.recv(65536)
                if not data:
                    return 0
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._order(json.loads(line))
            if self._wake_in in ready:
                os.read(self._wake_in, 4096)
                self._collect()
            self._start_due()

    def _order(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "identity":
                self.tokens.configure(order["identity"])
            case "watch":
                probe = Probe(**{**order["probe"], "argv": tuple(order["probe"]["argv"])})
                watch = Watch(order["name"], order["generation"], probe, order["born"])
                watch.quick = order["quick"]
                self.watches[watch.name] = watch
                self._at(0.0, watch)
            case "drop":
                self.watches.pop(order["name"], None)

    def _at(self, seconds: float, watch: Watch) -> None:
        entry = (time.monotonic() + seconds, next(self._numbers), watch.name, watch.generation)
        heapq.heappush(self._due, entry)

    def _start_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, name, generation = heapq.heappop(self._due)
            watch = self.watches.get(name)
            if watch and watch.generation == generation and not watch.running:
                watch.running = True
                threading.Thread(target=self._try, args=(watch,), daemon=True).start()

    def _try(self, watch: Watch) -> None:
        timeout = START_TIMEOUT if watch.quick else TIMEOUT
        try:
            result = try_once(watch.probe, watch.born, self.tokens, timeout)
        except Exception as error:  # an answer of a shape nobody expected
            result = Result(False, f"the probe failed: {error!r}")
        with self._lock:
            self._ended.append((watch, result))
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_out, b".")

    def _collect(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        for watch, result in ended:
            watch.running = False
            if self.watches.get(watch.name) is not watch:
                continue
            said = (result.ok, result.text)
            if not watch.quick or said != watch.said:
                self._report(watch, result)
            watch.said = said
            if result.ok:
                watch.quick = False
                self._at(SLOW * random.uniform(0.8, 1.2), watch)
            elif watch.quick:
                self._at(watch.interval, watch)
                watch.interval = min(watch.interval * 1.2, QUICK_LAST)
            else:
                self._at(WRONG, watch)

    def _report(self, watch: Watch, result: Result) -> None:
        line = json.dumps(
            {
                "name": watch.name,
                "generation": watch.generation,
                "ok": result.ok,
                "text": result.text,
                "unreachable": result.unreachable,
            }
        )
        with contextlib.suppress(BrokenPipeError):
            self.channel.sendall(line.encode() + b"\n")
