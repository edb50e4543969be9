"""The life of a conventional cloud: brought up as guides say, step after step."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.conventional import daemons, settings, units
from bench.conventional.machine import PYTHON, Machine, Unit
from bench.conventional.place import HOST, PASSWORD, PORTS, REGION, Place
from bench.conventional.web import Web
from onestack.model.ini import ini_text

READY = Path(__file__).with_name("ready.py")


@dataclass(frozen=True)
class Service:
    """What a guide has for a project: its databases, how they are migrated, its endpoints.

    ``migrations`` are command lines, the first word a console script; ``endpoints`` a service's
    type and the path after the port; ``ready`` what `bench.conventional.ready` asks.
    """

    name: str
    title: str
    databases: tuple[str, ...]
    migrations: tuple[str, ...]
    endpoints: tuple[tuple[str, str], ...]
    ready: tuple[str, ...]


SERVICES = (
    Service(
        *("glance", "OpenStack Image", ("glance",), ("glance-manage db_sync",)),
        (("image", ""),),
        ("api:image/images?limit=1",),
    ),
    Service(
        *("placement", "Placement API", ("placement",), ("placement-manage db sync",)),
        (("placement", ""),),
        ("api:placement/resource_providers",),
    ),
    Service(
        *("nova", "OpenStack Compute", ("nova_api", "nova", "nova_cell0")),
        (
            "nova-manage api_db sync",
            "nova-manage cell_v2 map_cell0",
            "nova-manage cell_v2 create_cell --name=cell1",
            "nova-manage db sync",
        ),
        (("compute", "/v2.1"),),
        ("compute",),
    ),
    Service(
        *("neutron", "OpenStack Networking", ("neutron",)),
        ("neutron-db-manage upgrade heads",),
        (("network", ""),),
        ("agents",),
    ),
    Service(
        *("cinder", "OpenStack Block Storage", ("cinder",), ("cinder-manage db sync",)),
        (("block-storage", "/v3"),),
        ("volume",),
    ),
)
"""In the order in which the guides build upon one another, after keystone."""
MAPPED = "nova-manage cell_v2 create_cell"
"""Ends with 2 where the cell is there."""


@dataclass(frozen=True)
class Known:
    """What keystone has already. Asked once: nobody else makes any of it."""

    projects: set[str]
    users: set[str]
    services: set[str]
    endpoints: set[tuple[str, str]]


@dataclass
class Steps:
    """Seconds of each step of the last `up` or `reboot`."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - start


