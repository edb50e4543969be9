"""What starts a guest: Debian's cloud kernel, and the first file system."""

from __future__ import annotations

from pathlib import Path

from onestack.images.cpio import Archive
from onestack.images.kernel import closure

HERE = Path(__file__).parent
KERNEL = "linux-image-cloud-amd64"
BOOT_MODULES = ("virtio_ring", "virtio", "virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod")
"""What reaches the root file system; ext4 is built into the kernel."""


def boot_config(*further: str) -> str:
    """What syslinux reads, with ``further`` words for the kernel."""
    console = "console=tty0 console=ttyS0,115200n8 quiet loglevel=4"
    words = (console, "panic=10 no_timer_check mitigations=off", *further)
    return (
        "DEFAULT guest\nPROMPT 0\nLABEL guest\nLINUX vmlinuz\nINITRD initrd\n"
        f"APPEND {' '.join(words)}\n"
    )


def make_initrd(packages: Path, modules: Path) -> bytes:
    """The first file system: busybox, the disk's modules, and ``initrd/init``."""
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.file("init", (HERE / "initrd/init").read_bytes(), 0o755)
    archive.file("bin/busybox", (packages / "bin/busybox").read_bytes(), 0o755)
    needed = closure(modules, BOOT_MODULES)
    for name, path in needed.items():
        archive.file(f"modules/{name}.ko", path.read_bytes())
    archive.file("modules/order", "".join(f"{name}\n" for name in needed).encode())
    return archive.to_bytes()
