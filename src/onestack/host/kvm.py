"""Whether KVM truly works: a tiny guest must run on it, not only its device be there."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from onestack.host.command import Aborted, CommandFailed, run
from onestack.kernel import files
from onestack.model.cloud import CACHE
from onestack.model.errors import OnestackError

SECONDS = 3.0
ALIVE = 0x2A
EXIT = (ALIVE << 1) | 1
"""QEMU's exit code when the guest writes `ALIVE` to the isa-debug-exit device."""

BOOT_SECTOR = (
    bytes.fromhex(
        "fa31c08ed88ec0660f0116e87c0f20c00c010f22c0ea1a7c080066b810008ed88ec08ed0bc007c00"
        "009c0e68317c0000cfbf0010000031c0b900100000f3abc7050010000003200000c7050020000003"
        "300000c7050030000083000000b8ab7c000066a300400000c705024000001800008eb8001000000f"
        "22d80f20e00c200f22e0b9800000c00f3280cc010f300f20c00d000000800f22c0eaa07c00001800"
        "0f011c25ee7c0000cd00f46a1068007c00009c6a1868bc7c000048cf66ba0105b02aeef4ebfd6690"
        "0000000000000000ffff0000009acf00ffff00000092cf00ffff0000009aaf001f00c87c00000f00"
        "0040000000000000"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)
"""What `kvm.S` is assembled to: protected mode, long mode, an interrupt in each, then `ALIVE`."""


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
    if not usable(device):
        return Answer(False, f"only root may open {device}, and guests run as another user")
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
    # On a full disk it is asked anew each time.
    with contextlib.suppress(OSError):
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        known = {"boot": boot, "works": answer.works, "reason": answer.reason}
        files.write(kept, json.dumps(known), 0o644)
    return answer


def usable(device: Path) -> bool:
    """Whether others than root may read and write it: its group, or everybody."""
    info = device.stat()
    return bool(info.st_mode & 0o006 == 0o006 or (info.st_gid and info.st_mode & 0o060 == 0o060))


def start_guest(qemu: str, accelerator: str = "kvm", seconds: float = SECONDS) -> Answer:
    """Boot `BOOT_SECTOR` and see whether it ran. Leaves no QEMU behind."""
    with tempfile.TemporaryDirectory(prefix="onestack-kvm-") as folder:
        disk = Path(folder) / "disk"
        disk.write_bytes(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        words = f"{qemu} -accel {accelerator} -cpu max -machine pc -m 16 -nodefaults"
        words += " -no-user-config -display none -no-reboot"
        words += " -device isa-debug-exit,iobase=0x501,iosize=2"
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
