"""One sentence for each process of the cloud. Exit 0: all of them are ready; 1: not all."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from onestack.cli import on_hosts, output
from onestack.cli.options import cloud_of, cloud_options, host_option, json_option, need_cloud
from onestack.cli.select import HELP, roster, select
from onestack.components.door.follower import behind
from onestack.model.process import Process
from onestack.supervise.client import Client, OtherVersion
from onestack.supervise.protocol import ProcessStatus
from onestack.supervise.states import State

COLOURS = {State.READY: "32", State.STARTING: "33", State.WAITING: "33", State.STOPPED: "2"}
"""Of the terminal; all others are red."""
NOT_RUNNING = "is not running: the cloud is down"
OTHER = "runs under another onestack; `onestack up` replaces its supervisor"


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    json_option(parser)
    host_option(parser)
    parser.add_argument("what", nargs="?", metavar="COMPONENT[/PROCESS]", help=HELP)


def run(args: argparse.Namespace) -> int:
    return on_hosts.run("status", args, here, words)


def words(args: argparse.Namespace) -> Iterator[str]:
    """As another host is asked the same."""
    if args.what:
        yield args.what


def here(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    need_cloud(cloud)
    wanted = list(roster(cloud).processes)
    if args.what:
        wanted = select(wanted, args.what)
    supervisor = Client(cloud)
    up = supervisor.running()
    known = statuses(supervisor) if up else {}
    sentence = NOT_RUNNING if known is not None else OTHER
    found = [(known or {}).get(p.name) or untold(p, sentence) for p in wanted]
    ready = all(s.state is State.READY for s in found)
    kept_from = behind(cloud)
    if args.json:
        output.as_json(
            {
                "cloud": cloud.name,
                "root": str(cloud.root),
                "netns": cloud.netns,
                "running": up,
                "ready": ready,
                "behind": kept_from.sentence if kept_from else "",
                "processes": [
                    as_json(s) | ({"state": "UNKNOWN"} if known is None else {}) for s in found
                ],
            }
        )
    else:
        show(found)
        if kept_from:
            output.say(f"\nNot as its controller wants it: {kept_from.sentence}")
        if not up:
            output.say("\nThe cloud is down: `onestack up` starts it.")
    return 0 if ready else 1


def statuses(supervisor: Client) -> dict[str, ProcessStatus] | None:
    """Of all processes, by name; nothing if the supervisor is of another version."""
    try:
        return {s.name: s for s in supervisor.status()}
    except OtherVersion:
        return None


def untold(process: Process, sentence: str) -> ProcessStatus:
    """What is said of a process of which no supervisor tells."""
    return ProcessStatus(
        *(process.name, process.component, State.STOPPED, None, 0.0, sentence, 0, False),
        services=process.services,
    )


def as_json(status: ProcessStatus) -> dict[str, Any]:
    """For scripts; ``state`` is a word in capitals, times are seconds."""
    raw = dataclasses.asdict(status)
    return {**raw, "state": status.state.value.upper(), "since": round(status.since, 1)}


def show(found: list[ProcessStatus]) -> None:
    width = max((len(s.name) for s in found), default=0)
    for status in found:
        name = f"{status.name:<{width}}"
        if sys.stdout.isatty():
            name = f"\033[{COLOURS.get(status.state, '31')}m{name}\033[0m"
        output.say(f"{name}  {status.sentence}{status.inside}")
