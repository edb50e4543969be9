"""What people are offered: an image, a flavor, and templates of a cluster."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.neutron import neutron_of
from onestack.cloudapi.service_images import ensure_service_image, remove_older
from onestack.cloudapi.session import admin_session
from onestack.components.sahara import config
from onestack.components.sahara.guest import PLUGIN, RECIPE, USER, VERSION
from onestack.model.change import Change
from onestack.model.context import Context

PROPERTIES = {
    "_sahara_username": USER,
    "_sahara_description": "Spark and HDFS on Debian",
    f"_sahara_tag_{PLUGIN}": "True",
    f"_sahara_tag_{VERSION}": "True",
    # The guest reads what it is told from there, and heat does not ask for one.
    "img_config_drive": "mandatory",
}
"""By which sahara knows an image, for which plugin it is and who logs in; and what nova does."""
MASTER, WORKER, CLUSTER = "spark-master", "spark-worker", "spark"
PROCESSES = {MASTER: ("master", "namenode"), WORKER: ("slave", "datanode")}
Item = dict[str, Any]


def ensure_image(ctx: Context) -> Iterator[Change]:
    """The image of today's recipe, for everybody: a cluster's machines are its owner's."""
    yield from ensure_service_image(ctx, RECIPE, properties=PROPERTIES, visibility="public")
    yield from remove_older(ctx, RECIPE)


def ensure_flavor(ctx: Context) -> Iterator[Change]:
    compute = compute_of(ctx)
    if config.NODE.name not in compute.flavors():
        yield Change(
            f"make the flavor {config.NODE.name}", lambda: compute.make_flavor(config.NODE)
        )


def ensure_templates(ctx: Context) -> Iterator[Change]:
    """Two kinds of machines, and a cluster of one each, for everybody to make clusters of.

    One of that name stays as it is. Without a public network there is no way to a machine.
    """
    found = neutron_of(ctx).all("network", **{"router:external": "True"})
    if not (pool := min((n["name"], n["id"]) for n in found)[1] if found else ""):
        return
    groups = _listed(ctx, "node-group-templates")
    for name in (MASTER, WORKER):
        if name not in groups:
            make = functools.partial(_make_group, ctx, name, pool)
            yield Change(f"make the node group template {name}", make)
    if CLUSTER not in _listed(ctx, "cluster-templates"):
        yield Change(f"make the cluster template {CLUSTER}", lambda: _make_cluster(ctx))


def _make_group(ctx: Context, name: str, pool: str) -> None:
    _make(
        ctx,
        "node-group-templates",
        {
            "name": name,
            "flavor_id": compute_of(ctx).flavors()[config.NODE.name],
            "node_processes": list(PROCESSES[name]),
            "floating_ip_pool": pool,
            "auto_security_group": True,
        },
    )


def _make_cluster(ctx: Context) -> None:
    known = _listed(ctx, "node-group-templates")
    groups = [
        {"name": name.removeprefix("spark-"), "node_group_template_id": known[name], "count": 1}
        for name in (MASTER, WORKER)
    ]
    more = {"node_groups": groups, "cluster_configs": {"HDFS": {"dfs.replication": 1}}}
    _make(ctx, "cluster-templates", {"name": CLUSTER, **more})


def _place(ctx: Context, kind: str) -> str:
    session = admin_session(ctx)
    return f"{ctx.url(config.TYPE)}/{session.get_project_id()}/{kind}"


def _make(ctx: Context, kind: str, body: Mapping[str, Any]) -> None:
    common = {"plugin_name": PLUGIN, "hadoop_version": VERSION, "is_public": True}
    admin_session(ctx).post(_place(ctx, kind), json={**common, **body})


def _listed(ctx: Context, kind: str) -> dict[str, str]:
    """Name to id, of the administrator's own: any member may make one that all see."""
    session = admin_session(ctx)
    found = session.get(_place(ctx, kind)).json()[kind.replace("-", "_")]
    own = (each for each in found if each["tenant_id"] == session.get_project_id())
    return {str(each["name"]): str(each["id"]) for each in own}
