"""What the configuration of every OpenStack service has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from onestack.model.context import Context
from onestack.model.declarations import Database, KnownError
from onestack.model.host import Role
from onestack.model.ini import Ini, Value
from onestack.model.key import Key, Kind
from onestack.model.process import SERVICES
from onestack.model.secret import CONTROLLER, Secret

NAMESPACES = (
    *("keystonemiddleware.auth_token", "oslo.db", "oslo.log", "oslo.messaging"),
    "oslo.middleware",
)
"""Of oslo.config's, those whose options stand in the file of nearly every service."""


@dataclass(frozen=True)
class Password:
    """A secret and the key that sets it: a component lists the two where they belong."""

    key: Key
    secret: Secret


def database_password(service: str, roles: frozenset[Role] = CONTROLLER) -> Password:
    """Of the service's user in the database: the secret ``SERVICE_db``."""
    key = _key("DB", service, "database user")
    return Password(key, Secret(f"{service}_db", key.name, roles=roles))


def service_password(service: str, roles: frozenset[Role] = CONTROLLER) -> Password:
    """Of the service's user in keystone: the secret ``SERVICE_keystone``."""
    key = _key("KS", service, "service user")
    return Password(key, Secret(f"{service}_keystone", key.name, account=service, roles=roles))


def _key(what: str, service: str, whose: str) -> Key:
    name = f"CONFIG_{service.upper()}_{what}_PW"
    return Key(name, "PW_PLACEHOLDER", f"Password of {service}'s {whose}.", Kind.SECRET)


def own_database(
    service: str, versions: str, config: Path, environment: str = SERVICES
) -> Database:
    """The database of a service that has one, with a user and a job ``sync`` of its own."""
    sync = f"onestack.components.{service}.inside.jobs:sync"
    return Database(service, service, sync, (versions,), (config,), environment=environment)


def denied(service: str) -> KnownError:
    """Of a service with a database: the server refuses its password."""
    return KnownError(
        f"Access denied for user '{service}'",
        f"{service}'s database password is not the one in its configuration",
        "run up again",
    )


def region(ctx: Context) -> str:
    return str(ctx.answers["CONFIG_KEYSTONE_REGION"])


def keystone_url(ctx: Context) -> str:
    return ctx.url("identity")


def database(ctx: Context, user: str, name: str) -> dict[str, Value]:
    """Options of a ``[database]`` section: the cloud's own MariaDB on its unix socket.

    Without ``ssl_disabled`` the driver reads all of the system's CAs for every
    connection: 40 ms and 0.9 MiB each, for a TLS that a unix socket never has.
    """
    socket = ctx.at("database").socket
    password = quote(ctx.secrets[f"{user}_db"], safe="")
    return {
        "connection": f"mysql+pymysql://{user}:{password}@localhost/{name}"
        f"?unix_socket={socket}&charset=utf8mb4&ssl_disabled=true",
        "max_pool_size": 5,
        "max_overflow": 20,
        "connection_recycle_time": 3600,
    }


def transport_url(ctx: Context) -> str:
    """With the account of all services, or of a host that has joined its own."""
    if ctx.joined:
        own = ctx.joined.accounts["messaging"]
        given = own.user, own.password
    else:
        given = str(ctx.answers["CONFIG_AMQP_AUTH_USER"]), ctx.secrets["rabbitmq"]
    user, password = (quote(text, safe="") for text in given)
    return f"rabbit://{user}:{password}@{ctx.at('messaging')}/"


def bus_accounts(ctx: Context) -> list[str]:
    """Of the cloud's own services, and this host's own."""
    own = [ctx.joined.accounts["messaging"].user] if ctx.joined else []
    return [str(ctx.answers["CONFIG_AMQP_AUTH_USER"]), *own]


def credentials(ctx: Context, user: str, interface: str = "valid_interfaces") -> dict[str, Value]:
    """keystoneauth options for the service user ``user``; a host that has joined is its own.

    ``interface`` is what their reader calls the option for the endpoints' kind.
    """
    password = ctx.secrets[f"{user}_keystone"]
    if ctx.joined:
        own = ctx.joined.accounts["identity"]
        user, password = own.user, own.password
    return {
        "auth_type": "password",
        "auth_url": keystone_url(ctx),
        "username": user,
        "password": password,
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "project_name": "service",
        "region_name": region(ctx),
        interface: "internal",
    }


def account(ctx: Context, user: str) -> dict[str, Value]:
    """The same for a reader that is told elsewhere which endpoints to take."""
    adapter = ("region_name", "valid_interfaces")
    return {k: v for k, v in credentials(ctx, user).items() if k not in adapter}


