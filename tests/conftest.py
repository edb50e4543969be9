"""Where everything needed was installed, a test that is skipped did not do its work."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

COMPLETE = bool(os.environ.get("ONESTACK_TESTS_COMPLETE"))
"""Said by the Makefile after it has prepared the machine."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if COMPLETE and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report
