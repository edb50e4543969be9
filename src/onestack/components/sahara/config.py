"""What sahara is told, and who may what."""

from __future__ import annotations

from pathlib import Path

from onestack.components import openstack
from onestack.components.sahara import keys
from onestack.model.context import Context
from onestack.model.declarations import Flavor
from onestack.model.ini import Ini, Value

ENVIRONMENT = "sahara"
PORT = 8386
TYPE = "data-processing"
DOMAIN = "sahara"
"""Of the users that sahara makes for jobs and clusters, which live as long as those."""
PAGES = "onestack.components.sahara.inside.pages"
"""What gives the dashboard's pages what they lack there."""
STACK_TAG = "data-processing-cluster"
"""Of heat's stacks: each cluster is one, in its owner's project."""
NAMESPACES = (*openstack.NAMESPACES, "oslo.policy", "oslo.service.wsgi", "sahara.config")

CALLED = ("keystone", "nova", "neutron", "glance", "cinder", "heat", "swift")
"""Whose calls go to a public endpoint now and then: trusts are made at keystone's."""
PLUGINS = ("spark3", "spark", "vanilla", "storm", "ambari", "cdh", "mapr")
"""The first is ours, for the image that is made here; the others are upstream's own."""

READING = (
    "cluster-template:get",
    "cluster-template:list",
    "cluster-templates:get",
    "cluster-templates:get_all",
    "cluster:get",
    "cluster:list",
    "clusters:get",
    "clusters:get_all",
    "data-source:get",
    "data-source:list",
    "data-sources:get",
    "data-sources:get_all",
    "image:get",
    "image:get-tags",
    "image:list",
    "images:get",
    "images:get_all",
    "job-binaries:get",
    "job-binaries:get_all",
    "job-binary-internals:get",
    "job-binary-internals:get_all",
    "job-binary:get",
    "job-binary:list",
    "job-executions:get",
    "job-executions:get_all",
    "job-template:get",
    "job-template:get-config-hints",
    "job-template:list",
    "job-type:list",
    "job-types:get_all",
    "job:get",
    "job:list",
    "jobs:get",
    "jobs:get_all",
    "jobs:get_config_hints",
    "node-group-template:get",
    "node-group-template:list",
    "node-group-templates:get",
    "node-group-templates:get_all",
    "plugin:get",
    "plugin:get-version",
    "plugin:list",
    "plugins:get",
    "plugins:get_all",
    "plugins:get_version",
)
"""Rules of upstream's, of both versions of the API, under which nothing is changed."""
WRITING = (
    "cluster-template:create",
    "cluster-template:delete",
    "cluster-template:update",
    "cluster-templates:create",
    "cluster-templates:delete",
    "cluster-templates:modify",
    "cluster:create",
    "cluster:delete",
    "cluster:scale",
    "cluster:update",
    "clusters:create",
    "clusters:delete",
    "clusters:modify",
    "clusters:scale",
    "data-source:delete",
    "data-source:register",
    "data-source:update",
    "data-sources:delete",
    "data-sources:modify",
    "data-sources:register",
    "image:register",
    "image:remove-tags",
    "image:set-tags",
    "image:unregister",
    "images:add_tags",
    "images:register",
    "images:remove_tags",
    "images:unregister",
    "job-binaries:create",
    "job-binaries:delete",
    "job-binaries:get_data",
    "job-binaries:modify",
    "job-binary-internals:create",
    "job-binary-internals:delete",
    "job-binary-internals:get_data",
    "job-binary-internals:modify",
    "job-binary:create",
    "job-binary:delete",
    "job-binary:get-data",
    "job-binary:update",
    "job-executions:cancel",
    "job-executions:delete",
    "job-executions:modify",
    # It asks a guest, and writes down what that answers.
    "job-executions:refresh_status",
    "job-template:create",
    "job-template:delete",
    "job-template:update",
    "job:delete",
    "job:execute",
    "job:update",
    "jobs:create",
    "jobs:delete",
    "jobs:execute",
    "jobs:modify",
    "node-group-template:create",
    "node-group-template:delete",
    "node-group-template:update",
    "node-group-templates:create",
    "node-group-templates:delete",
    "node-group-templates:modify",
    "plugins:convert_config",
)
"""All others that upstream leaves to everybody; a program may have secrets in it."""


