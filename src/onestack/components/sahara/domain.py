"""The domain in keystone of the users that sahara makes for jobs and clusters.

So no password of a person's is in a job, or on a cluster's machines.
"""

from __future__ import annotations

from collections.abc import Iterator

from onestack.cloudapi.keystone import ensure_domain, keystone_of
from onestack.components.sahara import config
from onestack.model.change import Change
from onestack.model.context import Context

DESCRIPTION = "Users of data processing's jobs and clusters"


def ensure(ctx: Context) -> Iterator[Change]:
    yield from ensure_domain(keystone_of(ctx), config.DOMAIN, DESCRIPTION)
