"""Swift's configuration files: paste files of its own, not oslo.config's."""

from __future__ import annotations

from pathlib import Path

from onestack.components import openstack
from onestack.components.swift.devices import home, srv
from onestack.model.context import Context
from onestack.model.ini import Ini, Value, ini_text

PORT = 8080
PORTS = {"account": 6202, "container": 6201, "object": 6200}
"""The storage servers, on the cloud's own loopback address."""
RSYNC = 6203

LOGGED = "onestack.components.swift.inside.logs.to_stderr"

PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk tempurl "
    "formpost ratelimit crossdomain s3api authtoken s3token keystoneauth staticweb copy "
    "container-quotas account-quotas slo dlo versioned_writes symlink proxy-logging room "
    "proxy-server"
)
INTERNAL_PIPELINE = "catch_errors proxy-logging cache symlink proxy-server"
"""Of the client inside the expirer, which speaks to the storage servers itself."""

_PATIENCE: dict[str, Value] = {
    # There is no other machine to turn to: one that is busy is waited for, and one that
    # had no room for an object is still asked for the next.
    "conn_timeout": 5,
    "node_timeout": 60,
    "recoverable_node_timeout": 60,
    "error_suppression_interval": 0,
}
_DIGESTS = "sha256 sha512"
"""Of signatures; upstream warns of sha1, which it still takes by default."""
_BACKGROUND: dict[str, Value] = {"conn_timeout": 5, "node_timeout": 60}


def _patience(ctx: Context) -> dict[str, Value]:
    copies = int(ctx.answers["CONFIG_SWIFT_STORAGE_REPLICAS"])
    # One disk of two has to be believed that it lacks something, while the other is dead: else
    # a new name, and an account's first request, would be answered 503 until it is replaced.
    return {**_PATIENCE, **({"rebalance_missing_suppression_count": 0} if copies == 2 else {})}


def directory(ctx: Context) -> Path:
    """``swift_dir``: swift.conf and the rings."""
    return ctx.cloud.etc / "swift"


def conf(ctx: Context, name: str) -> Path:
    """``proxy-server``, ``object-server`` …"""
    return directory(ctx) / f"{name}.conf"


def suffix(ctx: Context) -> str:
    return ctx.secrets["swift_hash_suffix"]


def swift(ctx: Context) -> Ini:
    return {
        "swift-hash": {"swift_hash_path_suffix": suffix(ctx)},
        "storage-policy:0": {"name": "Policy-0", "default": "yes"},
    }


def proxy(ctx: Context) -> Ini:
    filters: Ini = {
        "authtoken": {
            "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
            **_authtoken(ctx),
            "cache": "swift.cache",
            "include_service_catalog": False,
            # Public objects, signed URLs and forms carry no token.
            "delay_auth_decision": True,
        },
        "keystoneauth": {
            "use": "egg:swift#keystoneauth",
            "operator_roles": "admin, member, SwiftOperator",
            "reseller_admin_role": "ResellerAdmin",
            "project_reader_roles": "reader",
        },
        "s3api": {"use": "egg:swift#s3api", "location": openstack.region(ctx)},
        "s3token": {
            "use": "egg:swift#s3token",
            "reseller_prefix": "AUTH_",
            "delay_auth_decision": True,
            "auth_uri": openstack.keystone_url(ctx),
            # Else the users' secret keys would lie in memcached, which asks for no password.
            "secret_cache_duration": 0,
            **openstack.credentials(ctx, "swift"),
        },
        "tempurl": {
            "paste.filter_factory": "onestack.components.swift.inside.tempurl:filter_factory",
            "allowed_digests": _DIGESTS,
        },
        "formpost": {"use": "egg:swift#formpost", "allowed_digests": _DIGESTS},
        "versioned_writes": {
            "use": "egg:swift#versioned_writes",
            "allow_versioned_writes": True,
            "allow_object_versioning": True,
        },
        "staticweb": {"use": "egg:swift#staticweb", "url_base": f"https://{ctx.public}:{PORT}"},
        # Tokens and signatures open doors: nothing of them is logged.
        "proxy-logging": {"use": "egg:swift#proxy_logging", "reveal_sensitive_prefix": 0},
        "room": {
            "paste.filter_factory": "onestack.components.swift.inside.quota:filter_factory",
            "devices": str(srv(ctx.cloud.root)),
        },
        "cache": _cache(ctx),
    }
    return {
        "DEFAULT": {**_default(ctx), "bind_ip": ctx.internal, "bind_port": PORT},
        "pipeline:main": {"pipeline": PIPELINE},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "account_autocreate": True,
            "allow_account_management": True,
            **_patience(ctx),
        },
        **_filters(PIPELINE, filters),
    }


