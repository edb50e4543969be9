"""Guests: shut down in order when the cloud goes down, before libvirtd does.

A room of its own, so that `restart libvirt` and `restart nova` leave guests
alone. nova starts them again with the cloud
(``resume_guests_state_on_host_boot``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from onestack.answers.values import Answers
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile
from onestack.model.host import Role
from onestack.model.process import Process

SECONDS = 30
"""What guests get to shut down by themselves."""

KEEPER = """# asks libvirt once, waits for TERM, shuts guests down
# arguments: PYTHON PROGRAM URI SECONDS
set -eu
python=$1 program=$2 uri=$3 seconds=$4
ended=
sleep infinity &
waiting=$!
trap 'ended=1; kill $waiting' TERM
"$python" "$program" ask "$uri"
echo "libvirt answers; guests are shut down when this process ends"
wait $waiting || :
[ -n "$ended" ] || exit 1
# an orphan: its supervisor was killed, the next one clears up, and guests go on
read -r _ _ _ parent _ </proc/$$/stat
[ "$parent" = "$PPID" ] || exit 1
"$python" "$program" shut-down "$uri" "$seconds"
"""
"""It waits for nearly all of its life: a shell takes 1 MB for that, Python 18."""


class Guests(Component):
    name = "guests"
    title = "Guests"
    roles = frozenset({Role.COMPUTE})
    provides = (Capability("guests", ("guests",)),)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NOVA_INSTALL"])

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ConfigFile(self._script(ctx), KEEPER, ctx.cloud.user(self.name))

    def processes(self, ctx: Context) -> Iterable[Process]:
        # by its path: as a module it would bring all rooms along
        program = ctx.release.program / "onestack" / "components" / "guests" / "inside" / "run.py"
        hypervisor = ctx.at("hypervisor")
        uri = f"qemu+unix:///system?socket={hypervisor.socket}"
        yield Process(
            name="guests",
            component=self.name,
            user=ctx.cloud.user(self.name),
            groups=(hypervisor.group,),
            argv=(
                *("/bin/sh", str(self._script(ctx))),
                *(str(ctx.release.services.python), str(program), uri, str(SECONDS)),
            ),
            files=(str(self._script(ctx)),),
            needs=("hypervisor",),
            stop_seconds=SECONDS + 15.0,
        )

    @staticmethod
    def _script(ctx: Context) -> Path:
        return ctx.cloud.etc / "guests" / "keeper.sh"
