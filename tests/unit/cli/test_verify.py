"""`verify --tempest` that is stopped: its tests end, and what they have made is removed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onestack.kernel import proc
from tests.support.clouds import wait_until

TRIAL = Path(__file__).with_name("verify_trial.py")


@pytest.mark.skipif(os.geteuid() != 0, reason="tests are run as another user")
@pytest.mark.parametrize("hears", [True, False], ids=["heard", "by nobody"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_made_goes_when_it_is_stopped(
    tmp_path: Path, number: signal.Signals, hears: bool
) -> None:
    """Ctrl-C, a kill, a lost terminal; also where nobody reads any more what is said."""
    kept = tmp_path / "data" / "tempest" / "results"
    with subprocess.Popen(
        [sys.executable, TRIAL, tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A shell's job in the background has Ctrl-C ignored.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (1, 2, 15)] and None,
    ) as started:
        try:
            wait_until("tests", lambda: bool([*kept.glob("*-pid")]), 60, 0.1)
            wait_until("their id", lambda: next(kept.glob("*-pid")).read_text() != "", 10, 0.1)
            tests = int(next(kept.glob("*-pid")).read_text())
            assert started.stderr is not None
            if not hears:
                started.stderr.close()
            started.send_signal(number)
            said = started.stderr.read().decode() if hears else ""
            assert started.wait(60) == 1
            assert proc.stat(tests) is None
        finally:
            started.kill()
            for place in kept.glob("*-pid"):
                with contextlib.suppress(OSError):
                    left = Path(f"/proc/{place.read_text()}/cmdline").read_text()
                    if str(tmp_path) in left:
                        os.kill(int(place.read_text()), signal.SIGKILL)
    assert (tmp_path / "told").read_text() == "removed\n"
    assert not (tmp_path / "etc" / "tempest-before.json").exists()
    if hears:
        assert "removing something" in said and "Traceback" not in said
