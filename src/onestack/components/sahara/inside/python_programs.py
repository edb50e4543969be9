"""Spark's programs in Python, with data in the object store.

(sahara's environment.) With ``edp.spark.adapt_for_swift`` upstream hands the main program to a
wrapper in Java, which reads how the object store is reached and then calls the program's class. A
program in Python has none: it would get the wrapper's two arguments before its own, and no way
to its data. Here such a one is started as ever, and Spark itself reads the rest from a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg
from sahara.plugins import utils
from sahara.service.castellan import utils as key_manager
from sahara.swift import swift_helper
from sahara.utils import remote
from sahara_plugin_spark.plugins.spark import edp_engine

FILE = "spark.properties"
HADOOP = "spark.hadoop."
"""Before each of Hadoop's own names, in what Spark reads."""
Configs = Mapping[str, Any]


class Engine(edp_engine.EdpEngine):  # type: ignore[misc]
    def _build_command(
        self, wf_dir: str, paths: list[str], builtin_paths: list[str], updated_job_configs: Configs
    ) -> str:
        if builtin_paths and paths[0].endswith(".py"):
            builtin_paths.clear()
            self._tell(wf_dir, credentials(updated_job_configs))
            self.plugin_params["spark-submit"] += f" --properties-file {FILE}"
        command: str = super()._build_command(wf_dir, paths, builtin_paths, updated_job_configs)
        return command

    def _tell(self, folder: str, values: Mapping[str, str]) -> None:
        """Spark reads one such file: the cluster's own settings are in it, too."""
        home = utils.get_config_value_or_default("Spark", "Spark home", self.cluster)
        classes = self.plugin_params["driver-class-path"]
        own = {HADOOP + name: value for name, value in values.items()}
        with remote.get_remote(self.master) as there:
            _, defaults = there.execute_command(f"cat {home}/conf/spark-defaults.conf")
            text = defaults + properties({"spark.driver.extraClassPath": classes, **own})
            place = os.path.join(folder, FILE)
            there.execute_command(f"install -m 600 /dev/null {place}")
            there.append_to_file(place, text)


def credentials(configs: Configs) -> dict[str, str]:
    """Whose a job's data is: of a user made for it with a trust, or as the data source says."""
    proxy, own = configs.get("proxy_configs"), configs.get("configs", {})
    if proxy:
        return {
            swift_helper.HADOOP_SWIFT_USERNAME: proxy["proxy_username"],
            swift_helper.HADOOP_SWIFT_PASSWORD: key_manager.get_secret(proxy["proxy_password"]),
            swift_helper.HADOOP_SWIFT_TRUST_ID: proxy["proxy_trust_id"],
            swift_helper.HADOOP_SWIFT_DOMAIN_NAME: cfg.CONF.proxy_user_domain_name,
        }
    found = {}
    if user := own.get(swift_helper.HADOOP_SWIFT_USERNAME):
        found[swift_helper.HADOOP_SWIFT_USERNAME] = user
    if password := own.get(swift_helper.HADOOP_SWIFT_PASSWORD):
        found[swift_helper.HADOOP_SWIFT_PASSWORD] = key_manager.get_secret(password)
    return found


def properties(values: Mapping[str, str]) -> str:
    """As Java reads them."""
    quoted = {
        name: value.replace("\\", "\\\\").replace("\n", "\\n") for name, value in values.items()
    }
    return "\n" + "".join(f"{name} {value}\n" for name, value in quoted.items())