def authtoken(ctx: Context, user: str, service_type: str) -> dict[str, Value]:
    """The ``[keystone_authtoken]`` section: who may call, checked with ``user``'s help."""
    return credentials(ctx, user, "interface") | {
        "www_authenticate_uri": ctx.public_url("identity"),
        "memcached_servers": str(ctx.at("cache")),
        "memcache_use_advanced_pool": True,
        "service_token_roles": "service",
        "service_token_roles_required": True,
        "service_type": service_type,
    }


def service_user(ctx: Context, user: str) -> dict[str, Value]:
    """The ``[service_user]`` section: calls to others carry a service token too."""
    return account(ctx, user) | {"send_service_user_token": True}


def encryption_keys(ctx: Context, user: str) -> Ini:
    """Where castellan keeps the keys of encrypted volumes: the key manager, if there is one."""
    if not ctx.offers("key-manager"):
        return {}
    return {
        "key_manager": {"backend": "barbican"},
        "barbican": {
            "auth_endpoint": keystone_url(ctx),
            "barbican_endpoint_type": "internal",
            "barbican_region_name": region(ctx),
            "send_service_user_token": True,
        },
        "barbican_service_user": account(ctx, user),
    }


def logging(ctx: Context) -> dict[str, Value]:
    """Log to stderr, which the supervisor keeps in a file per process."""
    return {"debug": bool(ctx.answers["CONFIG_DEBUG_MODE"]), "use_stderr": True}


QUEUES: Mapping[str, Value] = {"rabbit_quorum_queue": False, "amqp_durable_queues": False}
"""Small classic ones. All who share an exchange make it alike, or the broker refuses it."""


HOSTS_PROCESS = "compute"
"""What stands in the names of queues for the one process by which a host that has joined uses the
bus."""


def messaging(ctx: Context) -> Ini:
    """Queues on the cloud's own broker."""
    return {"oslo_messaging_rabbit": {**QUEUES, **_names(ctx)}, **notifications(ctx)}


def _names(ctx: Context) -> dict[str, Value]:
    """Of a host that has joined, queues that are its own say so: it may use those alone."""
    if not ctx.joined:
        return {}
    return {"use_queue_manager": True, "hostname": ctx.host.name, "processname": HOSTS_PROCESS}


def counted_queues(ctx: Context) -> Path:
    """Where oslo.messaging counts them (its `QManager`)."""
    return Path("/dev/shm", f"{ctx.host.name}_{HOSTS_PROCESS}_qmanager")


def notifications(ctx: Context) -> Ini:
    """A service tells what it does only where somebody listens: no queue fills unread.

    Without the bus a notification is given up after seconds: the default waits for ever, and
    with it the request that it tells of.
    """
    if listened_to(ctx):
        return {"oslo_messaging_notifications": {"driver": "messagingv2", "retry": 2}}
    return {"oslo_messaging_notifications": {"driver": "noop"}}


def listened_to(ctx: Context) -> bool:
    """Whether somebody hears notifications."""
    return ctx.offers("notifications")


def locks(ctx: Context, component: str) -> dict[str, Value]:
    """The ``[oslo_concurrency]`` section."""
    return {"lock_path": str(ctx.cloud.data / component / "lock")}


def privsep(ctx: Context, contexts: Sequence[str], *config: Path) -> Ini:
    """Sections that make privsep daemons come from the supervisor's zygote.

    ``contexts`` are the configuration sections of upstream's privsep contexts.
    """
    helper = ctx.release.program / "onestack" / "runtime" / "privsep-helper"
    command = " ".join(
        [str(helper), str(ctx.cloud.run / "supervisor" / "privsep.sock")]
        + [f"--config-file {path}" for path in config]
    )
    return {section: {"helper_command": command} for section in contexts}


def root_helper(ctx: Context) -> Path:
    """What asks the supervisor to run a command as root: see `RootCommand`."""
    return ctx.release.program / "onestack" / "runtime" / "root-helper"


def pipeline(upstream: str, config: Path) -> str:
    """The text of upstream's paste file, its middleware told where the configuration is.

    Some of it looks for its project's file in /etc, whatever the service was told.
    """
    return f"[DEFAULT]\noslo_config_file = {config}\n\n{upstream}"


def proxied() -> Ini:
    """Believe the TLS front's word on the scheme the client used."""
    return {"oslo_middleware": {"enable_proxy_headers_parsing": True}}
