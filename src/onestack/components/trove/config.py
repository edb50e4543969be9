"""What trove and the agents of its guests are told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from onestack.components import openstack
from onestack.components.trove import keys
from onestack.components.trove.guest.containers import REGISTRY
from onestack.model.context import Context
from onestack.model.declarations import (
    BusAccount,
    BusExchange,
    BusPolicy,
    Port,
    TopicPermission,
)
from onestack.model.ini import Ini, Value
from onestack.network.management import Management

PORT = 8779
BUS_PORT = 5671
"""Of this host's end of the guests' network. They reach it, the object store, and nothing else."""
VHOST = "trove"
EXCHANGE = "trove"
GUEST_AUTHORITY = "/etc/trove/ca.pem"

NAMESPACES = (
    *openstack.NAMESPACES,
    "oslo.policy",
    "trove.config",
)

READING = (
    "backup:index",
    "backup:show",
    "backup_strategy:index",
    "cluster:extension:root:index",
    "cluster:index",
    "cluster:show",
    "cluster:show_instance",
    "configuration-parameter:index",
    "configuration-parameter:index_by_version",
    "configuration-parameter:show",
    "configuration-parameter:show_by_version",
    "configuration:index",
    "configuration:instances",
    "configuration:show",
    "instance:backups",
    "instance:configuration",
    "instance:detail",
    "instance:extension:database:index",
    "instance:extension:database:show",
    "instance:extension:root:index",
    "instance:extension:user:index",
    "instance:extension:user:show",
    "instance:extension:user_access:index",
    "instance:guest_log_list",
    "instance:index",
    "instance:module_list",
    "instance:show",
    "limits:index",
    "module:index",
    "module:instances",
    "module:show",
)
"""Rules of upstream's under which nothing is changed."""


def management(ctx: Context) -> Management:
    """The network of the guests' own."""
    reached = [Port("tcp", BUS_PORT)]
    if ctx.offers("object-store"):
        reached.append(Port("tcp", ctx.at("object-store").port))
    return Management(ctx, "trove", str(ctx.answers[keys.SUBNET]), tuple(reached))


def directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "trove"


def main_file(ctx: Context) -> Path:
    return directory(ctx) / "trove.conf"


def files(ctx: Context) -> tuple[Path, Path]:
    """What trove is started with: the second has what only neutron can say."""
    return main_file(ctx), management(ctx).ids_file


def policy_file(ctx: Context) -> Path:
    return directory(ctx) / "policy.yaml"


def agent_file(ctx: Context) -> Path:
    return directory(ctx) / "guestagent.conf"


def cloudinit_file(ctx: Context, manager: str) -> Path:
    return directory(ctx) / "cloudinit" / f"{manager}.cloudinit"


def accounts() -> tuple[BusAccount, ...]:
    """Of the bus: the service's, and one for the agents of all guests.

    A guest publishes to the conductor and hears what is sent to guests, and nothing else: the
    exchange is the broker's, and not for guests to make. Whom it may tell cannot be limited: by
    the default exchange, by which it answers, it reaches each queue. The taskmanager believes
    nobody without a key.
    """
    return (
        BusAccount(
            "trove",
            keys.BUS,
            VHOST,
            # Trove itself never removes the queue of a guest.
            policies=(BusPolicy("guests", r"^guestagent\.", {"expires": 86_400_000}),),
            exchanges=(BusExchange(EXCHANGE, durable=bool(_queues()["amqp_durable_queues"])),),
        ),
        BusAccount(
            "trove_guest",
            keys.GUESTS_BUS,
            VHOST,
            configure=r"^guestagent\..*$",
            write=rf"^(guestagent\..*|{EXCHANGE}|amq\.default)$",
            read=rf"^(guestagent\..*|{EXCHANGE})$",
            topics=(TopicPermission(EXCHANGE, r"^trove-conductor(\..*)?$", r"^guestagent\..*$"),),
        ),
    )


def _bus(ctx: Context, user: str, secret: str, place: str) -> str:
    return f"rabbit://{user}:{ctx.secrets[secret]}@{place}/{VHOST}"


def _queues() -> dict[str, Value]:
    """Alike at both ends. What a guest is sent while it boots outlives the broker."""
    return {"rabbit_quorum_queue": False, "amqp_durable_queues": True}


def _datastore(ports: str, image: str, ignored: str) -> dict[str, Value]:
    return {
        "tcp_ports": ports,
        "docker_image": f"{REGISTRY}/{image}",
        "backup_docker_image": f"{REGISTRY}/db-backup-{image}",
        "ignore_dbs": ignored,
    }


def _datastores() -> Ini:
    return {
        "mariadb": {
            **_datastore("3306", "mariadb", "mysql, information_schema, performance_schema, sys"),
            "cluster_support": False,
        },
        "postgresql": _datastore("5432", "postgresql", "os_admin, postgres"),
    }


def _datastores_in_guests() -> Ini:
    """Options that only the service reads are not for the guests' file."""
    served = ("tcp_ports", "cluster_support")
    return {
        name: {k: v for k, v in options.items() if k not in served}
        for name, options in _datastores().items()
    }


