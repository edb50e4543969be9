"""Nova, the compute service: API, metadata, scheduler, conductor, compute, consoles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from onestack.answers.values import Answers
from onestack.cluster.protocol import VOLUMES_PORT
from onestack.components import bus, hosts, lasting, openstack, periodic
from onestack.components.nova import passing, pci
from onestack.components.nova.novnc import ensure_novnc, novnc_directory
from onestack.components.nova.vendordata import ensure_vendordata, vendordata_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    Certificate,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Holding,
    Identity,
    KnownError,
    Scope,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding
from onestack.model.host import Network, Role
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.process import AgentProbe, HttpProbe, NotifyProbe, Probe, Process
from onestack.model.secret import CONTROLLER, ON_COMPUTES

PORT = 8774
METADATA_PORT = 8775
CONSOLE_PORT = 6080
PRIVSEP = {
    "nova_sys_admin": "nova.privsep.sys_admin_pctxt",
    "vif_plug_ovs_privileged": "vif_plug_ovs.privsep.vif_plug",
    "privsep_osbrick": "os_brick.privileged.default",
}
"""Upstream's privsep contexts, by configuration section."""

NAMESPACES = (
    *openstack.NAMESPACES,
    "nova.conf",
    "os_brick",
    "os_vif",
    "oslo.concurrency",
    "oslo.policy",
    "oslo.privsep",
)
_DATABASE = openstack.database_password("nova")
_ACCOUNT = openstack.service_password("nova")


