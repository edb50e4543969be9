"""What the launcher's first look has found out is handed to the program that it starts then.

Between the two the launcher makes the program's environment. It keeps a file open that
has no name any more: nobody else can read or write it, and nothing is left of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from onestack.diagnose.preflight import Remote
from onestack.host.facts import HostFacts
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.model.findings import Finding

VARIABLE = "ONESTACK_HANDOVER"
"""The number of the file's descriptor, set by the launcher."""


@dataclass(frozen=True)
class Handover:
    facts: HostFacts | None = None
    remote: Remote = field(default_factory=dict)
    """What other machines (mirrors, the package index) were asked, and the findings."""


def _file(env: Mapping[str, str]) -> int | None:
    """The launcher's file: ours alone, and without a name."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        descriptor = int(env.get(VARIABLE, ""))
        kind = os.fstat(descriptor)
        if stat.S_ISREG(kind.st_mode) and kind.st_nlink == 0 and kind.st_uid == os.geteuid():
            return descriptor
    return None


def leave(cloud: Cloud, found: Handover, env: Mapping[str, str] = os.environ) -> None:
    """Write down what was found out about this machine for ``cloud``."""
    descriptor = _file(env)
    if descriptor is None or found.facts is None:
        return
    if "" in found.facts.candidates.values():
        # The launcher may fetch apt's lists yet, and then it is known which version would come.
        return
    remote = {name: [f.to_json() for f in findings] for name, findings in found.remote.items()}
    text = json.dumps({"cloud": _names(cloud), "facts": found.facts.to_json(), "remote": remote})
    # On a full disk all is looked at once more.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def take(cloud: Cloud, env: Mapping[str, str] = os.environ) -> Handover:
    """What `leave` wrote about ``cloud`` for this command; without any, nothing is known."""
    descriptor = _file(env)
    if descriptor is None:
        return Handover()
    with open(descriptor, "rb") as file:
        file.seek(0)
        text = file.read()
    try:
        known = json.loads(text)
        if known["cloud"] != _names(cloud):
            return Handover()
        return Handover(
            HostFacts.from_json(known["facts"]),
            {name: [Finding.from_json(f) for f in each] for name, each in known["remote"].items()},
        )
    except (ValueError, KeyError, TypeError, OnestackError):
        return Handover()


def _names(cloud: Cloud) -> list[str | None]:
    return [cloud.name, str(cloud.root), cloud.netns]
