"""`verify --tempest` on its own, run and stopped by test_verify: python verify_trial.py ROOT.

Its tests are a program that goes on until it is ended.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[3] / name) for name in ("src", ".")]

from onestack.cli import lock, main, verify  # noqa: E402
from onestack.components.tempest import Tempest, leftovers, paths, runner  # noqa: E402
from onestack.components.tempest.selection import Selection  # noqa: E402
from onestack.host.locks import Tell  # noqa: E402
from onestack.model.context import Context  # noqa: E402
from tests.unit.components.rooms import context_on, machine  # noqa: E402

PROGRAM = """
import os, sys, time
with open(sys.argv[1] + "-pid", "w") as file:
    file.write(str(os.getpid()))
time.sleep(300)
"""


def run(root: Path) -> int:
    ctx = context_on(machine(), root, Tempest(), CONFIG_PROVISION_TEMPEST="y")
    paths.kept(ctx).mkdir(parents=True)
    python = paths.environment(ctx).python
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (root / "run.py").write_text(PROGRAM)

    ctx.cloud.etc.mkdir()

    def remove(ctx: Context, left: frozenset[str], heard: Tell) -> list[str]:
        heard("removing something")
        with (root / "told").open("a") as file:
            file.write("removed\n")
        return []

    for module, name, value in (
        (paths, "user", lambda ctx: "root"),
        (paths, "program", lambda ctx: root / "run.py"),
        (runner, "need_installed", lambda ctx: None),
        (leftovers, "_there", lambda ctx: frozenset()),
        (leftovers, "_remove", remove),
        (lock, "changing", lambda *_: contextlib.nullcontext()),
        (verify, "end_orphans", lambda: 0),
    ):
        setattr(module, name, value)
    return main.guarded(lambda: verify.tempest(ctx, Selection(), False), "again")


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
