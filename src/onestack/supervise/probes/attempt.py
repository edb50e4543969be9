"""Trying a probe of whatever kind, once."""

from __future__ import annotations

from dataclasses import dataclass, field

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
from onestack.supervise.probes import agent, api, connect, exec, file, http
from onestack.supervise.probes.base import ProbeResult, Unreachable, Wrong
from onestack.supervise.probes.listings import Listings
from onestack.supervise.probes.tokens import Tokens


@dataclass(frozen=True)
class Attempts:
    """All of one prober: what they have in common."""

    tokens: Tokens = field(default_factory=Tokens)
    listings: Listings = field(default_factory=Listings)

    def try_once(
        self, probe: Probe, timeout: float, age: float = 0.0, born: float = 0.0
    ) -> ProbeResult:
        """Within ``timeout`` seconds.

        A listing of agents may be ``age`` seconds old; the process was started at ``born``,
        in seconds since the epoch.
        """
        try:
            return ProbeResult(True, self._try(probe, timeout, age, born) or "")
        except Unreachable as error:
            return ProbeResult(False, str(error), unreachable=True)
        except Wrong as error:
            return ProbeResult(False, str(error))

    def _try(self, probe: Probe, timeout: float, age: float, born: float) -> str | None:
        match probe:
            case ConnectProbe():
                connect.attempt(probe, timeout)
            case HttpProbe():
                http.attempt(probe, timeout)
            case ApiProbe():
                return api.attempt(probe, self.tokens, timeout)
            case AgentProbe():
                return agent.attempt(probe, self.tokens, self.listings, timeout, age, born)
            case ExecProbe():
                exec.attempt(probe, timeout)
            case FileProbe():
                file.attempt(probe)
            case NotifyProbe():
                raise Wrong("it has not said yet that it is ready")
        return None
