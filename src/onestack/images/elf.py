"""Which shared libraries a 64-bit little-endian ELF file asks for.

Layout: the System V ABI, "Object Files" (header, program headers, dynamic section).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def needed(path: Path) -> list[str]:
    """Sonames of the libraries ``path`` needs, its loader included; empty for a static one."""
    raw = path.read_bytes()
    offset, size, count = (*struct.unpack_from("<Q", raw, 32), *struct.unpack_from("<HH", raw, 54))
    headers = [struct.unpack_from("<IIQQQQQQ", raw, offset + n * size) for n in range(count)]
    loads = [(h[3], h[3] + h[5], h[2]) for h in headers if h[0] == PT_LOAD]

    def text(at: int) -> str:
        return raw[at : raw.index(b"\0", at)].decode()

    names = [Path(text(h[2])).name for h in headers if h[0] == PT_INTERP]
    for header in headers:
        if header[0] != PT_DYNAMIC:
            continue
        entries = list(_dynamic(raw, header[2], header[5]))
        address = next(value for tag, value in entries if tag == DT_STRTAB)
        strings = next(place + address - low for low, high, place in loads if low <= address < high)
        names += [text(strings + value) for tag, value in entries if tag == DT_NEEDED]
    return names


def _dynamic(raw: bytes, offset: int, size: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + size, 16):
        tag, value = struct.unpack_from("<QQ", raw, at)
        if tag == DT_NULL:
            return
        yield tag, value