def _object_store(ctx: Context) -> dict[str, Value]:
    """Where guests reach the object store, for backups and logs.

    They are sent the service's own URL of it. Without one a backup is refused: nobody has a
    place for it.
    """
    if not ctx.offers("object-store"):
        return {}
    place = f"{management(ctx).address}:{ctx.at('object-store').port}"
    return {"swift_url": f"https://{place}/v1/AUTH_"}


def sections(ctx: Context) -> Ini:
    """Of trove.conf."""
    credentials = openstack.credentials(ctx, "trove")
    service = ("auth_url", "username", "password", "project_name", "region_name")
    domains = ("user_domain_name", "project_domain_name")
    listened = openstack.notifications(ctx)["oslo_messaging_notifications"]
    if openstack.listened_to(ctx):
        # Options of the file are those of its own bus; an address has its own.
        queues = urlencode({name: str(value).lower() for name, value in openstack.QUEUES.items()})
        listened["transport_url"] = f"{openstack.transport_url(ctx)}?{queues}"
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "transport_url": _bus(ctx, "trove", keys.BUS, str(ctx.at("messaging"))),
            "control_exchange": EXCHANGE,
            # It names the servers of calls, and upstream will have an address.
            "host": ctx.internal,
            "region": openstack.region(ctx),
            "api_paste_config": str(ctx.release.services.place / "etc" / "trove" / "api-paste.ini"),
            "taskmanager_rpc_encr_key": ctx.secrets[keys.TASKS_KEY],
            "inst_rpc_key_encr_key": ctx.secrets[keys.INSTANCES_KEY],
            "module_aes_cbc_key": ctx.secrets[keys.MODULES_KEY],
            "use_nova_server_config_drive": True,
            "guest_config": str(agent_file(ctx)),
            "cloudinit_location": str(directory(ctx) / "cloudinit"),
            "injected_config_owner": "root",
            # The package's own are the fallback.
            "template_path": str(directory(ctx) / "templates"),
            "nova_compute_endpoint_type": "internal",
            "neutron_endpoint_type": "internal",
            "cinder_endpoint_type": "internal",
            "glance_endpoint_type": "internal",
            "trove_endpoint_type": "internal",
            **_object_store(ctx),
            "default_datastore": "mariadb",
            # The pool's driver extends a volume that nobody uses.
            "online_volume_resize": False,
            **_patience(),
        },
        "network": {
            # A network without a router has databases too, for guests in it.
            "enable_access_check": False,
        },
        "service_credentials": {name: credentials[name] for name in (*service, *domains)},
        "database": openstack.database(ctx, "trove", "trove"),
        "keystone_authtoken": openstack.authtoken(ctx, "trove", "database"),
        "oslo_policy": {"policy_file": str(policy_file(ctx)), "enforce_new_defaults": False},
        "oslo_messaging_rabbit": _queues(),
        "oslo_messaging_notifications": listened,
        **_datastores(),
        **openstack.proxied(),
    }


def _patience() -> dict[str, Value]:
    """Seconds. A guest may run on an emulated processor, ten times slower than upstream expects."""
    return {
        # also for a database to stop
        "agent_call_low_timeout": 120,
        "agent_call_high_timeout": 1200,
        "agent_heartbeat_expiry": 180,
        "usage_timeout": 1800,
        "restore_usage_timeout": 3600,
        "reboot_time_out": 300,
        "resize_time_out": 900,
        "revert_time_out": 900,
        "volume_time_out": 180,
        "server_delete_time_out": 120,
    }


def agent_sections(ctx: Context) -> Ini:
    """Of the agents' file, which each guest gets in its user data."""
    place = f"{management(ctx).address}:{BUS_PORT}"
    return {
        "DEFAULT": {
            "transport_url": _bus(ctx, "trove_guest", keys.GUESTS_BUS, place),
            "control_exchange": EXCHANGE,
            "log_dir": "/var/log/trove",
            "log_file": "trove-guestagent.log",
            "state_change_wait_time": 600,
            "command_process_timeout": 120,
            "report_interval": 30,
            **_object_store(ctx),
        },
        "oslo_messaging_rabbit": {
            **_queues(),
            "ssl": True,
            "ssl_ca_file": GUEST_AUTHORITY,
        },
        "oslo_messaging_notifications": {"driver": "noop"},
        **_datastores_in_guests(),
    }


def cloudinit(authority: str) -> str:
    """User data beside what trove writes into it: the authority by which the bus is known.

    JSON, which is YAML too.
    """
    file = {"path": GUEST_AUTHORITY, "permissions": "0644", "content": authority}
    return "#cloud-config\n" + json.dumps({"write_files": [file]}, indent=1) + "\n"


def policy() -> str:
    """Members of a project use its databases; readers see them. Upstream lets readers write."""
    member = "rule:admin or (role:member and project_id:%(tenant)s)"
    reader = "rule:admin or (role:reader and project_id:%(tenant)s)"
    rules: Mapping[str, str] = {
        "admin_or_owner": member,
        **dict.fromkeys(READING, reader),
    }
    return "".join(f'"{name}": "{rule}"\n' for name, rule in rules.items())
