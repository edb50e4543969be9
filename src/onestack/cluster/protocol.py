"""What a machine and a cloud's door say to each other: JSON over TLS, plain data here.

Of the door whoever asks is told who it is (`CA`, `HELLO`), and nothing more without a token or
the certificate of a host. A refusal is an error with its cause and cure, as on a terminal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from onestack.model.account import Account
from onestack.model.codec import from_plain, to_plain
from onestack.model.errors import OnestackError

PORT = 9443
VOLUMES_PORT = 10809
"""NBD's own; a host finds its volumes at this and its number."""
VERSION = 1
"""Of what is said here."""
SERVER = "door.onestack.internal"
"""What the door's certificate is for, whatever address it is reached at."""
PASSAGE = ".passage.onestack.internal"
"""Ends the name of a service behind the door that a host asks for."""
HOST = "urn:onestack:host:"
"""Begins the one name of another kind (a URI) in a host's certificate; its identity follows."""
GUESTS = "guests"
"""What QEMU shows on its host, for its guests: to consoles' proxy, and to another host's."""
LIBVIRT = "libvirt"
"""What libvirtd shows to another host's. What guests run as does not have its key."""
VOLUMES = "volumes"
"""What the controller shows to QEMU on a host that has a volume of its, and that QEMU to it."""
PEERS = (GUESTS, LIBVIRT, VOLUMES)
"""What hosts have certificates for that they show to each other, and not to the door."""
LONGEST = 64 * 1024
"""Bytes of a request."""
LONGEST_ANSWER = 4 << 20
"""Bytes of a host's answer (`Answer`), which alone may be longer: 1 MiB of text, as JSON has it."""
AT_ONCE = 4
"""Questions that a host answers at once; others wait at the door."""
CLOCKS = 5.0
"""Seconds by which two hosts' clocks may differ: nova tells by them who is alive."""

CA = "/v1/ca"
HELLO = "/v1/hello"
REACH = "/v1/reach"
JOIN = "/v1/join"
SELF = "/v1/self"
ADMIT = "/v1/admit"
RENEW = "/v1/renew"
CERTIFY = "/v1/certify"
LEAVE = "/v1/leave"
FOLLOW = "/v1/follow"
ASKED = "/v1/asked"
ANSWER = "/v1/answer"

T = TypeVar("T")


def holder(purpose: str, identity: str) -> str:
    """What stands in the certificate of a host for that one of `PEERS`."""
    return f"{purpose}:{identity}"


@dataclass(frozen=True)
class Hello:
    """``time`` is the controller's, in seconds since 1970."""

    cloud: str
    release: str
    time: float
    version: int = VERSION


@dataclass(frozen=True)
class Reach:
    """Whether the controller gets to the machine that asks: it listens there and says ``word``.

    ``key`` is the SHA-256 of the public key that it joins with.
    """

    token: str
    key: str
    address: str
    port: int
    word: str


@dataclass(frozen=True)
class Join:
    """``request`` is a certificate signing request (PEM): only its key and signature count."""

    token: str
    request: str
    name: str
    address: str
    release: str


@dataclass(frozen=True)
class Renew:
    request: str


@dataclass(frozen=True)
class Certify:
    """``purpose`` is one of `PEERS`; each has a key of its own."""

    purpose: str
    request: str


@dataclass(frozen=True)
class Following:
    """What a host says every few seconds: how far it has followed its controller."""

    revision: str
    """Of what it was last brought up with (`following.revision`); empty: it never was."""
    edition: str
    """Its onestack (`onestack.release.program.edition`)."""
    trying: bool = False
    """Whether it is bringing itself up, and is not heard of until it has."""
    problem: str = ""
    """Why it could not."""
    again: float = 0.0
    """Seconds until it tries once more."""


@dataclass(frozen=True)
class Wanted:
    """What the host should be brought up with by now."""

    revision: str
    edition: str
    """The controller's onestack."""
    renew: bool
    """Whether a certificate of the host's is to be renewed."""


@dataclass(frozen=True)
class Question:
    """A verb that the controller wants run on a host, once: see `cluster.verbs`."""

    id: str
    verb: str
    options: tuple[str, ...]
    seconds: float
    """From now on: after that nobody waits for the answer, and it is not run any more."""


@dataclass(frozen=True)
class Asked:
    """What a host is told when it asks whether there is a question for it."""

    question: Question | None
    pause: float
    """Seconds until it asks again: more where many hosts do."""


@dataclass(frozen=True)
class Answer:
    """What became of a question: how the verb ended, and what it printed."""

    id: str
    code: int
    out: str
    err: str
    cut: bool = False
    """Whether there was more of it than is sent."""


@dataclass(frozen=True)
class Projection:
    """What a host is told of its cloud: of answers and secrets only what its role needs."""

    controller: str
    """The controller's name."""
    address: str
    """Where it is reached."""
    release: str
    answers: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    accounts: dict[str, Account] = field(default_factory=dict, repr=False)
    """Service to the host's own account there."""
    authority: str = ""
    """What the certificates of the cloud's front are by (PEM)."""
    purposes: tuple[str, ...] = ()
    """Those of `PEERS` that the host is to have a certificate for."""
    peers: str = ""
    """What those are by (PEM), and nothing else is."""
    revoked: str = ""
    """Which of them are good no more (PEM)."""


@dataclass(frozen=True)
class Standing:
    """A host, as its cloud has it."""

    cloud: str
    name: str
    number: int
    identity: str
    roles: tuple[str, ...]
    address: str
    certificate: str
    admitted: bool
    projection: Projection


class Refusal(OnestackError):
    """The door says no; it, and not this machine, knows why.

    ``gone``: whoever asks was a host of the cloud, and is none any more.
    """

    def __init__(
        self, what: str, why: str = "", cure: str = "", exit_code: int = 1, gone: bool = False
    ) -> None:
        super().__init__(what, why, cure)
        self.exit_code = exit_code
        self.gone = gone


def said(value: object) -> bytes:
    return json.dumps(to_plain(value)).encode()


def heard(wanted: type[T], raw: bytes) -> T:
    """Raises `ValueError` for what is no ``wanted``."""
    return from_plain(wanted, json.loads(raw))


def refusal(error: OnestackError, gone: bool = False) -> dict[str, Any]:
    """``error`` as the answer of a door; ``gone`` as a `Refusal` has it."""
    found = {"what": error.what, "why": error.why, "cure": error.cure}
    return {"refused": {**found, "exit_code": error.exit_code, "gone": gone}}


def refused(raw: bytes) -> Refusal | None:
    """The refusal that the answer is, if it is one. Raises `ValueError`."""
    told = json.loads(raw).get("refused")
    if told is None:
        return None
    what, why, cure = (str(told[name]) for name in ("what", "why", "cure"))
    return Refusal(what, why, cure, int(told["exit_code"]), bool(told["gone"]))
