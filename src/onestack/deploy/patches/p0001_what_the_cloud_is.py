"""Format 0, of programs that wrote no number, to 1: release and hosts stand in cloud.json.

There was one release, and one host with every role. Its name was the kernel's, asked anew each
time: the one of now is that of its rows in the services' databases.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from onestack.host.files import write_file

RELEASE = "2026.2"
ROLES = ("compute", "controller", "gateway", "storage")


def apply(root: Path) -> None:
    path = root / "etc" / "cloud.json"
    raw = json.loads(path.read_text())
    hosts = [{"name": socket.gethostname(), "roles": list(ROLES)}]
    write_file(path, json.dumps({**raw, "release": RELEASE, "hosts": hosts}, indent=1) + "\n")
