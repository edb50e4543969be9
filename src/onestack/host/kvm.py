"""Whether KVM truly works: a tiny guest must run on it, not only its device be there."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from onestack.cloud import CACHE
from onestack.errors import OnestackError
from onestack.host.command import Aborted, CommandFailed, run

SECONDS = 3.0
ALIVE = 0x2A
EXIT = (ALIVE << 1) | 1
"""QEMU's exit code when the guest writes `ALIVE` to the isa-debug-exit device."""

BOOT_SECTOR = (
    bytes(
        [
            *(0xBA, 0x01, 0x05),  # mov dx, 0x501
            *(0xB0, ALIVE),  # mov al, ALIVE
            0xEE,  # out dx, al
            0xF4,  # hlt
            *(0xEB, 0xFD),  # jmp to hlt
        ]
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)


@dataclass(frozen=True)
class Answer:
    works: bool
    reason: str


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def probe(cache: Path = CACHE, device: Path = Path("/dev/kvm")) -> Answer:
    """Start the guest once per boot of the machine; the answer is kept in ``cache``."""
    if not device.exists():
        return Answer(False, f"there is no {device}")
    if platform.machine() != "x86_64":
        return Answer(False, f"it cannot be tried on {platform.machine()}")
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        return Answer(False, "QEMU is not installed yet")
    kept, boot = cache / "kvm.json", _boot_id()
    try:
        known = json.loads(kept.read_text())
        if known["boot"] == boot:
            return Answer(known["works"], known["reason"])
    except (OSError, ValueError, KeyError):
        pass
    answer = start_guest(qemu)
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = kept.with_suffix(".new")
    temporary.write_text(json.dumps({"boot": boot, "works": answer.works, "reason": answer.reason}))
    temporary.rename(kept)
    return answer


def start_guest(qemu: str, accelerator: str = "kvm", seconds: float = SECONDS) -> Answer:
    """Boot `BOOT_SECTOR` and see whether it ran. Leaves no QEMU behind."""
    with tempfile.TemporaryDirectory(prefix="onestack-kvm-") as folder:
        disk = Path(folder) / "disk"
        disk.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        words = f"{qemu} -accel {accelerator} -machine pc -m 16 -nodefaults -no-user-config"
        words += " -display none -no-reboot -device isa-debug-exit,iobase=0x501,iosize=2"
        argv = [*words.split(), "-drive", f"file={disk},format=raw,if=ide"]
        try:
            result = run(argv, timeout=seconds, check=False)
        except Aborted:
            raise
        except CommandFailed:
            return Answer(False, f"a guest on it did not run within {seconds:g} s")
        except OnestackError as error:
            return Answer(False, error.why or error.what)
    if result.code == EXIT:
        return Answer(True, "a guest ran on it")
    said = (result.err.strip().splitlines() or ["nothing said"])[-1]
    return Answer(False, f"QEMU ended with {result.code}: {said}")
