"""Whether a conventional cloud does its work; run inside it, by Python's standard library alone.

    python3 ready.py SECONDS WHAT …

``WHAT`` is ``tcp:PORT``, ``unix:PATH``, ``api:SERVICE/PATH`` (answers a user with a token),
``compute``, ``agents:N`` (N of the network's are alive) or ``volume``. Returns when all of it
is so, and ends with 1 and a line for each that is not when the seconds are over.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.api import Api, Refused

PAUSE = 0.1


def tcp(port: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        return ""


def unix(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return ""


class Looks:
    """Each answers what is missing, or nothing."""

    def __init__(self) -> None:
        self.api = Api()

    def logged_in(self) -> Api:
        if not self.api.token:
            self.api.log_in()
        return self.api

    def answers(self, service_and_path: str) -> str:
        service, _, path = service_and_path.partition("/")
        self.logged_in().get(service, f"/{path}")
        return ""

    def compute(self, _: str) -> str:
        services = self.logged_in().get("compute", "/os-services")["services"]
        return _up({"nova-conductor", "nova-scheduler", "nova-compute"}, services)

    def volume(self, _: str) -> str:
        services = self.logged_in().get("block-storage", "/os-services")["services"]
        pools = self.logged_in().get("block-storage", "/scheduler-stats/get_pools")["pools"]
        missing = "" if pools else "the scheduler knows of no pool"
        return _up({"cinder-scheduler", "cinder-volume"}, services) or missing

    def agents(self, number: str) -> str:
        agents = self.logged_in().get("network", "/agents")["agents"]
        alive = [agent["binary"] for agent in agents if agent["alive"]]
        return "" if len(alive) >= int(number) else f"alive are {alive}"


def _up(wanted: set[str], services: list[dict[str, str]]) -> str:
    left = wanted - {each["binary"] for each in services if each["state"] == "up"}
    return f"not up: {', '.join(sorted(left))}" if left else ""


def main() -> None:
    looks = Looks()
    kinds: dict[str, Callable[[str], str]] = {
        "tcp": tcp,
        "unix": unix,
        "api": looks.answers,
        "compute": looks.compute,
        "volume": looks.volume,
        "agents": looks.agents,
    }
    end = time.monotonic() + float(sys.argv[1])
    left = sys.argv[2:]
    while True:
        said = {}
        for what in left:
            kind, _, rest = what.partition(":")
            try:
                if answer := kinds[kind](rest):
                    said[what] = answer
            except (OSError, http.client.HTTPException, Refused, KeyError) as error:
                said[what] = repr(error)
        left = list(said)
        if not left:
            return
        if time.monotonic() > end:
            raise SystemExit("\n".join(f"{what}: {answer}" for what, answer in said.items()))
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
