"""Where a conventional cloud has its things: all derives from its root and its name."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from onestack.model.cloud import CACHE
from onestack.release.release import Release, release

HOST = "127.0.0.1"
"""What installation guides call ``controller``: loopback in a network namespace of its own."""
PASSWORD = "conventional"
"""Of every account; who may enter the namespaces is root already."""
REGION = "RegionOne"
LAYOUTS = ("ovn", "openvswitch")
PORTS = {
    "keystone": 5000,
    "glance": 9292,
    "placement": 8778,
    "nova": 8774,
    "nova-metadata": 8775,
    "neutron": 9696,
    "cinder": 8776,
}
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Place:
    """``layout`` is what carries the networks; ``kvm`` whether guests may use it."""

    name: str
    layout: str = "ovn"
    kvm: bool = False
    base: Path = Path("/var/lib")

    @property
    def root(self) -> Path:
        return self.base / f"conventional-{self.name}"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def lib(self) -> Path:
        """Data, as in ``/var/lib``."""
        return self.root / "lib"

    @property
    def log(self) -> Path:
        return self.root / "log"

    def config(self, service: str, file: str | None = None) -> Path:
        return self.etc / service / (file or f"{service}.conf")

    @functools.cached_property
    def release(self) -> Release:
        return release()

    def program(self, name: str) -> str:
        """A console script of the services' environment."""
        return str(self.release.services.command(name))

    @property
    def upstream(self) -> Path:
        """What the services' packages have for ``/etc``: paste files, rootwrap's filters."""
        return self.release.services.place / "etc"

    @functools.cached_property
    def switch(self) -> Path | None:
        """Debian 13's Open vSwitch and OVN, where onestack has fetched them for the same layout.

        Debian 12's ends itself in the userspace connection tracking that OVN needs.
        """
        tree = CACHE / "openvswitch-trixie"
        wanted = self.layout == "ovn" and self.datapath == "netdev"
        return tree if wanted and tree.is_dir() else None

    @property
    def datapath(self) -> str:
        return "system" if Path("/sys/module/openvswitch").is_dir() else "netdev"

    @property
    def path(self) -> str:
        services = self.release.services.place / "bin"
        switch = [str(self.switch / "bin")] if self.switch else []
        return ":".join([str(services), str(self.root / "bin"), *switch, _SYSTEM_PATH])

    def schema(self, name: str) -> Path:
        """The file of the database schema ``vswitch``, ``ovn-nb`` or ``ovn-sb``."""
        folder = "openvswitch" if name == "vswitch" else "ovn"
        share = self.switch / "share" if self.switch else Path("/usr/share", folder)
        return share / f"{name}.ovsschema"

    @property
    def environment(self) -> dict[str, str]:
        """Of all that runs in it."""
        return {"PATH": self.path, "HOME": str(self.root), "LANG": "C.UTF-8"}

    @property
    def administrator(self) -> dict[str, str]:
        """What guides have in ``admin-openrc``."""
        return {
            "OS_AUTH_URL": f"http://{HOST}:{PORTS['keystone']}/v3",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_IMAGE_API_VERSION": "2",
            "OS_USERNAME": "admin",
            "OS_PASSWORD": PASSWORD,
            "OS_PROJECT_NAME": "admin",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": REGION,
        }
