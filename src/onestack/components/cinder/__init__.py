"""Cinder, the block storage service: API, scheduler, and volumes in a group or a pool of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from onestack.answers.values import Answers
from onestack.components import lasting, openstack, periodic
from onestack.components.cinder import backends, backups, local, passing, serving
from onestack.components.cinder.known_errors import KNOWN_ERRORS
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    Capability,
    ConfigFile,
    Database,
    Directory,
    Endpoint,
    Frontend,
    Holding,
    Identity,
    Scope,
    StoreMount,
    Task,
    TempestResources,
    ini_file,
)
from onestack.model.findings import Finding
from onestack.model.host import Role
from onestack.model.ini import Ini, Value, merged
from onestack.model.key import Key, Kind
from onestack.model.process import AgentProbe, Process
from onestack.model.root_command import ANY, RootCommand
from onestack.model.secret import ON_STORAGE, Secret

PORT = 8776

PRIVSEP = {
    "cinder_sys_admin": "cinder.privsep.sys_admin_pctxt",
    "privsep_osbrick": "os_brick.privileged.default",
}
"""Upstream's privsep contexts, by configuration section."""

NAMESPACES = (
    *openstack.NAMESPACES,
    "castellan.config",
    "cinder",
    "onestack.cinder",
    "onestack.cinder.group",
    "os_brick",
    "oslo.concurrency",
    "oslo.privsep",
)


_DATABASE = openstack.database_password("cinder", ON_STORAGE)
_ACCOUNT = openstack.service_password("cinder", ON_STORAGE)
_BUS = ("database", "messaging")


def _config(ctx: Context) -> Path:
    return ctx.cloud.etc / "cinder" / "cinder.conf"


def _backup(ctx: Context, needs: tuple[str, ...]) -> Process:
    # The volumes that it reads are mounted for those who have them.
    volumes = (_named("volume", backend) for backend in local.chosen(ctx))
    return _process(ctx, "backup", (*_BUS, *volumes, *needs), "cinder-backup", stop_seconds=30.0)


