"""Guests whose volumes were out of reach for a while go on (services' environment).

A guest stops where its disk fails (`volumes`), with what it wanted to read or write kept; libvirt
says that an error of a disk is why. Nobody else has it go on. QEMU connects again when it is asked
to, in the background: it may take a second time.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree
from oslo_log import log as logging

from onestack.kernel.files import write
from onestack.storage.nbd import greeted

LOG = logging.getLogger(__name__)
PAUSE = 3.0
"""Seconds between two looks."""
TRIES = 5
"""In vain, before a guest waits longer from one to the next."""
LONGEST = 300.0
"""Seconds between two tries."""
USERS = 20.0
"""Seconds until nova is asked again about a guest that its user has paused."""
WENT_ON = 60.0
"""Seconds after which a guest that runs is taken for one that has its volumes again."""


@dataclass
class _Tried:
    times: int = 0
    last: float = 0.0
    rest: float = 0.0
    """Seconds until it is looked at again."""
    volumes: tuple[str, ...] = ()
    """Ids of those that it did not get."""


class Waiting:
    """``host`` is nova's, of libvirt; ``lacking`` as `hosts.lacking` has it."""

    def __init__(self, host: Any, lacking: Path) -> None:
        self._host = host
        self._lacking = lacking
        self._told: object = None
        self._ended = threading.Event()
        self._tried: dict[str, _Tried] = {}

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

        stopped: set[str] = set()
        paused = libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED
        for domain in self._host.get_connection().listAllDomains(paused):
            # A guest may end meanwhile.
            with contextlib.suppress(libvirt.libvirtError):
                state, why = domain.state()
                if (state, why) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR):
                    stopped.add(domain.UUIDString())
                    self._look_at(domain)
        for identity in self._tried.keys() - stopped:
            if time.monotonic() - self._tried[identity].last > WENT_ON:
                del self._tried[identity]
        told = {i: one.volumes for i, one in self._tried.items() if one.times > TRIES}
        if told != self._told:
            write(self._lacking, json.dumps(told) + "\n", 0o600)
            self._told = told

    def _look_at(self, domain: Any) -> None:
        disks, places = _served(domain.XMLDesc(0))
        wrong = domain.diskErrors().keys()
        # One of this host's that is full, or broken, is somebody else's to mend.
        if not places or wrong - disks.keys():
            return
        tried = self._tried.setdefault(domain.UUIDString(), _Tried())
        if time.monotonic() < tried.last + tried.rest or not all(map(_reached, places)):
            return
        tried.last = time.monotonic()
        if _users_wish(domain.UUIDString()):
            # By nova's word alone it goes on: asked now and then, whether that has come.
            tried.rest = USERS
            return
        tried.times += 1
        tried.volumes = tuple(sorted(disks[name] for name in wrong))
        more = tried.times - TRIES
        tried.rest = min(LONGEST, PAUSE * 2**more) if more >= 0 else 0.0
        if tried.times > TRIES:
            LOG.warning(
                "%s has stopped again, %d times: the controller is reached, and does not have its "
                "volumes for it: %s. Detach and attach them, or stop and start the server.",
                *(domain.name(), tried.times - 1, ", ".join(tried.volumes)),
            )
        LOG.info("%s goes on: its volumes are reached.", domain.name())
        domain.resume()


def _served(definition: str) -> tuple[dict[str, str], set[tuple[str, int]]]:
    """A guest's volumes that are served: their names there with their ids, and where they are."""
    found = etree.fromstring(definition).findall("./devices/disk/source[@protocol='nbd']")
    of = [source.getparent() for source in found]
    disks = {d.find("target").get("dev"): d.findtext("serial") or "?" for d in of}
    hosts = [host for source in found for host in source.findall("host")]
    return disks, {(host.get("name"), int(host.get("port"))) for host in hosts}


def _reached(place: tuple[str, int]) -> bool:
    try:
        greeted(*place, 5)
    except OSError:
        return False
    return True


def _users_wish(identity: str) -> bool:
    """That the guest stands still, too: libvirt keeps the first reason alone. Or it is none of
    nova's any more."""
    from nova import context, exception, objects
    from nova.compute import task_states, vm_states

    try:
        known = objects.Instance.get_by_uuid(context.get_admin_context(), identity)
    except exception.InstanceNotFound:
        return True
    return bool(known.vm_state == vm_states.PAUSED or known.task_state == task_states.PAUSING)
