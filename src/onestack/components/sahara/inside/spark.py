"""Spark 3 and HDFS on guests of today: upstream's plugin, and what of it does not see them.

(sahara's environment.) Upstream's own versions end with 2.3, and look each time whether a guest
has a vendor's repositories of then. All else, what is written to guests and how jobs are
run, is upstream's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from sahara_plugin_spark.plugins.spark import plugin, run_scripts, scaling, shell_engine
from sahara_plugin_vanilla.plugins.vanilla.hadoop2 import run_scripts as vanilla_scripts

from onestack.components.sahara.inside import python_programs

VERSION = "3.5"
LIVE = re.compile(r"^(?:Live datanodes \(|Datanodes available: )(\d+)", re.MULTILINE)
"""In a report of HDFS, of today and of before Hadoop 2.4."""
Remote = Any
"""As upstream has it: a session with a guest."""


class Provider(plugin.SparkProvider):  # type: ignore[misc]
    def get_title(self) -> str:
        return "Apache Spark 3"

    def get_description(self) -> str:
        return "Spark 3 with HDFS, without any management console"

    def get_versions(self) -> list[str]:
        return [VERSION]

    def get_labels(self) -> dict[str, Any]:
        def stable() -> dict[str, Any]:
            return {"enabled": {"status": True}, "stable": {"status": True}}

        return {"plugin_labels": stable(), "version_labels": {VERSION: stable()}}

    def get_image_arguments(self, hadoop_version: str) -> Any:
        return NotImplemented

    def get_edp_engine(self, cluster: Any, job_type: str) -> Any:
        for kind in (python_programs.Engine, shell_engine.ShellEngine):
            if kind.job_type_supported(job_type):
                return kind(cluster)
        return None

    def validate_images(
        self, cluster: Any, test_only: bool = False, image_arguments: Any = None
    ) -> None:
        """Nothing is installed into a guest that runs."""


def live(user: str, remote: Remote, count: int) -> bool:
    """Whether so many nodes of HDFS are there. Upstream's words have a quote too many for a shell.

    HDFS that is not up yet answers with an error, and has none.
    """
    command = f'sudo su -lc "hdfs dfsadmin -report" {user}'
    _, report = remote.execute_command(command, raise_when_error=False)
    found = LIVE.search(report)
    return count < 1 or bool(found and int(found[1]) == count)


def states(report: str) -> dict[str, str]:
    """Address of each node of a report to its state: ``Normal``, ``Decommissioned`` …"""
    found: dict[str, str] = {}
    name = ""
    for line in report.splitlines():
        key, _, value = line.partition(":")
        if key == "Name":
            name = value.strip().partition(":")[0]
        elif key.strip() == "Decommission Status" and name:
            found[name] = value.strip()
    return found


def decommissioned(r: Remote, inst_to_be_deleted: list[Any]) -> bool:
    """Whether HDFS has copied what those nodes have. Upstream looks below a headline that is gone.

    One that is not in the report was never a node of HDFS.
    """
    _, report = r.execute_command("sudo -u hdfs hdfs dfsadmin -report")
    known = states(report)
    leaving = {known[i.internal_ip] for i in inst_to_be_deleted if i.internal_ip in known}
    return leaving <= {"Decommissioned"}


def mend() -> None:
    counted: Callable[[str], Callable[..., bool]] = lambda user: functools.partial(live, user)  # noqa: E731
    run_scripts._check_datanodes_count = counted("hdfs")
    vanilla_scripts._check_datanodes_count = counted("hadoop")
    scaling._is_decommissioned = decommissioned


mend()