class Nova(Component):
    name = "nova"
    title = "Compute"
    clients = ("nova",)
    tempest_service = "nova"
    provides = (
        Capability("compute", ("nova-api",), port=PORT, path="/v2.1"),
        Capability("metadata", ("nova-api",), port=METADATA_PORT),
    )
    holdings = (Holding("/servers", {"all_tenants": "1", "project_id": "{project}"}),)
    keys = (
        Key("CONFIG_NOVA_INSTALL", "y", "Turn the compute service on.", Kind.FLAG),
        _DATABASE.key,
        _ACCOUNT.key,
        Key(
            "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO",
            "16.0",
            "Virtual CPUs promised per core; 1.0 turns overcommit off.",
            Kind.RATIO,
        ),
        Key(
            "CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO",
            "1.5",
            "Guest memory promised per byte of the host's; 1.0 turns overcommit off.",
            Kind.RATIO,
        ),
        Key(
            "CONFIG_NOVA_LIBVIRT_VIRT_TYPE",
            "",
            "kvm or qemu; empty lets onestack find out by starting a guest.",
            Kind.CHOICE,
            ("", "kvm", "qemu"),
        ),
        Key(
            "CONFIG_ONESTACK_GUESTS_TRUST_CA",
            "y",
            "Let guests with cloud-init trust the cloud's own certificate authority (by vendor "
            "data), so that they can call its APIs.",
            Kind.FLAG,
        ),
        Key(
            "CONFIG_NOVA_COMPUTE_MIGRATE_PROTOCOL",
            "ssh",
            "How a running guest would be moved to another compute host: tcp or ssh.",
            Kind.CHOICE,
            ("tcp", "ssh"),
            note=f"where servers move ({hosts.MOVE}) it is libvirt's TLS in either case",
        ),
        Key(
            "CONFIG_NOVA_PCI_ALIAS",
            "",
            "Names by which flavors ask for PCI devices: a JSON list, such as "
            '[{"name":"gpu", "vendor_id":"10de", "product_id":"1db4", "device_type":"type-PCI"}].',
            check=pci.wrong_alias,
        ),
        Key(
            "CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST",
            "",
            "PCI devices of this machine that guests may be given: a JSON list, such as "
            '[{"vendor_id":"10de","product_id":"1db4"}].',
            check=pci.wrong_devices,
        ),
        Key(
            "CONFIG_NOVA_DB_PURGE_ENABLE",
            "y",
            "Remove rows of servers deleted more than a month ago from the database, once a day.",
            Kind.FLAG,
        ),
        Key(
            "CONFIG_VNC_SSL_CERT",
            "",
            "PEM file of a certificate for the guests' consoles. Empty: that of all other ports.",
            Kind.PATH,
        ),
        Key("CONFIG_VNC_SSL_KEY", "", "PEM file of that certificate's key.", Kind.PATH),
    )
    known_errors = (
        KnownError(
            "No valid host was found",
            "no compute host has room for the flavor, or nova-compute is down",
            "see `openstack hypervisor stats show` and `onestack status`",
        ),
        KnownError(
            r"(?s)\A(?=.*Failed to connect socket to)(?=.*libvirt)",
            "libvirtd does not answer",
            "`onestack restart libvirt`, then `onestack logs libvirt`",
        ),
        KnownError(
            "The cloud's volumes are not reached at",
            "this host does not get to the volumes that the controller serves",
            f"let it through to the controller, TCP from {VOLUMES_PORT + 1} on, a port for each "
            "host (`onestack doctor` here names it); `onestack status` there tells whether "
            "cinder-nbd-HOST runs",
        ),
    )
    roles = ON_COMPUTES
    secrets = (_DATABASE.secret, _ACCOUNT.secret)

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NOVA_INSTALL"])

    def validate(self, answers: Answers) -> Iterable[str]:
        if answers["CONFIG_NOVA_INSTALL"]:
            for other, why in (
                ("NEUTRON", "upstream removed nova's own networking"),
                ("GLANCE", "guests are started from images"),
            ):
                if not answers[f"CONFIG_{other}_INSTALL"]:
                    yield f"CONFIG_NOVA_INSTALL=y needs CONFIG_{other}_INSTALL=y: {why}"
        if (
            answers["CONFIG_NOVA_PCI_ALIAS"]
            and not answers["CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST"]
        ):
            yield (
                "CONFIG_NOVA_PCI_ALIAS names devices, but CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST "
                "lets guests have none"
            )

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.database.server import server_of
        from onestack.database.upstream_tables import nova as tables

        disks = ctx.cloud.data / self.name / "instances"
        things = tables.in_passing(server_of(ctx))
        yield from lasting.findings(
            things, passing.LONG, lambda server: passing.cure(server, disks)
        )
        if ctx.offers(hosts.DOOR):
            from onestack.components.nova.departed import findings

            yield from findings(ctx)

    def packages(self, ctx: Context) -> Iterable[str]:
        yield "genisoimage"  # writes a guest's configuration drive
        # make, check and enlarge the disks that a flavor adds, by what the image says of its system
        yield from ("dosfstools", "e2fsprogs", "ntfs-3g", "qemu-utils")
        yield "openssl"  # makes keypairs of type x509
        # tells whether a volume is encrypted already: nova would format one that is not
        yield "cryptsetup-bin"

    def started(self, ctx: Context) -> Iterable[str]:
        yield "qemu-img"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        # QEMU, another user, passes through to reach the disks of its guests.
        for path in (data, data / "instances"):
            yield Directory(path, user, user, 0o711)
        yield Directory(data / "lock", user, user, 0o750)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group = ctx.cloud.user(self.name)
        sections = _sections(ctx)
        yield periodic.script(ctx, self.name)
        yield ini_file(_config(ctx), group, sections, *NAMESPACES, roles=CONTROLLER)
        # The compute service asks the conductor; with a database it would try that first.
        without = {k: v for k, v in sections.items() if k not in _left_out(ctx)}
        yield ini_file(
            _compute_config(ctx), group, without, *NAMESPACES, roles=frozenset({Role.COMPUTE})
        )
        if _stays(ctx):
            # Asked for, it would fail late, where hosts are not to talk to each other.
            rule = "os_compute_api:os-migrate-server:migrate_live"
            text = json.dumps({rule: "!", f"{rule}:host": "!"}, indent=1) + "\n"
            yield ConfigFile(_policy(ctx), f"# {hosts.MOVE}=n\n{text}", group, roles=CONTROLLER)
        yield ini_file(
            _cell0_config(ctx),
            group,
            {
                "database": {
                    "connection": openstack.database(ctx, "nova", "nova_cell0")["connection"]
                }
            },
            *NAMESPACES,
            roles=CONTROLLER,
        )

    def databases(self, ctx: Context) -> Iterable[Database]:
        main = ("nova/db/main/migrations/versions",)
        sync = "onestack.components.nova.inside.jobs:"
        yield Database(
            "nova_api",
            "nova",
            f"{sync}sync_api",
            ("nova/db/api/migrations/versions",),
            (_config(ctx),),
        )
        yield Database("nova", "nova", f"{sync}sync_main", main, (_config(ctx),))
        yield Database(
            "nova_cell0", "nova", f"{sync}sync_main", main, (_config(ctx), _cell0_config(ctx))
        )

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity("nova", (Endpoint("nova", "compute", PORT, "/v2.1", "Compute"),))

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("nova", PORT, f"{ctx.internal}:{PORT}")
        yield Frontend(
            "novnc",
            CONSOLE_PORT,
            f"{ctx.internal}:{CONSOLE_PORT}",
            certificate=_own_certificate(ctx),
        )

    def processes(self, ctx: Context) -> Iterable[Process]:
        user = ctx.cloud.user(self.name)
        paste = ctx.release.services.place / "etc" / "nova" / "api-paste.ini"
        env = {
            "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
            "OS_NOVA_CONFIG_DIR": str(_config(ctx).parent),
            "OS_NOVA_CONFIG_FILES": f"{paste};nova.conf",
        }
        run = "onestack.components.nova.inside.run:"
        services = f"http://{ctx.internal}:{PORT}/v2.1/os-services"

        def process(name: str, needs: tuple[str, ...], probe: Probe, **more: Any) -> Process:
            config = str(_compute_config(ctx) if name == "compute" else _config(ctx))
            arguments = {"config": config, "web": str(novnc_directory(ctx))}
            if name in ("api", "compute") and ctx.offers(hosts.AUTHORITY):
                arguments["standing"] = json.dumps(_standing())
            if name == "compute" and ctx.offers(hosts.AUTHORITY):
                arguments["trusted"] = json.dumps(openstack.bus_accounts(ctx))
                arguments["elsewhere"] = json.dumps(_elsewhere(ctx))
            if name == "compute" and ctx.joined:
                arguments["served"] = str(hosts.lacking(ctx))  # its guests' volumes
            return Process(
                name=f"nova-{name}",
                component=self.name,
                user=user,
                run=run + name,
                arguments=arguments,
                env=env,
                files=(config,),
                needs=needs,
                probe=probe,
                roles=(Role.COMPUTE if name == "compute" else Role.CONTROLLER,),
                **more,
            )

        bus = ("database", "cache", "messaging")
        yield process(
            "api",
            bus,
            AgentProbe(services, ("nova-conductor", "nova-scheduler")),
            services=("nova-conductor", "nova-scheduler"),
            # the APIs end first, then the conductor, then the scheduler that it asks
            stop_seconds=20.0,
            sockets={
                "api": f"tcp:{ctx.internal}:{PORT}",
                "metadata": f"tcp:{ctx.internal}:{METADATA_PORT}",
            },
        )
        yield process(
            "compute",
            (*bus, "guests", "switch", "identity", "placement", "nova-api"),
            # A host that has joined may not look at the list of services.
            NotifyProbe() if ctx.joined else AgentProbe(services, ("nova-compute",)),
            groups=(ctx.at("hypervisor").group, ctx.at("switch").group),
            stop_seconds=30.0,
        )
        yield process(
            "novncproxy",
            bus,
            HttpProbe(f"http://{ctx.internal}:{CONSOLE_PORT}/vnc_lite.html"),
            sockets={"console": f"tcp:{ctx.internal}:{CONSOLE_PORT}"},
        )
        if ctx.answers["CONFIG_NOVA_DB_PURGE_ENABLE"]:
            # What was deleted goes into tables beside, and from there for good: upstream's way.
            before = '"$(date -d "30 days ago" +%F)"'
            program = ctx.release.services.command("nova-manage")
            manage = f"{program} --config-file {_config(ctx)} db"
            archive = f"archive_deleted_rows --all-cells --until-complete --before {before}"
            # 1 and 3 mean: done, and there were rows, or none.
            line = (
                f"{manage} {archive} || [ $? -lt 2 ] && "
                f"{{ {manage} purge --all-cells --before {before} || [ $? -eq 3 ]; }}"
            )
            yield periodic.process(
                ctx,
                self.name,
                "nova-purge",
                periodic.DAY,
                ("/bin/sh", "-c", line),
                ("database", "nova-api"),
            )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        network = found.private_network_name
        return {
            "compute": {
                "image_ref": found.image,
                "image_ref_alt": found.image,
                "flavor_ref": found.flavor,
                "flavor_ref_alt": found.flavor_alt,
                "region": openstack.region(ctx),
                "max_microversion": "latest",
                **({"fixed_network_name": network} if network else {}),
            },
            "compute-feature-enabled": {
                # Its test knows no certificate but those of the cloud's authority.
                "vnc_console": not _own_certificate(ctx),
                # Both want a second compute host.
                "live_migration": False,
                "cold_migration": False,
                "resize": True,
                "stable_rescue": True,
                "hostname_fqdn_sanitization": True,
            },
            "enforce_scope": {"nova": True},
        }

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        return {ctx.cloud.user(self.name): tuple(PRIVSEP.values())}

    def zygote(self, ctx: Context) -> Iterable[str]:
        return ("onestack.components.nova.inside.preload",)

    def preload(self, ctx: Context) -> Iterable[str]:
        return (
            "oslo_concurrency.processutils",
            "oslo_db.sqlalchemy.enginefacade",
            "onestack.runtime.messaging",
            "oslo_policy.policy",
            "oslo_versionedobjects.base",
            "keystonemiddleware.auth_token",
            "keystoneauth1.loading",
            "openstack.connection",
            "routes",
            "webob",
            "paste.deploy",
            "taskflow.engines",
            "lxml.etree",
            "libvirt",
        )

    def downloads(self, ctx: Context) -> Iterable[Task]:
        yield Task("novnc", lambda: ensure_novnc(ctx), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.nova.cells import ensure_cells

        yield Task(
            "cells",
            lambda: ensure_cells(ctx),
            ("database:nova_api",),
            before_start=True,
            scope=Scope.CLOUD,
        )
        if ctx.joined:
            yield Task("counted", lambda: _ensure_noted(ctx), before_start=True)
        if ctx.offers(hosts.DOOR):
            from onestack.components.nova.departed import ensure_departed

            yield Task(
                "departed",
                lambda: ensure_departed(ctx),
                ("process:nova-api", "capability:placement", f"capability:{hosts.DOOR}"),
                scope=Scope.CLOUD,
            )
        if ctx.answers["CONFIG_ONESTACK_GUESTS_TRUST_CA"]:
            yield Task(
                "vendordata",
                lambda: ensure_vendordata(ctx),
                ("capability:authority", "files:nova"),
                before_start=True,
            )


def _ensure_noted(ctx: Context) -> Iterator[Change]:
    """A file that the compute service makes outside the cloud goes with the cloud."""
    ledger, made = Ledger.of(ctx.cloud), {"path": str(openstack.counted_queues(ctx))}
    if not any(entry.kind == "file" and entry.data == made for entry in ledger.entries()):
        yield Change(
            "note where the compute service counts its queues",
            lambda: ledger.record("file", **made),
        )


def _own_certificate(ctx: Context) -> Certificate | None:
    """The operator's, for consoles."""
    own = tuple(str(ctx.answers[f"CONFIG_VNC_SSL_{what}"]) for what in ("CERT", "KEY"))
    return Certificate(*own) if any(own) else None


def _standing() -> dict[str, list[str]]:
    """What the broker has made for all: names of exchanges, and of queues."""
    return {
        "exchanges": [exchange.name for exchange in bus.EXCHANGES],
        "queues": [queue.name for queue in bus.QUEUES],
    }


def _elsewhere(ctx: Context) -> dict[str, str]:
    """How the compute service gets at other hosts' folders of servers; ``shown`` empty: not."""
    return {
        "shown": str(hosts.carriers(ctx)) if hosts.moving(ctx) else "",
        "controller": ctx.joined.controller if ctx.joined else "",
    }


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "nova" / "nova.conf"


def _compute_config(ctx: Context) -> Path:
    return ctx.cloud.etc / "nova" / "nova-compute.conf"


def _cell0_config(ctx: Context) -> Path:
    return ctx.cloud.etc / "nova" / "cell0.conf"


def _policy(ctx: Context) -> Path:
    """Not called as what nova would read unasked: it may lie there when it holds no more."""
    return ctx.cloud.etc / "nova" / "servers-stay.yaml"


def _stays(ctx: Context) -> bool:
    """Whether there may be other hosts, and servers do not move to them while they run."""
    return ctx.offers(hosts.DOOR) and not hosts.moving(ctx)


def _left_out(ctx: Context) -> tuple[str, ...]:
    """Sections that the compute service has no use for, or no way to what they name."""
    database = ("api_database", "database")
    # Nobody asks it by HTTP; the cache stays where the APIs are.
    return (*database, "keystone_authtoken", "cache", "wsgi") if ctx.joined else database


def _console(ctx: Context, url: str) -> dict[str, Value]:
    """Consoles are led to by the controller; from other hosts by TLS, with certificates of both."""
    if ctx.joined and not hosts.purposes(ctx):
        return {"enabled": False}
    place = hosts.reached_at(ctx)
    found: dict[str, Value] = {
        "enabled": True,
        "server_listen": place,
        "server_proxyclient_address": place,
        "novncproxy_base_url": url,
    }
    if ctx.joined or not hosts.purposes(ctx):
        return found
    tls = hosts.console(ctx)
    return found | {
        # Guests that began before there was a door are plain, on loopback.
        "auth_schemes": ["vencrypt", "none"],
        "vencrypt_ca_certs": str(tls.ca),
        "vencrypt_client_cert": str(tls.certificate),
        "vencrypt_client_key": str(tls.key),
    }


def _moving(ctx: Context) -> dict[str, Value]:
    """How a server goes to another host: by TLS, whatever the answer of old says.

    The second address is that of servers that are off; else it is the one of ``my_ip``.
    """
    if not hosts.moving(ctx):
        return {"live_migration_scheme": str(ctx.answers["CONFIG_NOVA_COMPUTE_MIGRATE_PROTOCOL"])}
    return {
        "live_migration_scheme": "tls",
        "live_migration_with_native_tls": True,
        "live_migration_inbound_addr": ctx.host.addresses[Network.GUESTS],
        "migration_inbound_addr": ctx.host.addresses[Network.GUESTS],
    }


def _virt_type(ctx: Context) -> str:
    return str(ctx.answers["CONFIG_NOVA_LIBVIRT_VIRT_TYPE"]) or ("kvm" if ctx.facts.kvm else "qemu")


def _sections(ctx: Context) -> Ini:
    data = ctx.cloud.data / "nova"
    virt_type = _virt_type(ctx)
    console = f"https://{ctx.public}:{CONSOLE_PORT}/vnc_lite.html"
    nova = openstack.credentials(ctx, "nova")
    trust = bool(ctx.answers["CONFIG_ONESTACK_GUESTS_TRUST_CA"])
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "host": ctx.host.name,
            "transport_url": openstack.transport_url(ctx),
            "my_ip": hosts.reached_at(ctx),
            "state_path": str(data),
            "compute_driver": "libvirt.LibvirtDriver",
            "resume_guests_state_on_host_boot": True,
            # Where there is no other host, and without a copy where there is one.
            "allow_resize_to_same_host": True,
            "instance_usage_audit": False,
            "cpu_allocation_ratio": float(ctx.answers["CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO"]),
            "ram_allocation_ratio": float(ctx.answers["CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO"]),
        },
        "api": {
            # The link of an image is for users, nova's own way to glance is not.
            **({"glance_link_prefix": ctx.public_url("image")} if ctx.offers("image") else {}),
            **({"vendordata_jsonfile_path": str(vendordata_file(ctx))} if trust else {}),
        },
        "api_database": openstack.database(ctx, "nova", "nova_api"),
        "database": openstack.database(ctx, "nova", "nova"),
        "keystone_authtoken": openstack.authtoken(ctx, "nova", "compute"),
        "service_user": openstack.service_user(ctx, "nova"),
        **openstack.encryption_keys(ctx, "nova"),
        "keystone": nova,
        "placement": openstack.credentials(ctx, "placement"),
        "neutron": {
            **openstack.credentials(ctx, "neutron"),
            "service_metadata_proxy": True,
            "metadata_proxy_shared_secret": ctx.secrets["neutron_metadata"],
        },
        "glance": {"region_name": openstack.region(ctx), "valid_interfaces": "internal"},
        "cinder": {
            **openstack.account(ctx, "nova"),
            "os_region_name": openstack.region(ctx),
            "catalog_info": "block-storage::internalURL",
        },
        "vnc": _console(ctx, console),
        "wsgi": {
            "api_paste_config": str(ctx.release.services.place / "etc" / "nova" / "api-paste.ini")
        },
        "libvirt": {
            "virt_type": virt_type,
            "cpu_mode": "host-model" if virt_type == "kvm" else "none",
            "connection_uri": f"qemu+unix:///system?socket={ctx.at('hypervisor').socket}",
            "inject_partition": -2,
            **_moving(ctx),
            "swtpm_enabled": False,
        },
        **pci.sections(ctx.answers),
        "os_vif_ovs": {"ovsdb_connection": ctx.at("switch").target},
        "cache": {
            "enabled": True,
            "backend": "oslo_cache.memcache_pool",
            "memcache_servers": [str(ctx.at("cache"))],
        },
        "oslo_concurrency": openstack.locks(ctx, "nova"),
        **({"oslo_policy": {"policy_file": str(_policy(ctx))}} if _stays(ctx) else {}),
        **openstack.privsep(ctx, tuple(PRIVSEP), _compute_config(ctx)),
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }
