"""Runs Tempest as upstream's own command does, and tells of each test as it ends.

In Tempest's environment, as its unprivileged user: python run.py FOLDER, with the
order as JSON on stdin. A line of JSON for each thing worth telling goes to stdout;
the results are kept in FOLDER.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import subunit
import testtools

from onestack.components.tempest.inside import results
from onestack.components.tempest.inside.results import FAILED, PASSED, SKIPPED, Verdict

KEPT = 10
"""Runs whose results are kept; beside them, those that `up` goes by."""
PULSE = 5.0
"""Seconds between two lines on what is running."""
OUTCOMES = {"success": PASSED, "xfail": PASSED, "skip": SKIPPED}
"""What is none of these has failed."""


def main(folder: Path, order: dict[str, Any]) -> int:
    """``order``: configuration, filters, exclude, left_out, workers (at most), taken_with;
    ``needed`` is what results were taken with that stay, however old.
    """
    began, at = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    results.tidy(folder.parent, KEPT - 1, order["needed"])
    folder.mkdir()
    # Tempest's own log and stestr's files are put where it is run.
    os.chdir(folder)
    command = [str(Path(sys.executable).with_name("tempest")), "run"]
    command += ["--config-file", order["configuration"]]
    listed = listing(command, order)
    left_out = {
        test: reason
        for test in listed
        for expression, reason in order["left_out"].items()
        if re.search(expression, test)
    }
    wanted = [test for test in listed if test not in left_out]
    tell(total=len(wanted))
    seen: dict[str, Verdict] = {}
    if wanted:
        Path("tests.list").write_text("\n".join(wanted) + "\n")
        # Each begins with a look at all tests, which takes as long as twenty small ones.
        workers = min(order["workers"], 1 + len(wanted) // 20)
        command += ["--load-list", "tests.list", "--concurrency", str(workers)]
        follow([*command, "--subunit"], seen)
        shutil.rmtree(".stestr", ignore_errors=True)
    tests = results.whole(wanted, seen)
    seconds = time.monotonic() - began
    results.save(results.Results(folder, at, seconds, order["taken_with"], tuple(tests), left_out))
    return 0


def tell(**what: object) -> None:
    # In one piece: two threads tell.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def listing(command: list[str], order: dict[str, Any]) -> list[str]:
    """The names of all tests that fit."""
    words = [*command, "--list-tests", "--regex", " ".join(order["filters"])]
    if order["exclude"]:
        words += ["--exclude-regex", order["exclude"]]
    # A list wants a place for results, too.
    subprocess.run([str(Path(sys.executable).with_name("stestr")), "init"], check=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        # Heat's plugin asks the cloud while it is only being listed.
        raise SystemExit(f"{done.stdout[-1500:]}\nTempest cannot list its tests")
    return [line for line in done.stdout.splitlines() if re.match(r"[\w.]+\.\w+", line)]


def follow(command: list[str], seen: dict[str, Verdict]) -> None:
    """Run it, keep its stream of results, and tell of each test."""
    running = Running()

    def ended(told: dict[str, Any]) -> None:
        test = result(told)
        if test and not (test.name.startswith("tearDownClass") and test.outcome == PASSED):
            seen[test.name] = test
            tell(test=test.name, outcome=test.outcome, reason=test.first_line)

    tempest = subprocess.Popen(command, stdout=subprocess.PIPE)
    tee = ["tee", results.STREAM]
    kept = subprocess.Popen(tee, stdin=tempest.stdout, stdout=subprocess.PIPE)
    with tempest, kept, running:
        stream = testtools.CopyStreamResult([testtools.StreamToDict(ended), running])
        stream.startTestRun()
        subunit.ByteStreamToStreamResult(kept.stdout, non_subunit_name="said").run(stream)
        stream.stopTestRun()


class Running(testtools.StreamResult):  # type: ignore[misc]
    """What has begun and not ended, told every `PULSE` seconds: a test may take minutes."""

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def status(self, test_id: str | None = None, test_status: str | None = None, **_: Any) -> None:
        with self._lock:
            if test_id and test_status == "inprogress":
                self._since[test_id] = time.monotonic()
            elif test_id and test_status:
                self._since.pop(test_id, None)

    def _beat(self) -> None:
        while not self._over.wait(PULSE):
            now = time.monotonic()
            with self._lock:
                running = {test: round(now - since, 1) for test, since in self._since.items()}
            tell(running=running)


def result(told: dict[str, Any]) -> Verdict | None:
    """A test of testtools' words; ``None`` for what is none."""
    if told["status"] == "exists" or told["id"] is None:
        return None
    begin, end = told["timestamps"]
    details = {
        name: content.as_text()
        for name, content in told["details"].items()
        if content.content_type.type == "text"
    }
    reasons = [text for name, text in details.items() if name.startswith(("traceback", "reason"))]
    outcome = OUTCOMES.get(told["status"], FAILED)
    reason = "\n".join(reasons).strip()
    if outcome == FAILED and not reason:
        reason = f"it ended as {told['status']!r}, and left no reason"
    return Verdict(
        told["id"],
        outcome,
        round((end - begin).total_seconds(), 3) if begin and end else 0.0,
        reason if outcome != PASSED else "",
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.load(sys.stdin)))
