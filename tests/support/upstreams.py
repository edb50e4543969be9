"""Upstream's own tests, on a cloud under test."""

from __future__ import annotations

import json

from tests.support.clouds import CloudUnderTest


def all_pass(cloud: CloudUnderTest, tests: str, seconds: float, least: int) -> None:
    """None of them fails, and at least so many pass: those that skip themselves say nothing."""
    done = cloud.onestack("verify", "--tempest", tests, "--json", timeout=seconds, expect=None)
    counts = json.loads(done.stdout)["counts"]
    print(f"{tests}: {counts}")
    assert counts["failed"] == 0 and counts["passed"] >= least, done.stdout
