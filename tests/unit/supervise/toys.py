"""What the tests' toy processes do. Imported by the supervisor under test."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from onestack.model.process import Process


def forever(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Say that it runs, until TERM."""
    print(f"{spec.name} runs", flush=True)
    signal.pause()


def ordered(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Write when it begins and when it ends into a file shared with others."""
    book = Path(spec.arguments["book"])

    def note(what: str) -> None:
        with book.open("a") as file:
            file.write(f"{what} {spec.name}\n")

    def end(number: int, frame: object) -> None:
        time.sleep(0.05)
        note("stop")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    time.sleep(0.05)
    note("start")
    Path(spec.arguments["ready"]).touch()
    signal.pause()


def crash(spec: Process, sockets: dict[str, socket.socket]) -> None:
    print("cannot open the door")
    sys.exit(3)


def crash_there(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Fail once a file is there."""
    while not Path(spec.arguments["file"]).exists():
        time.sleep(0.01)
    sys.exit(3)


def crash_until_there(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Fail until a file is there, and twice more; then stay."""
    there = Path(spec.arguments["file"])
    if there.exists():
        with there.open("a") as file:
            file.write("x")
        if there.stat().st_size > 2:
            signal.pause()
    sys.exit(3)


def crash_until(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Fail as often as asked, then stay."""
    count = Path(spec.arguments["count"])
    tries = int(count.read_text()) if count.exists() else 0
    count.write_text(str(tries + 1))
    if tries < spec.arguments["failures"]:
        raise RuntimeError(f"try {tries + 1} failed")
    signal.pause()


def echo(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Answer each connection with its own pid."""
    time.sleep(spec.arguments.get("slow", 0))
    while True:
        client, _ = sockets["door"].accept()
        with contextlib.suppress(BrokenPipeError):  # a probe only knocks
            client.sendall(f"{os.getpid()}\n".encode())
        client.close()


def own_socket(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Listen on a socket of its own."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(spec.arguments["path"])
        server.listen()
        while True:
            server.accept()[0].close()


def http(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Answer with the status in a file, by default 200."""
    status = Path(spec.arguments["status"])
    while True:
        client, _ = sockets["door"].accept()
        client.recv(4096)
        code = status.read_text().strip() if status.exists() else "200"
        client.sendall(f"HTTP/1.0 {code} x\r\nContent-Length: 0\r\n\r\n".encode())
        client.close()


def report(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Write down what it is."""
    facts = {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "argv": sys.argv,
        "env": dict(os.environ),
        "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")),
        "session": os.getsid(0) == os.getpid(),
        "cwd": os.getcwd(),
        "random": random.random(),
        "comm": Path("/proc/self/comm").read_text().strip(),
        "cmdline": Path("/proc/self/cmdline").read_bytes().strip(b"\0").decode(),
        "status": dict(
            line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
        ),
        "places": {
            p: sorted(os.listdir(p)) if os.path.isdir(p) else []
            for p in spec.arguments.get("places", [])
        },
        "threads": threading.active_count(),
    }
    Path(spec.arguments["file"]).write_text(json.dumps(facts))
    signal.pause()


def family(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Leave a child in the session and one that went away into a session of its own."""
    near = subprocess.Popen(["sleep", "1000"])
    far = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    file = Path(spec.arguments["file"])
    written = file.with_suffix(".new")
    written.write_text(f"{near.pid} {far.pid}")
    written.rename(file)
    signal.pause()


def deaf(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Does not end by TERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def job(arguments: dict[str, Any]) -> int | None:
    print("working")
    print(f"user {os.getuid()}")
    if "sleep" in arguments:
        time.sleep(arguments["sleep"])
    if "file" in arguments:
        with Path(arguments["file"]).open("a") as file:
            file.write(os.environ.get("WORD", "") + "\n")
    if arguments.get("fail"):
        raise ValueError("the third column has no name")
    return int(arguments.get("code", 0))


def notifies(spec: Process, sockets: dict[str, socket.socket]) -> None:
    """Say that it is ready once a file is there."""
    from onestack.runtime.notify import tell_ready

    while not Path(spec.arguments["go"]).exists():
        time.sleep(0.01)
    tell_ready()
    signal.pause()


class OsloLike:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def start(self) -> None:
        print("starts")
        if self.kind == "swallows":
            signal.signal(signal.SIGTERM, lambda *_: None)

    def stop(self) -> None:
        if self.kind == "hangs":
            time.sleep(1000)
        print("stops")


def oslo_like(spec: Process, sockets: dict[str, socket.socket]) -> None:
    from onestack.runtime import service

    service.serve(OsloLike(spec.arguments["kind"]), timeout=0.5)
