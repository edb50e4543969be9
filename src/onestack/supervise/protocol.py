"""What the supervisor and its clients say to each other, in JSON lines over its control socket.

A client sends one request a line, ``{"verb": …, "version": …, …}``. Answers are lines
``{"version": …, "kind": …, …}``: `Done`, `Failure` or one of the request's own, one for
each request. Both ends use this module.

`Shutdown` carries no version, and the end of the connection is its answer: a program of
any version can end the supervisor of any other, and start its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from onestack.model.codec import TAG, Malformed, from_plain, to_plain
from onestack.model.process import SERVICES
from onestack.supervise.states import State

VERSION = 1
"""Changes with every change of what is here: a test holds what belongs to which."""

# -- requests --------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """Answered by `SupervisorStatus`."""

    kind: ClassVar[str] = "status"
    names: tuple[str, ...] | None = None
    """Of those that there are among them, whose files are looked at anew; else of all."""


@dataclass(frozen=True)
class Load:
    """Read the roster again. Answered by `Loaded`."""

    kind: ClassVar[str] = "load"


@dataclass(frozen=True)
class Start:
    kind: ClassVar[str] = "start"
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Stop:
    """Answered when all of them are down."""

    kind: ClassVar[str] = "stop"
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Pause:
    """Stop them, their sockets kept open; answered at once."""

    kind: ClassVar[str] = "pause"
    names: tuple[str, ...]


@dataclass(frozen=True)
class Restart:
    kind: ClassVar[str] = "restart"
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Wait:
    """Answered when all of them are ready, or one never will be."""

    kind: ClassVar[str] = "wait"
    names: tuple[str, ...] | None = None
    seconds: float = 60.0


@dataclass(frozen=True)
class RunJob:
    """Call ``module:function(arguments)`` once. Answered by `JobEnded`."""

    kind: ClassVar[str] = "job"
    log: str
    """The job's name, and its log file's."""
    run: str
    user: str
    arguments: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    environment: str = SERVICES
    seconds: float = 0.0
    """Killed after that long; 0: never."""


@dataclass(frozen=True)
class Shutdown:
    """Stop everything in order, then end."""

    kind: ClassVar[str] = "shutdown"


Request = Status | Load | Start | Stop | Pause | Restart | Wait | RunJob | Shutdown

# -- answers ---------------------------------------------------------------


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    component: str
    state: State
    pid: int | None
    since: float
    """Seconds it has been in this state."""
    sentence: str
    restarts: int
    stale: bool
    """It runs with another configuration than it would get when restarted."""
    took: float | None = None
    """Seconds its last start took until it was ready."""
    services: tuple[str, ...] = ()
    """Further services that run in it."""

    @property
    def inside(self) -> str:
        """The sentence's end where there is more than one service in it."""
        return f", with {' and '.join(self.services)} in it" if self.services else ""


@dataclass(frozen=True)
class PreloadStatus:
    """Of the supervisor's imports, or a zygote's."""

    sentence: str = "not started"
    done: bool = False
    seconds: float = 0.0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobStatus:
    name: str
    pid: int
    since: float
    """Seconds it has been running."""


@dataclass(frozen=True)
class PrivsepStatus:
    """A privileged daemon of a process."""

    pid: int
    context: str
    user: str
    process: str
    since: float
    """Seconds it has been running."""


@dataclass(frozen=True)
class SupervisorStatus:
    kind: ClassVar[str] = "status"
    pid: int
    since: float
    """Seconds it has been running."""
    python: str
    program: str
    """The directory that has our package."""
    netns: str | None
    preload: PreloadStatus
    zygotes: dict[str, PreloadStatus]
    processes: tuple[ProcessStatus, ...]
    jobs: tuple[JobStatus, ...]
    privsep: tuple[PrivsepStatus, ...]


@dataclass(frozen=True)
class Loaded:
    """What a new roster changed."""

    kind: ClassVar[str] = "loaded"
    added: tuple[str, ...]
    removed: tuple[str, ...]
    stale: tuple[str, ...]
    """Those that want a restart."""


@dataclass(frozen=True)
class JobEnded:
    kind: ClassVar[str] = "job"
    code: int
    how: str
    """Such as ``exited with 1 after 0.3 s``."""
    lines: tuple[str, ...]
    """The last of its log."""


@dataclass(frozen=True)
class Done:
    kind: ClassVar[str] = "done"


@dataclass(frozen=True)
class Failure:
    """As an `onestack.model.errors.OnestackError`, with the process that is the cause."""

    kind: ClassVar[str] = "error"
    what: str
    why: str = ""
    cure: str = ""
    component: str = ""
    lines: tuple[str, ...] = ()
    """The last of the process's log."""


Answer = SupervisorStatus | Loaded | JobEnded | Done | Failure

# -- lines -----------------------------------------------------------------


class BadRequest(Exception):
    """A request that cannot be carried out; ``failure`` is the answer to it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


class WrongVersion(ValueError):
    """An answer that is not of this version of the protocol."""


def encode_request(request: Request) -> bytes:
    fields = to_plain(request)
    head: dict[str, Any] = {"verb": fields.pop(TAG)}
    if not isinstance(request, Shutdown):
        head["version"] = VERSION
    return _line(head | fields)


def decode_request(line: bytes) -> Request:
    """Raises `BadRequest`."""
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise BadRequest(_not_understood(f"it is not JSON: {error}")) from None
    verb = raw.pop("verb", None) if isinstance(raw, dict) else None
    wanted = _REQUESTS.get(verb) if isinstance(verb, str) else None
    if wanted is None:
        raise BadRequest(_not_understood(f"there is no verb {verb!r}"))
    version = raw.pop("version", None)
    if wanted is not Shutdown and version != VERSION:
        raise BadRequest(
            Failure(
                "the supervisor is of another version of onestack",
                f"it speaks version {VERSION} of its protocol, and was asked in "
                + (f"version {version}" if version else "one without a number"),
                "run `onestack up`, which replaces it",
            )
        )
    try:
        return from_plain(wanted, raw)
    except Malformed as error:
        raise BadRequest(_not_understood(str(error))) from None


def _not_understood(why: str) -> Failure:
    return Failure("the supervisor does not understand the request", why)


def encode_answer(answer: Answer) -> bytes:
    return _line({"version": VERSION, **to_plain(answer)})


def decode_answer(line: bytes) -> Answer:
    """Raises `WrongVersion`, also for what says it is of this one and is not as it is here."""
    try:
        raw = json.loads(line)
    except ValueError:
        raise WrongVersion from None
    if not isinstance(raw, dict) or raw.pop("version", None) != VERSION:
        raise WrongVersion
    wanted = _ANSWERS.get(str(raw.pop(TAG, None)))
    if wanted is None:
        raise WrongVersion
    try:
        return from_plain(wanted, raw)
    except Malformed:
        raise WrongVersion from None


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


_REQUESTS: dict[str, type[Request]] = {one.kind: one for one in get_args(Request)}
_ANSWERS: dict[str, type[Answer]] = {one.kind: one for one in get_args(Answer)}
