"""LVM's own tools, with settings and metadata backups of the cloud's, not the machine's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from onestack.host.command import CommandResult, run
from onestack.host.files import write_file

SECONDS = 300.0
"""For one command: a large pool's metadata are made, or looked through as it is activated."""

CONF = """# Written by onestack. The cloud's own commands of LVM read this, no others.
devices {
\tscan_lvs = 0  # what guests make of their volumes is theirs
\tuse_devicesfile = 0
\tobtain_device_list_from_udev = 0  # also where no udev runs
\thints = "none"
}
allocation {
\tthin_pool_zero = 1
}
activation {
\tmonitoring = 0  # no dmeventd: the thin pool has all of the group, and more is never given out
}
backup {
\tarchive = 0
}
global {
\tuse_lvmpolld = 0
}
"""


@dataclass(frozen=True)
class Lvm:
    """``home`` is the folder of its settings (`CONF`) and of its backups of metadata."""

    home: Path

    @property
    def _conf(self) -> Path:
        return self.home / "lvm.conf"

    def prepare(self) -> None:
        """Its settings are there, and today's."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._conf.exists() or self._conf.read_text() != CONF:
            write_file(self._conf, CONF, mode=0o644)

    def run(self, *words: str | Path, check: bool = True) -> CommandResult:
        """``vgs``, ``lvcreate`` …, to its end even when the run is stopped.

        Before `prepare` nobody's settings count, and no backup is made.
        """
        env = settings(self.home if self._conf.exists() else "")
        return run(words, timeout=SECONDS, check=check, env=env, finish=True)

    def report(self, what: str, fields: str, *select: str) -> list[dict[str, str]]:
        """Rows of ``vgs``, ``lvs`` or ``pvs``, by field; sizes in bytes.

        ``select`` are further words. Nothing that is named is no row, and no error.
        """
        form = ("--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields)
        said = self.run(what, *form, *select).out
        rows: list[dict[str, str]] = json.loads(said)["report"][0][what.removesuffix("s")]
        return rows


def settings(home: Path | str) -> dict[str, str]:
    """The environment in which LVM's tools have the settings in ``home``."""
    return {"LVM_SYSTEM_DIR": str(home), "LVM_SUPPRESS_FD_WARNINGS": "1"}
