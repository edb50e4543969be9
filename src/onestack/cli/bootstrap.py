"""What is done before the program's own environment exists, with python3 alone.

What is found out about the machine is handed to that command (`onestack.cli.handover`).
The launcher runs ``python3 -m onestack.cli.bootstrap MODULE ARGUMENT…`` when the
environment is not whole. Exit 0: make the environment and run the command in
it. Exit 4: the command needed no environment and has been carried out. Any
other code is the command's own (bad usage or answers, refused by preflight).
"""

from __future__ import annotations

import sys

from onestack.cli import main as program
from onestack.cli.options import cloud_of, resolve_answers

CARRIED_OUT = 4


def first(module: str, argv: list[str]) -> int:
    if module == "onestack.cli.packstack":
        from onestack.cli import packstack

        argv = packstack.first_look(argv)
        if not argv:
            return CARRIED_OUT
    try:
        name, args = program.parse(argv)
    except SystemExit as end:
        return CARRIED_OUT if end.code == 0 else int(end.code or 0)
    verb = program.VERBS[name]
    if verb.bare:
        return program.run(argv) or CARRIED_OUT
    if name == "up":
        from onestack.cli import handover, lock
        from onestack.cli.session import check, context
        from onestack.diagnose.preflight import Remote

        cloud = cloud_of(args)
        lock.need_fit(cloud, name)
        ctx = context(cloud, resolve_answers(cloud, args).answers, keep=False)
        remote: Remote = {}
        check(ctx, remote)
        handover.leave(cloud, handover.Handover(ctx.facts, remote))
    elif verb.root:
        program.need_root(name)
    return 0


if __name__ == "__main__":
    sys.exit(program.guarded(lambda: first(sys.argv[1], sys.argv[2:]), "the same command"))
