"""Runs tests of an installed package: `PYTHON run_unittests.py RESULTS PACKAGE…`.

Each outcome is a line of JSON in RESULTS, written as it comes. Run by an environment of the
release's: it knows nothing of this repository.
"""

from __future__ import annotations

import json
import sys
import time
import unittest
from typing import IO, Any


class Told(unittest.TestResult):
    """Outcomes as lines; classes that skip or fail as a whole count as one."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__()
        self.file = file
        self.began = time.monotonic()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.began = time.monotonic()

    def tell(self, test: Any, outcome: str, reason: str = "") -> None:
        seconds = round(time.monotonic() - self.began, 1)
        line = {"test": test.id(), "outcome": outcome, "reason": reason, "seconds": seconds}
        print(json.dumps(line), file=self.file, flush=True)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.tell(test, "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.tell(test, "failed", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    addError = addFailure

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.tell(test, "skipped", reason)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.tell(test, "failed", "it was expected to fail")


def main(results: str, *packages: str) -> None:
    suite = unittest.TestSuite()
    for package in packages:
        name, _, pattern = package.partition(":")
        loader = unittest.TestLoader()
        found = __import__(name, fromlist=["_"])
        (folder,) = found.__path__
        top = folder[: -len(name.replace(".", "/"))]
        suite.addTest(loader.discover(folder, pattern or "test_*.py", top))
    with open(results, "w", encoding="utf-8") as file:
        suite.run(Told(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
