"""What is done every so often: at its time, late rather than never, and loudly when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from onestack.components import periodic


def start(folder: Path, seconds: int, *command: str) -> subprocess.Popen[str]:
    script = folder / "periodic.sh"
    script.write_text(periodic.SCRIPT)
    words = ["/bin/sh", str(script), "work", str(seconds), str(folder / "last"), *command]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate(timeout=10)[0]


def test_a_new_cloud_has_nothing_to_do_yet(tmp_path: Path) -> None:
    process = start(tmp_path, 3600, "touch", str(tmp_path / "done"))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert (tmp_path / "last").exists() and not (tmp_path / "done").exists()
    assert end(process) == ""


def test_what_is_overdue_is_done_at_once(tmp_path: Path) -> None:
    (tmp_path / "last").touch()
    os.utime(tmp_path / "last", (0, 0))
    process = start(tmp_path, 3600, "touch", str(tmp_path / "done"))
    until = time.monotonic() + 10
    while (tmp_path / "last").stat().st_mtime == 0 and time.monotonic() < until:
        time.sleep(0.05)
    assert (tmp_path / "done").exists()
    assert end(process) == "work begins\nwork is done; next in 3600 s\n"


def test_a_failure_is_the_processs_own(tmp_path: Path) -> None:
    (tmp_path / "last").touch()
    os.utime(tmp_path / "last", (0, 0))
    process = start(tmp_path, 3600, "sh", "-c", "echo why; exit 7")
    said, _ = process.communicate(timeout=10)
    assert (process.returncode, said) == (7, "work begins\nwhy\n")
    assert (tmp_path / "last").stat().st_mtime == 0


def test_it_comes_round_again(tmp_path: Path) -> None:
    (tmp_path / "last").touch()
    process = start(tmp_path, 1, "sh", "-c", f"echo x >> {tmp_path}/done")
    until = time.monotonic() + 15
    while time.monotonic() < until:
        if (tmp_path / "done").exists() and len((tmp_path / "done").read_text()) >= 4:
            break
        time.sleep(0.1)
    end(process)
    assert (tmp_path / "done").read_text().startswith("x\nx\n")
