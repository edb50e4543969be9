"""Show the last lines of the logs of all processes, of a component, or of one process."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from onestack.cli import on_hosts, output
from onestack.cli.options import cloud_of, cloud_options, host_option
from onestack.cli.select import HELP, roster, select
from onestack.model.errors import BadAnswers
from onestack.supervise.logs import last_lines

PAUSE = 0.3
"""Seconds between two looks at files that are followed."""
OTHERS = ("supervisor", "onestack")
"""Logs that are not a process's: the supervisor's own, and that of failures of ours."""


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    host_option(parser)
    parser.add_argument("what", nargs="?", metavar="COMPONENT[/PROCESS]", help=HELP)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("-n", "--lines", type=int, default=20, help="so many (default: 20)")


def run(args: argparse.Namespace) -> int:
    return on_hosts.run("logs", args, here, words)


def words(args: argparse.Namespace) -> Iterator[str]:
    """As another host is asked the same. Raises `BadAnswers`."""
    if args.follow:
        raise BadAnswers(
            "--follow does not go with --host",
            "a host answers once; nothing is kept open to it that could go on",
            f"on that host: onestack logs --follow {args.what or ''}".rstrip(),
        )
    yield f"--lines={args.lines}"
    if args.what:
        yield args.what


def here(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    processes = roster(cloud).processes
    if args.what in OTHERS:
        names = [args.what]
    elif args.what:
        names = [p.name for p in select(processes, args.what)]
    else:
        names = [p.name for p in processes]
    logs = {name: cloud.log / f"{name}.log" for name in names}
    width = max(map(len, logs)) if len(logs) > 1 else 0
    ends = {name: size(path) for name, path in logs.items()}
    for name, path in logs.items():
        for line in last_lines(path, args.lines):
            show(name, line, width)
    if args.follow:
        try:
            for name, line in follow(logs, ends):
                show(name, line, width)
        except KeyboardInterrupt:
            pass
    return 0


def show(name: str, line: str, width: int) -> None:
    output.say(f"{name:<{width}} | {line}" if width else line)


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def follow(logs: dict[str, Path], ends: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Whole lines as they are added, from byte ``ends`` on; a log that was cut begins anew."""
    rest = dict.fromkeys(logs, b"")
    while True:
        for name, path in logs.items():
            now = size(path)
            if now < ends[name]:
                ends[name], rest[name] = 0, b""
            if now == ends[name]:
                continue
            with path.open("rb") as file:
                file.seek(ends[name])
                added = file.read(now - ends[name])
            ends[name] += len(added)
            *lines, rest[name] = (rest[name] + added).split(b"\n")
            for line in lines:
                yield name, line.decode(errors="replace")
        time.sleep(PAUSE)
