"""Log lines at ERROR that a clean run may show, each with its reason."""

from __future__ import annotations

import re

KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"^heat\.log: \S+ \S+ \d+ ERROR heat\.engine\.resource ",
        "how heat logs that a resource cannot be made, which the test of a roll-back asks for",
    ),
    (
        r"^cinder-scheduler\.log: .*(No valid backend was found|ScheduleCreateVolumeTask)",
        "cinder's way to say that a volume is larger than the pool, which the guide asks for",
    ),
    (
        r"^ovs-vswitchd\.log: .*error receiving data from \S+: (Network is down|No such device)",
        "the userspace switch reads from the device of a guest or namespace that is being removed",
    ),
)
"""Pattern over ``LOG: LINE``, and why it is no defect."""


def unexpected(lines: list[str]) -> list[str]:
    return [line for line in lines if not any(re.search(p, line) for p, _ in KNOWN)]
