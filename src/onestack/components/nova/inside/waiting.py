"""Guests whose volumes were out of reach for a while go on (services' environment).

A guest stops where its disk fails (`volumes`), with what it wanted to read or write kept; libvirt
says that an error of a disk is why. Nobody else has it go on. QEMU connects again when it is asked
to, in the background: it may take a second time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from lxml import etree
from oslo_log import log as logging

LOG = logging.getLogger(__name__)
PAUSE = 3.0
"""Seconds between two looks."""


class Waiting:
    """``host`` is nova's, of libvirt."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE):
            try:
                self.go_on()
            except Exception as problem:  # noqa: BLE001 - whatever it is, the next look may do
                LOG.warning("Guests that wait for volumes were not looked at: %s", problem)

    def go_on(self) -> None:
        """Each guest that waits for volumes which are reached."""
        import libvirt

        paused = libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED
        for domain in self._host.get_connection().listAllDomains(paused):
            # A guest may end meanwhile.
            with contextlib.suppress(libvirt.libvirtError):
                state, why = domain.state()
                stopped = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
                if (state, why) != stopped:
                    continue
                disks, places = _served(domain.XMLDesc(0))
                # One of this host's that is full, or broken, is somebody else's to mend.
                others = domain.diskErrors().keys() - disks
                if places and not others and all(map(_reached, places)):
                    LOG.info("%s goes on: its volumes are reached.", domain.name())
                    domain.resume()


def _served(definition: str) -> tuple[set[str], set[tuple[str, int]]]:
    """A guest's volumes that are served: their names there, and where they are."""
    found = etree.fromstring(definition).findall("./devices/disk/source[@protocol='nbd']")
    disks = {source.getparent().find("target").get("dev") for source in found}
    hosts = [host for source in found for host in source.findall("host")]
    return disks, {(host.get("name"), int(host.get("port"))) for host in hosts}


def _reached(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, 5).close()
    except OSError:
        return False
    return True
