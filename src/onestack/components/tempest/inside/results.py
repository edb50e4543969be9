"""What a run of Tempest has found out: kept in a folder of its own, as JSON and for others.

Standard library only: `run` writes it where Tempest is, the program reads it.
"""

from __future__ import annotations

import json
import os
import shutil
import xml.etree.ElementTree as xml
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS, JUNIT, STREAM = "results.json", "junit.xml", "tests.subunit"
ALL_SKIPPED = "each of them was skipped, so that nothing is shown"
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Verdict:
    """``reason`` is all that is known: a traceback, or why it was skipped."""

    name: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""

    @property
    def short(self) -> str:
        return short(self.name)

    @property
    def first_line(self) -> str:
        return first_line(self.reason)


def short(test: str) -> str:
    """The test's name without its marks."""
    return test.partition("[")[0]


@dataclass(frozen=True)
class Results:
    """``taken_with`` says with what: results hold as long as that has not changed."""

    folder: Path
    at: str
    seconds: float
    taken_with: dict[str, Any]
    tests: tuple[Verdict, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Name -> why it was not tried."""

    def of(self, outcome: str) -> list[Verdict]:
        return [test for test in self.tests if test.outcome == outcome]

    @property
    def well(self) -> bool:
        """A run that skipped everything has shown nothing."""
        return bool(self.of(PASSED)) and not self.of(FAILED)

    def to_json(self) -> dict[str, Any]:
        return {
            "well": self.well,
            "at": self.at,
            "seconds": round(self.seconds, 1),
            "results": str(self.folder),
            "taken_with": self.taken_with,
            "counts": {outcome: len(self.of(outcome)) for outcome in (PASSED, FAILED, SKIPPED)},
            "tests": [asdict(test) for test in self.tests],
            "left_out": self.left_out,
        }


def first_line(reason: str) -> str:
    """The sentence of a reason; of a traceback, the exception's."""
    lines = reason.strip().splitlines()
    heads = [n for n, line in enumerate(lines) if line.startswith("Traceback (")]
    if heads:
        rest = lines[heads[-1] + 1 :]
        return next((line for line in rest if line and not line.startswith(" ")), lines[-1])
    return lines[0] if lines else ""


def save(found: Results) -> None:
    """Both files; `RESULTS` comes last, so that it stands for a run that has ended."""
    (found.folder / JUNIT).write_text(junit(found))
    temporary = found.folder / f".{RESULTS}.new"
    temporary.write_text(json.dumps(found.to_json(), indent=1) + "\n")
    os.rename(temporary, found.folder / RESULTS)


def load(folder: Path) -> Results | None:
    """``None`` where a run has not ended, or what it left cannot be read."""
    try:
        raw = json.loads((folder / RESULTS).read_text())
        return Results(
            folder,
            raw["at"],
            raw["seconds"],
            raw["taken_with"],
            tuple(Verdict(**test) for test in raw["tests"]),
            raw["left_out"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept(place: Path) -> Iterator[Results]:
    """The results below ``place``, newest first."""
    folders = sorted(place.iterdir(), reverse=True) if place.is_dir() else []
    for folder in folders:
        if found := load(folder):
            yield found


def tidy(place: Path, last: int, needed: dict[str, Any]) -> None:
    """Remove all but the ``last`` runs, and but the newest that went well with ``needed``."""
    good = next((found for found in kept(place) if found.taken_with == needed and found.well), None)
    for old in sorted(place.iterdir(), reverse=True)[last:]:
        if not good or old != good.folder:
            # What somebody else has put there may not be ours to remove.
            shutil.rmtree(old, ignore_errors=True)


def whole(listed: Iterable[str], seen: dict[str, Verdict]) -> list[Verdict]:
    """A result for each test that was listed.

    A class that cannot be prepared is told of instead of its tests, and what follows a
    worker that dies is not told of at all.
    """
    found = []
    classes = {
        name.partition("(")[2].rstrip(")"): test
        for name, test in seen.items()
        if name.startswith(("setUpClass (", "tearDownClass ("))
    }
    told: set[str] = set()
    for name in listed:
        of_class = short(name).rpartition(".")[0]
        if name in seen:
            found.append(seen[name])
        elif test := classes.get(of_class):
            told.add(test.name)
            found.append(Verdict(name, test.outcome, 0.0, test.reason))
        else:
            found.append(Verdict(name, FAILED, 0.0, "it was begun by nobody: its worker has ended"))
    # What went wrong after all tests of a class.
    known = {test.name for test in found} | told
    found += [t for t in seen.values() if t.outcome == FAILED and t.name not in known]
    return found


def junit(found: Results) -> str:
    """As CI systems read it."""
    suite = xml.Element(
        "testsuite",
        name="tempest",
        timestamp=found.at,
        time=f"{found.seconds:.1f}",
        tests=str(len(found.tests)),
        failures=str(len(found.of(FAILED))),
        skipped=str(len(found.of(SKIPPED))),
    )
    for test in found.tests:
        place, _, name = test.short.rpartition(".")
        case = xml.SubElement(
            suite, "testcase", classname=place, name=name, time=f"{test.seconds:.3f}"
        )
        if test.outcome != PASSED:
            kind = "failure" if test.outcome == FAILED else "skipped"
            what = xml.SubElement(case, kind, message=_writable(test.first_line))
            what.text = _writable(test.reason)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _writable(text: str) -> str:
    """Without the characters that XML cannot have."""
    return "".join(c for c in text if c in "\t\n" or ord(c) >= 32)
