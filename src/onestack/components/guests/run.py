"""Shuts guests down when it is told to end (services' environment).

The process waits for nearly all of its life, so it leaves libvirt's library
(20 MB) to short-lived children.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from socket import socket
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from onestack.supervise.spec import Process

if TYPE_CHECKING:
    import libvirt


def keep(spec: Process, sockets: dict[str, socket]) -> None:
    uri, seconds = spec.arguments["uri"], spec.arguments["seconds"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    in_child(lambda: ask(uri))
    print("libvirt answers; guests are shut down when this process ends", flush=True)
    signal.sigwait({signal.SIGTERM})
    in_child(lambda: shut_down(uri, seconds))


def in_child(work: Callable[[], None]) -> None:
    """Raises `SystemExit` when the child did not end well; its log has said why."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(code)


def ask(uri: str) -> None:
    """The first question about QEMU's abilities takes seconds: let it not be the first guest's."""
    import libvirt

    connection = libvirt.open(uri)
    # All that nova will ask: each program of QEMU is started once for its answer.
    for arch in ElementTree.fromstring(connection.getCapabilities()).iterfind("guest/arch"):
        emulator = arch.findtext("emulator")
        connection.getDomainCapabilities(emulator, arch.get("name"), None, None, 0)
    connection.close()


def shut_down(uri: str, seconds: float) -> None:
    """Ask every guest to shut down, and switch off those that have not after ``seconds``."""
    import libvirt

    connection = libvirt.open(uri)
    running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    for domain in running:
        print(f"shutting down {domain.name()}", flush=True)
        try:
            domain.shutdown()
        except libvirt.libvirtError as error:
            print(f"{domain.name()}: {error}", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(_active(domain) for domain in running):
        time.sleep(0.25)
    for domain in running:
        if _active(domain):
            print(f"switching off {domain.name()}", flush=True)
            try:
                domain.destroy()
            except libvirt.libvirtError as error:
                print(f"{domain.name()}: {error}", flush=True)


def _active(domain: libvirt.virDomain) -> bool:
    import libvirt

    try:
        return bool(domain.isActive())
    except libvirt.libvirtError:
        return False
