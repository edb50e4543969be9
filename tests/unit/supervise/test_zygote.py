"""What a zygote says where it cannot fork."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from onestack.model.process import ZygoteSpec
from onestack.supervise.child import Child
from onestack.supervise.zygote import Zygote, serve


def fail(text: str) -> NoReturn:
    raise LookupError(text)


class Broken(str):
    """Cannot be read by whom it is sent to."""

    def __reduce__(self) -> Any:
        return fail, ("no such thing",)


def test_the_reason_is_answered_and_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It had been swallowed: `cannot fork` was all that anybody was told."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nothing = cast(Any, None)
    zygote = Zygote("far", ZygoteSpec(()), "", nothing, tmp_path, nothing, nothing)
    serving = threading.Thread(target=serve, args=((), {"channel": theirs}))
    serving.start()
    with ours, theirs, subprocess.Popen(["sleep", "60"]) as itself:
        ours.recv(65536)  # its status
        zygote._channel, zygote._pid, zygote.done = ours, itself.pid, True
        child = Child("a", tmp_path, tmp_path / "a.log", env={"A": Broken()})
        with pytest.raises(OSError, match="its zygote far cannot fork: LookupError: no such thing"):
            zygote.fork(child)
        ours.shutdown(socket.SHUT_RDWR)
        serving.join(10)
    said = capfd.readouterr().err
    assert "Traceback" in said and "LookupError: no such thing" in said
