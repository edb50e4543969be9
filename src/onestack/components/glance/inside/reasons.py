"""What upstream's tasks are made to say when they fail (services' environment).

`tell`: a task that ended with an exception says "Task failed due to Internal Error", whatever
the reason, which is in the log alone. Here the exception's own words follow, so that
`openstack image task show` has them for whoever imports an image.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from glance.async_.taskflow_executor import TaskExecutor
from glance.i18n import _

LONGEST = 300


def tell() -> None:
    of_task = TaskExecutor._fail_task

    @functools.wraps(of_task)
    def fail_task(self: Any, task: Any, message: Any) -> None:
        cause = sys.exc_info()[1]
        if cause is not None and str(message) == str(_("Task failed due to Internal Error")):
            message = f"Task failed: {reason(cause)}"
        of_task(self, task, message)

    TaskExecutor._fail_task = fail_task


def reason(cause: BaseException) -> str:
    """Its first line, or its kind where it says nothing; of several failures the first."""
    for each in getattr(cause, "_causes", ()):
        return reason(each.exception) if each.exception else _cut(each.exception_str)
    if isinstance(cause, OSError) and cause.filename and cause.strerror:
        return cause.strerror  # without a path of this machine's
    return _cut(str(cause)) or type(cause).__name__


def _cut(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:LONGEST]
