"""An ordinary Debian server, used as over ssh: what the two kinds of them have in common."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.support.clouds import REPOSITORY, run, wait_until

BOOT = (
    "test -S /run/systemd/private || exit 1; systemctl is-system-running --wait >/dev/null;"
    " cat /proc/sys/kernel/random/boot_id && cut -d' ' -f22 /proc/1/stat"
)
"""What is another after each boot, of a container too; said when all that begins has begun."""


class Server:
    """One that runs. `words` is how a shell line gets there."""

    patience = 60.0
    """Seconds for a boot."""
    slower = 1.0
    """How many times longer than on this machine everything takes there."""
    kernel = False
    """Whether it has a kernel of its own."""

    def words(self, command: str) -> list[str]:
        raise NotImplementedError

    def end(self) -> None:
        """Nothing on it is needed any more."""
        raise NotImplementedError

    def power_cut(self) -> None:
        raise NotImplementedError

    def ssh(self, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        more["timeout"] = more.get("timeout", 300) * self.slower
        return run(self.words(command), **more)

    def type(self, command: str, **more: Any) -> str:
        """What a line prints."""
        return self.ssh(command, **more).stdout

    def says(self, command: str, **more: Any) -> bool:
        """Whether it ends well."""
        return self.ssh(command, expect=None, **more).returncode == 0

    def boot(self) -> str:
        return self.type(BOOT).strip()

    def await_boot(self, before: str = "") -> None:
        """Until somebody can log in; ``before`` is the boot that is over."""

        def other() -> bool:
            said = self.ssh(BOOT, expect=None)
            return len(said.stdout.split()) == 2 and said.stdout.strip() != before

        wait_until("the server is up", other, self.patience)

    def reboot(self) -> None:
        """As the operator does it."""
        before = self.boot()
        self.ssh("systemctl reboot", expect=None)
        self.await_boot(before)

    def unpack(self, place: str) -> None:
        """A clean checkout: what is committed, and what is not yet.

        Where all takes its time, the program's own environment too, if there is one.
        """
        listed = run(["git", "-C", str(REPOSITORY), "ls-files", "-co", "--exclude-standard"])
        there = [name for name in listed.stdout.splitlines() if Path(REPOSITORY, name).exists()]
        if self.kernel and Path(REPOSITORY, ".venv/complete").exists():
            there.append(".venv")
        pack = ["tar", "-C", str(REPOSITORY), "-cz", "--owner=0", "--group=0", *there]
        archive = subprocess.run(pack, capture_output=True, check=True).stdout
        words = self.words(f"mkdir -p {place} && tar -C {place} -xz")
        subprocess.run(words, input=archive, check=True, timeout=300)
