"""The guest's first program finds its root by the label, also where a volume is in its place."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from onestack.images import boot

INIT = Path(boot.__file__).with_name("initrd") / "init"


@pytest.mark.parametrize(
    ("disks", "root"),
    [
        ({"vda2": "guest"}, "vda2"),
        ({"sda2": "guest"}, "sda2"),
        # a clone beside it: the first of its kind is the one it started from
        ({"vda2": "guest", "vdb2": "guest"}, "vda2"),
        # a volume came first
        ({"vda": "", "vdb2": "guest"}, "vdb2"),
        ({"vda2": "other", "sdc2": "guest"}, "sdc2"),
        ({"vda2": "other"}, ""),
    ],
)
def test_the_root_is_found(tmp_path: Path, disks: dict[str, str], root: str) -> None:
    for name, label in disks.items():
        (tmp_path / name).write_bytes(b"\0" * 1144 + label.encode() + b"\0" * 100)
    search = re.search(r"^labelled\(\) \{.*?^done$", INIT.read_text(), re.DOTALL | re.MULTILINE)
    assert search
    program = search[0].replace("/dev/", f"{tmp_path}/").replace("-b ", "-f ")
    program = program.replace("$B sleep 0.1", ":")
    done = subprocess.run(
        ["sh", "-c", f'B=\n{program}\necho "$root"'], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).name == root
