"""``exec``: a command ends with 0."""

from __future__ import annotations

import subprocess
from pathlib import Path

from onestack.model.process import ExecProbe
from onestack.supervise.probes.base import Wrong


def attempt(probe: ExecProbe, timeout: float) -> None:
    program = probe.argv[0]
    try:
        done = subprocess.run(
            probe.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"{program} does not end within {timeout:.0f} s") from None
    except OSError as error:
        raise Wrong(f"{program}: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        tail = f": {lines[-1][:200]}" if lines else ""
        raise Wrong(f"{Path(program).name} ended with {done.returncode}{tail}")
