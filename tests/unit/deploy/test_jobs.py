"""Jobs of components are the supervisor's; nobody else runs any."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from onestack.deploy.jobs import SupervisedJobs
from onestack.model.context import Context
from onestack.model.declarations import Job
from tests.unit.deploy.toys import Supervisor, context

JOB = Job("rooms-paint", "rooms", "rooms:paint", {"colour": "blue"}, "other")


class Client(Supervisor):
    """Notes what it is told."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.told: dict[str, Any] = {}

    def job(self, **told: Any) -> None:
        self.told = told


def test_a_job_is_run_as_its_components_user_and_explained_by_it(tmp_path: Path) -> None:
    toy = context(tmp_path)
    client = Client(toy)
    ctx = dataclasses.replace(toy, jobs=SupervisedJobs(client))
    ctx.run_job(JOB)
    explain = client.told.pop("explain")
    assert client.told == {
        "run": "rooms:paint",
        "user": ctx.cloud.user("rooms"),
        "arguments": {"colour": "blue"},
        "log": "rooms-paint",
        "environment": "other",
        "component": "rooms",
    }
    assert explain("rooms", "no such error") is None


def test_where_nothing_is_changed_no_job_runs(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nobody runs the job rooms-paint"):
        context(tmp_path).run_job(JOB)
