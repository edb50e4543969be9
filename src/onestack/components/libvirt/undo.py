"""Guests that outlived all of their cloud, and their end."""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Mapping
from typing import Any

from onestack.kernel import proc
from onestack.model.change import Undo
from onestack.model.errors import OnestackError

GUESTS = "guests of user"
SECONDS = 10.0


def undo_guests(data: dict[str, Any]) -> None:
    """libvirt gives QEMU an environment of its own, so only their user shows whose they are."""
    try:
        uid = pwd.getpwnam(data["user"]).pw_uid
    except KeyError:
        return
    for number, seconds in ((signal.SIGTERM, SECONDS), (signal.SIGKILL, SECONDS)):
        end = time.monotonic() + seconds
        for pid in proc.of_user(uid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        while any(proc.of_user(uid)):
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        else:
            return
    raise OnestackError(
        f"processes of {data['user']} do not end",
        f"pids {', '.join(map(str, proc.of_user(uid)))}",
        "see what they wait for, then run the same command again",
    )


UNDO: Mapping[str, Undo] = {GUESTS: undo_guests}
