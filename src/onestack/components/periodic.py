"""Work that is to be done every so often, as cron did it: a shell that sleeps in between.

It takes 1 MB. When the work was last done is the time of a file, so that days
on which the machine was off count too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.model.host import Role
from onestack.model.process import Process

DAY = 86400
SCRIPT = """# does something every so many seconds
# arguments: NAME SECONDS FILE COMMAND...
set -eu
name=$1 seconds=$2 done=$3
shift 3
[ -e "$done" ] || touch "$done" # a new cloud has nothing to do yet
while :; do
    left=$(($(stat -c %Y "$done") + seconds - $(date +%s)))
    if [ "$left" -gt 0 ]; then
        sleep "$left"
        continue
    fi
    echo "$name begins"
    "$@"
    touch "$done"
    echo "$name is done; next in $seconds s"
done
"""


def script(ctx: Context, component: str) -> ConfigFile:
    return ConfigFile(_place(ctx, component), SCRIPT, ctx.cloud.user(component))


def process(
    ctx: Context,
    component: str,
    name: str,
    seconds: int,
    command: Sequence[str],
    needs: tuple[str, ...],
) -> Process:
    """``command`` every ``seconds``, as the component's user; `script` must be among its files."""
    place = _place(ctx, component)
    stamp = ctx.cloud.data / component / f"{name}.last"
    return Process(
        name=name,
        component=component,
        user=ctx.cloud.user(component),
        argv=("/bin/sh", str(place), name, str(seconds), str(stamp), *command),
        files=(str(place),),
        needs=needs,
        stop_seconds=5.0,
        roles=(Role.CONTROLLER,),
    )


def _place(ctx: Context, component: str) -> Path:
    return ctx.cloud.etc / component / "periodic.sh"
