"""The limit of open files, in processes of their own: a test must not change its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from onestack.kernel.limits import OPEN_FILES
from tests.support.needs import needs_root

SOURCE = Path(__file__).resolve().parents[3] / "src"
CODE = """
import resource, sys
from onestack.kernel.limits import raise_open_files
got = raise_open_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == got
print(got)
"""


def got(*before: str) -> int:
    done = subprocess.run(
        [*before, sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


HARD = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], OPEN_FILES)
_TRIED = ["prlimit", "--nofile=64:64", "prlimit", "--nofile=64:65", "true"]
MAY_LIFT = subprocess.run(_TRIED, capture_output=True, check=False).returncode == 0
"""Not so in some containers, for root either."""


def test_a_soft_limit_is_lifted() -> None:
    assert got("prlimit", f"--nofile=512:{HARD}") == HARD


@needs_root
def test_root_lifts_the_hard_one_too_where_it_may() -> None:
    assert got("prlimit", "--nofile=1024:1024") == (OPEN_FILES if MAY_LIFT else 1024)


@needs_root
@pytest.mark.parametrize("limit", [1024, 4096])
def test_who_may_not_has_what_there_is(limit: int) -> None:
    without = ("setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")
    assert got("prlimit", f"--nofile=512:{limit}", *without) == limit
