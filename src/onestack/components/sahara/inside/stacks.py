"""A cluster is deleted with its own stack, and with no other (sahara's environment).

Of a cluster that came to none, as where the quota is too small, upstream takes the cluster's
name for its stack's: whoever has a stack of that name in the project lost it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sahara.utils.openstack import heat

NAME = "heat_stack_name"
"""Among what upstream notes of a cluster, before it asks for its stack."""


def has_one(cluster: Any) -> bool:
    return NAME in (cluster.extra or {})


def delete(upstream: Callable[[Any], None], cluster: Any) -> None:
    if has_one(cluster):
        upstream(cluster)


def mend() -> None:
    heat.delete_stack = functools.partial(delete, heat.delete_stack)
    heat.lazy_delete_stack = functools.partial(delete, heat.lazy_delete_stack)


mend()