class Conventional:
    """``web`` is the unpacked web server: see `bench.conventional.web`."""

    def __init__(self, place: Place, web: Web) -> None:
        self.place = place
        self.machine = Machine(place)
        self.units = units.units(place, web)
        self.steps = Steps()

    def up(self) -> None:
        """From nothing, or over what is there: all of it is done again, as peers' tools do."""
        self.steps = Steps()
        step = self.steps.step
        with step("configuration"):
            daemons.write(self.place)
            for file in settings.files(self.place):
                file.path.parent.mkdir(parents=True, exist_ok=True)
                file.path.write_text(ini_text(file.sections))
        with step("databases, bus, switch, hypervisor"):
            self.machine.power_on()
            self._daemons()
        self._migrate("keystone", ("keystone",), ("keystone-manage db_sync",))
        with step("keystone: keys and bootstrap"):
            self._bootstrap()
        with step("keystone: start"):
            self.machine.start(units.of(self.units, "keystone"))
            self._ready("api:identity/projects")
        with step("identity by the client"):
            known = self._known()
            if "service" not in known.projects:
                self._client("project", "create", "--domain", "default", "service")
        for service in SERVICES:
            self._migrate(service.name, service.databases, service.migrations)
            with step("identity by the client"):
                self._identity(service, known)
            # Nothing is waited for that nothing after it needs.
            self.machine.start(units.of(self.units, f"{service.name}-"))
        with step("wait for all"):
            self._all_ready()
        with step("nova: discover hosts"):
            self._manage("nova", "nova-manage cell_v2 discover_hosts")

    def reboot(self) -> None:
        """All ends in order, as at shutdown; then what a boot starts, until all does its work."""
        self.down()
        self.boot()

    def down(self) -> None:
        by_stage = sorted({unit.stage for unit in self.units}, reverse=True)
        for stage in by_stage:
            self.machine.stop([unit.name for unit in self.units if unit.stage == stage])
        self.machine.power_off()

    def boot(self) -> None:
        self.steps = Steps()
        with self.steps.step("power on"):
            self.machine.power_on()
        for stage in sorted({unit.stage for unit in self.units}):
            with self.steps.step(f"stage {stage}"):
                self.machine.start([unit for unit in self.units if unit.stage == stage])
                if stage == units.DATABASES:
                    self._daemons_ready()
                if stage == units.IDENTITY:
                    self._ready("api:identity/projects")
                if stage == units.SERVICES:
                    self._ready("api:placement/resource_providers")
        with self.steps.step("wait for all"):
            self._all_ready()

    def destroy(self) -> None:
        """Whatever is there of it, also of a run that was killed."""
        self.machine.remove()

    def restarted(self) -> dict[str, int]:
        """Units that ended by themselves, and how often."""
        state = self.machine.state()
        return {name: unit["starts"] - 1 for name, unit in state.items() if unit["starts"] > 1}

    def _daemons(self) -> None:
        place, machine = self.place, self.machine
        if not (place.lib / "mysql").exists():
            (place.lib / "mysql").mkdir()
            machine.run(
                *("mariadb-install-db", f"--defaults-file={place.etc}/my.cnf", "--skip-test-db"),
                "--auth-root-authentication-method=socket",
            )
        databases = {"openvswitch/conf": "vswitch"}
        if place.layout == "ovn":
            databases |= {"ovn/ovnnb": "ovn-nb", "ovn/ovnsb": "ovn-sb"}
        for name, schema in databases.items():
            if not (path := place.lib / f"{name}.db").exists():
                machine.run("ovsdb-tool", "create", str(path), str(place.schema(schema)))
        started = [unit for unit in self.units if unit.stage == units.DATABASES]
        machine.start(started)
        self._daemons_ready()
        self._broker()
        self._switch(started)

    def _daemons_ready(self) -> None:
        sockets = ["mysqld/mysqld.sock", "openvswitch/db.sock"]
        if self.place.layout == "ovn":
            sockets += ["ovn/ovnnb_db.sock", "ovn/ovnsb_db.sock"]
        self._ready("tcp:3306", "tcp:11211", "tcp:5672", *(f"unix:/run/{s}" for s in sockets))

    def _broker(self) -> None:
        def control(*words: str) -> str:
            return self.machine.run(
                "/usr/lib/rabbitmq/bin/rabbitmqctl", *words, env=daemons.rabbitmq(self.place)
            )

        if "openstack" not in control("-q", "list_users"):
            control("add_user", "openstack", PASSWORD)
            control("set_permissions", "openstack", ".*", ".*", ".*")

    def _switch(self, started: list[Unit]) -> None:
        run = self.machine.run
        run("ovs-vsctl", "--no-wait", "init")
        run("ovs-vsctl", "--no-wait", "set-manager", f"ptcp:6640:{HOST}")
        ovn = self.place.layout == "ovn"
        if ovn:
            for tool, port in (("ovn-nbctl", 6641), ("ovn-sbctl", 6642)):
                run(tool, "init")
                run(tool, "set-connection", f"ptcp:{port}:{HOST}")
            ids = daemons.chassis(self.place)
            run("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", *ids)
        self.machine.start([unit for unit in self.units if unit.stage == units.SWITCHES])
        bridge = ("--", "set", "bridge", "br-ex", f"datapath_type={self.place.datapath}")
        run("ovs-vsctl", "--timeout=20", "--may-exist", "add-br", "br-ex", *bridge)

    def _migrate(self, user: str, databases: tuple[str, ...], migrations: tuple[str, ...]) -> None:
        statements = "".join(daemons.grants(name, user) for name in databases)
        with self.steps.step("databases and their users"):
            self.machine.run("mariadb", stdin=statements)
        for command in migrations:
            accept = (0, 2) if command.startswith(MAPPED) else (0,)
            with self.steps.step(command):
                self._manage(user, command, accept)

    def _manage(self, service: str, command: str, accept: tuple[int, ...] = (0,)) -> None:
        program, *words = command.split()
        names = {"glance": ["glance-api.conf"], "neutron": ["neutron.conf", "ml2_conf.ini"]}
        files = names.get(service, [f"{service}.conf"])
        config = (w for n in files for w in ("--config-file", str(self.place.config(service, n))))
        self.machine.run(self.place.program(program), *config, *words, accept=accept)

    def _bootstrap(self) -> None:
        who = "--keystone-user root --keystone-group root"
        self._manage("keystone", f"keystone-manage fernet_setup {who}")
        self._manage("keystone", f"keystone-manage credential_setup {who}")
        url = self.place.administrator["OS_AUTH_URL"]
        urls = " ".join(f"--bootstrap-{kind}-url {url}" for kind in ("admin", "internal", "public"))
        self._manage(
            "keystone",
            f"keystone-manage bootstrap --bootstrap-password {PASSWORD} {urls} "
            f"--bootstrap-region-id {REGION}",
        )

    def _client(self, *words: str) -> list[dict[str, str]]:
        """What ``openstack`` answers."""
        program = str(self.place.release.clients.command("openstack"))
        env = self.place.environment | self.place.administrator
        found = json.loads(self.machine.run(program, *words, "-f", "json", env=env) or "[]")
        return found if isinstance(found, list) else [found]

    def _known(self) -> Known:
        def names(kind: str, column: str = "Name") -> set[str]:
            return {found[column] for found in self._client(kind, "list")}

        endpoints = {(e["Service Type"], e["Interface"]) for e in self._client("endpoint", "list")}
        return Known(names("project"), names("user"), names("service", "Type"), endpoints)

    def _identity(self, service: Service, known: Known) -> None:
        """A command for each thing that is missing."""
        name = service.name
        if name not in known.users:
            create = ("user", "create", "--domain", "default", "--password", PASSWORD)
            self._client(*create, name)
            for role in ("admin", "service"):
                self._run_client("role", "add", "--project", "service", "--user", name, role)
        for kind, path in service.endpoints:
            if kind not in known.services:
                self._client(
                    *("service", "create", "--name", name, "--description", service.title, kind)
                )
            url = f"http://{HOST}:{PORTS[name]}{path}"
            for interface in ("public", "internal", "admin"):
                if (kind, interface) not in known.endpoints:
                    self._client("endpoint", "create", "--region", REGION, kind, interface, url)

    def _run_client(self, *words: str) -> None:
        program = str(self.place.release.clients.command("openstack"))
        self.machine.run(program, *words, env=self.place.environment | self.place.administrator)

    def _all_ready(self) -> None:
        agents = f"agents:{2 if self.place.layout == 'ovn' else 4}"
        wanted = [w if w != "agents" else agents for s in SERVICES for w in s.ready]
        self._ready(*wanted, f"tcp:{PORTS['nova-metadata']}", "tcp:6080")

    def _ready(self, *what: str, seconds: int = 180) -> None:
        env = self.place.environment | self.place.administrator
        self.machine.run(PYTHON, str(READY), str(seconds), *what, env=env, timeout=seconds + 60)

    def log_ends(self) -> str:
        """The last of all logs, for what a failure tells."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.place.log.glob("*.log"))
        )


def told(cloud: Conventional) -> None:
    for name, seconds in cloud.steps.seconds.items():
        print(f"  {seconds:6.1f} s  {name}", file=sys.stderr)
