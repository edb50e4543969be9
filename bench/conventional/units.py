"""All that runs: what peers have a systemd unit, or a container, for."""

from __future__ import annotations

from collections.abc import Iterator

from bench.conventional.daemons import WSGI, rabbitmq
from bench.conventional.machine import Unit
from bench.conventional.place import HOST, Place
from bench.conventional.web import Web
from onestack.model.cloud import CACHE

DATABASES, SWITCHES, IDENTITY, SERVICES, GUESTS = range(5)
"""Stages of a boot. Units of systemd's have an order too, and are started again otherwise."""


def units(place: Place, web: Web) -> list[Unit]:
    return [*_daemons(place), *_apis(place, web), *_services(place)]


def of(found: list[Unit], *names: str) -> list[Unit]:
    """Those whose names begin with one of ``names``."""
    return [unit for unit in found if unit.name.startswith(names)]


def _daemons(place: Place) -> Iterator[Unit]:
    def unit(name: str, stage: int, *argv: str) -> Unit:
        return Unit(name, argv, place.environment, stage)

    yield unit("mariadb", DATABASES, "/usr/sbin/mariadbd", f"--defaults-file={place.etc}/my.cnf")
    yield Unit("rabbitmq", ("/usr/lib/rabbitmq/bin/rabbitmq-server",), rabbitmq(place), DATABASES)
    # as Debian's /etc/memcached.conf
    memcached = ("-m", "64", "-p", "11211", "-u", "root", "-l", HOST)
    yield unit("memcached", DATABASES, "/usr/bin/memcached", *memcached)
    yield unit(
        *("ovs-db", DATABASES, "ovsdb-server", f"{place.lib}/openvswitch/conf.db"),
        "--remote=punix:/run/openvswitch/db.sock",
        "--remote=db:Open_vSwitch,Open_vSwitch,manager_options",
    )
    yield unit("ovs-vswitchd", SWITCHES, "ovs-vswitchd", "unix:/run/openvswitch/db.sock")
    if place.layout == "ovn":
        for short, schema in (("nb", "OVN_Northbound,NB"), ("sb", "OVN_Southbound,SB")):
            yield unit(
                *(f"ovn-{short}", DATABASES, "ovsdb-server", f"{place.lib}/ovn/ovn{short}.db"),
                f"--remote=punix:/run/ovn/ovn{short}_db.sock",
                f"--remote=db:{schema}_Global,connections",
                f"--unixctl=/run/ovn/ovn{short}_db.ctl",
            )
        sockets = [f"--ovn{short}-db=unix:/run/ovn/ovn{short}_db.sock" for short in ("nb", "sb")]
        yield unit("ovn-northd", SWITCHES, "ovn-northd", *sockets)
        yield unit("ovn-controller", SWITCHES, "ovn-controller", "unix:/run/openvswitch/db.sock")
    yield unit("libvirtd", SWITCHES, "/usr/sbin/libvirtd")


def _apis(place: Place, web: Web) -> Iterator[Unit]:
    for name in WSGI:
        stage = IDENTITY if name == "keystone" else SERVICES
        argv = (*web.command, "--ini", f"{place.etc}/uwsgi/{name}.ini")
        yield Unit(f"{name}-api", argv, place.environment | web.environment, stage)


def _services(place: Place) -> Iterator[Unit]:
    def unit(program: str, *files: str, stage: int = SERVICES, more: tuple[str, ...] = ()) -> Unit:
        service = program.partition("-")[0]
        names = files or (f"{service}.conf",)
        words = (w for name in names for w in ("--config-file", str(place.config(service, name))))
        argv = (place.program(program), *words, *more)
        return Unit(program, argv, place.environment, stage)

    yield unit("nova-conductor")
    yield unit("nova-scheduler")
    web = str(CACHE / "novnc" / "usr" / "share" / "novnc")
    yield unit("nova-novncproxy", more=("--web", web))
    # It asks placement when it starts, and ends where that does not answer.
    yield unit("nova-compute", stage=GUESTS)
    server = ("neutron.conf", "ml2_conf.ini")
    yield unit("neutron-periodic-workers", *server)
    if place.layout == "ovn":
        yield unit("neutron-ovn-maintenance-worker", *server)
        agent = ("neutron.conf", "neutron_ovn_metadata_agent.ini")
        yield unit("neutron-ovn-metadata-agent", *agent)
    else:
        yield unit("neutron-rpc-server", *server)
        # They ask the server when they start, and wait a minute for one that is not there yet.
        for kind in ("openvswitch", "l3", "dhcp", "metadata"):
            yield unit(
                *(f"neutron-{kind}-agent", "neutron.conf", f"{kind}_agent.ini"), stage=GUESTS
            )
    yield unit("cinder-scheduler")
    yield unit("cinder-volume")
