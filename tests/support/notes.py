"""The answer file of the notes of 2016: their packstack's own, with their edits and nothing else.

``PYTHONPATH=src:. python -m tests.support.notes`` writes ``examples/notes.answers`` anew, after a
key has come or has another comment.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from onestack.answers.registry import registry
from onestack.answers.values import PLACEHOLDER
from onestack.host.facts import route_address
from tests.support.clouds import REPOSITORY, run

PACKSTACK = REPOSITORY / "packstack"
FILE = REPOSITORY / "examples" / "notes.answers"
RELEASE = "mitaka"
"""Whose defaults the notes edited: Open vSwitch's agents are among them."""
EDITS = {
    "CONFIG_HEAT_INSTALL": "y",
    "CONFIG_SAHARA_INSTALL": "y",
    "CONFIG_LBAAS_INSTALL": "y",
    "CONFIG_NEUTRON_FWAAS": "y",
    "CONFIG_TROVE_INSTALL": "y",
    "CONFIG_HORIZON_SSL": "y",
    "CONFIG_KEYSTONE_ADMIN_PW": "centos",
    "CONFIG_NTP_SERVERS": "133.243.238.244",
    "CONFIG_PROVISION_DEMO": "n",
    "CONFIG_HEAT_CLOUDWATCH_INSTALL": "y",
    "CONFIG_HEAT_CFN_INSTALL": "y",
    "CONFIG_CINDER_VOLUMES_SIZE": "20G",
    "CONFIG_SWIFT_STORAGE_SIZE": "2G",
}
"""What the notes write into the file, in their order."""
NAMES = ("CONFIG_SSL_CERT_SUBJECT_CN", "CONFIG_SSL_CERT_SUBJECT_MAIL")
"""Keys whose default is the machine's name."""


def edited(text: str) -> str:
    """With the notes' lines. Each key must be there once: nothing is added."""
    for name, value in EDITS.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, f"{name} is there {count} times"
    return text


def of_any_machine(text: str) -> str:
    """Without what is one machine's alone: its address and name, and the random passwords.

    In their place is packstack's word for a password that is made with the cloud, and nothing,
    which means the address and the name of the machine that makes it.
    """
    secrets = {secret.key for secret in registry().secrets.values()} - EDITS.keys()
    address = route_address()
    lines = []
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name in secrets and re.fullmatch(r"[0-9a-f]{16}", value):
            line = f"{name}={PLACEHOLDER}"
        elif name in NAMES or value == address:
            line = f"{name}="
        lines.append(line)
    return "\n".join([*lines, ""])


def generated() -> str:
    """As ``packstack --gen-answer-file`` writes it, with the defaults of the notes' time."""
    # Not pytest's own place: a cloud's root must be short.
    with tempfile.TemporaryDirectory(prefix="notes-") as work:
        file = Path(work) / "answer-file.txt"
        # A cloud that is there would lend the file its own answers.
        words = ["--release", RELEASE, "--gen-answer-file", str(file), "--root", f"{work}/none"]
        run([str(PACKSTACK), *words])
        return file.read_text()


def text() -> str:
    return of_any_machine(edited(generated()))


if __name__ == "__main__":
    FILE.write_text(text())
