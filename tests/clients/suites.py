"""Upstream's functional tests of clients, in the environment where Tempest's are."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from onestack.release.release import release
from tests.support.clouds import CloudUnderTest

RUNNER = Path(__file__).with_name("run_unittests.py")
NOBODY = "for name in $(env | sed -n 's/^\\(OS_[A-Z_]*\\)=.*/\\1/p'); do unset $name; done"
"""What the shell has of the administrator would count more than the file."""


@dataclass(frozen=True)
class Outcome:
    test: str
    outcome: str
    reason: str
    seconds: float


def run(cloud: CloudUnderTest, clouds_yaml: Path, packages: str, hours: float) -> list[Outcome]:
    """Of each test of ``packages``; what the programs print is not kept."""
    results = clouds_yaml.with_name("results.jsonl")
    results.unlink(missing_ok=True)
    python = release().environment("tempest").python
    # Tests read files of upstream's source folder, by their ways from there.
    clouds_yaml.with_name("CONTRIBUTING.rst").write_text("An image.\n")
    if not (source := clouds_yaml.with_name("openstack")).is_symlink():
        (installed,) = python.parent.parent.glob("lib/python3*/site-packages/openstack")
        source.symlink_to(installed)
    words = {
        "OS_CLIENT_CONFIG_FILE": str(clouds_yaml),
        # Seconds of one test; where nothing is said five.
        "OS_TEST_TIMEOUT": "1200",
        # The tests start `openstack`.
        "PATH": f"{python.parent}:/usr/bin:/bin",
    }
    given = " ".join(f"{name}='{value}'" for name, value in words.items())
    cloud.inside(
        f"{NOBODY}; cd {clouds_yaml.parent}; "
        f"env {given} {python} -W ignore {RUNNER} {results} {packages} >output 2>&1",
        timeout=hours * 3600,
    )
    return [Outcome(**json.loads(line)) for line in results.read_text().splitlines()]


def not_passed(outcomes: list[Outcome]) -> dict[str, str]:
    """What failed, and what skipped itself, each with its last words."""
    print(Counter(one.outcome for one in outcomes))
    return {
        one.test: f"{one.outcome}: {one.reason[-1500:]}"
        for one in outcomes
        if one.outcome != "passed"
    }
