"""The provider ``amphora``: a guest with HAProxy for each balancer, or two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.components import openstack
from onestack.components.octavia import authority, keys, layout
from onestack.components.octavia.amphora import AMPHORA
from onestack.components.octavia.providers import Provider, config_file
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Directory, KnownError, Opened, Task
from onestack.model.ini import Ini, Value
from onestack.model.process import Process

_LOOK_SECONDS, _CONNECT_SECONDS = 2, 5
"""From one look at a server to the next, and how long one try to reach its agent may take."""
ZONE = "nova"
"""Upstream's availability zone of hosts that are in no other."""
ZONES_TESTED = ("availability_zone", "availability_zone2", "availability_zone3")


class AmphoraProvider(Provider):
    name = keys.AMPHORA
    title = "Load balancing by guests with HAProxy"
    description = title
    needs = ("messaging", "network", "image", "compute")
    services = ("octavia-worker", "octavia-health-manager", "octavia-housekeeping")
    known_errors = (
        KnownError(
            "Failed to retrieve image with amphora tag",
            "there is no image for amphorae",
            "run up again: it builds and uploads one",
        ),
        KnownError(
            "No valid host was found",
            "no room for an amphora (1 GiB of memory, 1 processor), or no hypervisor at work",
            "see `openstack hypervisor stats show` and `onestack status nova-compute`",
        ),
        KnownError(
            "Quota exceeded",
            "a quota of the project service, whose the amphorae are",
            "run up again: it lifts it; or raise that of the balancer's own project",
        ),
        KnownError(
            "Connection retries .* exhausted",
            "an amphora's agent does not answer at its TCP port 9443",
            "`onestack doctor` says at which hop it ends; without KVM it takes minutes to boot",
        ),
        KnownError(
            "exception processing a heartbeat",
            "somebody sends heartbeats who does not know the key: an amphora of an earlier cloud, "
            "or a guest that plays one",
        ),
    )

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(authority.directory(ctx), "root", ctx.cloud.user("octavia"), 0o750)

    def arguments(self, ctx: Context) -> Mapping[str, Any]:
        return {"grace": layout.grace_seconds(ctx)}

    def config(self, ctx: Context) -> tuple[Path, ...]:
        return (layout.management(ctx).ids_file,)

    def watched(self, ctx: Context) -> tuple[Path, ...]:
        return (authority.client(ctx), authority.server_ca(ctx))

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        return layout.management(ctx).files()

    def markers(self, ctx: Context) -> Iterable[Path]:
        return (layout.management(ctx).port_file,)

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        return {config_file(ctx): _sections(ctx)}

    def processes(self, ctx: Context) -> Iterable[Process]:
        yield layout.management(ctx).process()

    def opened(self, ctx: Context) -> Iterable[Opened]:
        return layout.management(ctx).opened(layout.BEATS)

    def downloads(self, ctx: Context) -> Iterable[Task]:
        yield Task("fetch-amphora", lambda: AMPHORA.ensure_fetched(CACHE / "images"), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.octavia import machines

        yield Task(
            "certificates",
            lambda: authority.ensure_certificates(ctx),
            ("users",),
            before_start=True,
        )
        yield layout.management(ctx).task()
        yield Task(
            "machines",
            lambda: machines.ensure_machines(ctx),
            ("capability:compute", "capability:image", "octavia:management"),
            before_start=True,
        )

    def tested(self, ctx: Context) -> Ini:
        return {
            "load_balancer": {
                "loadbalancer_topology": str(ctx.answers[keys.TOPOLOGY]),
                # There is one, which the tests take for three.
                **dict.fromkeys(ZONES_TESTED, ZONE),
            },
            # Certificates are there.
            "loadbalancer-feature-enabled": {"terminated_tls_enabled": ctx.offers("key-manager")},
        }

    def purge(self, ctx: Context) -> Iterator[Change]:
        from onestack.components.octavia import leftovers

        return leftovers.remove_amphorae(ctx)


def _pause(ctx: Context) -> int:
    """Seconds from one try to reach an agent to the next.

    More than a try itself takes, where the wait is long: see `_tries`.
    """
    return 5 if ctx.facts.kvm else 10


def _tries(ctx: Context, seconds: int) -> int:
    """So many as never take longer than ``seconds``.

    Upstream counts tries. One at a host that is silent takes the pause and the whole time-out, one
    at a port that refuses, as while its guest boots, the pause alone: then it is given up earlier.
    Until then a balancer is PENDING, and nobody can do anything with it.
    """
    return seconds // (_pause(ctx) + _CONNECT_SECONDS)


def _sections(ctx: Context) -> Ini:
    place = layout.management(ctx).address
    region = openstack.region(ctx)
    inside: dict[str, Value] = {"region_name": region, "endpoint_type": "internalURL"}
    ca, client = authority.client_ca(ctx), authority.client(ctx)
    server = authority.server_ca(ctx)
    return {
        "DEFAULT": {"transport_url": openstack.transport_url(ctx)},
        "controller_worker": {
            "amp_image_tag": layout.TAG,
            "amp_active_retries": layout.boot_seconds(ctx) // _LOOK_SECONDS,
            "amp_active_wait_sec": _LOOK_SECONDS,
            "client_ca": str(ca),
            "loadbalancer_topology": str(ctx.answers[keys.TOPOLOGY]),
            "event_notifications": openstack.listened_to(ctx),
        },
        "haproxy_amphora": {
            "bind_port": layout.AGENT,
            "client_cert": str(client),
            "server_ca": str(server),
            "connection_max_retries": _tries(ctx, layout.boot_seconds(ctx)),
            "connection_retry_interval": _pause(ctx),
            # In a failover, for those that were well already.
            "active_connection_max_retries": _tries(ctx, layout.silent_seconds(ctx)),
            "active_connection_retry_interval": _pause(ctx),
            "rest_request_conn_timeout": _CONNECT_SECONDS,
            "rest_request_read_timeout": 180,
            # Nobody can log in to an amphora and read them.
            "connection_logging": False,
        },
        "health_manager": {
            "bind_ip": place,
            "bind_port": layout.HEARTBEATS,
            "controller_ip_port_list": [f"{place}:{layout.HEARTBEATS}"],
            "heartbeat_key": ctx.secrets["octavia_heartbeat"],
            "heartbeat_timeout": layout.silent_seconds(ctx),
            "health_update_threads": 4,
            "stats_update_threads": 2,
        },
        "certificates": {
            "ca_certificate": str(server),
            "ca_private_key": str(authority.key_of(server)),
            "server_certs_key_passphrase": [ctx.secrets["octavia_passphrase"]],
        },
        "nova": {**inside},
        "glance": {**inside},
    }