class Cinder(Component):
    name = "cinder"
    title = "Block storage"
    features = (
        *(backups.InObjects(_config, _backup), backups.InFiles(_config, _backup)),
        serving.Serving(),
    )
    clients = ("cinder",)
    meters = ("volume.size", "volume.snapshot.size", "volume.backup.size")
    tempest_service = "cinder"
    tempest_plugin = "cinder_tempest_plugin"
    provides = (Capability("block-storage", ("cinder-api",), port=PORT, path="/v3"),)
    holdings = (Holding("/volumes", {"all_tenants": "1", "project_id": "{project}"}),)
    keys = (
        Key("CONFIG_CINDER_INSTALL", "y", "Turn the block storage service on.", Kind.FLAG),
        _DATABASE.key,
        _ACCOUNT.key,
        *backends.KEYS,
        backups.KEY,
        *local.KEYS,
        Key(
            "CONFIG_CINDER_DB_PURGE_ENABLE",
            "y",
            "Remove rows of volumes deleted more than a month ago from the database, once a day.",
            Kind.FLAG,
        ),
    )
    known_errors = KNOWN_ERRORS

    def validate(self, answers: Answers) -> Iterable[str]:
        return backends.validate(answers) if self.enabled(answers) else ()

    roles = ON_STORAGE
    secrets = (
        _DATABASE.secret,
        _ACCOUNT.secret,
        Secret("cinder_volume_key", roles=ON_STORAGE),
        *backends.SECRETS,
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_CINDER_INSTALL"])

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.database.server import server_of
        from onestack.database.upstream_tables import cinder as tables

        things = tables.in_passing(server_of(ctx))
        yield from lasting.findings(things, passing.LONG, passing.cure)
        if is_local(ctx):
            yield from local.health_checks(ctx)

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        return local.preflight_checks(ctx) if is_local(ctx) else ()

    def disk(self, ctx: Context) -> int:
        return local.disk(ctx) if is_local(ctx) else 0

    def packages(self, ctx: Context) -> Iterable[str]:
        # cryptsetup is for copies of encrypted volumes in places that are reached by iSCSI alone.
        yield from ("xfsprogs", "qemu-utils", "cryptsetup-bin")
        yield from local.packages(ctx)
        yield from backends.packages(ctx.answers)

    def started(self, ctx: Context) -> Iterable[str]:
        yield "qemu-img"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        data = ctx.cloud.data / self.name
        # QEMU, another user, passes through to reach the volumes of its guests.
        yield Directory(data, user, user, 0o711)
        for name in ("conversion", "coordination", "lock"):
            yield Directory(data / name, user, user, 0o750)
        if backends.mounts(ctx.answers):
            yield Directory(data / "mounts", user, user, 0o711)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield ini_file(_config(ctx), ctx.cloud.user(self.name), _sections(ctx), *NAMESPACES)
        yield periodic.script(ctx, self.name)
        yield from backends.files(ctx)

    def databases(self, ctx: Context) -> Iterable[Database]:
        yield openstack.own_database("cinder", "cinder/db/migrations/versions", _config(ctx))

    def identity(self, ctx: Context) -> Iterable[Identity]:
        yield Identity(
            "cinder",
            (
                # Today's tools look for the one type, older clients for the other.
                Endpoint("cinder", "block-storage", PORT, "/v3", "Block storage"),
                Endpoint("cinderv3", "volumev3", PORT, "/v3", "Block storage, for older clients"),
            ),
        )

    def frontends(self, ctx: Context) -> Iterable[Frontend]:
        yield Frontend("cinder", PORT, f"{ctx.internal}:{PORT}")

    def processes(self, ctx: Context) -> Iterable[Process]:
        config = str(_config(ctx))
        yield _process(
            ctx,
            "api",
            ("database", "cache", "messaging"),
            "cinder-scheduler",
            services=("cinder-scheduler",),
            sockets={"api": f"tcp:{ctx.internal}:{PORT}"},
        )
        lists = tuple(str(file.path) for file in backends.files(ctx))
        for backend in local.chosen(ctx):
            own = {} if backend == ctx.once(local.kind) else {"files": (config, *lists)}
            # A process for each, as upstream's own launcher has it.
            binary = f"cinder-volume@{backend}"
            yield _process(ctx, "volume", _BUS, binary, backend, stop_seconds=30.0, **own)
        if ctx.answers["CONFIG_CINDER_DB_PURGE_ENABLE"]:
            manage = str(ctx.release.services.command("cinder-manage"))
            yield periodic.process(
                ctx,
                self.name,
                "cinder-purge",
                periodic.DAY,
                (manage, "--config-file", config, "db", "purge", "30"),
                ("database", "cinder-api"),
            )

    def stores(self, ctx: Context) -> Iterable[StoreMount]:
        if is_local(ctx):
            yield from local.mounts(ctx, serving.processes(ctx))

    def privsep(self, ctx: Context) -> dict[str, tuple[str, ...]]:
        return {ctx.cloud.user(self.name): tuple(PRIVSEP.values())}

    def root_commands(self, ctx: Context) -> dict[str, tuple[RootCommand, ...]]:
        # cinder asks for root to run qemu-img on images and volumes. Here all of these are its
        # own, and a stranger's image is better looked at without privileges.
        rootwrap = RootCommand(("cinder-rootwrap", ANY, ANY), ANY, leading=2, as_root=False)
        lvm = local.root_commands(ctx) if is_local(ctx) else ()
        return {ctx.cloud.user(self.name): (*lvm, rootwrap)}

    def zygote(self, ctx: Context) -> Iterable[str]:
        return ("eventlet", "onestack.components.cinder.inside.preload")

    def preload(self, ctx: Context) -> Iterable[str]:
        return (
            "oslo_concurrency.processutils",
            "oslo_db.sqlalchemy.enginefacade",
            "onestack.runtime.messaging",
            "oslo_policy.policy",
            "oslo_versionedobjects.base",
            "keystonemiddleware.auth_token",
            "keystoneauth1.loading",
            "castellan.key_manager",
            "tooz.coordination",
            "taskflow.engines",
            "taskflow.patterns.linear_flow",
            "routes",
            "webob",
            "paste.deploy",
            "jsonschema",
            "lxml.etree",
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        if not is_local(ctx):
            return
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.cinder import types

        yield Task(
            "pool",
            lambda: local.ensure(ctx, _server(ctx)),
            ("packages", "users"),
            before_start=True,
        )
        offered = (types.MULTIATTACH, *((types.LUKS,) if encrypts(ctx) else ()))
        yield Task(
            "types",
            lambda: types.ensure_types(ctx, offered),
            ("capability:block-storage",),
            scope=Scope.CLOUD,
        )

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        places = local.chosen(ctx)
        here = ctx.once(local.kind) if len(places) == 1 else ""
        files = here == backends.FILE_POOL
        encrypted = files and encrypts(ctx)
        kinds: dict[str, dict[str, Value]] = {
            backends.FILE_POOL: {
                "storage_protocol": "file",
                "vendor_name": "onestack",
                "volume_type_multiattach": "multiattach",
                # A file keeps its name when it is managed no more.
                "manage_volume_ref": ("source-name", "volume-%s"),
                "manage_snapshot_ref": ("source-name", "snapshot-%s"),
            },
            backends.VOLUME_GROUP: {
                "storage_protocol": "local",
                "vendor_name": "Open Source",
                "volume_type_multiattach": "multiattach",
            },
        }
        return {
            "compute-feature-enabled": {
                "volume_multiattach": bool(here),
                "attach_encrypted_volume": encrypted,
            },
            "volume": {
                "region": openstack.region(ctx),
                "max_microversion": "latest",
                "backend_names": places,
                **kinds.get(here, {}),
            },
            "volume-feature-enabled": {
                "backup": False,
                "volume_revert": bool(here),
                "extend_attached_volume": bool(here),
                "extend_attached_encrypted_volume": encrypted,
                "multi_backend": len(places) > 1,
                "manage_volume": files,
                "manage_snapshot": files,
                "concurrency_tests": True,
            },
            "enforce_scope": {"cinder": True},
        }

    def purge(self, ctx: Context) -> Iterator[Change]:
        yield from local.remove(ctx.cloud)


def _process(
    ctx: Context, name: str, needs: tuple[str, ...], binary: str, backend: str = "", **more: Any
) -> Process:
    """The service ``name``, ready when the API lists ``binary`` as alive."""
    config = str(_config(ctx))
    paste = ctx.release.services.place / "etc" / "cinder" / "api-paste.ini"
    if name != "api" and ctx.offers("key-manager"):
        # It is given keys at once.
        needs = (*needs, "key-manager")
    return Process(
        name=_named(name, backend),
        component="cinder",
        user=ctx.cloud.user("cinder"),
        run=f"onestack.components.cinder.inside.run:{name}",
        arguments={"config": config, "paste": str(paste), "backend": backend},
        env=_environment(ctx),
        needs=needs,
        probe=AgentProbe(f"http://{ctx.internal}:{PORT}/v3/os-services", (binary,)),
        roles=(Role.CONTROLLER if name == "api" else Role.STORAGE,),
        **{"files": (config,), **more},
    )


def _named(name: str, backend: str = "") -> str:
    """The process of a service; that of this machine's own place has no further name."""
    here = ("", backends.VOLUME_GROUP, backends.FILE_POOL)
    return f"cinder-{name}" if backend in here else f"cinder-{name}-{backend}"


def encrypts(ctx: Context) -> bool:
    """Whether volumes can be encrypted: files can, where there is somebody to keep keys."""
    return ctx.offers("key-manager") and ctx.once(local.kind) == backends.FILE_POOL


def is_local(ctx: Context) -> bool:
    """Whether volumes are on this cloud's own machine, or some of them."""
    return ctx.offers("block-storage") and bool(ctx.once(local.kind))


def _server(ctx: Context) -> str:
    """Who opens the pool's files for other hosts, if anybody does."""
    return ctx.cloud.user(serving.USER) if serving.served(ctx) else ""


def _environment(ctx: Context) -> dict[str, str]:
    # Before the system's sudo comes one that asks the supervisor.
    helper = openstack.root_helper(ctx).parent / "in_place_of_sudo"
    # Keys of the fixed key's are moved there by its public address.
    trusts = {"REQUESTS_CA_BUNDLE": str(ctx.authority)} if ctx.offers("key-manager") else {}
    return {
        **trusts,
        "OS_CINDER_DISABLE_EVENTLET_PATCHING": "1",
        "EVENTLET_THREADPOOL_SIZE": "0",  # see inside.preload
        "PATH": f"{helper}:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def _encryption_keys(ctx: Context) -> Ini:
    """Of volumes. Without a key manager none is encrypted; the fixed key is of earlier ones.

    The key manager, once there is one, is given their keys too.
    """
    fixed: Ini = {"key_manager": {"fixed_key": ctx.secrets["cinder_volume_key"]}}
    own: Ini = {"key_manager": {"backend": "onestack.components.cinder.inside.keys.ConfKeyManager"}}
    return merged(openstack.encryption_keys(ctx, "cinder") or own, fixed)


def _sections(ctx: Context) -> Ini:
    data = ctx.cloud.data / "cinder"
    shared = ctx.release.services.place / "etc" / "cinder"
    locks = openstack.locks(ctx, "cinder")
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "host": ctx.host.name,
            "transport_url": openstack.transport_url(ctx),
            "my_ip": ctx.internal,
            "state_path": str(data),
            "resource_query_filters_file": str(shared / "resource_filters.json"),
            "image_conversion_dir": str(data / "conversion"),
            "glance_catalog_info": "image:glance:internalURL",
            "enabled_backends": local.chosen(ctx),
            "default_group_type": "default",
            # A volume in use can become an image: what is uploaded is a moment's copy.
            "enable_force_upload": True,
            # How long the scheduler waits for the volume service to report before it begins.
            "scheduler_driver_init_wait_time": 5,
            # A pool that has grown is known to the scheduler after that many seconds: so
            # often the volume service looks for work to do, and so often this is due.
            "periodic_interval": 10,
            # One host's services need not be told apart by when they begin.
            "periodic_fuzzy_delay": 0,
            "backend_stats_polling_interval": 10,
        },
        **(merged(local.section(ctx), serving.sections(ctx)) if is_local(ctx) else {}),
        **backends.sections(ctx),
        "database": openstack.database(ctx, "cinder", "cinder"),
        "keystone_authtoken": openstack.authtoken(ctx, "cinder", "block-storage"),
        "service_user": openstack.service_user(ctx, "cinder"),
        "nova": openstack.credentials(ctx, "cinder", "interface"),
        **_encryption_keys(ctx),
        "coordination": {"backend_url": f"file://{data}/coordination"},
        "oslo_concurrency": locks,
        "os_brick": locks,
        **openstack.privsep(ctx, tuple(PRIVSEP), _config(ctx)),
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }
