"""What is ours inside glance, tried with upstream's own code: run by test_glance_upstream.

``python glance_trials.py TRIAL``; ends with 0 when all is as expected.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class Tasks:
    """A repository of one task, which upstream's executor runs."""

    def __init__(self) -> None:
        self.said = ""
        self.task_id, self.type, self.status = "one", "api_image_import", "processing"
        self.task_input: dict[str, Any] = {}

    def get(self, task_id: str) -> Any:
        return self

    def save(self, task: Any) -> None:
        pass

    def fail(self, message: Any) -> None:
        self.said, self.status = str(message), "failure"


def reasons() -> None:
    """Upstream runs a flow that fails in one of its tasks."""
    import urllib.error

    from glance.async_ import taskflow_executor
    from glance.common import exception
    from oslo_config import cfg
    from taskflow import task
    from taskflow.patterns import linear_flow

    from onestack.components.glance.inside import reasons as ours

    cfg.CONF([], project="glance", default_config_files=[])
    executor_class = taskflow_executor.TaskExecutor

    def said(error: Exception, mode: str = "serial") -> str:
        class Failing(task.Task):  # type: ignore[misc]
            def execute(self) -> None:
                raise error

        tasks = Tasks()
        executor = object.__new__(executor_class)
        executor.task_repo = tasks
        executor._get_flow = lambda task: linear_flow.Flow("import").add(Failing())
        executor._fetch_an_executor = lambda: None
        cfg.CONF.set_override("engine_mode", mode, "taskflow_executor")
        try:
            executor._run("one", "api_image_import")
        except type(error) as raised:
            assert str(raised) == str(error)
        return tasks.said

    missing = urllib.error.URLError("Name or service not known")
    # The reason for all this: should upstream do it one day, ours can go.
    assert said(missing) == "Task failed due to Internal Error"
    ours.tell()
    assert said(missing) == "Task failed: <urlopen error Name or service not known>"
    assert said(exception.Invalid("the image is no qcow2\nat all")) == (
        "Task failed: the image is no qcow2"
    )
    full = OSError(28, "No space left on device", "/var/lib/somewhere")
    assert said(full) == "Task failed: No space left on device"
    assert said(RuntimeError()) == "Task failed: RuntimeError"
    # what upstream says by itself stays
    tasks = Tasks()
    executor = object.__new__(executor_class)
    executor.task_repo = tasks
    executor._fail_task(types.SimpleNamespace(task_id="one"), "its own words")
    assert tasks.said == "its own words"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
