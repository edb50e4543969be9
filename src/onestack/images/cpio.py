"""Write a cpio archive of the "newc" kind, which the kernel unpacks as its initramfs.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field


@dataclass
class Archive:
    """Entries belong to root and have the time 0: the same content gives the same bytes."""

    entries: list[tuple[str, int, bytes]] = field(default_factory=list)

    def directory(self, name: str) -> None:
        self.entries.append((name, stat.S_IFDIR | 0o755, b""))

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        self.entries.append((name, stat.S_IFREG | mode, content))

    def device(self, name: str, major: int, minor: int) -> None:
        """A character device, root's only."""
        self.entries.append((name, stat.S_IFCHR | 0o600, major.to_bytes(2) + minor.to_bytes(2)))

    def to_bytes(self) -> bytes:
        out = bytearray()
        for number, (name, mode, content) in enumerate(self.entries, 1):
            out += _entry(number, name, mode, content)
        out += _entry(0, "TRAILER!!!", 0, b"")
        return bytes(out) + bytes(-len(out) % 512)


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    major = minor = 0
    if stat.S_ISCHR(mode):
        major, minor, content = content[1], content[3], b""
    links = 2 if stat.S_ISDIR(mode) else 1
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, major, minor, len(encoded), 0)
    out = b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
    out += bytes(-len(out) % 4) + content
    return out + bytes(-len(out) % 4)
