"""A cloud: a name and a root directory. Everything else derives from the two."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path

from onestack.model.errors import BadAnswers, OnestackError

DEFAULT_NAME = "onestack"
CACHE = Path("/var/cache/onestack")
"""Shared by all clouds of a machine: release environments, schema dumps, images."""
FORMAT = 1
"""Of all that is kept of a cloud in its root. `onestack.deploy.patches` brings it here."""
UNVERSIONED = "2026.2"
"""The release of every cloud whose state, of format 0, does not say it."""


@dataclass(frozen=True)
class HostRecord:
    """A host's own name, as it was when the cloud was made, and its roles."""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class CloudRecord:
    """What a cloud is, as it stands in ``ROOT/etc/cloud.json``.

    Of a format that this program does not know only ``name``, ``netns`` and ``format`` are read.
    """

    name: str
    netns: str | None
    format: int
    release: str = ""
    hosts: tuple[HostRecord, ...] = ()
    """The one that this is about comes first."""

    @classmethod
    def read(cls, path: Path) -> CloudRecord | None:
        """``None`` where there is no cloud. Raises `OSError`, and `OnestackError`."""
        try:
            raw = json.loads(path.read_text())
            number = int(raw.get("format", 0))
            if number > FORMAT:
                return cls(raw["name"], raw["netns"], number)
            hosts = (HostRecord(h["name"], tuple(h["roles"])) for h in raw.get("hosts", ()))
            release = raw.get("release", UNVERSIONED)
            return cls(raw["name"], raw["netns"], number, release, tuple(hosts))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OnestackError(
                f"{path} does not say which cloud this is",
                f"it is damaged: {type(error).__name__}: {error}",
                "put it back from a copy; it holds format, name, netns, release and hosts",
            ) from None

    @property
    def text(self) -> str:
        """What is written."""
        hosts = [{"name": host.name, "roles": list(host.roles)} for host in self.hosts]
        found = {"format": self.format, "name": self.name, "netns": self.netns}
        return json.dumps({**found, "release": self.release, "hosts": hosts}, indent=1) + "\n"


@dataclass(frozen=True)
class Cloud:
    """Names and places of one cloud.

    ``netns`` is the network namespace it lives in, or ``None`` for the host's
    own. Unix socket paths are limited to 107 bytes, so ``root`` may have 60.
    """

    name: str
    root: Path
    netns: str | None = None

    @classmethod
    def named(
        cls, name: str = DEFAULT_NAME, root: Path | None = None, netns: bool = False
    ) -> Cloud:
        """The cloud called ``name``; a cloud that exists keeps its namespace.

        Raises `BadAnswers` for a name or root that cannot be used, and `OnestackError`
        where what is written down of it is damaged.
        """
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", name):
            raise BadAnswers(
                f"{name!r} cannot be a cloud's name",
                "it becomes part of user, node and device names",
                "use 1 to 12 lower-case letters and digits, a letter first",
            )
        default = DEFAULT_NAME if name == DEFAULT_NAME else f"{DEFAULT_NAME}-{name}"
        root = (root or Path("/var/lib") / default).resolve()
        if len(str(root)) > 60:
            raise BadAnswers(
                f"the root {root} is too long",
                "unix sockets under it must stay below 108 characters",
                "choose a root of at most 60 characters",
            )
        namespace = default if netns else None
        try:
            saved = CloudRecord.read(record_path(root))
        except PermissionError:
            raise BadAnswers(
                f"you may not look into {root}",
                cure="run it as root, or name another root with --root",
            ) from None
        except OSError as error:
            raise BadAnswers(
                f"{root} cannot be a cloud's directory",
                f"{error.filename}: {error.strerror}",
                "name another one with --root",
            ) from None
        if saved:
            if saved.name != name:
                raise BadAnswers(
                    f"{root} holds the cloud {saved.name!r}, not {name!r}",
                    cure=f"use --name {saved.name}, or another --root",
                )
            if netns and not saved.netns:
                raise BadAnswers(
                    f"the cloud {name!r} already runs outside a namespace",
                    cure="leave --netns out, or destroy the cloud first",
                )
            namespace = saved.netns
        return cls(name, root, namespace)

    @property
    def prefix(self) -> str:
        """``onestack``, or ``onestack-NAME``: begins every host-wide name."""
        return DEFAULT_NAME if self.name == DEFAULT_NAME else f"{DEFAULT_NAME}-{self.name}"

    @property
    def record(self) -> CloudRecord | None:
        """What is written down of it; ``None`` before it is made. Raises as `CloudRecord.read`."""
        return CloudRecord.read(record_path(self.root))

    @property
    def address_file(self) -> Path:
        """Where its front's address stands, once there was one."""
        return self.etc / "public-address"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def loopback(self) -> str:
        """The cloud's own address in 127.0.0.0/8, for all that is internal."""
        if self.name == DEFAULT_NAME:
            return "127.77.0.1"
        digest = hashlib.sha256(self.name.encode()).digest()
        number = (127 << 24) | (78 << 16) | (digest[0] << 8) | (digest[1] | 1)
        return str(ipaddress.IPv4Address(number))

    def user(self, component: str) -> str:
        """The unprivileged system user (and group) of a component."""
        return f"{self.prefix}-{component}"

    def device(self, base: str) -> str:
        """A network device's name: as upstream's, unless it would clash.

        A cloud in a namespace of its own, and the default cloud, use the
        plain name (``br-ex``); others get ``br-ex-NAME`` cut to 15 bytes.
        """
        if self.netns or self.name == DEFAULT_NAME:
            return base
        return f"{base}-{self.name}"[:15]


def record_path(root: Path) -> Path:
    return root / "etc" / "cloud.json"
