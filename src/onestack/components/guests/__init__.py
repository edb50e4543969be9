"""Guests: shut down in order when the cloud goes down, before libvirtd does.

A room of its own, so that `restart libvirt` and `restart nova` leave guests
alone. nova starts them again with the cloud
(``resume_guests_state_on_host_boot``).
"""

from __future__ import annotations

from collections.abc import Iterable

from onestack.answers.values import Answers
from onestack.components.base import Component, Context
from onestack.supervise.spec import Process

SECONDS = 30
"""What guests get to shut down by themselves."""


class Guests(Component):
    name = "guests"
    title = "Guests"

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NOVA_INSTALL"])

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield Process(
            name="guests",
            component=self.name,
            user=ctx.cloud.user(self.name),
            groups=(ctx.cloud.user("libvirt"),),
            run="onestack.components.guests.run:keep",
            arguments={
                "uri": f"qemu+unix:///system?socket={ctx.cloud.run}/libvirt/libvirt-sock",
                "seconds": SECONDS,
            },
            needs=("libvirtd",),
            stop_seconds=SECONDS + 15.0,
        )
