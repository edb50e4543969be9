"""What a controller may have run on a host that has joined, and where its commands ask for it."""

from __future__ import annotations

import re
from pathlib import Path

from onestack.cluster.verbs import FURTHER, SECONDS
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.root_command import RootCommand

LIMIT = ("/usr/bin/timeout", "--kill-after=5")
"""Of coreutils; the seconds follow. Who asked may be gone: what is run for it ends by itself."""


def spool(cloud: Cloud) -> Path:
    """On the controller: where commands leave their questions, for the door."""
    return cloud.run / "asked"


def cloud(ctx: Context) -> list[str]:
    """Follows the verb."""
    return ["--name", ctx.cloud.name, "--root", str(ctx.cloud.root)]


def allowed(ctx: Context, launcher: str) -> tuple[RootCommand, ...]:
    """What the follower may have run as root for the controller: these verbs, and no other."""
    return tuple(
        RootCommand(
            (
                *map(re.escape, LIMIT),
                SECONDS,
                re.escape(launcher),
                re.escape(verb),
                *map(re.escape, cloud(ctx)),
            ),
            further,
        )
        for verb, further in FURTHER.items()
    )