NODE = Flavor("spark.node", 1, 2560, 6)
"""Of each machine of a cluster: two servers, and what a job adds."""


def main_file(ctx: Context) -> Path:
    return ctx.cloud.etc / "sahara" / "sahara.conf"


def policy_file(ctx: Context) -> Path:
    return ctx.cloud.etc / "sahara" / "policy.yaml"


def scratch(ctx: Context) -> Path:
    """Where keys of clusters are made, for a moment."""
    return ctx.cloud.data / "sahara" / "tmp"


def plugins(ctx: Context) -> tuple[str, ...]:
    return (*PLUGINS, *(("fake",) if ctx.answers[keys.FAKE] else ()))


def sections(ctx: Context) -> Ini:
    """Of sahara.conf. Calls of other services go to their internal endpoints by themselves."""
    credentials = openstack.credentials(ctx, "sahara")
    domains = ("user_domain_name", "project_domain_name")
    trustee = ("auth_url", "username", "password", "project_name", *domains)
    paste = ctx.release.environment(ENVIRONMENT).place / "etc" / "sahara" / "api-paste.ini"
    return {
        "DEFAULT": {
            **openstack.logging(ctx),
            "transport_url": openstack.transport_url(ctx),
            "os_region_name": openstack.region(ctx),
            "api_paste_config": str(paste),
            "plugins": list(plugins(ctx)),
            "remote": "onestack",
            # A guest that is not reached by its floating IP is reached through one that is.
            "use_floating_ips": True,
            # Guests are asked by ssh whether they are there; none needs to reach an API for it.
            "heat_enable_wait_condition": False,
            "heat_stack_tags": [STACK_TAG],
            "node_domain": "novalocal",
            **_clock(ctx),
            # Hours. A start settles what was interrupted; this is for what hangs.
            "cleanup_time_for_incomplete_clusters": 24,
            "use_domain_for_proxy_users": True,
            "proxy_user_domain_name": DOMAIN,
            "proxy_user_role_names": ["member"],
            **_places(ctx),
        },
        "database": openstack.database(ctx, "sahara", "sahara"),
        "keystone_authtoken": openstack.authtoken(ctx, "sahara", TYPE),
        "trustee": {name: credentials[name] for name in trustee},
        "object_store_access": _trusted(ctx),
        **{name: {"ca_file": str(ctx.authority)} for name in CALLED},
        "oslo_policy": {"policy_file": str(policy_file(ctx))},
        **openstack.messaging(ctx),
        **openstack.proxied(),
    }


def _clock(ctx: Context) -> dict[str, Value]:
    """What guests with an `ntp` of their own set their clock by."""
    servers = tuple(ctx.answers["CONFIG_NTP_SERVERS"])
    return {"default_ntp_server": servers[0]} if servers else {}


def _places(ctx: Context) -> dict[str, Value]:
    """Where data and programs may lie: what is not here is refused when it is named.

    Of S3 the user would say where it is, and the service would go there.
    """
    objects = ["swift"] if ctx.offers("object-store") else []
    return {
        "data_source_types": [*objects, "hdfs", "maprfs"],
        "job_binary_types": [*objects, "internal-db"],
    }


def _trusted(ctx: Context) -> dict[str, Value]:
    """The authority by which guests know keystone and the object store."""
    if not ctx.offers("object-store"):
        return {}
    names = ("public_identity_ca_file", "public_object_store_ca_file")
    return dict.fromkeys(names, str(ctx.authority))


def policy() -> str:
    """Members of a project use its clusters; readers see them. Upstream lets all do all."""
    rules = dict.fromkeys(READING, "role:admin or role:reader")
    rules |= dict.fromkeys(WRITING, "role:admin or role:member")
    return "".join(f'"{TYPE}:{name}": "{rule}"\n' for name, rule in sorted(rules.items()))
