"""onestack and a conventional cloud, asked the same in one run: both figures and their ratio.

A figure comes with what it is made of, so that the worst ones are not only known but explained:
seconds of a step for what takes steps, MiB of a process for memory, and for what users ask
how long each process computed meanwhile (the rest of the time is waiting).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.conventional.cloud import Conventional
from bench.conventional.place import Place
from bench.conventional.web import web
from bench.figures import (
    Spent,
    called,
    cpu,
    processes,
    pss,
    pss_by_name,
    spent,
    timed,
    without_guests,
)
from onestack.host import kvm
from onestack.model.cloud import CACHE
from tests.support.clouds import CloudUnderTest

USES = Path(__file__).with_name("uses.py")
PYTHON = "/usr/bin/python3"
MIGRATED = "up from nothing, migrations run"
DUMPED = "up from nothing, schema dumps"
AGAIN = "up again, nothing to change"
DOWN = "down"
BOOT = "up after down, agents included"
PROCESSES = "processes, idle"
MEMORY = "PSS of all, idle (MiB)"
MEMORY_USED = "PSS of all but guests, used (MiB)"
WORST = 5
SHOWN = 6
"""Of the parts of a figure."""


@dataclass
class Figure:
    """``count`` of what was done for it; ``parts`` in the figure's unit, or seconds of computing
    of all ``count``.
    """

    value: float
    count: int = 1
    parts: Spent = field(default_factory=dict)
    computed: bool = False


Found = dict[str, Figure]
"""By the figure's name."""


class Side(Protocol):
    """A cloud of either kind."""

    def up(self) -> None: ...
    def down(self) -> None: ...
    def boot(self) -> None: ...
    def destroy(self) -> None: ...
    def steps(self) -> Spent:
        """Seconds of each step of the last `up` or `boot`."""

    def pids(self) -> list[int]: ...
    def command(self, *words: str) -> list[str]:
        """To run ``words`` in the cloud's network as its administrator."""


class Onestack:
    """``./onestack`` in a network namespace of its own, with its default answers."""

    def __init__(self, layout: str) -> None:
        answers = (f"CONFIG_NEUTRON_L2_AGENT={layout}",)
        self.cloud = CloudUnderTest(f"bench{layout[:3]}", answers=answers)

    def up(self) -> None:
        self.cloud.up()

    boot = up

    def down(self) -> None:
        self.cloud.onestack("down", timeout=300)

    def destroy(self) -> None:
        if self.cloud.root.exists():
            self.cloud.destroy()

    def steps(self) -> Spent:
        last = json.loads(self.cloud.onestack("blame", "--json").stdout)
        return {step["name"]: step["seconds"] for step in last["steps"]}

    def pids(self) -> list[int]:
        return processes(self.cloud.root)

    def command(self, *words: str) -> list[str]:
        script = f'. {self.cloud.root}/etc/admin-openrc && exec "$@"'
        inside = ("ip", "netns", "exec", self.cloud.prefix)
        return [*inside, "bash", "-c", script, "-", *words]


class Peer:
    """The conventional cloud."""

    def __init__(self, layout: str) -> None:
        place = Place(f"bench{layout[:3]}", layout, kvm.probe().works)
        self.cloud = Conventional(place, web())

    def up(self) -> None:
        self.cloud.up()

    def boot(self) -> None:
        self.cloud.boot()

    def down(self) -> None:
        self.cloud.down()

    def destroy(self) -> None:
        self.cloud.destroy()

    def steps(self) -> Spent:
        return self.cloud.steps.seconds

    def pids(self) -> list[int]:
        return self.cloud.machine.processes()

    def command(self, *words: str) -> list[str]:
        given = [f"{name}={value}" for name, value in self.cloud.place.administrator.items()]
        return self.cloud.machine.inside("env", *given, *words)


def onestack(layout: str, settle: float) -> Found:
    """Of onestack; the image of the guests is in the cache afterwards."""
    side, found = Onestack(layout), Found()
    with _removed(side):
        shutil.rmtree(CACHE / "schemas", ignore_errors=True)
        found[MIGRATED] = _life(side, side.up)
        side.destroy()
        found[DUMPED] = _life(side, side.up)
        found |= _rest(side, settle, lambda: _image(side.cloud))
    return found


def conventional(layout: str, settle: float) -> Found:
    """The same of a conventional cloud. It has no dumps: the first two are one figure."""
    side, found = Peer(layout), Found()
    with _removed(side):
        found[MIGRATED] = found[DUMPED] = _life(side, side.up)
        found |= _rest(side, settle, lambda: None)
    return found


