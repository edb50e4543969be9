"""Taking Tempest's tests: as its unprivileged user, in the cloud's network, followed live."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

from onestack.components.provision.keys import TEMPEST
from onestack.components.tempest import leftovers, paths, selection
from onestack.components.tempest.inside import results
from onestack.components.tempest.inside.results import FAILED, PASSED, SKIPPED, Results, short
from onestack.components.tempest.selection import SKIP, TESTS, Selection
from onestack.host.command import follow
from onestack.host.telling import tell
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError

WORKERS = 2
"""At most: each may have guests of its own."""
LONGEST = 1200
"""Seconds that one test may take, as upstream has it."""
SHOWN = 10
PAUSE = 10.0
"""Seconds between two sentences of what is running."""


def ensure_passed(ctx: Context) -> Iterator[Change]:
    """The tests of the answers have passed in this cloud, as it is now.

    Shown by the results that are kept: those taken with the same tests,
    configuration and release hold.
    """
    wanted = of_answers(ctx)
    now = taken_with(ctx, wanted)
    if any(found.taken_with == now and found.well for found in results.kept(paths.kept(ctx))):
        return

    def run() -> None:
        found = take(ctx, wanted)
        if not found.well:
            raise failure(ctx, found)

    yield Change(f"run Tempest's tests: {wanted.tests}", run)


def of_answers(ctx: Context) -> Selection:
    return Selection(str(ctx.answers[TESTS]), str(ctx.answers[SKIP]))


def taken_with(ctx: Context, wanted: Selection) -> dict[str, Any]:
    """What results depend on: other than this, they are of another cloud."""
    file = paths.configuration(ctx)
    content = file.read_bytes() if file.is_file() else b""
    return {
        "tests": wanted.tests,
        "skip": wanted.skip,
        "left_out": selection.left_out(),
        "configuration": hashlib.sha256(content).hexdigest(),
        "release": ctx.release.services.place.parent.name,
        "tempest": paths.environment(ctx).place.name,
    }


def need_installed(ctx: Context) -> None:
    """Raises `OnestackError` where Tempest cannot be run, with what to do."""
    if not ctx.answers[TEMPEST]:
        raise OnestackError(
            f"the cloud {ctx.cloud.name!r} has no Tempest",
            f"it was made without {TEMPEST}=y",
            f"onestack up --set {TEMPEST}=y",
        )
    there = (paths.configuration(ctx), paths.program(ctx))
    if not paths.environment(ctx).complete or not all(path.is_file() for path in there):
        raise OnestackError(
            "Tempest is not installed as this onestack wants it",
            "the cloud has not been brought up by it yet",
            "run onestack up",
        )


def take(ctx: Context, wanted: Selection) -> Results:
    """Run them and return what came of it, however that is.

    In the network of the calling thread. Raises `BadAnswers` when no test fits,
    and `OnestackError` when there are no results at all.
    """
    user, file = paths.user(ctx), paths.configuration(ctx)
    folder = paths.kept(ctx) / time.strftime("%Y%m%d-%H%M%S")
    order = {
        "configuration": str(file),
        "filters": wanted.filters(plugins(ctx)),
        "exclude": wanted.exclude,
        "left_out": selection.left_out(),
        "workers": wanted.workers or workers(ctx),
        "taken_with": taken_with(ctx, wanted),
        # A run by hand must not be what `up` takes the tests again for.
        "needed": taken_with(ctx, of_answers(ctx)),
    }
    environment = paths.environment(ctx)
    leftovers.remove(ctx)
    leftovers.note(ctx)
    try:
        done = follow(
            [environment.python, "-P", paths.program(ctx), folder],
            _Progress(),
            user=user,
            stdin=json.dumps(order),
            cwd=paths.place(ctx),
            env={
                "HOME": str(paths.place(ctx)),
                "PATH": f"{environment.place}/bin:/usr/bin:/bin",
                "LC_ALL": "C.UTF-8",
                "PYTHONPATH": str(ctx.release.program),
                "OS_TEST_TIMEOUT": str(LONGEST),
                # Counts more than the file's, whose locks may be of another that ran a Tempest.
                "OS_OSLO_CONCURRENCY__LOCK_PATH": str(folder / "lock"),
                # The dashboard's test has no option for an authority.
                "SSL_CERT_FILE": str(ctx.authority),
            },
        )
    finally:
        # Also of a run that is stopped; what is killed is cleaned up after by the next one.
        leftovers.remove(ctx)
    found = results.load(folder)
    if found is None:
        raise OnestackError(
            "Tempest has not come to an end",
            done.err.strip()[-2000:] or f"it ended with {done.code}",
            f"see {folder}/tempest.log",
        )
    if not found.tests:
        shutil.rmtree(folder)
        raise BadAnswers(
            f"there is no test of Tempest's to run for {wanted.tests!r}"
            + (f" without {wanted.skip!r}" if wanted.skip else ""),
            f"{len(found.left_out)} that fit are never run here" if found.left_out else "",
            "use smoke, api, full, or a regular expression such as tempest.api.identity",
        )
    return found


def plugins(ctx: Context) -> list[str]:
    """The packages of tests, beside Tempest's own, of what is on."""
    return [room.tempest_plugin for room in ctx.components if room.tempest_plugin]


def workers(ctx: Context) -> int:
    return min(WORKERS, max(1, ctx.facts.cores))


class _Progress:
    """From the lines of `run` to sentences, not too many."""

    def __init__(self) -> None:
        self.total = 0
        self.counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
        self.told: float | None = None

    def __call__(self, line: str) -> None:
        with contextlib.suppress(ValueError):
            self._heard(json.loads(line))

    def _heard(self, what: dict[str, Any]) -> None:
        if "total" in what:
            self.total = what["total"]
            tell(f"{self.total} tests")
        elif "outcome" in what:
            self.counts[what["outcome"]] += 1
            if what["outcome"] == FAILED:
                tell(f"failed: {short(what['test'])}: {what['reason'][:200]}")
        elif "running" in what and self._due():
            ended = sum(self.counts.values())
            now = ", ".join(f"{short(test)} ({s:.0f} s)" for test, s in what["running"].items())
            tell(f"{ended} of {self.total}, {self.counts[FAILED]} failed; running: {now or 'none'}")

    def _due(self) -> bool:
        now = time.monotonic()
        if self.told is not None and now - self.told < PAUSE:
            return False
        self.told = now
        return True


def summary(found: Results) -> str:
    counts = {outcome: len(found.of(outcome)) for outcome in (PASSED, FAILED, SKIPPED)}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def failure(ctx: Context, found: Results) -> OnestackError:
    """What `up` ends with; the cloud stays as it is."""
    failed = found.of(FAILED)
    lines = [f"{test.short}\n  {test.first_line}" for test in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"… and {len(failed) - SHOWN} more")
    if not failed:
        lines = [results.ALL_SKIPPED]
    return OnestackError(
        summary(found),
        "\n".join(lines),
        f"the cloud is up; all results are in {found.folder}\n"
        f"`onestack up` runs the tests again; {SKIP} leaves some out",
    )
