"""What is asked of the kernel."""

from __future__ import annotations

from pathlib import Path

from onestack.kernel import linux


def test_a_program_leaves_its_profile(tmp_path: Path) -> None:
    file = tmp_path / "exec"
    file.touch()
    linux.leave_profile_at_exec(file)
    assert file.read_bytes() == b"exec unconfined"


def test_without_apparmor_nothing_changes(tmp_path: Path) -> None:
    linux.leave_profile_at_exec(tmp_path / "none")
    # what a profile that forbids it answers
    linux.leave_profile_at_exec(Path("/proc/thread-self/attr/none"))
    assert list(tmp_path.iterdir()) == []
