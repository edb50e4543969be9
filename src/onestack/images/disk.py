"""A bootable disk image without mounting anything: MBR, FAT with syslinux, ext4."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from onestack.host.command import run

MIB = 1 << 20
SECTOR = 512
BOOT_START = 1 * MIB
BOOT_SIZE = 24 * MIB
ROOT_SIZE = 128 * MIB
EPOCH = "1767225600"
"""Every time in the image: 2026-01-01, so that equal content gives equal images."""
UUID = "6f6e6573-7461-636b-6775-657374726f6f"
HEADS, SECTORS = 16, 63
"""The geometry that FAT's header and the BIOS are told."""


def write_disk(
    disk: Path,
    tools: Path,
    boot: Mapping[str, bytes],
    config: str,
    root: Path,
    work: Path,
    root_size: int = ROOT_SIZE,
) -> None:
    """Make the raw image ``disk``: ``boot`` and syslinux's ``config`` in a FAT, then ``root``.

    ``tools`` is a tree with the packages syslinux and mtools; ``work`` a
    directory for scratch files. The files' owners are taken from ``root``; its file
    system has ``root_size`` bytes.
    """
    total = BOOT_START + BOOT_SIZE + root_size
    with disk.open("wb") as file:
        file.truncate(total)
        file.write((tools / "usr/lib/SYSLINUX/mbr.bin").read_bytes()[:440])
        file.seek(440)
        file.write(partition_table(root_size))
    _boot_partition(disk, tools, boot, config, work)
    _root_partition(disk, root, work, root_size)


def partition_table(root_size: int = ROOT_SIZE) -> bytes:
    """Bytes 440 to 512 of the MBR: a signature, an active FAT16 and a Linux partition."""

    def entry(active: bool, kind: int, start: int, size: int) -> bytes:
        # Beyond what cylinders can say, the LBA fields count: FE FF FF marks it.
        chs = b"\xfe\xff\xff"
        flag = 0x80 if active else 0
        return struct.pack("<B3sB3sII", flag, chs, kind, chs, start // SECTOR, size // SECTOR)

    return (
        b"1stk\0\0"
        + entry(True, 0x0E, BOOT_START, BOOT_SIZE)
        + entry(False, 0x83, BOOT_START + BOOT_SIZE, root_size)
        + bytes(32)
        + b"\x55\xaa"
    )


def _boot_partition(
    disk: Path, tools: Path, boot: Mapping[str, bytes], config: str, work: Path
) -> None:
    programs = tools / "usr/bin"
    # syslinux starts mcopy and mattrib by name.
    env = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "SOURCE_DATE_EPOCH": EPOCH,
        "MTOOLS_SKIP_CHECK": "1",
    }
    place = f"{disk}@@{BOOT_START}"
    geometry = ["-h", str(HEADS), "-s", str(SECTORS), "-H", str(BOOT_START // SECTOR)]
    size = str(BOOT_SIZE // SECTOR)
    run(
        [
            programs / "mformat",
            "-i",
            place,
            "-T",
            size,
            *geometry,
            "-N",
            "6f6e6573",
            "-v",
            "BOOT",
            "::",
        ],
        env=env,
    )
    run([programs / "syslinux", "--install", "--offset", str(BOOT_START), disk], env=env)
    for name, content in {**boot, "syslinux.cfg": config.encode()}.items():
        (work / name).write_bytes(content)
        run([programs / "mcopy", "-i", place, work / name, f"::/{name}"], env=env)


def _root_partition(disk: Path, root: Path, work: Path, size: int) -> None:
    # On a file of its own: mke2fs can start at an offset, but then trims the file's end.
    part = work / "root.ext4"
    with part.open("wb") as file:
        file.truncate(size)
    extended = f"hash_seed={UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    options = ["-t", "ext4", "-b", "4096", "-m", "0", "-U", UUID, "-L", "guest", "-E", extended]
    run(
        ["mke2fs", "-q", "-F", *options, "-d", root, part],
        env={"E2FSPROGS_FAKE_TIME": EPOCH},
    )
    with part.open("rb") as source, disk.open("r+b") as target:
        for start, end in _filled(source.fileno()):
            source.seek(start)
            target.seek(BOOT_START + BOOT_SIZE + start)
            for at in range(start, end, MIB):
                target.write(source.read(min(MIB, end - at)))
    part.unlink()


def _filled(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a sparse file has its data."""
    size = os.fstat(descriptor).st_size
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
        at = end