def _rest(side: Side, settle: float, prepare: Callable[[], object]) -> Found:
    found = {AGAIN: _life(side, side.up)}
    found[DOWN] = Figure(timed(side.down))
    found[BOOT] = _life(side, side.boot)
    time.sleep(settle)
    pids = without_guests(side.pids())
    found[PROCESSES] = Figure(len(pids), parts=dict(Counter(map(called, pids)).most_common()))
    found[MEMORY] = Figure(pss(pids), parts=pss_by_name(pids))
    prepare()
    for name, figure in uses(side):
        found[name] = figure
    pids = without_guests(side.pids())
    found[MEMORY_USED] = Figure(pss(pids), parts=pss_by_name(pids))
    return found


def uses(side: Side) -> Iterator[tuple[str, Figure]]:
    """What `bench.uses` tells, and what the cloud's processes did meanwhile."""
    words = side.command(PYTHON, str(USES), str(image()))
    asking = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert asking.stdin and asking.stdout
    with asking:
        before: dict[int, tuple[str, float]] = {}
        for line in asking.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "begin":
                before = cpu(side.pids())
                asking.stdin.write("\n")
            elif word == "end":
                name, seconds, count = rest.rsplit(" ", 2)
                parts = spent(before, cpu(side.pids()))
                yield name, Figure(float(seconds), int(count), parts, computed=True)
    if asking.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {asking.returncode}")


def image() -> Path:
    """The test guest's disk. Raises `SystemExit` where onestack has not made it yet."""
    made = sorted((CACHE / "images").glob("test-guest-*.qcow2"), key=os.path.getmtime)
    if not made:
        raise SystemExit(f"there is no test guest in {CACHE / 'images'}: onestack makes it")
    return made[-1]


def _image(cloud: CloudUnderTest) -> None:
    cloud.onestack("up", "--set", "CONFIG_ONESTACK_IMAGE=y", timeout=900)


def _life(side: Side, action: Callable[[], None]) -> Figure:
    seconds = timed(action)
    steps = dict(sorted(side.steps().items(), key=lambda each: -each[1]))
    return Figure(seconds, parts=steps)


@contextmanager
def _removed(side: Side) -> Iterator[None]:
    """Nothing is there of it before (of a run that was killed), nor afterwards."""
    side.destroy()
    try:
        yield
    finally:
        side.destroy()


def measure(layout: str, rounds: int, settle: float = 60) -> tuple[list[Found], list[Found]]:
    """Of onestack and of a conventional cloud, by turns: a load that comes or goes meets both."""
    ours: list[Found] = []
    peers: list[Found] = []
    for number in range(1, rounds + 1):
        for name, take, into in (
            ("onestack", onestack, ours),
            ("conventional", conventional, peers),
        ):
            load = os.getloadavg()[0]
            print(f"{layout}, round {number}: {name}, load {load:.1f}", file=sys.stderr, flush=True)
            into.append(take(layout, settle))
    return ours, peers


def middle(found: list[Found], name: str) -> float:
    return statistics.median(each[name].value for each in found)


def worse(name: str, ours: list[Found], peers: list[Found]) -> float:
    """How many times as much onestack needs; of a rate, how many times as little it does."""
    one, other = middle(ours, name), middle(peers, name)
    ratio = one / other
    return 1 / ratio if "/s, " in name else ratio


def table(ours: list[Found], peers: list[Found]) -> str:
    names = list(ours[0])
    width = max(map(len, names))
    lines = [f"{'':{width}} {'onestack':>12} {'conventional':>12} {'ratio':>6}"]
    for name in names:
        one, other = middle(ours, name), middle(peers, name)
        figures = f"{_number(one):>12} {_number(other):>12} {one / other:6.2f}"
        lines.append(f"{name:{width}} {figures}")
    return "\n".join(lines)


def worst(ours: list[Found], peers: list[Found], number: int = WORST) -> list[str]:
    """The names of the figures that compare worst for onestack."""
    return sorted(ours[0], key=lambda name: -worse(name, ours, peers))[:number]


def profile(name: str, ours: list[Found], peers: list[Found]) -> str:
    """Where a figure goes, of the last round, the most first."""
    lines = [f"{name}: {worse(name, ours, peers):.2f} times a conventional cloud's"]
    for title, found in (("onestack", ours), ("conventional", peers)):
        figure = found[-1][name]
        shown = list(figure.parts.items())[:SHOWN]
        if not shown:
            continue
        if figure.computed:
            total = sum(figure.parts.values())
            lines.append(f"  {title}: {total:.2f} s of computing for {figure.count} in all")
        else:
            lines.append(f"  {title}: {_number(figure.value)}, of it")
        lines += [f"    {_number(part):>10}  {whose}" for whose, part in shown]
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits that count, of milliseconds as of MiB."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"
