"""memcached: tokens that services have already checked, keystone's cache, consoles' tokens."""

from __future__ import annotations

from collections.abc import Iterable

from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability
from onestack.model.process import ConnectProbe, Process

PORT = 11211


class Memcached(Component):
    name = "memcached"
    title = "memcached"
    provides = (Capability("cache", ("memcached",), port=PORT),)

    def packages(self, ctx: Context) -> Iterable[str]:
        return ("memcached",)

    def processes(self, ctx: Context) -> Iterable[Process]:
        address = f"tcp:{ctx.internal}:{PORT}"
        yield Process(
            name="memcached",
            component=self.name,
            user=ctx.cloud.user(self.name),
            # 32 MiB hold some 10,000 tokens; no UDP. Each class of sizes that is used
            # takes 1 MiB at once, so few classes, twice as large each as the one before.
            argv=(
                *("/usr/bin/memcached", "-l", ctx.internal, "-p", str(PORT), "-U", "0"),
                *("-m", "32", "-f", "2", "-t", "1"),
            ),
            probe=ConnectProbe(address, say="version\r\n", hear="VERSION ", seconds=10),
            stop_seconds=5.0,
        )
