"""What is asked of guests and of libvirt, by short-lived programs (services' environment)."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    import libvirt


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


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask(sys.argv[2])
    else:
        shut_down(sys.argv[2], float(sys.argv[3]))
