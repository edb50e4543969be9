"""RabbitMQ: one small broker of the cloud's own, without epmd.

Started by erl itself instead of Debian's script: the script insists on its
own user, and with it the broker starts three more Erlang machines before
itself (to have epmd, to see whether the name is taken). Its settings come as
OTP's own ``-config``: a rabbitmq.conf costs a schema compiler, 15 MB for good.

A full disk ends its store of messages. The broker then goes on without: it accepts
connections, and queues are neither there nor can they be made, for ever. Ours looks for that, and
once there is room it ends as a whole and is started anew. It writes its log itself: what it
writes to its standard output ends with the first line for which there is no room.
"""

from __future__ import annotations

import re
import secrets as random
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.rabbitmq import accounts, boot
from onestack.host.files import write_file
from onestack.kernel import disk
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Directory,
    KnownError,
    Opened,
    Port,
    Scope,
    Task,
)
from onestack.model.key import Key, Kind
from onestack.model.process import ConnectProbe, Process
from onestack.model.secret import Secret

PORT = 5672
DISTRIBUTION = 25672
"""Where the broker would meet others of its cluster, on the cloud's own loopback address."""
STARTED = "started.eval"
"""Erlang expressions for when the broker has started."""
NO_EPMD = "ok = rabbit:await_startup(), ok = rabbit_sup:stop_child(rabbit_epmd_monitor_sup),"
"""RabbitMQ's monitor starts Erlang once a minute to keep epmd alive, which the node does
without (``-erl_epmd_port``) and which listens at every address of the machine."""

HELLO, START = "AMQP\0\0\x09\x01", "\0\x0a\0\x0a"
"""What each client begins with, and the broker's first word then: ``connection.start``."""
ALL_OR_NOTHING = """_ = spawn(fun() ->
    Ref = erlang:monitor(process, rabbit_sup),
    receive {'DOWN', Ref, process, _, _} -> ok end,
    case init:get_status() of {stopping, _} -> ok; _ -> erlang:halt(1) end
end),"""
"""A broker that has ended by itself leaves Erlang running, with nobody at its port."""

LOOK = """_ = spawn(fun() ->
    Broken = fun() ->
        lists:any(
            fun(Queue) ->
                Pid = amqqueue:get_pid(Queue),
                is_pid(Pid) andalso node(Pid) =:= node() andalso not is_process_alive(Pid)
            end, rabbit_amqqueue:list())
        orelse not lists:all(fun rabbit_vhost_sup_sup:is_vhost_alive/1, rabbit_vhost:list_names())
    end,
    Look = fun Look(Seen) ->
        timer:sleep(10000),
        case catch {rabbit_alarm:get_alarms(), Broken()} of
            {[], true} when Seen -> erlang:halt(1);
            {[], true} -> Look(true);
            _ -> Look(false)
        end
    end,
    Look(false)
end),"""
"""Queues without a process, or a virtual host that is down, for longer than ten seconds, and
neither disk nor memory is the reason any more."""