def internal_client(ctx: Context) -> Ini:
    return {
        "DEFAULT": _quiet(ctx),
        "pipeline:main": {"pipeline": INTERNAL_PIPELINE},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "account_autocreate": True,
            **_patience(ctx),
        },
        **_filters(INTERNAL_PIPELINE, {"cache": _cache(ctx)}),
    }


def storage(ctx: Context, kind: str) -> Ini:
    """A storage server's file, with the sections of its background workers."""
    cache: dict[str, Value] = {"recon_cache_path": str(home(ctx.cloud.root) / "cache")}
    # Swift's rsync speaks to a daemon only, also from one device of a machine to another.
    replicator: dict[str, Value] = {
        **cache,
        "rsync_module": f"rsync://{{replication_ip}}:{RSYNC}/devices",
    }
    workers: dict[str, dict[str, Value]] = {
        "account": {
            "account-replicator": {**replicator, **_BACKGROUND},
            "account-auditor": cache,
            "account-reaper": _BACKGROUND,
        },
        "container": {
            "container-replicator": {**replicator, **_BACKGROUND},
            "container-auditor": cache,
            "container-updater": {**cache, **_BACKGROUND},
        },
        "object": {
            "object-replicator": {**replicator, **_BACKGROUND, "http_timeout": 300},
            "object-auditor": {**cache, "zero_byte_files_per_second": 0},
            "object-updater": {**cache, **_BACKGROUND},
            "object-expirer": {
                **cache,
                "dequeue_from_legacy": True,
                "internal_client_conf_path": str(conf(ctx, "internal-client")),
            },
        },
    }[kind]
    server: dict[str, Value] = {"use": f"egg:swift#{kind}", "log_requests": False, **_BACKGROUND}
    if kind == "object":
        # Each is a native thread for the disk; upstream's default is twenty.
        server["eventlet_tpool_num_threads"] = 4
    return {
        "DEFAULT": {
            **_quiet(ctx),
            "bind_ip": ctx.internal,
            "bind_port": PORTS[kind],
            "devices": str(srv(ctx.cloud.root)),
            "mount_check": True,
        },
        "pipeline:main": {"pipeline": f"healthcheck {kind}-server"},
        f"app:{kind}-server": server,
        **_filters(f"healthcheck {kind}-server", {}),
        **workers,
    }


def rsync(ctx: Context) -> str:
    """The daemon through which replicators bring an object or a database to another device."""
    return f"""address = {ctx.internal}
port = {RSYNC}
use chroot = no
log file = /dev/stderr

[devices]
path = {srv(ctx.cloud.root)}
read only = no
list = no
max connections = 8
lock file = {home(ctx.cloud.root) / "cache" / "rsync.lock"}
"""


def text(sections: Ini) -> str:
    return ini_text(sections)


def _default(ctx: Context) -> dict[str, Value]:
    return {
        "user": ctx.cloud.user("swift"),
        "swift_dir": str(directory(ctx)),
        "log_custom_handlers": LOGGED,
        "log_level": "DEBUG" if ctx.answers["CONFIG_DEBUG_MODE"] else "INFO",
    }


def _quiet(ctx: Context) -> dict[str, Value]:
    """What works in the background says nothing as long as nothing is wrong."""
    level = "DEBUG" if ctx.answers["CONFIG_DEBUG_MODE"] else "WARNING"
    return {**_default(ctx), "log_level": level}


def _cache(ctx: Context) -> dict[str, Value]:
    return {"use": "egg:swift#memcache", "memcache_servers": str(ctx.at("cache"))}


def _authtoken(ctx: Context) -> dict[str, Value]:
    options = openstack.authtoken(ctx, "swift", "object-store")
    ours = ("memcached_servers", "memcache_use_advanced_pool")
    return {name: value for name, value in options.items() if name not in ours}


def _filters(pipeline: str, known: Ini) -> Ini:
    """A section for each filter of ``pipeline``; swift's own need no more than their name."""
    names = dict.fromkeys(pipeline.split()[:-1])
    return {
        f"filter:{name}": known.get(name) or {"use": f"egg:swift#{name.replace('-', '_')}"}
        for name in names
    }
