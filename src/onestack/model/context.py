"""All that a component is given to answer with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from onestack.model.cloud import Cloud
from onestack.model.component import Component
from onestack.model.declarations import Capability, Job
from onestack.model.declared import Model
from onestack.model.host import Host, Joined, Member, Network
from onestack.model.run import Run

if TYPE_CHECKING:
    from onestack.answers.values import Answers
    from onestack.host.facts import HostFacts
    from onestack.model.secret import Secrets
    from onestack.release.release import Release

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Where a capability is found, from this host: a unix socket, or a port."""

    host: str = ""
    port: int = 0
    socket: Path | None = None
    group: str = ""
    """The unix group that may open the socket, if not everybody may."""

    @property
    def target(self) -> str:
        """As probes and `Process.sockets` write it: ``unix:PATH`` or ``tcp:HOST:PORT``."""
        return f"unix:{self.socket}" if self.socket else f"tcp:{self.host}:{self.port}"

    def __str__(self) -> str:
        return str(self.socket) if self.socket else f"{self.host}:{self.port}"


def in_url(address: str) -> str:
    """``address`` as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


class JobRunner(Protocol):
    """What runs jobs."""

    def run(self, job: Job, user: str, likely: Callable[[str, str], str | None]) -> None:
        """Run ``job`` to its end, as ``user``, or wait for the same one that runs already.

        ``likely`` explains a log. Raises `OnestackError` when it fails.
        """


class NoJobs:
    """Of a context in which nothing is changed."""

    def run(self, job: Job, user: str, likely: Callable[[str, str], str | None]) -> None:
        raise RuntimeError(f"nobody runs the job {job.name} here")


@dataclass(frozen=True)
class Context:
    """All that a component may look at. Nothing here changes during a stage of a run."""

    cloud: Cloud
    answers: Answers
    """``answers["CONFIG_…"]`` gives the typed value."""
    secrets: Secrets
    """``secrets["nova_db"]`` gives a declared secret, made once and kept 0600."""
    host: Host
    """The one that this is about."""
    release: Release
    components: tuple[Component, ...] = ()
    """Those switched on, in order."""
    switched_off: tuple[Component, ...] = ()
    """All others that there are."""
    others: tuple[Host, ...] = ()
    """The cloud's further hosts."""
    members: tuple[Member, ...] = ()
    """On a controller: the hosts that have joined."""
    joined: Joined | None = None
    """On a host that has joined: what it knows of its controller."""
    run: Run = field(default_factory=Run, compare=False)
    """What is made once a run is kept there."""
    jobs: JobRunner = field(default_factory=NoJobs, compare=False)

    @property
    def facts(self) -> HostFacts:
        """The host's."""
        return self.host.facts

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts of the cloud."""
        return (self.host, *self.others)

    def here(self, roles: Iterable[str]) -> bool:
        """Whether this host is one of those that have something for hosts with these roles."""
        return not self.host.roles.isdisjoint(roles)

    @property
    def public(self) -> str:
        """The address at which the TLS front listens: the controller's."""
        return self.joined.controller if self.joined else self.host.addresses[Network.PUBLIC]

    @property
    def internal(self) -> str:
        """The cloud's own loopback address, the same on each host."""
        return self.host.addresses[Network.INTERNAL]

    def filled(self, text: str) -> str:
        """``text`` for people, with what stands in it in braces: see `KnownError`."""
        cloud = self.cloud
        places = {"root": cloud.root, "data": cloud.data, "log": cloud.log}
        known = {**places, "public": self.public, "internal": self.internal}

        def what(found: re.Match[str]) -> str:
            name = found[1]
            return str(known[name]) if name in known else self.answers.shown(name)

        return re.sub(r"{(\w+)}", what, text)

    @cached_property
    def model(self) -> Model:
        """What the components want."""
        return Model(self)

    @cached_property
    def capabilities(self) -> Mapping[str, Capability]:
        """All that is provided by what is on, by name."""
        found = {offer.name: offer for c in self.components for offer in c.provides}
        for feature in (f for c in self.components for f in c.features if f.provides):
            if feature.on(self):
                found |= {offer.name: offer for offer in feature.provides}
        return found

    def offers(self, capability: str) -> bool:
        """Whether something that is on provides it."""
        return capability in self.capabilities

    @cached_property
    def _places(self) -> Mapping[str, Capability]:
        """Of what is switched off too: it may say what it would want."""
        known = (*self.switched_off, *self.components)
        would = {o.name: o for c in known for p in (c, *c.features) for o in p.provides}
        return would | dict(self.capabilities)

    def at(self, capability: str) -> Address:
        """Where it is found, or would be. Raises `KeyError` for one that no component provides."""
        offer = self._places[capability]
        if offer.socket:
            group = self.cloud.user(offer.group) if offer.group else ""
            return Address(socket=self.cloud.run / offer.socket, group=group)
        return Address(self.internal, offer.port)

    def url(self, capability: str) -> str:
        """Where a service is asked by the cloud's own. Raises `KeyError` as `at`."""
        return f"http://{self.at(capability)}{self._places[capability].path}"

    def public_url(self, capability: str) -> str:
        """Where a service of the catalog is asked by people. Raises `KeyError` as `at`."""
        offer = self._places[capability]
        return f"https://{in_url(self.public)}:{offer.port}{offer.path}"

    @property
    def authority(self) -> Path:
        """The certificate (PEM) of the cloud's own authority, for all who verify its front."""
        return self.cloud.etc / "tls" / "ca.pem"

    def run_job(self, job: Job) -> None:
        """Run it to its end, in a run that changes something. Raises `OnestackError`."""
        self.jobs.run(job, self.cloud.user(job.component), self.model.likely)

    def once(self, kind: Callable[[Context], T]) -> T:
        """``kind(ctx)``, worked out when it is first asked for, and then kept."""
        if kind not in self._worked_out:
            self._worked_out[kind] = kind(self)
        return self._worked_out[kind]  # type: ignore[no-any-return]

    @cached_property
    def _worked_out(self) -> dict[Callable[[Context], Any], Any]:
        return {}

    def looking(self) -> Context:
        """The same, for which no new secret is kept."""
        return self.once(_looking)


def _looking(ctx: Context) -> Context:
    return dataclasses.replace(ctx, secrets=ctx.secrets.looking())
