"""RabbitMQ: one small broker of the cloud's own, without epmd.

Started by erl itself instead of Debian's script: the script insists on its
own user and starts three more Erlang machines before the broker.
"""

from __future__ import annotations

import hashlib
import secrets as random
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.cloud import DEFAULT_NAME
from onestack.components.base import Component, ConfigFile, Context, Directory, Task
from onestack.errors import OnestackError
from onestack.host.change import Change
from onestack.host.files import write_file
from onestack.supervise.spec import Probe, Process

PORT = 5672
LIBRARY = Path("/usr/lib/rabbitmq/lib")


class Rabbitmq(Component):
    name = "rabbitmq"
    title = "RabbitMQ"

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("rabbitmq-server",)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        for path in (self._home(ctx), self._home(ctx) / "mnesia"):
            yield Directory(path, user, user, 0o700)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(self._config(ctx), self._text(ctx), ctx.cloud.user(self.name))

    def processes(self, ctx: Context) -> Iterable[Process]:
        home, config = self._home(ctx), self._config(ctx)
        distribution = distribution_port(ctx.cloud.name)
        interface = "{" + ctx.internal.replace(".", ",") + "}"
        kernel = {
            "inet_dist_use_interface": interface,
            "inet_dist_listen_min": distribution,
            "inet_dist_listen_max": distribution,
        }
        yield Process(
            name="rabbitmq",
            component=self.name,
            user=ctx.cloud.user(self.name),
            argv=(
                *("/usr/bin/erl", "-noinput", "-boot", "start_sasl", "-s", "rabbit", "boot"),
                *("-config", str(config)),
                *("-name", self._node(ctx), "-start_epmd", "false"),
                *("-erl_epmd_port", str(distribution)),
                *(word for key, value in kernel.items() for word in ("-kernel", key, str(value))),
                *("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"),
                # two schedulers that sleep when there is nothing to do
                *("+W", "w", "+S", "2:2", "+SDio", "2", "+SDcpu", "1:1", "+A", "1"),
                *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
            ),
            env={
                "HOME": str(home),
                "ERL_LIBS": str(self._plugins()),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_CONFIG_FILE": str(home / "none"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none.config"),
                "RABBITMQ_NODENAME": self._node(ctx),
                "RABBITMQ_USE_LONGNAME": "true",
                "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
                "RABBITMQ_LOGS": "-",
                "RABBITMQ_LOG_BASE": str(home),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
                "RABBITMQ_DIST_PORT": str(distribution),
            },
            files=(str(config),),
            probe=Probe("connect", f"tcp:{ctx.internal}:{PORT}"),
            stop_seconds=30.0,
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("cookie", lambda: self._ensure_cookie(ctx), ("users",), before_start=True)

    def _ensure_cookie(self, ctx: Context) -> Iterator[Change]:
        cookie = self._home(ctx) / ".erlang.cookie"
        if not cookie.exists():
            user = ctx.cloud.user(self.name)
            yield Change(
                "make the broker's cookie",
                lambda: write_file(
                    cookie, random.token_hex(16), mode=0o400, owner=user, group=user
                ),
            )

    @staticmethod
    def _home(ctx: Context) -> Path:
        return ctx.cloud.data / "rabbitmq"

    @staticmethod
    def _config(ctx: Context) -> Path:
        return ctx.cloud.etc / "rabbitmq" / "rabbitmq.config"

    @staticmethod
    def _node(ctx: Context) -> str:
        """By address: a new name of the machine does not make it another node."""
        return f"rabbit@{ctx.internal}"

    @staticmethod
    def _plugins() -> Path:
        found = sorted(LIBRARY.glob("rabbitmq_server-*/plugins"))
        if not found:
            raise OnestackError(
                "RabbitMQ is not installed",
                f"there is nothing in {LIBRARY}",
                "apt-get install --reinstall rabbitmq-server",
            )
        return found[-1]

    def _text(self, ctx: Context) -> str:
        password = ctx.secrets["rabbitmq"]
        return f"""[{{rabbit, [
  {{tcp_listeners, [{{"{ctx.internal}", {PORT}}}]}},
  {{default_user, <<"openstack">>}},
  {{default_pass, <<"{password}">>}},
  {{default_permissions, [<<".*">>, <<".*">>, <<".*">>]}},
  {{loopback_users, []}},
  {{vm_memory_high_watermark, {{absolute, "512MiB"}}}},
  {{log, [{{console, [{{enabled, true}}, {{level, info}}]}}, {{file, [{{file, false}}]}}]}}
]}}].
"""


def distribution_port(name: str) -> int:
    """Where a cloud's broker would meet others of its cluster; one per cloud name."""
    if name == DEFAULT_NAME:
        return 25672
    return 20000 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") % 5000