class Rabbitmq(Component):
    name = "rabbitmq"
    title = "RabbitMQ"
    provides = (Capability("messaging", ("rabbitmq",), port=PORT),)
    keys = (
        Key(
            "CONFIG_AMQP_AUTH_USER",
            "openstack",
            "Name with which services log in at the message bus.",
            note="packstack's default is amqp_user",
            check=lambda text: (
                None if re.fullmatch(r"[\w.@-]{1,64}", text) else "use letters, digits and _ . @ -"
            ),
        ),
        Key("CONFIG_AMQP_AUTH_PASSWORD", "PW_PLACEHOLDER", "Password of that name.", Kind.SECRET),
    )
    known_errors = (
        KnownError(
            "eaddrinuse",
            f"port {PORT} or {DISTRIBUTION} of {{internal}} is taken",
            "see by whom with `ss -ltnp src {internal}`",
        ),
        KnownError(
            "enospc|disk resource limit alarm set",
            "the disk with {data} is full",
            "make room (`onestack doctor` tells how much), then run up again where it failed",
        ),
    )
    # One user is that of all services of the controller's; hosts that join have one each.
    secrets = (Secret("rabbitmq", "CONFIG_AMQP_AUTH_PASSWORD"),)

    def validate(self, answers: Answers) -> Iterable[str]:
        own = "CONFIG_AMQP_AUTH_PASSWORD"
        name = own if answers[own] else "CONFIG_DEFAULT_PASSWORD"
        if "/" in str(answers[name]):
            yield (
                f"{name} has a '/', which services cannot use as the message bus's password "
                f"(oslo.messaging takes the rest for an address); give {own} another"
            )

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("rabbitmq-server",)

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(self._home(ctx), user, user, 0o700)
        # no plugin can be found in an empty directory
        yield Directory(self._home(ctx) / "plugins", "root", user, 0o750)
        # root's, so that the broker cannot change what it is started from
        yield Directory(self._boot(ctx), "root", user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        etc, group = self._etc(ctx), ctx.cloud.user(self.name)
        yield ConfigFile(etc / "rabbitmq.config", self._settings(ctx), group)
        made = accounts.accounts(ctx)
        yield ConfigFile(etc / "definitions.json", accounts.definitions(made), group)
        # Evaluated by the broker itself, which takes longer to ask than to do it.
        only = accounts.only([account.declared for account in made])
        rest = f"{NO_EPMD}\n{ALL_OR_NOTHING}\n{LOOK}\n{only}\n"
        yield ConfigFile(etc / STARTED, rest, group)
        # Nothing of the broker asks DNS; a resolver that does not answer would stall it.
        yield ConfigFile(etc / "inetrc", "{lookup, [file]}.\n", group)
        yield ConfigFile(etc / "boot.escript", boot.MAKE, group)
        renew = boot.renew(etc / "boot.escript", self._boot(ctx))
        yield ConfigFile(etc / "boot.sh", renew, group)

    def processes(self, ctx: Context) -> Iterable[Process]:
        home, etc = self._home(ctx), self._etc(ctx)
        kernel = {
            "inet_dist_use_interface": "{" + ctx.internal.replace(".", ",") + "}",
            "inet_dist_listen_min": DISTRIBUTION,
            "inet_dist_listen_max": DISTRIBUTION,
            # as Debian's script has it: RabbitMQ heals partitions itself
            "prevent_overlapping_partitions": "false",
        }
        yield Process(
            name="rabbitmq",
            component=self.name,
            user=ctx.cloud.user(self.name),
            argv=(
                *("/usr/bin/erl", "-noinput", "-mode", "interactive"),
                *("-boot", str(self._boot(ctx) / "rabbit"), "-s", "rabbit", "boot"),
                *("-eval", f'ok = file:eval("{etc / STARTED}").'),
                *("-config", str(etc / "rabbitmq.config")),
                *("-name", self._node(ctx), "-start_epmd", "false"),
                *("-erl_epmd_port", str(DISTRIBUTION)),
                *(word for key, value in kernel.items() for word in ("-kernel", key, str(value))),
                *("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"),
                # two schedulers that sleep when there is nothing to do
                *("+W", "w", "+S", "2:2", "+SDio", "2", "+SDcpu", "1:1", "+A", "1"),
                *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
            ),
            env={
                "HOME": str(home),
                "ERL_INETRC": str(etc / "inetrc"),
                # a dump of the machine's memory would have passwords in it
                "ERL_CRASH_DUMP_SECONDS": "0",
                # what the loader used for a moment goes back to the kernel
                "MALLOC_ARENA_MAX": "1",
                "MALLOC_TRIM_THRESHOLD_": "65536",
                "MALLOC_MMAP_THRESHOLD_": "65536",
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_CONFIG_FILE": str(home / "none"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none.config"),
                "RABBITMQ_NODENAME": self._node(ctx),
                "RABBITMQ_USE_LONGNAME": "true",
                "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
                "RABBITMQ_LOGS": str(ctx.cloud.log / "rabbitmq.log"),
                "RABBITMQ_UPGRADE_LOG": str(ctx.cloud.log / "rabbitmq.log"),
                "RABBITMQ_LOG_BASE": str(ctx.cloud.log),
                "RABBITMQ_PLUGINS_DIR": str(home / "plugins"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
                "RABBITMQ_DIST_PORT": str(DISTRIBUTION),
                # these, and not tcp_listeners in the settings, which they replace
                "RABBITMQ_NODE_IP_ADDRESS": ctx.internal,
                "RABBITMQ_NODE_PORT": str(PORT),
            },
            files=tuple(str(file.path) for file in self.files(ctx)),
            prepare=(("/bin/sh", str(etc / "boot.sh")),),
            probe=ConnectProbe(f"tcp:{ctx.internal}:{PORT}", say=HELLO, hear=START),
            stop_seconds=30.0,
        )

    def opened(self, ctx: Context) -> Iterable[Opened]:
        # Another broker of the machine's commonly has it at every address.
        yield Opened(ctx.internal, Port("tcp", DISTRIBUTION))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task(
            "cookie",
            lambda: self._ensure_cookie(ctx),
            ("users",),
            before_start=True,
            scope=Scope.CLOUD,
        )

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
    def _etc(ctx: Context) -> Path:
        return ctx.cloud.etc / "rabbitmq"

    @staticmethod
    def _boot(ctx: Context) -> Path:
        return ctx.cloud.run / "rabbitmq"

    @staticmethod
    def _node(ctx: Context) -> str:
        """By address: a new name of the machine does not make it another node."""
        return f"rabbit@{ctx.internal}"

    def _settings(self, ctx: Context) -> str:
        # Of connections only what is refused: one that ends without a word, as the probe's
        # does, would be two lines.
        return f"""[{{rabbit, [
  {{load_definitions, "{self._etc(ctx) / "definitions.json"}"}},
  {{vm_memory_high_watermark, {{absolute, "512MiB"}}}},
  {{disk_free_limit, {disk.FULL}}},
  {{log, [
    {{console, [{{enabled, false}}]}},
    {{file, [{{level, info}}]}},
    {{categories, [{{connection, [{{level, error}}]}}]}}
  ]}}
]}}].
"""
