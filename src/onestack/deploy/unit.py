"""The unit that brings the cloud back at boot, where systemd runs the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.deploy.roster import roster_path
from onestack.host import netns
from onestack.host.command import Aborted, run
from onestack.host.files import write_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change, Undo
from onestack.model.cloud import Cloud
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.run import this_run
from onestack.supervise import systemd

UNITS = Path("/etc/systemd/system")
SYSTEMD = Path("/run/systemd/system")
"""There while systemd runs the machine."""
SECONDS = 90.0


def unit_path(cloud: Cloud, units: Path = UNITS) -> Path:
    return units / f"{cloud.prefix}.service"


def unit_text(ctx: Context) -> str:
    """The supervisor's unit; a namespace of the cloud's own is made anew at each boot."""
    cloud, release = ctx.cloud, ctx.release
    text = systemd.unit(
        cloud.name, cloud.root, release.services.python, release.program, roster_path(cloud)
    )
    if cloud.netns is None:
        return text
    name, device = cloud.netns, netns.PUBLIC_DEVICE
    commands = (
        f"-ip netns add {name}",
        f"ip -n {name} link set lo up",
        f"-ip -n {name} link add {device} type dummy",
        f"-ip -n {name} link add {device} type bridge",
        f"ip -n {name} link set {device} up",
        *(
            f"ip -n {name} address replace {address}/32 dev {device}"
            for address in dict.fromkeys((netns.PUBLIC_ADDRESS, ctx.public))
        ),
    )
    before = "".join(
        f"ExecStartPre={'-' if c.startswith('-') else ''}/usr/bin/env {c.removeprefix('-')}\n"
        for c in commands
    )
    return text.replace("ExecStart=", f"{before}ExecStart=", 1)


def ensure_unit(ctx: Context, ledger: Ledger, units: Path = UNITS) -> Iterator[Change]:
    """The unit written and enabled."""
    path, text = unit_path(ctx.cloud, units), unit_text(ctx)
    enabled = (units / "multi-user.target.wants" / path.name).is_symlink()
    if enabled and path.is_file() and path.read_text() == text:
        return

    def write() -> None:
        ledger.record("unit", path=str(path))
        write_file(path, text)
        run(["systemctl", "daemon-reload"], timeout=60, finish=True)
        run(["systemctl", "enable", path.name], timeout=60, finish=True)

    yield Change(f"have systemd start the cloud at boot ({path.name})", write)


def start_unit(cloud: Cloud, running: Callable[[], bool]) -> None:
    """Start it, and wait until the supervisor answers. Raises `OnestackError`."""
    name = unit_path(cloud).name
    # What is started at boot may need databases and users that this run has yet to make.
    systemd.ask_for_none(cloud.root)
    try:
        # Without waiting for "ready", which comes only when all processes are.
        run(["systemctl", "start", "--no-block", name], timeout=60, finish=True)
    except BaseException:
        systemd.forget_none(cloud.root)
        raise
    until = time.monotonic() + SECONDS
    while not running():
        if this_run().stop.is_set():
            raise Aborted(f"waiting for {name} was stopped")
        if time.monotonic() > until:
            said = run(["systemctl", "status", "--no-pager", name], check=False, timeout=30).out
            raise OnestackError(
                "the supervisor did not start",
                said,
                f"journalctl -u {name} says more; then run up again",
            )
        time.sleep(0.1)


def stop_unit(cloud: Cloud) -> None:
    run(["systemctl", "stop", unit_path(cloud).name], timeout=240, finish=True)


def unit_at_work(cloud: Cloud) -> bool:
    """Whether systemd runs the cloud, or is about to: also between a death and a restart."""
    if not (SYSTEMD.is_dir() and unit_path(cloud).exists()):
        return False
    said = run(["systemctl", "is-active", unit_path(cloud).name], check=False, timeout=60).out
    return said.strip() not in ("inactive", "failed", "unknown")


def undo_unit(data: dict[str, Any]) -> None:
    """``path`` of a unit that was written by us."""
    path = Path(data["path"])
    if SYSTEMD.is_dir() and path.exists():
        run(["systemctl", "disable", path.name], timeout=60, check=False, finish=True)
    path.unlink(missing_ok=True)
    if SYSTEMD.is_dir():
        run(["systemctl", "daemon-reload"], timeout=60, check=False, finish=True)


UNDO: Mapping[str, Undo] = {"unit": undo_unit}
