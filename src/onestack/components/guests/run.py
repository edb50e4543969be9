"""Shuts guests down when it is told to end (services' environment)."""

from __future__ import annotations

import signal
import time
from socket import socket

import libvirt

from onestack.supervise.spec import Process


def keep(spec: Process, sockets: dict[str, socket]) -> None:
    uri, seconds = spec.arguments["uri"], spec.arguments["seconds"]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # The first question about QEMU's abilities takes seconds: not the first guest's.
    connection = libvirt.open(uri)
    connection.getCapabilities()
    connection.getDomainCapabilities(None, None, None, None, 0)
    connection.close()
    print("libvirt answers; guests are shut down when this process ends", flush=True)
    signal.sigwait({signal.SIGTERM})
    shut_down(uri, seconds)


def shut_down(uri: str, seconds: float) -> None:
    """Ask every guest to shut down, and switch off those that have not after ``seconds``."""
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
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError:
        return False
