"""Jobs: functions of ours that the supervisor runs once, in a service's environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onestack.deploy.supervisor import SupervisorClient
from onestack.engine.interruptible import patiently
from onestack.model.context import Context
from onestack.model.declarations import Database, Job
from onestack.supervise.client import OtherVersion


@dataclass(frozen=True)
class SupervisedJobs:
    """`onestack.model.context.JobRunner` that the supervisor runs."""

    supervisor: SupervisorClient

    def run(self, job: Job, user: str, likely: Callable[[str, str], str | None]) -> None:
        # Stopped meanwhile, the job goes on; the next run waits for it.
        patiently(
            lambda: self.supervisor.job(
                run=job.run,
                user=user,
                arguments=dict(job.arguments),
                log=job.name,
                environment=job.environment,
                component=job.component,
                explain=likely,
            ),
            job.name,
        )


@dataclass(frozen=True)
class Migration:
    """A database's migrations as a job: `onestack.database.schemas.MigrationJob`."""

    ctx: Context
    supervisor: SupervisorClient
    component: str
    database: Database

    @property
    def name(self) -> str:
        return f"database-{self.database.name}"

    def __call__(self, run: str, arguments: dict[str, Any]) -> None:
        self.ctx.run_job(Job(self.name, self.component, run, arguments, self.database.environment))

    def running(self) -> bool:
        try:
            return any(job.name == self.name for job in self.supervisor.details().jobs)
        except OtherVersion:
            return False  # in a dry run only: it would have been replaced by now
