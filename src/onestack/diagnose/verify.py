"""Whether the cloud does what it is there for: asked as its users ask, at its public addresses."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from keystoneauth1.exceptions import ClientException
from keystoneauth1.session import Session

from onestack.cloudapi.session import new_session
from onestack.components.public import endpoints, pages
from onestack.components.tempest.inside.results import Results
from onestack.components.tempest.runner import take
from onestack.components.tempest.selection import Selection
from onestack.diagnose import preflight
from onestack.engine.progress import Listener, Progress
from onestack.engine.runner import Runner, StepsFailed
from onestack.engine.step import Step
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.findings import refusals
from onestack.model.process import AgentProbe, ApiProbe, HttpProbe, Probe
from onestack.network import demo
from onestack.supervise.probes import agent
from onestack.supervise.probes.base import Wrong
from onestack.supervise.probes.listings import entries_of
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.states import State

TIMEOUT = 30.0
"""Seconds for one answer."""


@dataclass(frozen=True)
class Check:
    """``said`` is what came of it."""

    what: str
    ok: bool
    said: str


def checks(ctx: Context, processes: Sequence[ProcessStatus]) -> Iterator[Check]:
    """Each question and its answer, in seconds altogether. Changes nothing.

    In the network of the calling thread, which must be the cloud's.
    """
    yield from _processes(processes)
    session = _session(ctx)
    token = _asked("a token", lambda: session.get_token() and "given")
    yield token
    if token.ok:
        yield from _endpoints(ctx, session)
        yield from _agents(ctx, session)
        if ctx.offers("network"):
            yield from _public_networks(ctx, session)
    for title, url in pages(ctx).items():
        yield _asked(title, lambda url=url: _page(session, url))  # type: ignore[misc]
    examined = preflight.asked(ctx, "how it is", lambda component: component.health_checks(ctx))
    for finding in refusals(examined):
        yield Check("what services do", False, "; ".join(filter(None, (finding.what, finding.why))))


def _session(ctx: Context) -> Session:
    return new_session(ctx, ctx.public_url("identity"), timeout=TIMEOUT, verify=str(ctx.authority))


def _asked(what: str, question: Callable[[], object]) -> Check:
    began = time.monotonic()
    try:
        said = str(question())
    except (ClientException, Wrong, ValueError, KeyError) as error:
        return Check(what, False, str(error) or type(error).__name__)
    return Check(what, True, f"{said} ({(time.monotonic() - began) * 1000:.0f} ms)")


def _page(session: Session, url: str) -> int:
    """Its certificate is a matter of browsers: one of the operator's is for a name of theirs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unverified HTTPS request")
        return _get(session, url, accept="text/html", authenticated=False, verify=False)


def _get(
    session: Session, url: str, below: int = 300, accept: str = "application/json", **more: bool
) -> int:
    answer = session.get(url, raise_exc=False, headers={"Accept": accept}, **more)
    if answer.status_code >= below:
        raise Wrong(f"{url} answers {answer.status_code}: {answer.text[:120].strip()}")
    return int(answer.status_code)


def _processes(processes: Sequence[ProcessStatus]) -> Iterator[Check]:
    ready = sum(status.state is State.READY for status in processes)
    yield Check("processes", ready == len(processes), f"{ready} of {len(processes)} ready")
    for status in processes:
        if status.state is not State.READY:
            yield Check(f"process {status.name}", False, status.sentence)


def _probes(ctx: Context) -> Iterator[Probe]:
    for declared in ctx.model:
        for process in declared.processes:
            if process.probe:
                yield process.probe


def _urls(ctx: Context) -> Iterator[tuple[str, int]]:
    """What is asked of APIs, and the status below which an answer is a good one."""
    probes = list(_probes(ctx))
    yield from ((probe.url, 300) for probe in probes if isinstance(probe, ApiProbe))
    yield from ((probe.listing, 300) for probe in probes if isinstance(probe, AgentProbe))
    for probe in probes:
        # What the front is asked is about itself.
        if isinstance(probe, HttpProbe) and urlsplit(probe.url).hostname not in (None, ctx.public):
            yield probe.url, 500


def _endpoints(ctx: Context, session: Session) -> Iterator[Check]:
    """What the supervisor asks each service by itself is asked through the TLS front."""
    known: dict[int | None, tuple[str, int]] = {}
    for url, below in _urls(ctx):
        known.setdefault(urlsplit(url).port, (url, below))
    for kind, url in sorted(endpoints(ctx).items()):
        parts = urlsplit(url)
        path, below = "/", 500
        if parts.port in known:
            asks, below = known[parts.port]
            target = urlsplit(asks.replace("{project_id}", session.get_project_id() or ""))
            path = target._replace(scheme="", netloc="").geturl()
        asked = f"{parts.scheme}://{parts.netloc}{path}"
        yield _asked(f"endpoint {kind}", lambda a=asked, b=below: _get(session, a, below=b))  # type: ignore[misc]


def _agents(ctx: Context, session: Session) -> Iterator[Check]:
    probes = [probe for probe in _probes(ctx) if isinstance(probe, AgentProbe)]
    for target in dict.fromkeys(probe.listing for probe in probes):
        try:
            entries = entries_of(json.loads(session.get(target).text))
        except (ClientException, ValueError) as error:
            yield Check(f"agents of {target}", False, str(error))
            continue
        listed = [probe for probe in probes if probe.listing == target]
        for binary in (binary for probe in listed for binary in probe.binaries):
            try:
                # Since when it is alive is the supervisor's matter.
                agent.judge(entries, binary, ctx.host.name, 0.0)
            except Wrong as error:
                yield Check(f"agent {binary}", False, str(error))
            else:
                yield Check(f"agent {binary}", True, "alive")


def _public_networks(ctx: Context, session: Session) -> Iterator[Check]:
    url = f"{endpoints(ctx)['network']}/v2.0/networks"
    try:
        found = session.get(url, params={"router:external": "true"}).json()["networks"]
    except (ClientException, ValueError, KeyError) as error:
        yield Check("public networks", False, str(error))
        return
    if not found and demo.wanted(ctx.answers):
        yield Check("public network", False, "there is none; `onestack up` makes it anew")
    for network in found:
        well = network["status"] == "ACTIVE" and bool(network["subnets"])
        said = network["status"] if network["subnets"] else "it has no subnet"
        yield Check(f"public network {network['name']}", well, said)


def tempest(ctx: Context, wanted: Selection, listeners: Sequence[Listener]) -> Results:
    """Tempest's tests, with what happens told to ``listeners``. Raises as `take` does."""
    taken: list[Results] = []

    def ensure() -> Iterator[Change]:
        yield Change(
            f"run Tempest's tests: {wanted.tests}", lambda: taken.append(take(ctx, wanted))
        )

    try:
        Runner(Progress(listeners)).execute([Step("tempest", "Tempest's tests", ensure)])
    except StepsFailed as failed:
        raise failed.failures[0].error or failed from None
    return taken[0]
