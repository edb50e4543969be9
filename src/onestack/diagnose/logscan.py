"""Errors that the cloud's logs hold, each kind once, with the likely cause if one is known.

Understood are the lines of oslo.log (``… PID ERROR module …``), Open vSwitch
and OVN (``…|ERR|…``), MariaDB (``[ERROR]``), RabbitMQ (``[error]``), HAProxy
(``[ALERT]``) and libvirt (``: error :``).
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SCANNED = 4 * 1024 * 1024
"""At most so many bytes from the end of each log."""

_OSLO = re.compile(
    r"^(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d+ (?P<pid>\d+) (?P<level>[A-Z]+) (?P<name>\S+) "
    r"(?:\[[^\]]*\] )?(?P<text>.*)$"
)
_OTHERS = (
    re.compile(
        r"^(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.?\d*Z\|\d+\|(?P<text>.*\|(?:EMER|ERR)\|.*)$"
    ),
    re.compile(r"^(?P<at>\d{4}-\d\d-\d\d +\d{1,2}:\d\d:\d\d) \d+ \[ERROR\] (?P<text>.*)$"),
    re.compile(r"^(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\S* \[(?:error|critical)\] (?P<text>.*)$"),
    re.compile(r"^(?P<at>)\[ALERT\]\s+(?P<text>.*)$"),
    re.compile(r"^(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\S* \d+: error : (?P<text>.*)$"),
)
_CHANGING = re.compile(
    r"req-[0-9a-f-]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+"
    # of swift: transactions, hashes
    r"|\btx[0-9a-f]{21}-[0-9a-f]{10}\b|\b[0-9a-f]{32}\b|\d+"
)
"""What differs between two lines that say the same."""


@dataclass(frozen=True)
class Trouble:
    """One kind of error in one log. ``at`` is when it was last seen, as the log says it."""

    process: str
    component: str
    text: str
    at: str
    times: int
    likely: str | None


@dataclass
class _Record:
    at: str
    text: str
    whole: str
    """With the lines of a traceback that follow."""


def tail(path: Path, count: int = SCANNED) -> Iterator[str]:
    """Whole lines from the last ``count`` bytes; nothing for a file that is not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - count))
            if size > count:
                file.readline()
            for raw in file:
                yield raw.decode(errors="replace").rstrip("\n")
    except OSError:
        return


def records(lines: Iterable[str]) -> Iterator[_Record]:
    """Errors in order; oslo.log repeats its head on each line of a traceback: one record."""
    last: _Record | None = None
    head: tuple[str, ...] = ()
    for line in lines:
        match = _OSLO.match(line)
        if match:
            now = (match["at"], match["pid"], match["name"])
            wrong = match["level"] in ("ERROR", "CRITICAL")
            if wrong and last and now == head:
                last.whole += "\n" + match["text"]
                continue
            if last:
                yield last
            last, head = (
                (_Record(match["at"], match["text"], match["text"]), now)
                if wrong
                else (
                    None,
                    (),
                )
            )
            continue
        for pattern in _OTHERS:
            if match := pattern.match(line):
                if last:
                    yield last
                last, head = None, ()
                yield _Record(match["at"], match["text"], match["text"])
                break
    if last:
        yield last


def scan(
    log: Path,
    processes: Iterable[tuple[str, str]],
    explain: Callable[[str, str], str | None],
    since: datetime.datetime | None = None,
) -> list[Trouble]:
    """The troubles in ``log``/PROCESS.log of ``processes`` (name and component), worst first.

    Those last seen before ``since`` are left out; lines without a time are kept.
    """
    found: list[Trouble] = []
    for process, component in processes:
        kinds: dict[str, list[_Record]] = {}
        for record in records(tail(log / f"{process}.log")):
            if since and _before(record.at, since):
                continue
            kinds.setdefault(_CHANGING.sub("*", record.text)[:200], []).append(record)
        for group in kinds.values():
            newest = group[-1]
            found.append(
                Trouble(
                    process,
                    component,
                    newest.text,
                    newest.at,
                    len(group),
                    explain(component, newest.whole),
                )
            )
    return sorted(found, key=lambda t: (t.likely is None, -t.times))


def _before(at: str, since: datetime.datetime) -> bool:
    try:
        when = datetime.datetime.fromisoformat(re.sub(" +", " ", at))
    except ValueError:
        return False
    # Open vSwitch writes UTC, the others local time.
    zone = datetime.UTC if "T" in at else since.tzinfo
    return when.replace(tzinfo=zone) < since
